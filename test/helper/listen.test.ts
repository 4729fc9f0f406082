import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { BlockSet } from "../../src/core/block_set.ts";
import type { Frame } from "../../src/frame/codec.ts";
import { ERROR_CODE } from "../../src/frame/layout.ts";
import { run } from "../support/machine.ts";
import type { Driver } from "./driver.ts";
import { buildHelper, describeWithKernel } from "./kernel.ts";
import { BLOCK, extentsOf, type Slot, TestSession, writeBlocks } from "./session.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;

function listenRequest(pageCount: number): Frame {
  return { name: "listenRequest", request: 0, fields: { pageCount, reserved: 0 } };
}

function addAll(blocks: BlockSet, frame: Frame): void {
  if (frame.name !== "blocks") throw new Error(`heard ${frame.name}`);
  expect(frame.fields.slot).toBe(0);
  for (const { firstBlock, blockCount } of frame.tail) blocks.add(firstBlock, blockCount);
}

describeWithKernel("listening", () => {
  beforeAll(buildHelper);

  for (const legacy of [false, true]) {
    describe(legacy ? "with the BPF object for old kernels" : "with the BPF object", () => {
      let session: TestSession;
      let disk: string;
      let slot: Slot;
      let listener: Driver;

      beforeEach(async () => {
        session = new TestSession({ legacy });
        disk = session.machine.loopDisk("disk", 64 * MIB);
        slot = await session.attach(disk);
        listener = session.start();
      });
      afterEach(async () => {
        await listener.kill();
        await session.close();
      });

      /** The blocks heard of, once there are so many. */
      async function heard(blockCount: number): Promise<[number, number][]> {
        const blocks = new BlockSet(slot.sectorCount / 8);
        while (blocks.count() < blockCount) addAll(blocks, await listener.next());
        return extentsOf(blocks);
      }

      test("tells each block that turns dirty, once until it is collected", async () => {
        writeBlocks(disk, 100, 1);
        expect(await listener.ask(listenRequest(16))).toMatchObject([{ name: "done" }]);
        writeBlocks(disk, 99, 3);
        writeBlocks(disk, 0, 200);
        writeBlocks(disk, 16_383, 1);
        expect(await heard(200)).toEqual([
          [0, 100],
          [101, 99],
          [16_383, 1],
        ]);
        await session.collect(slot);
        writeBlocks(disk, 100, 1);
        expect(await heard(1)).toEqual([[100, 1]]);
        await listener.end();
      });

      test("says when there were more than the buffer holds; the bitmap has them", async () => {
        const large = session.machine.loopDisk("large", 16 * GIB);
        const whole = await session.attach(large);
        await listener.ask(listenRequest(1));
        run("blkdiscard", large);
        expect((await session.status(whole.slot)).eventsLost).toBeGreaterThan(0);
        expect(extentsOf(await session.collect(whole))).toEqual([[0, (16 * GIB) / BLOCK]]);
        // The kernel tells of the loss with the next event that finds room.
        let lost = 0;
        for (let block = 1; lost === 0; block += 64) {
          writeBlocks(disk, block, 1);
          const frame = await listener.next();
          if (frame.name === "lost") lost = frame.fields.events;
        }
        expect(lost).toBeGreaterThan(0);
      });
    });
  }

  test("is for one at a time, and a killed listener is in nobody's way", async () => {
    const session = new TestSession();
    try {
      await session.attach(session.machine.loopDisk("disk", 64 * MIB));
      const status: Frame = { name: "statusRequest", request: 0, fields: {} };
      const listening = async () =>
        (await session.driver.askFor(status, "session")).fields.listening;
      const [first, second] = [session.start(), session.start()];
      expect(await first.ask(listenRequest(4))).toMatchObject([{ name: "done" }]);
      expect(await listening()).toBe(1);
      expect(await second.ask(listenRequest(4))).toMatchObject([
        { name: "error", fields: { code: ERROR_CODE.locked } },
      ]);
      await first.kill();
      expect(await listening()).toBe(0);
      expect(await second.ask(listenRequest(4))).toMatchObject([{ name: "done" }]);
      await second.end();
      expect(await listening()).toBe(0);
    } finally {
      await session.close();
    }
  });

  test("needs a session, and a buffer of a sensible size", async () => {
    const session = new TestSession();
    try {
      for (const pageCount of [0, 3, 8192]) {
        expect(await session.driver.ask(listenRequest(pageCount))).toMatchObject([
          { name: "error", fields: { code: ERROR_CODE.badRequest } },
        ]);
      }
      expect(await session.driver.ask(listenRequest(4))).toMatchObject([
        { name: "error", fields: { code: ERROR_CODE.noSession } },
      ]);
    } finally {
      await session.close();
    }
  });
});
