/** What the documents of `--json` are made of. */
import { z } from "zod";

export const id = z.string().describe("id of a backup");
export const ids = z.array(id);
export const path = z.string().describe("path, as it was given or as the kernel names it");
export const bytes = z.int().min(0).describe("bytes");
export const count = z.int().min(0);
export const milliseconds = z.number().min(0).describe("milliseconds");
export const instant = z.iso.datetime().describe("RFC 3339, UTC");
export const publicKey = z.string().startsWith("age1").describe("public key");
export const slotId = z.string().describe("names a holder of a key");
const consistency = z.enum(["frozen", "quiet", "fuzzy"]);
const backupType = z.enum(["base", "incremental"]);
const hooks = z.array(z.enum(["block", "buffer"]));

export const extents = z
  .array(z.strictObject({ firstBlock: count, blockCount: count }))
  .describe("runs of blocks, ascending");
export const damage = z.strictObject({
  object: z.string().describe("key of a damaged object"),
  reason: z.string(),
  extents: extents.describe("the blocks that it takes away"),
});

const failure = z.strictObject({
  code: z.string().describe("a name of the table of exit statuses"),
  exitStatus: count,
  what: z.string(),
  why: z.string(),
  fix: z.string(),
});

export const backup = z.strictObject({
  backupId: id,
  vmId: z.string(),
  disk: z.string().describe("name of the disk in the repository"),
  type: backupType,
  capturedAt: instant.describe("the instant that it represents: RFC 3339, UTC"),
  parentId: id.nullable().describe("null: it is a base"),
  consistency,
  blocksChanged: count,
  bytesStored: bytes,
  tags: z.array(z.string()),
  protected: z.boolean(),
  blocksLost: count.describe("that nobody can give back, as verify --repair noted"),
});

export const flushed = z.strictObject({
  backupId: id,
  vmId: z.string(),
  disk: z.string(),
  type: backupType,
  parentId: id.nullable(),
  gapCheck: z.strictObject({
    verdict: z.enum(["base", "trusted", "compared"]),
    reason: z.string(),
  }),
  consistency,
  capturedAt: instant.describe("the instant that it represents: RFC 3339, UTC"),
  blocksChanged: count,
  bytesRead: bytes,
  bytesStored: bytes,
  passes: count,
  freezeMs: milliseconds.nullable().describe("the longest freeze; null: there was none"),
  fileSystems: z.array(
    z.strictObject({ mountpoint: z.string(), fileSystem: z.string(), outcome: z.string() }),
  ),
  durationMs: milliseconds,
  taints: z.array(z.strictObject({ reason: z.string(), count })),
  error: failure.optional().describe("post-thaw failed; the backup is there all the same"),
});
export const notDue = z.strictObject({
  due: z.literal(false),
  why: z.string(),
  nextAt: instant.nullable().describe("null: only writes can change that"),
});
export const failed = z.strictObject({ error: failure });

const trackedDevice = z.strictObject({
  device: path,
  slot: count,
  attachment: z.string().describe("another for each time that it was attached"),
  wholeDisk: z.strictObject({ major: count, minor: count }),
  startSector: count.describe("sectors of 512 bytes"),
  sectorCount: count,
  bioBased: z.boolean(),
  hooks,
  blockBytes: bytes,
  blockCount: count,
  dirtyBlocks: count.describe("blocks written since the last flush took them over"),
  counters: z.record(z.string(), count),
  taints: z.record(z.string(), count).describe("how often, by reason"),
});
export const tracking = z.strictObject({
  session: z
    .strictObject({
      id: z.string(),
      bootId: z.string(),
      startedAtBoottimeMs: milliseconds,
      hooks,
      bufferHook: z.enum(["none", "kprobe", "tracepoint"]),
      bpfObject: z.enum(["none", "modern", "legacy"]),
      listening: z.boolean(),
    })
    .nullable()
    .describe("null: nothing is tracked"),
  devices: z.array(trackedDevice),
});

export const remarks = z.strictObject({
  backupId: id,
  tags: z.array(z.string()),
  protected: z.boolean(),
});

export const changedFile = z.strictObject({
  path,
  change: z.enum(["written", "unchanged", "removed"]),
});
