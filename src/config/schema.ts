/** What a config file may say. */
import { z } from "zod";
import { amount, duration } from "../core/amount_schema.ts";
import { parseByteRate, parseDuration, parseShare } from "../core/units.ts";
import { cronExpression, triggerSchema } from "../trigger/policy.ts";
import {
  FREEZE_BUDGET,
  FREEZE_LIMIT,
  HOOK_TIME_LIMIT,
  KEEP_MAX,
  NOTIFY_TIME_LIMIT,
  PARALLEL_UPLOADS_MAX,
  PASSES_MAX,
} from "./bounds.ts";

/** A VM id is a part of names and of lines that scripts split: no spaces, nothing to escape. */
export const VM_ID_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
export const VM_ID_RULE =
  "must be 1 to 128 letters, digits, dots, underscores and hyphens, the first a letter or digit";

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

const TAGS_MAX = 10;

const storeSchema = z
  .strictObject({
    /** Of packs. */
    "storage-class": z.string().regex(/^[A-Z0-9_]{1,64}$/, "must be a name such as STANDARD_IA"),
    "lock-mode": z.enum(["governance", "compliance"]),
    /** How long what is stored cannot be removed. */
    retain: amount(parseDuration, 'must be a duration such as "30d"'),
    /** Encryption by the server. */
    sse: z.enum(["AES256", "aws:kms"]),
    "sse-key": command,
    tags: z
      .record(z.string().min(1).max(128), z.string().max(256))
      .refine((tags) => Object.keys(tags).length <= TAGS_MAX, `must be at most ${TAGS_MAX}`),
    "upload-limit": amount(parseByteRate, 'must be a rate such as "10MiB/s"'),
    "parallel-uploads": z.int().min(1).max(PARALLEL_UPLOADS_MAX),
  })
  .partial()
  .refine((store) => (store["lock-mode"] === undefined) === (store.retain === undefined), {
    message: "lock-mode and retain go together",
  })
  .refine((store) => store["sse-key"] === undefined || store.sse === "aws:kms", {
    message: 'sse-key goes with sse = "aws:kms"',
  });

const keep = z.int().min(1).max(KEEP_MAX).optional();

const pruneSchema = z
  .strictObject({
    /** When the daemon prunes, and frees the space; by the clock of the machine. */
    schedule: cronExpression,
    "keep-last": keep,
    "keep-hourly": keep,
    "keep-daily": keep,
    "keep-weekly": keep,
    "keep-monthly": keep,
    "keep-yearly": keep,
    "keep-within": amount(parseDuration, 'must be a duration such as "30d"').optional(),
    "keep-tags": z.array(z.string().min(1)).min(1).optional(),
    /** False: the space is not freed. */
    gc: z.boolean().optional(),
  })
  .refine((prune) => Object.keys(prune).some((name) => name.startsWith("keep-")), {
    message: 'must say what to keep, for example "keep-daily = 7"',
  });

const verifySchema = z.strictObject({
  schedule: cronExpression,
  /** Of all bytes, another share each time. Default: what is read without reading packs. */
  data: amount(parseShare, 'must be a share such as "5%"').optional(),
});

const webAddress = z.url({ protocol: /^https?$/, error: "must be an address, https://..." });

const notifySchema = z.strictObject({
  /** Is posted one JSON document for each alarm that is raised or has passed. */
  webhook: webAddress.optional(),
  /** For `/bin/sh -c`, with IBACKUP_EVENT, IBACKUP_SUBJECT and IBACKUP_MESSAGE. */
  command: command.optional(),
  /** Given to sendmail. */
  mail: z
    .string()
    .regex(/^[^\s,<>@-][^\s,<>@]*(@[^\s,<>@]+)?$/, "must be one address, or a user")
    .optional(),
  /** Is asked for after each backup of each disk. */
  heartbeat: webAddress.optional(),
  "time-limit": duration(NOTIFY_TIME_LIMIT).optional(),
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
  store: storeSchema.optional(),
  /** The same for the store that `copy` goes to. */
  copy: storeSchema.optional(),
  /** When the daemon takes a backup. */
  trigger: triggerSchema.optional(),
  prune: pruneSchema.optional(),
  verify: verifySchema.optional(),
  notify: notifySchema.optional(),
});

export type Config = z.infer<typeof configSchema>;
