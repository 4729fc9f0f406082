/** What a flush is asked for, and what its steps share. */
import type { Manifest } from "../core/manifest.ts";
import type { DiskReader } from "../disk/disk_reader.ts";
import type { BackupWriter } from "../repo/backup_writer.ts";
import type { Repository } from "../repo/repository.ts";
import type { JobContext } from "./context.ts";
import type { DiskLease } from "./disk_lease.ts";
import type { FlushDigests } from "./flush_digests.ts";
import type { PendingLedger } from "./pending_ledger.ts";
import type { SourceDisk } from "./source_disk.ts";
import type { Succession } from "./succession.ts";

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
  /** How long to wait for another ibackup that works on the disk. Default: not at all. */
  waitMs?: number;
}

/** Everything that the steps of one flush share. */
export interface FlushTask extends Succession, FlushDigests {
  lease: DiskLease;
  context: JobContext;
  options: FlushOptions;
  disk: SourceDisk;
  repository: Repository;
  /** Undefined when the disk is not tracked. */
  ledger: PendingLedger | undefined;
  reader: DiskReader;
  writer: BackupWriter;
}
