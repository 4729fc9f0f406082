/**
 * What `--json` prints: one schema for each command, by the name of the command. docs/JSON.md is
 * made of them, and tests hold what commands print against them.
 *
 * Scripts rely on them. A field that goes, or comes to mean something else, raises
 * `SCHEMA_VERSION`; a new one does not.
 */
import { z } from "zod";
import { statusSchema } from "../api/schemas.ts";
import {
  backup,
  bytes,
  changedFile,
  count,
  damage,
  extents,
  failed,
  flushed,
  id,
  ids,
  instant,
  milliseconds,
  notDue,
  path,
  publicKey,
  remarks,
  slotId,
  tracking,
} from "./json_values.ts";

/** Printed instead of any other, when a command fails. */
export const FAILURE_DOCUMENT = failed;

export const DOCUMENTS: Readonly<Record<string, z.ZodType>> = {
  init: z.strictObject({
    repositoryId: z.uuid(),
    url: z.string(),
    encryption: z.enum(["none", "age"]),
    recipient: publicKey.nullable().describe("null: not encrypted"),
  }),
  "track start": tracking.extend({
    already: z.array(path).describe("those that were tracked already, just as asked"),
  }),
  "track stop": z.strictObject({ stopped: z.array(path) }),
  "track status": tracking,
  "track watch": z.strictObject({
    devices: z.array(
      z.strictObject({
        device: path,
        blockBytes: bytes,
        blocksReported: count.describe("events: a block can turn dirty more than once"),
        extents,
      }),
    ),
    eventsLost: count,
  }),
  flush: z.union([
    flushed.describe("one device"),
    notDue.describe("one device, with --if-due"),
    z
      .strictObject({
        flushes: z.array(
          z.union([
            flushed.extend({ device: path }),
            notDue.extend({ device: path }),
            failed.extend({ device: path }),
          ]),
        ),
      })
      .describe("several devices"),
  ]),
  list: z.strictObject({ backups: z.array(backup).describe("oldest first") }),
  show: z.strictObject({
    manifest: z.looseObject({ backupId: id }).describe("all of it: FORMAT.md"),
    manifestSha256: z.string(),
    chain: ids.nullable().describe("base first; null: it is broken"),
    problem: z.string().nullable().describe("where it is broken"),
  }),
  restore: z.strictObject({
    backupId: id,
    target: path,
    dryRun: z.boolean(),
    sizeBytes: bytes,
    chain: ids.describe("backups that it is made of, base first"),
    requests: count.describe("reads of packs that it takes"),
    bytesFetched: bytes,
    bytesWritten: bytes,
    bytesZeroed: bytes,
    verified: z
      .boolean()
      .nullable()
      .describe("false: not all could be restored; null: it was not asked for"),
    damaged: z.array(damage),
    durationMs: milliseconds,
  }),
  verify: z.strictObject({
    healthy: z.boolean(),
    backups: count,
    packs: count,
    bytesRead: bytes,
    problems: z.array(damage.extend({ backups: ids.describe("those that it takes them from") })),
    warnings: z.array(z.string()),
    repairs: z
      .array(z.strictObject({ device: path, blocksLost: count, blocksRepaired: count }))
      .optional()
      .describe("with --repair, where something was found"),
  }),
  compare: z.strictObject({
    backupId: id,
    device: path,
    blockBytes: bytes,
    blocksCompared: count,
    differentBlocks: count,
    extents: extents.describe("the first 1000 runs of blocks that differ"),
    durationMs: milliseconds,
  }),
  prune: z.union([
    z
      .strictObject({
        dryRun: z.boolean(),
        backups: z.array(
          z.strictObject({
            backupId: id,
            vmId: z.string(),
            disk: z.string(),
            capturedAt: instant,
            kept: z.boolean(),
            reasons: z.array(z.string()),
          }),
        ),
        removed: ids,
        locked: z
          .array(z.strictObject({ backupId: id, until: instant.nullable() }))
          .describe("those that the store does not let go yet"),
        simulation: z.array(
          z.strictObject({
            vmId: z.string(),
            disk: z.string(),
            days: z.array(
              z.strictObject({
                day: z.iso.date(),
                taken: count,
                removed: count,
                kept: count,
                oldest: instant,
              }),
            ),
          }),
        ),
      })
      .describe("by policy or by name"),
    z
      .strictObject({
        dryRun: z.boolean(),
        damaged: z.array(
          z.strictObject({
            object: z.string(),
            reason: z.string(),
            backups: ids.describe("those that can be read and cannot be restored without it"),
          }),
        ),
        removed: z.array(z.string()).describe("objects"),
        locked: z
          .array(z.strictObject({ object: z.string(), until: instant.nullable() }))
          .describe("those that the store does not let go yet"),
      })
      .describe("with --damaged"),
  ]),
  gc: z.strictObject({
    dryRun: z.boolean(),
    packs: count.describe("removed, or with --dry-run to be removed; so are the next three"),
    indexes: count,
    documents: count,
    bytes,
    youngObjects: count.describe("not needed, but too young"),
    youngBytes: bytes,
    lockedObjects: count.describe("not let go by the store"),
    rewrittenPacks: count,
    rewrittenBytes: bytes,
  }),
  copy: z.strictObject({
    to: z.string(),
    copied: z.array(
      z.strictObject({
        backupId: id,
        isNew: z.boolean().describe("false: it was there already"),
        bytesCopied: bytes,
      }),
    ),
  }),
  rebase: z.strictObject({
    backupId: id,
    changed: z.boolean().describe("false: it was a base already"),
  }),
  "tag add": remarks,
  "tag remove": remarks,
  protect: remarks,
  unprotect: remarks,
  "key list": z.strictObject({
    repositoryId: z.uuid(),
    recipient: publicKey.describe("what backups are sealed to"),
    edition: count,
    holders: z.array(
      z.strictObject({
        slotId,
        holder: z.enum(["x25519", "passphrase"]),
        recipient: publicKey,
        label: z.string(),
        createdAt: instant,
        opensNewest: z.boolean(),
      }),
    ),
  }),
  "key add": z.strictObject({ slotId, recipient: publicKey, label: z.string() }),
  "key remove": z.strictObject({ slotId, recipient: publicKey, edition: count }),
  "key export": z.union([
    z.strictObject({ slotId, sheet: z.string() }),
    z.strictObject({ slotId, out: path }).describe("with --out"),
  ]),
  "key trust": z.strictObject({ recipient: publicKey }),
  doctor: z.strictObject({
    healthy: z.boolean().describe("false: something will stop backups or tracking"),
    findings: z.array(
      z.strictObject({
        check: z.string(),
        verdict: z.enum(["ok", "warn", "fail"]),
        found: z.string(),
        fix: z.string().nullable().describe("null: all is well"),
      }),
    ),
  }),
  install: z.strictObject({
    root: path,
    files: z.array(changedFile).describe("none with --print"),
    units: z.array(z.strictObject({ name: z.string(), text: z.string() })),
    crontab: z.array(z.string()).describe("the same without systemd: lines of /etc/crontab"),
  }),
  uninstall: z.strictObject({
    root: path,
    files: z.array(changedFile),
    stopped: z.array(path).describe("devices that were tracked"),
    folders: z.array(path).describe("what else was removed"),
  }),
  "config check": z.strictObject({
    file: path.nullable().describe("null: there is none, and defaults hold"),
    valid: z.literal(true),
  }),
  "config show": z.strictObject({
    settings: z.array(
      z.strictObject({
        name: z.string(),
        value: z.string().nullable().describe("null: not set"),
        origin: z.enum(["argument", "environment", "file", "default"]),
      }),
    ),
  }),
  ui: z.strictObject({
    url: z.string().describe("opens the page, once; it holds a secret"),
    port: count,
  }),
  daemon: z.strictObject({ stopped: z.literal(true) }).describe("when it was ended"),
  status: statusSchema,
  metrics: z.strictObject({
    metrics: z.string().describe("as Prometheus reads it: docs/METRICS.md"),
    textfile: path.nullable().describe("where it was written"),
  }),
  completion: z.strictObject({ shell: z.enum(["bash", "zsh", "fish"]), script: z.string() }),
  man: z.union([
    z.strictObject({ pages: z.array(z.strictObject({ fileName: z.string(), text: z.string() })) }),
    z.strictObject({ out: path, files: z.array(path) }).describe("with --out"),
  ]),
};
