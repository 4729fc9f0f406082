/** What a config file may say. */
import { z } from "zod";

/** A VM id is a part of names and of lines that scripts split: no spaces, nothing to escape. */
export const VM_ID_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
export const VM_ID_RULE =
  "must be 1 to 128 letters, digits, dots, underscores and hyphens, the first a letter or digit";

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
});

export type Config = z.infer<typeof configSchema>;
