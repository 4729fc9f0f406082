import { execFileSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { encodeFrame, type Frame, type FrameName } from "../../src/frame/codec.ts";
import { ERROR_CODE, HOOK, SLOT_ALL } from "../../src/frame/layout.ts";
import { anyFrame } from "../frame/any_frame.ts";
import { Driver } from "./driver.ts";
import { buildHelper, describeWithKernel } from "./kernel.ts";
import { TestSession } from "./session.ts";

const MIB = 2 ** 20;
const FRAME_TEST = new URL("../../helper/.output/frame-test", import.meta.url).pathname;
const GOLDEN = new URL("../frame/frames.golden", import.meta.url);

const hello: Frame = { name: "helloRequest", request: 0, fields: {} };
const status: Frame = { name: "statusRequest", request: 0, fields: {} };

function errorOf(code: keyof typeof ERROR_CODE): object[] {
  return [{ name: "error", fields: { code: ERROR_CODE[code] } }];
}

describeWithKernel("the frames of the helper", () => {
  beforeAll(buildHelper);

  test("are the golden bytes", () => {
    expect(execFileSync(FRAME_TEST, ["write"]).equals(readFileSync(GOLDEN))).toBe(true);
    execFileSync(FRAME_TEST, ["read"], { input: readFileSync(GOLDEN) });
  });

  test("are never misread when damaged", () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        execFileSync(FRAME_TEST, ["damage", String(seed)]);
      }),
      { numRuns: 3 },
    );
  });
});

describeWithKernel("requests to the helper", () => {
  let session: TestSession;

  beforeAll(buildHelper);
  beforeEach(() => {
    session = new TestSession();
  });
  afterEach(() => session.close());

  test("a damaged frame is reported, and the next one answered", async () => {
    const { driver } = session;
    const bytes = encodeFrame({ ...hello, request: 5 });
    for (let at = 0; at < bytes.length - 1; at++) {
      const damaged = Uint8Array.from(bytes);
      damaged[at] = (damaged[at] ?? 0) ^ 0x40;
      driver.write(damaged);
      expect(await driver.next()).toMatchObject({
        ...{ name: "error", request: 0 },
        fields: { code: ERROR_CODE.badRequest },
      });
    }
    driver.write(new Uint8Array(300_000).fill(0x41));
    driver.write(Uint8Array.of(0x0a));
    expect(await driver.next()).toMatchObject({ name: "error", tail: "damaged frame: too long" });
    expect((await driver.askFor(hello, "hello")).tail).toMatch(/^\d+\.\d+\.\d+/);
  });

  // Left out: what would lock or sync any path that comes along.
  const OUTSIDE: ReadonlySet<FrameName> = new Set(["lockRequest", "syncRequest", "listenRequest"]);

  test("no frame, however wrong its values, makes the helper fail", async () => {
    const frames = anyFrame().filter(({ name }) => !OUTSIDE.has(name));
    await fc.assert(
      fc.asyncProperty(fc.array(frames, { maxLength: 20 }), async (sent) => {
        for (const frame of sent) await session.driver.ask(frame);
        expect((await session.driver.ask(hello))[0]?.name).toBe("hello");
      }),
      { numRuns: 50 },
    );
  });

  test("an answer is no request", async () => {
    const done: Frame = { name: "done", request: 0, fields: {} };
    expect(await session.driver.ask(done)).toMatchObject(errorOf("badRequest"));
  });

  test("a helper without a session has none to show", async () => {
    expect(await session.driver.ask(status)).toMatchObject([
      { name: "session", fields: { sessionHigh: 0n, sessionLow: 0n, hooksAttached: 0 } },
      { name: "done" },
    ]);
    expect(await session.detach(0)).toMatchObject(errorOf("noSession"));
    expect(await session.detach(SLOT_ALL)).toMatchObject([{ name: "done" }]);
  });

  describe("attach", () => {
    test("refuses what is tracked already, and a fifth slot on a disk", async () => {
      const disk = session.machine.loopDisk("disk", 64 * MIB);
      const attach = async (part: number): Promise<Frame[]> => {
        const range = { startSector: part * 1024, sectorCount: 1024 };
        return session.driver.ask(await session.attachRequest(disk, range));
      };
      for (let part = 0; part < 4; part++) {
        expect(await attach(part)).toMatchObject([{ name: "slot", fields: { slot: part } }]);
      }
      expect(await attach(2)).toMatchObject(errorOf("alreadyTracked"));
      expect(await attach(4)).toMatchObject(errorOf("tooManySlots"));
      await session.detach(1);
      expect(await attach(4)).toMatchObject([{ name: "slot", fields: { slot: 1 } }]);
    });

    test("refuses values that make no sense, and leaves nothing pinned", async () => {
      const disk = session.machine.loopDisk("disk", 64 * MIB);
      const request = await session.attachRequest(disk);
      if (request.name !== "attachRequest") throw new Error("made as such above");
      const wrong = [
        { sectorCount: 0 },
        { hooks: 0 },
        { hooks: 4 },
        { blockShift: 2 },
        { blockShift: 64 },
        { sectorCount: 2 ** 40 },
        { major: 4096 },
        { bioBased: 2 },
      ];
      for (const fields of wrong) {
        const changed = { ...request, fields: { ...request.fields, ...fields } };
        expect(await session.driver.ask(changed)).toMatchObject(errorOf("badRequest"));
        expect(existsSync(session.pins)).toBe(false);
      }
    });

    test("adds the hooks that a later slot asks for", async () => {
      const disk = session.machine.loopDisk("disk", 64 * MIB);
      await session.attach(disk, { sectorCount: 1024 });
      const before = await session.driver.askFor(status, "session");
      expect(before.fields).toMatchObject({ hooksAttached: HOOK.block, bufferHookKind: 0 });
      await session.attach(disk, { startSector: 1024, hooks: HOOK.buffer });
      const after = await session.driver.askFor(status, "session");
      expect(after.fields.hooksAttached).toBe(HOOK.block | HOOK.buffer);
      expect(after.fields.bufferHookKind).toBeGreaterThan(0);
      expect(after.fields.sessionLow).toBe(before.fields.sessionLow);
    });
  });

  test("a session that lost a pin is broken, and can be removed", async () => {
    const disk = session.machine.loopDisk("disk", 64 * MIB);
    const { slot } = await session.attach(disk);
    unlinkSync(join(session.pins, "link_request_complete"));
    expect(await session.driver.ask(status)).toMatchObject(errorOf("brokenSession"));
    expect(await session.detach(slot)).toMatchObject(errorOf("brokenSession"));
    expect(await session.driver.ask(await session.attachRequest(disk))).toMatchObject(
      errorOf("brokenSession"),
    );
    expect(await session.detach(SLOT_ALL)).toMatchObject([{ name: "done" }]);
    expect(existsSync(session.pins)).toBe(false);
    expect((await session.attach(disk)).slot).toBe(0);
  });

  test("a session of which any pin was deleted or replaced is broken", async () => {
    const disk = session.machine.loopDisk("disk", 64 * MIB);
    const other = new TestSession();
    try {
      await session.attach(disk, { hooks: HOOK.block | HOOK.buffer });
      const pins = readdirSync(session.pins);
      expect(pins.length).toBe(7 + 2 * 4);
      for (const pin of pins) {
        const [place, away] = [session.pins, other.pins].map((folder) => join(folder, pin));
        await other.attach(disk, { hooks: HOOK.block | HOOK.buffer });
        renameSync(`${place}`, `${place}-away`);
        expect(await session.driver.ask(status)).toMatchObject(errorOf("brokenSession"));
        // What another session has pinned under the same name looks just like it.
        renameSync(`${away}`, `${place}`);
        const answers = await session.driver.ask(status);
        expect([pin, answers]).toMatchObject([pin, errorOf("brokenSession")]);
        renameSync(`${place}-away`, `${place}`);
        expect((await session.driver.ask(status)).at(-1)?.name).toBe("done");
        await other.detach(SLOT_ALL);
      }
    } finally {
      await other.close();
    }
  });

  test("a lock keeps others out until its helper ends", async () => {
    const file = session.machine.path("lock");
    const fields = { shared: 0, waitMs: 50 };
    const lock: Frame = { name: "lockRequest", request: 0, fields, tail: file };
    expect(await session.driver.ask(lock)).toMatchObject([{ name: "done" }]);
    const other = session.start();
    expect(await other.ask(lock)).toMatchObject(errorOf("locked"));
    await session.restart("kill");
    expect(await other.ask(lock)).toMatchObject([{ name: "done" }]);
    await other.end();
    const link = session.machine.path("link");
    symlinkSync(file, link);
    expect(await session.driver.ask({ ...lock, tail: link })).toMatchObject(errorOf("system"));
  });

  test("a lock that is shared keeps out only those who want it for themselves", async () => {
    const tail = session.machine.path("lock");
    const ask = (shared: number): Frame => {
      return { name: "lockRequest", request: 0, fields: { shared, waitMs: 0 }, tail };
    };
    const [one, other] = [session.start(), session.start()];
    expect(await one.ask(ask(1))).toMatchObject([{ name: "done" }]);
    expect(await other.ask(ask(1))).toMatchObject([{ name: "done" }]);
    expect(await session.driver.ask(ask(0))).toMatchObject(errorOf("locked"));
    await one.end();
    await other.end();
    expect(await session.driver.ask(ask(0))).toMatchObject([{ name: "done" }]);
  });

  test("a lock is waited for as long as was asked", async () => {
    const tail = session.machine.path("lock");
    const ask = (waitMs: number): Frame => {
      return { name: "lockRequest", request: 0, fields: { shared: 0, waitMs }, tail };
    };
    const other = session.start();
    expect(await other.ask(ask(0))).toMatchObject([{ name: "done" }]);
    const waiting = session.driver.ask(ask(60_000));
    await other.end();
    expect(await waiting).toMatchObject([{ name: "done" }]);
  });

  test("a file system is synced by its path", async () => {
    const sync: Frame = { name: "syncRequest", request: 0, fields: {}, tail: "/dev/shm" };
    expect(await session.driver.ask(sync)).toMatchObject([{ name: "done" }]);
    expect(await session.driver.ask({ ...sync, tail: "/nowhere" })).toMatchObject(
      errorOf("system"),
    );
  });

  test("geometry is of block devices only", async () => {
    const disk = session.machine.loopDisk("disk", 64 * MIB + 512);
    const { fields } = await session.geometry(disk);
    expect(fields).toMatchObject({ sizeBytes: 64 * MIB + 512, major: 7, readOnly: 0 });
    const folder: Frame = { name: "geometryRequest", request: 0, fields: {}, tail: "/" };
    expect(await session.driver.ask(folder)).toMatchObject(errorOf("system"));
  });

  describe("descriptor 3", () => {
    const zero = (offset: number, length: number): Frame => {
      return { name: "zeroRangeRequest", request: 0, fields: { offset, length } };
    };

    async function withDescriptor(path: string, use: (driver: Driver) => Promise<void>) {
      const descriptor = openSync(path, "r+");
      const driver = new Driver({ descriptor });
      try {
        await use(driver);
        await driver.end();
      } finally {
        await driver.kill();
        closeSync(descriptor);
      }
    }

    test("is zeroed in a range, be it a file or a disk", async () => {
      const disk = session.machine.loopDisk("disk", MIB);
      const file = session.machine.path("file");
      for (const path of [disk, file]) {
        writeFileSync(path, new Uint8Array(MIB).fill(1));
        await withDescriptor(path, async (driver) => {
          expect(await driver.ask(zero(8192, 65_536))).toMatchObject([{ name: "done" }]);
          expect(await driver.ask(zero(0, 0))).toMatchObject(errorOf("badRequest"));
        });
        const expected = new Uint8Array(MIB).fill(1).fill(0, 8192, 8192 + 65_536);
        expect(readFileSync(path).equals(expected), path).toBe(true);
      }
    });

    test("has its partitions read again", async () => {
      const disk = session.machine.loopDisk("disk", 64 * MIB);
      await withDescriptor(disk, async (driver) => {
        const reread: Frame = { name: "rereadPartitionsRequest", request: 0, fields: {} };
        expect(await driver.ask(reread)).toMatchObject([{ name: "done" }]);
      });
    });

    test("must have been inherited", async () => {
      expect(await session.driver.ask(zero(0, 4096))).toMatchObject(errorOf("badRequest"));
    });
  });
});
