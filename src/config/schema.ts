/** What a config file may say. */
import { z } from "zod";
import { formatDuration, parseShortDuration } from "../core/units.ts";
import { IbackupError } from "../errors.ts";
import { FREEZE_BUDGET, FREEZE_LIMIT, HOOK_TIME_LIMIT, PASSES_MAX } from "./bounds.ts";

/** A VM id is a part of names and of lines that scripts split: no spaces, nothing to escape. */
export const VM_ID_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
export const VM_ID_RULE =
  "must be 1 to 128 letters, digits, dots, underscores and hyphens, the first a letter or digit";

/** Text such as "10s" in the file, milliseconds in the settings. */
function duration(bounds: { maxMs: number; orZero?: boolean }) {
  return z.string().transform((text, context) => {
    try {
      return parseShortDuration(text, bounds);
    } catch (error) {
      if (!(error instanceof IbackupError)) throw error;
      const message = `must be a duration such as "10s", at most ${formatDuration(bounds.maxMs)}`;
      context.addIssue({ code: "custom", message, input: text });
      return z.NEVER;
    }
  });
}

const command = z.string().min(1, "must not be empty");

const freezeSchema = z.strictObject({
  /** No freeze is longer; 0 never freezes. */
  limit: duration(FREEZE_LIMIT).optional(),
  /** No freeze is planned to be longer. */
  budget: duration(FREEZE_BUDGET).optional(),
  passes: z.int().min(1).max(PASSES_MAX).optional(),
});

const hooksSchema = z.strictObject({
  "pre-freeze": command.optional(),
  frozen: command.optional(),
  "post-thaw": command.optional(),
  /** For each of them. */
  "time-limit": duration(HOOK_TIME_LIMIT).optional(),
});

const encryptionSchema = z.strictObject({
  /** Public key of the repository: backups are sealed to it, and to no other. */
  recipient: z.string().startsWith("age1", "must be a public key, age1...").optional(),
});

export const configSchema = z.strictObject({
  /** URL of the repository. */
  repo: z.string().min(1, "must not be empty").optional(),
  /** The name that backups of this machine carry. */
  vm: z.string().regex(VM_ID_PATTERN, VM_ID_RULE).optional(),
  /** The disks that commands mean when none is named. */
  disks: z
    .array(z.string().startsWith("/", "must be an absolute path such as /dev/vda"))
    .min(1, "must name a disk")
    .refine((disks) => new Set(disks).size === disks.length, "must not name a disk twice")
    .optional(),
  freeze: freezeSchema.optional(),
  hooks: hooksSchema.optional(),
  encryption: encryptionSchema.optional(),
});

export type Config = z.infer<typeof configSchema>;
