/** What a restore is asked for, and what its steps share. */
import type { Manifest, StoredManifest } from "../core/manifest.ts";
import type { ReadSummary } from "../repo/block_reader.ts";
import type { Repository } from "../repo/repository.ts";
import type { BackupRequest } from "./catalogue.ts";
import type { JobContext } from "./context.ts";
import type { DamageNotes } from "./damage_notes.ts";

export interface RestoreOptions {
  backup: BackupRequest;
  /** A block device, a file, or "-" for standard output. */
  target: string;
  /** Read the target first and write only what differs. */
  changedOnly: boolean;
  /** Apply base and incrementals one after another, as they were taken. */
  replay: boolean;
  /** Read everything back and compare it. */
  verify: boolean;
  /** Restore what can be restored where objects are damaged. */
  partial: boolean;
  dryRun: boolean;
  /** Overwrite the source itself, or replace a file. */
  force: boolean;
  /**
   * Has the last word before anything is written, when nobody else can change what is open.
   * @param opened Leads to the open target; undefined for a file that is new.
   */
  confirm?: (opened: string | undefined) => Promise<void>;
}

/** What the steps of one restore share. */
export interface RestoreTask {
  context: JobContext;
  options: RestoreOptions;
  repository: Repository;
  chain: StoredManifest[];
  manifest: Manifest;
  plan: ReadSummary;
  damaged: DamageNotes;
}

export interface Applied {
  bytesWritten: number;
  bytesZeroed: number;
}
