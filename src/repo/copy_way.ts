/** What the two ways to copy share. */
import type { StoredManifest } from "../core/manifest.ts";
import { IbackupError } from "../errors.ts";
import type { Repository } from "./repository.ts";
import type { FindSigner } from "./signature.ts";

export interface CopyOptions {
  /** Called before a backup is committed; throws where its objects may be gone again. */
  confirm?: (() => Promise<void>) | undefined;
  /** Of what is not copied byte for byte: of this machine. */
  signer?: FindSigner | undefined;
  signal?: AbortSignal | undefined;
  /** Told of each backup that is there now, and of what went over for it. */
  onCopied?: ((copied: CopiedBackup) => void) | undefined;
}

export interface CopiedBackup {
  backupId: string;
  /** False: it was there already. */
  isNew: boolean;
  bytesCopied: number;
}

export interface CopyRoute extends Pick<CopyOptions, "confirm" | "signer" | "signal"> {
  from: Repository;
  to: Repository;
}

/** One way to copy. */
export interface CopyWay {
  /** True when one of the other repository is the copy of one of this. */
  isCopy(there: StoredManifest, stored: StoredManifest): boolean;
  /**
   * @param chain Of the backup; base first.
   * @param parent Its nearest ancestor that is there: what it holds is not copied. `nth` in the chain.
   */
  copy(chain: readonly StoredManifest[], parent: CopiedParent | undefined): Promise<CopyOutcome>;
  /** So that a removal of the copy is noticed. */
  leaveHead(copied: StoredManifest): Promise<void>;
}

export interface CopiedParent {
  nth: number;
  /** As it is there. */
  stored: StoredManifest;
}

export interface CopyOutcome {
  stored: StoredManifest;
  bytesCopied: number;
}

export function placeTaken({ store }: Repository, backupId: string): IbackupError {
  return new IbackupError("REPOSITORY_EXISTS", `Cannot copy the backup ${backupId}`, {
    why: `another backup has its place in ${store.url}: backups of the disk were taken into both`,
    fix: "copy to an empty place",
  });
}
