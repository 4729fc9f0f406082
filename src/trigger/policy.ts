/** When a backup is to be taken: `[trigger]` of a config file. */
import { z } from "zod";
import { amount, duration } from "../core/amount_schema.ts";
import { parseBytes } from "../core/units.ts";
import { messageOf } from "../errors.ts";
import { nextOnCalendar } from "./calendar.ts";
import { isAlwaysQuiet, parseQuietHours } from "./quiet_hours.ts";

const DAY_MS = 86_400_000;
const EVERY = { maxMs: 3650 * DAY_MS };

const KINDS = ["blocks", "bytes", "every", "cron", "any", "all"] as const;

/** One condition. Exactly one of its fields is there. */
export interface Condition {
  /** So many blocks have changed since the last backup. */
  blocks?: number | undefined;
  /** So many bytes, in whole blocks. */
  bytes?: number | undefined;
  /** So many milliseconds have passed since the last backup. */
  every?: number | undefined;
  /** The calendar has come to an instant that this expression means, since the last backup. */
  cron?: string | undefined;
  any?: Condition[] | undefined;
  all?: Condition[] | undefined;
}

/** An expression of five fields that comes some day. */
export const cronExpression = z.string().superRefine((expression, context) => {
  try {
    if (nextOnCalendar(expression, "UTC", 0) !== undefined) return;
    context.addIssue({ code: "custom", message: "never comes", input: expression });
  } catch (error) {
    const message = `must be a cron expression of five fields: ${messageOf(error)}`;
    context.addIssue({ code: "custom", message, input: expression });
  }
});

const fields = {
  blocks: z.int().min(1).optional(),
  bytes: amount(parseBytes, 'must be an amount such as "1GiB"').optional(),
  every: duration(EVERY).optional(),
  cron: cronExpression.optional(),
  get any() {
    return z.array(conditionSchema).min(1, "must have a condition").optional();
  },
  get all() {
    return z.array(conditionSchema).min(1, "must have a condition").optional();
  },
};

const ONE_KIND = `must have exactly one of ${KINDS.join(", ")}`;

const conditionSchema: z.ZodType<Condition> = z
  .strictObject(fields)
  .refine((condition) => kindsOf(condition).length === 1, ONE_KIND);

const quietHours = z.string().transform((text, context) => {
  const hours = parseQuietHours(text);
  if (hours !== undefined) return hours;
  const message = 'must be hours such as "22:00-06:00" or "mon-fri 08:00-18:00"';
  context.addIssue({ code: "custom", message, input: text });
  return z.NEVER;
});

export const triggerSchema = z
  .strictObject({
    ...fields,
    /** Not before so much has passed since the last backup, whatever the conditions say. */
    "min-gap": duration(EVERY).optional(),
    /** `every` and `cron` come later by up to so much, so that not all machines begin at once. */
    jitter: duration({ maxMs: DAY_MS }).optional(),
    /** No backup begins then, unless somebody asks for it. */
    quiet: z
      .array(quietHours)
      .refine((hours) => !isAlwaysQuiet(hours), "leaves no time for a backup")
      .optional(),
    /** Whose clock `cron` and `quiet` are told by. Default: that of the machine. */
    zone: z.string().refine(isZone, 'must be a time zone such as "Europe/Berlin"').optional(),
  })
  .refine((trigger) => kindsOf(trigger).length === 1, ONE_KIND);

export type TriggerPolicy = z.infer<typeof triggerSchema>;

function kindsOf(condition: Condition): string[] {
  return KINDS.filter((kind) => condition[kind] !== undefined);
}

function isZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat("en-US", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}
