import { existsSync, readdirSync } from "node:fs";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { BlockSet } from "../../src/core/block_set.ts";
import { HOOK } from "../../src/frame/layout.ts";
import { run, shell } from "../support/machine.ts";
import { buildHelper, describeWithKernel } from "./kernel.ts";
import { BLOCK, extentsOf, TestSession, writeBlocks, writeSectors } from "./session.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;

describeWithKernel("tracking writes in the kernel", () => {
  beforeAll(buildHelper);

  for (const legacy of [false, true]) {
    describe(legacy ? "with the BPF object for old kernels" : "with the BPF object", () => {
      let session: TestSession;

      beforeEach(() => {
        session = new TestSession({ legacy });
      });
      afterEach(() => session.close());

      test("marks exactly the blocks that are written", async () => {
        const disk = session.machine.loopDisk("disk", 64 * MIB);
        const slot = await session.attach(disk);
        writeBlocks(disk, 7, 3);
        writeBlocks(disk, 60, 70);
        writeBlocks(disk, 1000, 1);
        expect(extentsOf(await session.collect(slot))).toEqual([
          [7, 3],
          [60, 70],
          [1000, 1],
        ]);
        expect(extentsOf(await session.collect(slot))).toEqual([]);
        writeBlocks(disk, 8, 1);
        expect(extentsOf(await session.collect(slot))).toEqual([[8, 1]]);
      });

      test("marks a block of which one sector is written, also the first and the last", async () => {
        const disk = session.machine.loopDisk("disk", 64 * MIB + 1536);
        const slot = await session.attach(disk);
        const lastSector = slot.sectorCount - 1;
        writeSectors(disk, 0, 1);
        writeSectors(disk, 8 * 5 + 7, 2);
        writeSectors(disk, lastSector, 1);
        expect(extentsOf(await session.collect(slot))).toEqual([
          [0, 1],
          [5, 2],
          [Math.floor(lastSector / 8), 1],
        ]);
      });

      test("marks discarded and zeroed blocks, also gigabytes of them at once", async () => {
        const disk = session.machine.loopDisk("disk", 9 * GIB);
        const slot = await session.attach(disk);
        run("blkdiscard", "-o", String(10 * BLOCK), "-l", String(100 * BLOCK), disk);
        run("blkdiscard", "-z", "-o", String(MIB), "-l", String(25 * BLOCK), disk);
        expect(extentsOf(await session.collect(slot))).toEqual([
          [10, 100],
          [256, 25],
        ]);
        run("blkdiscard", disk);
        expect(extentsOf(await session.collect(slot))).toEqual([[0, (9 * GIB) / BLOCK]]);
        expect(await session.status(slot.slot)).toMatchObject({
          taintUnmarkedRanges: 0,
          taintSkippedPrograms: 0,
          taintFailedUpdates: 0,
          taintPassthroughWrites: 0,
        });
      });

      test("counts the blocks of a partition from its start, and only those", async () => {
        const image = session.machine.path("disk.img");
        shell(`truncate -s ${64 * MIB} '${image}'`);
        shell(`printf 'start=2051,size=40000\\nstart=60000\\n' | sfdisk -q '${image}' -X dos`);
        const disk = session.machine.attach(image);
        // The kernel need not know this kind of table: partx reads it.
        run("partx", "-a", disk);
        session.machine.onClose(() => run("partx", "-d", disk));
        const slot = await session.attach(disk, { startSector: 2051, sectorCount: 40_000 });
        const other = await session.attach(disk, { startSector: 60_000 });
        await session.collect(slot);
        writeSectors(`${disk}p1`, 8 * 3, 8);
        writeSectors(`${disk}p1`, 39_999, 1);
        writeSectors(disk, 2040, 20);
        writeSectors(disk, 0, 1);
        writeSectors(disk, 50_000, 1);
        expect(extentsOf(await session.collect(slot))).toEqual([
          [0, 2],
          [3, 1],
          [4999, 1],
        ]);
        expect(extentsOf(await session.collect(other))).toEqual([]);
      });

      test("sees the writes to a disk without request queue", async () => {
        const id = shell("cat /sys/class/zram-control/hot_add").trim();
        session.machine.onClose(() => shell(`echo ${id} > /sys/class/zram-control/hot_remove`));
        shell(`echo ${64 * MIB} > /sys/block/zram${id}/disksize`);
        const disk = `/dev/zram${id}`;
        const slot = await session.attach(disk, { bioBased: true });
        expect(slot.taintUnmarkedRanges).toBe(0);
        writeBlocks(disk, 3, 2);
        writeBlocks(disk, 16_383, 1);
        run("blkdiscard", "-o", String(100 * BLOCK), "-l", String(64 * BLOCK), disk);
        expect(extentsOf(await session.collect(slot))).toEqual([
          [3, 2],
          [100, 64],
          [16_383, 1],
        ]);
        const { issued, completed } = await session.status(slot.slot);
        expect([issued, completed]).toEqual([4, 4]);
      });

      test("goes on when the helper has ended or was killed", async () => {
        const disk = session.machine.loopDisk("disk", 64 * MIB);
        const slot = await session.attach(disk);
        await session.restart("end");
        writeBlocks(disk, 1, 1);
        await session.status(slot.slot);
        await session.restart("kill");
        writeBlocks(disk, 3, 1);
        expect(await session.status(slot.slot)).toMatchObject({ attachment: slot.attachment });
        expect(extentsOf(await session.collect(slot))).toEqual([
          [1, 1],
          [3, 1],
        ]);
      });

      test("marks the buffers that turn dirty before they are written", async () => {
        const disk = session.machine.loopDisk("disk", 64 * MIB);
        const slot = await session.attach(disk, { hooks: HOOK.buffer });
        shell(
          `dd if=/dev/zero of='${disk}' bs=4k seek=500 count=20 conv=notrunc,nocreat status=none`,
        );
        const { buffersDirtied, buffersInvalid, issued } = await session.status(slot.slot);
        expect([buffersDirtied >= 20, buffersInvalid, issued]).toEqual([true, 0, 0]);
        expect(extentsOf(await session.collect(slot))).toEqual([[500, 20]]);
      });

      test("counts the buffers whose block ext4 has not placed yet", async () => {
        const disk = session.machine.loopDisk("disk", 64 * MIB);
        run("mkfs.ext4", "-q", disk);
        const folder = session.machine.mount(disk);
        const slot = await session.attach(disk, { hooks: HOOK.block | HOOK.buffer });
        shell(`dd if=/dev/zero of='${folder}/file' bs=4k count=100 conv=fsync status=none`);
        const { buffersInvalid, dirtyBlocks } = await session.status(slot.slot);
        expect(buffersInvalid).toBeGreaterThanOrEqual(100);
        expect(dirtyBlocks).toBeGreaterThanOrEqual(100);
        session.machine.unmount(folder);
      });

      // Methodology: the writer touches every block once, in random order, while the collector
      // takes what is there again and again. Nothing may be missing at the end.
      test("misses no block that is written while it collects", async () => {
        const disk = session.machine.loopDisk("disk", 64 * MIB);
        const slot = await session.attach(disk);
        const writer = session.machine.path("writer");
        shell(
          `(fio --name=w --filename='${disk}' --rw=randwrite --bs=4k --direct=1 --iodepth=16 ` +
            `--ioengine=libaio --size=64m --output=/dev/null; touch '${writer}') >/dev/null 2>&1 &`,
        );
        const all = new BlockSet(slot.sectorCount / 8);
        while (!existsSync(writer)) all.addAll(await session.collect(slot));
        all.addAll(await session.collect(slot));
        expect(extentsOf(all)).toEqual([[0, 16_384]]);
        const { taintUnmarkedRanges, completed } = await session.status(slot.slot);
        expect([taintUnmarkedRanges, completed > 0]).toEqual([0, true]);
      });

      test("leaves nothing pinned when the last slot is detached", async () => {
        const disk = session.machine.loopDisk("disk", 64 * MIB);
        const first = await session.attach(disk, { sectorCount: 4096 });
        const second = await session.attach(disk, { startSector: 4096 });
        expect([first.slot, second.slot]).toEqual([0, 1]);
        await session.detach(first.slot);
        expect(readdirSync(session.pins)).toContain("link_request_issue");
        writeBlocks(disk, 512, 1);
        expect(extentsOf(await session.collect(second))).toEqual([[0, 1]]);
        await session.detach(second.slot);
        expect(existsSync(session.pins)).toBe(false);
      });
    });
  }
});
