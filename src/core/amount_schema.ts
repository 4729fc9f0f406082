/** Amounts in a config file: text with a unit there, a number in the settings. */
import { z } from "zod";
import { IbackupError } from "../errors.ts";
import { formatDuration, parseShortDuration } from "./units.ts";

/** @param parse Throws IbackupError for what it does not understand. */
export function amount(parse: (text: string) => number, message: string) {
  return z.string().transform((text, context) => {
    try {
      return parse(text);
    } catch (error) {
      if (!(error instanceof IbackupError)) throw error;
      context.addIssue({ code: "custom", message, input: text });
      return z.NEVER;
    }
  });
}

/** Text such as "10s" in the file, milliseconds in the settings. */
export function duration(bounds: { maxMs: number; orZero?: boolean }) {
  const message = `must be a duration such as "10s", at most ${formatDuration(bounds.maxMs)}`;
  return amount((text) => parseShortDuration(text, bounds), message);
}
