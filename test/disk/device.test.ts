import { readFileSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { describeDevice } from "../../src/disk/block_device.ts";
import { openDiskReader } from "../../src/disk/disk_reader.ts";
import { mountsOf } from "../../src/disk/mounts.ts";
import { openDeviceTarget, openFileTarget } from "../../src/disk/restore_target.ts";
import { Machine, run, shell } from "../support/machine.ts";

let machine: Machine;
beforeEach(() => {
  machine = new Machine();
});
afterEach(() => machine.close());

const BLOCK_BYTES = 4096;

describe("a disk whose last block is partial", () => {
  test("reads as zeroes past its end", async () => {
    const disk = machine.loopDisk("odd", 8 * BLOCK_BYTES + 1536);
    writeFileSync(machine.path("odd.img"), new Uint8Array(8 * BLOCK_BYTES + 1536).fill(120));
    const device = describeDevice(disk);
    expect(device.sizeBytes).toBe(8 * BLOCK_BYTES + 1536);
    const reader = await openDiskReader(device, BLOCK_BYTES);
    expect(reader.blockCount).toBe(9);
    const blocks: Uint8Array[] = [];
    for await (const { bytes } of reader.read([{ firstBlock: 7, blockCount: 2 }])) {
      blocks.push(bytes.slice());
    }
    await reader.close();
    const bytes = new Uint8Array(2 * BLOCK_BYTES);
    bytes.set(blocks[0] ?? []);
    expect(bytes.subarray(0, BLOCK_BYTES + 1536).every((byte) => byte !== 0)).toBe(true);
    expect(bytes.subarray(BLOCK_BYTES + 1536).every((byte) => byte === 0)).toBe(true);
  });

  test("is restored to its last sector", async () => {
    const sizeBytes = 2 * BLOCK_BYTES + 512;
    const disk = machine.loopDisk("target", sizeBytes);
    const target = await openDeviceTarget(describeDevice(disk), { sizeBytes, kernel: undefined });
    await target.write(2 * BLOCK_BYTES, new Uint8Array(BLOCK_BYTES).fill(7));
    await target.finish();
    const written = readFileSync(machine.path("target.img"));
    expect(written.length).toBe(sizeBytes);
    expect(written.subarray(2 * BLOCK_BYTES).every((byte) => byte === 7)).toBe(true);
  });
});

describe("a mounted disk", () => {
  test("lists its mounts, those of partitions too, and cannot be a target", async () => {
    const disk = machine.loopDisk("parts", 64 << 20);
    shell(`printf '2048,\\n' | sfdisk -q ${disk}`);
    run("partx", "-a", disk);
    machine.onClose(() => run("partx", "-d", disk));
    run("mkfs.ext4", "-q", `${disk}p1`);
    const folder = machine.mount(`${disk}p1`);
    const whole = describeDevice(disk);
    expect(mountsOf(whole).map(({ mountpoint }) => mountpoint)).toEqual([folder]);
    const partition = describeDevice(`${disk}p1`);
    expect(partition.startSector).toBe(2048);
    expect(partition.wholeDisk.name).toBe(whole.name);
    expect(whole.identity.kind).toBe("ptuuid");
    expect(partition.identity.value).toBe(`${whole.identity.value}-part1`);
    await expect(
      openDeviceTarget(whole, { sizeBytes: 4096, kernel: undefined }),
    ).rejects.toMatchObject({ code: "TARGET_BUSY" });
  });
});

describe("an image file as a target", () => {
  const options = { sizeBytes: 1 << 20, inPlace: false, force: false, kernel: undefined };

  test("appears under its name only when it is finished", async () => {
    const path = machine.path("restored.img");
    const target = await openFileTarget(path, options);
    await target.write(8192, new Uint8Array(4096).fill(1));
    expect(shell(`ls -A ${machine.folder}`).trim()).toBe(".restored.img.ibackup-partial");
    await target.finish();
    expect(shell(`ls -A ${machine.folder}`).trim()).toBe("restored.img");
    expect(readFileSync(path).length).toBe(1 << 20);
  });

  test("leaves nothing behind when it is abandoned", async () => {
    const target = await openFileTarget(machine.path("restored.img"), options);
    await target.abandon();
    expect(shell(`ls -A ${machine.folder}`)).toBe("");
  });

  test("does not replace a file that appeared meanwhile", async () => {
    const path = machine.path("mine.img");
    const target = await openFileTarget(path, options);
    writeFileSync(path, "precious");
    await expect(target.finish()).rejects.toMatchObject({ code: "IO" });
    await target.abandon();
    expect(shell(`ls -A ${machine.folder}`).trim()).toBe("mine.img");
    expect(readFileSync(path, "utf8")).toBe("precious");
  });

  test("does not cut a file of another size that is to be changed in place", async () => {
    const path = machine.path("mine.img");
    writeFileSync(path, "precious");
    const inPlace = { ...options, inPlace: true };
    await expect(openFileTarget(path, inPlace)).rejects.toMatchObject({ code: "TARGET_BUSY" });
    expect(readFileSync(path, "utf8")).toBe("precious");
  });

  test("does not replace a file unasked", async () => {
    const path = machine.path("mine.img");
    writeFileSync(path, "precious");
    await expect(openFileTarget(path, options)).rejects.toMatchObject({ code: "TARGET_BUSY" });
    expect(readFileSync(path, "utf8")).toBe("precious");
  });
});
