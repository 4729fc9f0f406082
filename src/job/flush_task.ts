/** What a flush is asked for, and what its steps share. */
import type { Manifest } from "../core/manifest.ts";
import type { DiskReader } from "../disk/disk_reader.ts";
import type { BackupWriter } from "../repo/backup_writer.ts";
import type { Repository } from "../repo/repository.ts";
import type { Sealer } from "../repo/sealer.ts";
import type { JobContext } from "./context.ts";
import type { DiskLease } from "./disk_lease.ts";
import type { FlushDigests } from "./flush_digests.ts";
import type { HeldProgress } from "./held_progress.ts";
import type { HookOptions } from "./hooks.ts";
import type { PendingLedger } from "./pending_ledger.ts";
import type { SourceDisk } from "./source_disk.ts";
import type { Succession } from "./succession.ts";
import type { UploadJournal } from "./upload_journal.ts";

export interface FlushOptions {
  device: string;
  vmId: string;
  /** Default: the name it has in the repository, else the kernel's name of the device. */
  diskName?: string;
  /** Take a base even where an incremental would do. */
  base: boolean;
  /** Read and compare the whole disk even where the dirty bitmap could be trusted. */
  scan: boolean;
  /** The least that is accepted. */
  consistency: Manifest["consistency"];
  /** Why it is taken. Default: somebody has asked. */
  trigger?: string;
  /** How long to wait for another ibackup that works on the disk. Default: not at all. */
  waitMs?: number;
  /** What is not given is as in `DEFAULT_FREEZE`. */
  freeze?: Partial<FreezeOptions>;
  hooks?: HookOptions;
}

export interface FreezeOptions {
  /** No freeze is longer; 0: nothing is ever frozen. */
  limitMs: number;
  /** No freeze is planned to be longer. */
  budgetMs: number;
  /** Most passes over what is written meanwhile, before freezing or giving up. */
  passesMax: number;
}

export const DEFAULT_FREEZE: FreezeOptions = { limitMs: 10_000, budgetMs: 200, passesMax: 10 };

/** Everything that the steps of one flush share. */
export interface FlushTask extends Succession, FlushDigests {
  lease: DiskLease;
  journal: UploadJournal;
  context: JobContext;
  /** That of the context. Held back while anything is frozen. */
  progress: HeldProgress;
  options: FlushOptions;
  disk: SourceDisk;
  repository: Repository;
  /** Undefined when the disk is not tracked. */
  ledger: PendingLedger | undefined;
  reader: DiskReader;
  sealer: Sealer;
  writer: BackupWriter;
}
