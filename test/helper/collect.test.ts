import { chownSync, readFileSync, symlinkSync, truncateSync } from "node:fs";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { Frame } from "../../src/frame/codec.ts";
import { ERROR_CODE } from "../../src/frame/layout.ts";
import { run, shell } from "../support/machine.ts";
import { buildHelper, describeWithKernel } from "./kernel.ts";
import { extentsOf, type Slot, TestSession, writeBlocks } from "./session.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;

describeWithKernel("collecting", () => {
  let session: TestSession;
  let disk: string;
  let slot: Slot;

  beforeAll(buildHelper);
  beforeEach(async () => {
    session = new TestSession();
    disk = session.machine.loopDisk("disk", 64 * MIB);
    slot = await session.attach(disk);
  });
  afterEach(() => session.close());

  async function collectInto(...files: string[]): Promise<Frame | undefined> {
    return (await session.driver.ask(await session.collectRequest(slot, files))).at(-1);
  }

  test("adds the blocks to every pending set, beside those it has", async () => {
    const [first, second] = [session.pendingFile(slot), session.pendingFile(slot)];
    writeBlocks(disk, 5, 1);
    expect((await collectInto(first))?.name).toBe("done");
    writeBlocks(disk, 900, 2);
    expect((await collectInto(first, second))?.name).toBe("done");
    expect(extentsOf(session.pending(slot, first))).toEqual([
      [5, 1],
      [900, 2],
    ]);
    expect(extentsOf(session.pending(slot, second))).toEqual([[900, 2]]);
  });

  test("leaves holes where a pending set has nothing", async () => {
    const large = session.machine.loopDisk("large", 256 * GIB);
    slot = await session.attach(large);
    const file = session.pendingFile(slot);
    writeBlocks(large, 0, 1);
    writeBlocks(large, slot.sectorCount / 8 - 1, 1);
    expect((await collectInto(file))?.name).toBe("done");
    expect(extentsOf(session.pending(slot, file))).toEqual([
      [0, 1],
      [slot.sectorCount / 8 - 1, 1],
    ]);
    expect(Number(shell(`stat -c %b '${file}'`))).toBeLessThanOrEqual((2 * 4096) / 512);
  });

  test("clears nothing when a pending set cannot be written", async () => {
    const folder = session.machine.mount("tmpfs", "-t", "tmpfs", "-o", "size=64k");
    const good = session.pendingFile(slot);
    const full = session.pendingFile(slot, folder);
    shell(`dd if=/dev/zero of='${folder}/filler' bs=4k status=none || true`);
    writeBlocks(disk, 42, 3);
    expect(await collectInto(good, full)).toMatchObject({
      name: "error",
      fields: { code: ERROR_CODE.system, errno: 28 },
    });
    expect((await session.status(slot.slot)).dirtyBlocks).toBe(3);
    expect(extentsOf(await session.collect(slot))).toEqual([[42, 3]]);
  });

  // Methodology: killed at a different moment each time, the bits are in the file or still there.
  test("loses no block when it is killed in the middle", async () => {
    const large = session.machine.loopDisk("large", 256 * GIB);
    slot = await session.attach(large);
    const blockCount = slot.sectorCount / 8;
    for (let round = 0; round < 10; round++) {
      run("blkdiscard", large);
      const file = session.pendingFile(slot);
      const request = await session.collectRequest(slot, [file]);
      void session.driver.ask(request).catch(() => undefined);
      for (let frames = 0; frames < 20 * round; frames++) await session.driver.next();
      await session.restart("kill");
      expect((await collectInto(file))?.name).toBe("done");
      expect(extentsOf(session.pending(slot, file))).toEqual([[0, blockCount]]);
    }
  });

  test("refuses a pending set that is not a file of root's, of the right size", async () => {
    const good = session.pendingFile(slot);
    const link = session.machine.path("link");
    symlinkSync(good, link);
    const short = session.pendingFile(slot);
    truncateSync(short, 8);
    const foreign = session.pendingFile(slot);
    chownSync(foreign, 65_534, 65_534);
    const wrong = [link, short, foreign, "/dev/zero", session.machine.folder, "/nowhere/x"];
    writeBlocks(disk, 1, 1);
    for (const file of wrong) {
      expect(await collectInto(good, file), file).toMatchObject({
        name: "error",
        fields: { code: ERROR_CODE.system },
      });
    }
    expect(await collectInto()).toMatchObject({ fields: { code: ERROR_CODE.badRequest } });
    expect(readFileSync(good).every((byte) => byte === 0)).toBe(true);
    expect((await session.status(slot.slot)).dirtyBlocks).toBe(1);
  });

  test("refuses another session, and a slot that is not in use", async () => {
    const request = await session.collectRequest(slot, [session.pendingFile(slot)]);
    if (request.name !== "collectRequest") throw new Error("made as such above");
    const { fields } = request;
    const other = { ...request, fields: { ...fields, sessionLow: fields.sessionLow ^ 1n } };
    expect(await session.driver.ask(other)).toMatchObject([
      { name: "error", fields: { code: ERROR_CODE.noSession } },
    ]);
    for (const number of [1, 63, 64, 0xffff_ffff]) {
      expect(
        await session.driver.ask({ ...request, fields: { ...fields, slot: number } }),
      ).toMatchObject([{ name: "error", fields: { code: ERROR_CODE.noSlot } }]);
    }
  });
});
