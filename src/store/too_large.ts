import { IbackupError } from "../errors.ts";

/** The refusal of `get` to read an object that is larger than its kind can be. */
export function tooLarge(place: string, sizeBytes: number, maxBytes: number): IbackupError {
  return new IbackupError("CORRUPT_DATA", `Refuse to read "${place}"`, {
    why: `it has ${sizeBytes} bytes, and an object of its kind has at most ${maxBytes}`,
    fix: "run `ibackup verify`: the object was replaced or damaged",
  });
}
