/** Real disks and file systems for tests. Whatever is made here goes when the test ends. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Runs a command and gives its standard output; its failure fails the test, with what it said. */
export function run(command: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: "utf8",
    maxBuffer: 64 << 20,
  });
  if (status === 0) return stdout;
  throw new Error(
    `${command} ${args.join(" ")}: ${error?.message ?? `status ${status}`}\n${stderr}`,
  );
}

/** Runs a script by bash, in which every failing command ends it. */
export function shell(script: string): string {
  return run("bash", "-euo", "pipefail", "-c", script);
}

/** Disks, mounts and folders of one test, undone in reverse order. */
export class Machine {
  readonly folder: string;
  readonly #undo: (() => void)[] = [];

  constructor() {
    this.folder = mkdtempSync("/var/tmp/ibackup-test-");
    this.onClose(() => rmSync(this.folder, { recursive: true, force: true }));
    const runtimeFolder = mkdtempSync("/dev/shm/ibackup-test-");
    this.onClose(() => rmSync(runtimeFolder, { recursive: true, force: true }));
    this.runtimeFolder = runtimeFolder;
    this.cacheFolder = this.path("cache");
    this.stateFolder = this.path("state");
  }

  /** On tmpfs, for what ibackup keeps until the next boot. */
  readonly runtimeFolder: string;

  /** For what ibackup can find out again. */
  readonly cacheFolder: string;

  /** For what ibackup must not forget. */
  readonly stateFolder: string;

  /** Variables by which ibackup finds these folders. */
  get environment(): Record<string, string> {
    return {
      IBACKUP_RUNTIME_DIR: this.runtimeFolder,
      IBACKUP_CACHE_DIR: this.cacheFolder,
      IBACKUP_STATE_DIR: this.stateFolder,
    };
  }

  onClose(undo: () => void): void {
    this.#undo.push(undo);
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** A loop disk over a sparse file; its writes go straight to the file. */
  loopDisk(name: string, sizeBytes: number): string {
    const file = this.path(`${name}.img`);
    writeFileSync(file, "");
    truncateSync(file, sizeBytes);
    return this.attach(file);
  }

  attach(file: string, ...options: string[]): string {
    const device = run("losetup", "-f", "--show", "--direct-io=on", ...options, file).trim();
    this.onClose(() => {
      if (isAttached(device, file)) run("losetup", "-d", device);
    });
    return device;
  }

  mount(device: string, ...options: string[]): string {
    const folder = mkdtempSync(this.path("mnt-"));
    run("mount", ...options, device, folder);
    this.onClose(() => this.unmount(folder));
    return folder;
  }

  unmount(folder: string): void {
    if (isMounted(folder)) run("umount", folder);
  }

  close(): void {
    const failures: unknown[] = [];
    for (const undo of this.#undo.splice(0).reverse()) {
      try {
        undo();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, "clean-up failed");
  }
}

/** SHA-256 of a whole device or file, read past the page cache. */
export function digestOf(path: string): string {
  return shell(`dd if='${path}' bs=4M iflag=direct status=none | sha256sum`).slice(0, 64);
}

/** Byte numbers at which two disks differ, the first few; read past the page cache. */
export function firstDifference(left: string, right: string): string {
  const read = (path: string): string => `<(dd if='${path}' bs=4M iflag=direct status=none)`;
  return shell(`cmp ${read(left)} ${read(right)} || true`).trim();
}

function isMounted(folder: string): boolean {
  return existsSync(folder) && spawnSync("mountpoint", ["-q", folder]).status === 0;
}

function isAttached(device: string, file: string): boolean {
  const { stdout } = spawnSync("losetup", ["-nO", "BACK-FILE", device], { encoding: "utf8" });
  return stdout.trim().startsWith(file);
}
