/** The file systems that are measured. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { run } from "../../test/support/machine.ts";

export interface FileSystem {
  name: string;
  /** Undefined: none; the disk itself is written to. */
  make?: (device: string) => void;
  /** `-t`, the type, and what else mount takes. */
  mountOptions: string[];
}

/** Nothing of it is written later, in the background. */
const EXT4_AT_ONCE = ["-E", "lazy_itable_init=0,lazy_journal_init=0"];

function ext(version: "ext2" | "ext4", ...options: string[]) {
  return (device: string): void => {
    run(`mkfs.${version}`, "-q", "-F", "-b", "4096", ...EXT4_AT_ONCE, ...options, device);
  };
}

/** Whether this kernel has it; a module is loaded for it. */
export function isKnown({ mountOptions: [, type] }: FileSystem): boolean {
  if (type === undefined) return true;
  spawnSync("modprobe", ["--quiet", type]);
  return readFileSync("/proc/filesystems", "utf8").split(/\s+/).includes(type);
}

export const FILE_SYSTEMS: FileSystem[] = [
  { name: "ext2", make: ext("ext2"), mountOptions: ["-t", "ext2"] },
  { name: "ext4", make: ext("ext4"), mountOptions: ["-t", "ext4"] },
  { name: "ext4, nodelalloc", make: ext("ext4"), mountOptions: ["-t", "ext4", "-o", "nodelalloc"] },
  {
    name: "ext4, data=journal",
    make: ext("ext4"),
    mountOptions: ["-t", "ext4", "-o", "data=journal"],
  },
  {
    name: "ext4 without a journal",
    make: ext("ext4", "-O", "^has_journal"),
    mountOptions: ["-t", "ext4"],
  },
  {
    name: "xfs",
    make: (device) => void run("mkfs.xfs", "-q", "-f", device),
    mountOptions: ["-t", "xfs"],
  },
  {
    name: "btrfs",
    make: (device) => void run("mkfs.btrfs", "-q", "-f", device),
    mountOptions: ["-t", "btrfs"],
  },
  {
    name: "vfat",
    make: (device) => void run("mkfs.vfat", "-F", "32", device),
    mountOptions: ["-t", "vfat"],
  },
  { name: "raw disk", mountOptions: [] },
];
