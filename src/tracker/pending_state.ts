/** What a pending set remembers besides its blocks: `state.json` in its folder. */
import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { writeCountersSchema } from "../core/write_counters.ts";
import { systemCodeOf } from "../errors.ts";

const taints = z.record(z.string(), z.number());

const lastCollectSchema = z.strictObject({
  /**
   * Of the whole disk, read before the kernel's bitmap was emptied: a write that is counted here
   * was marked before it was counted, so its block is in the set.
   */
  counters: writeCountersSchema,
  /** After it. */
  taints,
});

const stateSchema = z.strictObject({
  version: z.literal(1),
  bootId: z.string(),
  /** The session's id and the attachment's. */
  session: z.string(),
  diskSequence: z.number().optional(),
  sizeBytes: z.number(),
  /** As they were when the parent's blocks were first collected. */
  taints,
  /** The backup that this set continues; null before the first. */
  parentId: z.string().nullable(),
  /** Counts collects; the number of the newest file. */
  epoch: z.number(),
  /**
   * A backup that may have been committed when this machine or ibackup stopped: if the repository
   * has it, it is the parent, and only files from `firstEpoch` on are still needed.
   */
  committing: z
    .strictObject({
      backupId: z.string(),
      /** Of its manifest: of two copies of a machine, both may choose the same id. */
      sha256: z.string(),
      firstEpoch: z.number(),
      taints,
    })
    .nullable(),
  /** The newest collect that put bits into the set; null where its counters would prove nothing. */
  lastCollect: lastCollectSchema.nullable().default(null),
  /** True when the disk was not tracked for a while since the parent, and nothing was written then. */
  bridged: z.boolean().default(false),
});

export type PendingState = z.infer<typeof stateSchema>;
export type LastCollect = z.infer<typeof lastCollectSchema>;

/** Where the pending sets of a disk are. */
export interface DiskPlace {
  /** The validated folder for what lives until the next boot. */
  runtimeFolder: string;
  range: { wholeDisk: { major: number; minor: number }; startSector: number };
}

/** Holds one folder for each repository. */
export function diskFolderOf({ runtimeFolder, range }: DiskPlace): string {
  const { major, minor } = range.wholeDisk;
  return join(runtimeFolder, "pending", `${major}-${minor}-${range.startSector}`);
}

/** The state in a folder, or undefined when it is missing or makes no sense. */
export function readState(folder: string): PendingState | undefined {
  let text: string;
  try {
    text = readFileSync(join(folder, "state.json"), "utf8");
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return undefined;
    throw error;
  }
  try {
    return stateSchema.parse(JSON.parse(text));
  } catch {
    // Not trusted means compared: that is the answer to a damaged state too.
    return undefined;
  }
}

/** The states of all sets of a disk that make sense. */
export function statesIn(diskFolder: string): { folder: string; state: PendingState }[] {
  if (!existsSync(diskFolder)) return [];
  return readdirSync(diskFolder).flatMap((name) => {
    const folder = join(diskFolder, name);
    const state = readState(folder);
    return state === undefined ? [] : [{ folder, state }];
  });
}

export function writeState(folder: string, state: PendingState): void {
  const temporary = join(folder, ".state.json");
  writeFileSync(temporary, JSON.stringify(state), { mode: 0o600 });
  renameSync(temporary, join(folder, "state.json"));
}
