/** Who uses a device or a file that is to be written to, as far as the kernel tells. */
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { type BlockDevice, dependentsOf, describeDevice } from "./block_device.ts";
import { deviceIdOf, loopFiles, storageIdOf } from "./loop_files.ts";
import { mountsOn } from "./mounts.ts";

/** Why nothing can be written, and what to do about it. */
export interface Obstacle {
  why: string;
  fix: string;
}

const DEVICE = /^device (.*)$/;
const OTHER = "or name another target";

/**
 * Opening a device for oneself alone does not find out all of it: a loop device claims nothing of the
 * file or disk that it lies on.
 */
export function obstacleOn(device: BlockDevice): Obstacle | undefined {
  const storage = new Storage();
  storage.addDevice(device.name);
  const inUse = mountOrSwapOn(storage.sharing);
  if (inUse !== undefined) return inUse;
  if (device.readOnly) return { why: "it is read-only", fix: "name another target" };
  return userOf(storage);
}

/** @param path Of a file. */
export function obstacleInFile(path: string): Obstacle | undefined {
  const storage = new Storage();
  storage.addFile(path);
  return mountOrSwapOn(storage.sharing) ?? userOf(storage);
}

/** The device itself, and those that it lies on by way of loop devices. */
export function devicesOfLoops(device: BlockDevice): BlockDevice[] {
  const storage = new Storage();
  storage.addDevice(device.name);
  return storage.whole.map((name) =>
    name === device.name ? device : describeDevice(`/dev/${name.replaceAll("!", "/")}`),
  );
}

/** What shares bytes with a device or a file, or may. By the kernel's names. */
class Storage {
  /** Of which all may be written to: the device, and what loop devices show as it. */
  readonly whole: string[] = [];
  /** The former, and the disks of which they are partitions. */
  readonly own = new Set<string>();
  /** All but those disks. */
  readonly sharing = new Set<string>();
  /** What a loop device lies on that shares bytes with it. */
  readonly #ids = new Set<string>();
  readonly #loops = new Map([...loopFiles()].map(([name, path]) => [name, storageIdOf(path)]));

  addFile(path: string): void {
    this.#ids.add(storageIdOf(path));
    this.#addLoops();
  }

  addDevice(name: string): void {
    for (let at: string | undefined = name; at !== undefined && !this.own.has(at); ) {
      const disk = wholeDiskOf(at);
      this.whole.push(at);
      this.own.add(at).add(disk);
      this.#share(at);
      this.#ids.add(deviceIdOf(disk));
      const below = this.#loops.get(disk);
      if (below !== undefined) this.#ids.add(below);
      at = DEVICE.exec(below ?? "")?.[1];
    }
    this.#addLoops();
  }

  #share(name: string): void {
    for (const each of dependentsOf({ name })) {
      this.sharing.add(each);
      this.#ids.add(deviceIdOf(each));
    }
  }

  /** A loop device may lie on another. */
  #addLoops(): void {
    const isNew = ([name, id]: [string, string]): boolean =>
      this.#ids.has(id) && !this.own.has(name) && !this.sharing.has(name);
    for (;;) {
      const found = [...this.#loops].filter(isNew);
      if (found.length === 0) return;
      for (const [name] of found) this.#share(name);
    }
  }
}

function mountOrSwapOn(names: ReadonlySet<string>): Obstacle | undefined {
  const [mount] = mountsOn(names);
  if (mount !== undefined) {
    const why = `${mount.source} is mounted at ${mount.mountpoint}`;
    return { why, fix: `unmount it (\`umount ${mount.mountpoint}\`), ${OTHER}` };
  }
  const swap = swapDevices().find((name) => names.has(name));
  if (swap === undefined) return undefined;
  return { why: `the system swaps to ${swap}`, fix: `\`swapoff /dev/${swap}\`, ${OTHER}` };
}

function userOf({ own, sharing }: Storage): Obstacle | undefined {
  const user = [...sharing].find((name) => !own.has(name) && !isPartition(name));
  if (user === undefined) return undefined;
  if (!user.startsWith("loop")) {
    return { why: `${user} lies on it`, fix: `take ${user} apart first, ${OTHER}` };
  }
  const why = `the loop device ${user} shows the same bytes, or some of them`;
  return { why, fix: `\`losetup --detach /dev/${user}\` first, ${OTHER}` };
}

/** The kernel's names of the devices that it swaps to. */
function swapDevices(): string[] {
  // Not every kernel can swap.
  if (!existsSync("/proc/swaps")) return [];
  const lines = readFileSync("/proc/swaps", "utf8").split("\n").slice(1);
  return lines.flatMap((line) => {
    const [path = ""] = line.split(/\s/);
    return path.startsWith("/dev/") && existsSync(path) ? [basename(realpathSync(path))] : [];
  });
}

function isPartition(name: string): boolean {
  return existsSync(join("/sys/class/block", name, "partition"));
}

function wholeDiskOf(name: string): string {
  if (!isPartition(name)) return name;
  return basename(dirname(realpathSync(join("/sys/class/block", name))));
}
