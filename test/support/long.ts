/** The long form of a test, which takes too long for every day. */
import { env } from "node:process";

/** IBACKUP_LONG=1 asks for it. */
export const isLong = env["IBACKUP_LONG"] === "1";

/** IBACKUP_PART=2/4: only the second of four pieces of the long form. */
export const PART = partOf(env["IBACKUP_PART"] ?? "1/1");

function partOf(text: string): { number: number; of: number } {
  const [number = 0, of = 0] = text.split("/").map(Number);
  if (!(number >= 1 && number <= of)) throw new Error(`IBACKUP_PART=${text} is no part`);
  return { number, of };
}
