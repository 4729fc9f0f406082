/** The disk on which a guest keeps its repository: this machine looks into it between two boots. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { guestDisk } from "./guest.ts";
import { type Machine, run } from "./machine.ts";
import { ibackup, ibackupJson } from "./program.ts";

/** Where the guest's scripts keep the repository on its disk. */
export const FOLDER = "backups";

export class RepositoryDisk {
  readonly image: string;
  readonly #machine: Machine;

  constructor(machine: Machine, sizeBytes: number) {
    this.#machine = machine;
    this.image = guestDisk(machine, "repository", sizeBytes);
    run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", this.image);
  }

  /** Looks into a copy of the disk as it is now: the guest finds its disk as it has left it. */
  look<T>(work: (repository: GuestRepository) => T): T {
    const copy = this.#machine.path("repository-copy.img");
    run("cp", "--sparse=always", this.image, copy);
    try {
      return lookInto(this.#machine, { image: copy, folder: FOLDER }, work);
    } finally {
      rmSync(copy);
    }
  }
}

/**
 * Mounts an image, which replays the journal of its file system, and gives the repository in it.
 *
 * @param place The image, and the folder of the repository in it.
 */
export function lookInto<T>(
  machine: Machine,
  place: { image: string; folder: string },
  work: (repository: GuestRepository) => T,
): T {
  const device = machine.attach(place.image);
  try {
    const mountpoint = machine.mount(device);
    try {
      return work(new GuestRepository(machine, `file://${mountpoint}/${place.folder}`));
    } finally {
      machine.unmount(mountpoint);
    }
  } finally {
    run("losetup", "-d", device);
  }
}

/** A guest's repository, opened by ibackup on this machine. */
export class GuestRepository {
  readonly #machine: Machine;
  readonly #env: { IBACKUP_REPO: string; IBACKUP_STATE_DIR: string };

  constructor(machine: Machine, url: string) {
    this.#machine = machine;
    // What was seen at another moment of the disk is not missing at this one.
    const state = mkdtempSync(machine.path("state-"));
    this.#env = { IBACKUP_REPO: url, IBACKUP_STATE_DIR: state };
  }

  /** False when `init` has not ended. */
  exists(): boolean {
    return existsSync(`${this.#env.IBACKUP_REPO.slice("file://".length)}/repository`);
  }

  /** Oldest first. */
  backupIds(): string[] {
    const list = ibackupJson<{ backups: { backupId: string }[] }>(this.#machine, ["list"], {
      env: this.#env,
    });
    return list.backups.map(({ backupId }) => backupId);
  }

  /** Runs ibackup, which must succeed. */
  must(...args: string[]): void {
    const { status, stderr } = ibackup(this.#machine, args, { env: this.#env });
    if (status !== 0) throw new Error(`ibackup ${args.join(" ")}: status ${status}\n${stderr}`);
  }

  /** Restores into a new file, which goes with the machine. @returns Its path. */
  restore(backupId: string): string {
    const target = this.#machine.path(`restored-${backupId}.img`);
    rmSync(target, { force: true });
    this.must("restore", backupId, "--target", target);
    return target;
  }
}
