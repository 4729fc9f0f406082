/** What a flush is asked for, and what its steps share. */
import type { Manifest } from "../core/manifest.ts";
import type { DiskReader } from "../disk/disk_reader.ts";
import type { BackupWriter } from "../repo/backup_writer.ts";
import type { Repository } from "../repo/repository.ts";
import type { JobContext } from "./context.ts";
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
}

/** Everything that the steps of one flush share. */
export interface FlushTask extends Succession, FlushDigests {
  context: JobContext;
  options: FlushOptions;
  disk: SourceDisk;
  repository: Repository;
  /** Undefined when the disk is not tracked. */
  ledger: PendingLedger | undefined;
  reader: DiskReader;
  writer: BackupWriter;
}
