import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { basename, dirname } from "node:path";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { ERROR_CODE, OUTCOME } from "../../src/frame/layout.ts";
import { arrangeThaw, isWritable, ProbeWrite } from "../support/freezing.ts";
import { run } from "../support/machine.ts";
import {
  FreezeSession,
  freezeAll,
  freezeRequest,
  hasOwnSession,
  mountIdOf,
  outcomesIn,
  thaw,
  thawRequest,
  watchdogOf,
} from "./freeze_session.ts";
import { buildHelper, describeWithKernel } from "./kernel.ts";
import { TestSession } from "./session.ts";

const CAP_SYS_RESOURCE = 24n;
const EBUSY = 16;
const ENOENT = 2;
const EOPNOTSUPP = 95;

function errorOf(code: keyof typeof ERROR_CODE): object[] {
  return [{ name: "error", fields: { code: ERROR_CODE[code] } }];
}

describeWithKernel("freezing", () => {
  let session: FreezeSession;
  beforeAll(buildHelper);
  beforeEach(() => {
    session = new FreezeSession();
  });
  afterEach(() => session.close());

  test.for(["ext4", "xfs", "btrfs"])("holds the writers of %s up until the thaw", async (kind) => {
    const { folder } = session.makeFileSystem(kind);
    const driver = session.start();
    const startedAt = performance.now();
    const answers = await driver.ask(freezeRequest([folder]));
    const tookUs = (performance.now() - startedAt) * 1000;
    const [outcome] = outcomesIn(answers);
    expect(outcome).toMatchObject({ index: 0, outcome: OUTCOME.frozen, errno: 0 });
    expect(outcome?.elapsedUs).toBeGreaterThan(0);
    expect(outcome?.elapsedUs).toBeLessThan(tookUs);
    const write = new ProbeWrite(folder);
    await write.hangs();
    const { frozenUs, expired } = await thaw(driver);
    expect(expired).toBe(0);
    expect(frozenUs).toBeGreaterThan(outcome?.elapsedUs ?? Number.NaN);
    expect(frozenUs).toBeLessThan((performance.now() - startedAt) * 1000);
    await write.through(1000);
    await driver.end();
  });

  test("says what it leaves alone, and why", async () => {
    const read = session.makeFileSystem();
    run("mount", "-o", "remount,ro", read.folder);
    const memory = session.machine.mount("tmpfs", "-t", "tmpfs");
    const foreign = session.makeFileSystem("xfs");
    run("fsfreeze", "--freeze", foreign.folder);
    const below = session.makeFileSystem();
    const hidden = `${mountIdOf(below.folder)} ${below.folder}`;
    const above = session.machine.loopDisk("above", 16 << 20);
    run("mkfs.ext4", "-q", above);
    run("mount", above, below.folder);
    session.machine.onClose(() => run("umount", below.folder));

    const driver = session.start();
    const entries = [read.folder, memory, foreign.folder, hidden, "1 /nowhere"];
    expect(outcomesIn(await driver.ask(freezeRequest(entries)))).toMatchObject([
      { index: 0, outcome: OUTCOME.readOnly, errno: 0, elapsedUs: 0 },
      { index: 1, outcome: OUTCOME.unsupported, errno: EOPNOTSUPP },
      { index: 2, outcome: OUTCOME.alreadyFrozen, errno: EBUSY },
      { index: 3, outcome: OUTCOME.unreachable, errno: 0, elapsedUs: 0 },
      { index: 4, outcome: OUTCOME.unreachable, errno: ENOENT, elapsedUs: 0 },
    ]);
    expect(await isWritable(below.folder)).toBe(true);
    expect(await isWritable(memory)).toBe(true);
    // Not frozen by us, though FIFREEZE would have been content.
    run("mount", "-o", "remount,rw", read.folder);

    expect(await thaw(driver)).toEqual({ frozenUs: 0, expired: 0, reserved: 0 });
    const write = new ProbeWrite(foreign.folder);
    await write.hangs();
    await driver.end();
    expect(write.ended).toBe(false);
    run("fsfreeze", "--unfreeze", foreign.folder);
    await write.through(1000);
  });

  test("a read-only bind mount of a writable file system freezes it", async () => {
    const { folder } = session.makeFileSystem();
    const bound = session.machine.path("bound");
    mkdirSync(bound);
    run("mount", "--bind", "-o", "ro", folder, bound);
    session.machine.onClose(() => run("umount", bound));
    const driver = session.start();
    await freezeAll(driver, [bound]);
    const write = new ProbeWrite(folder);
    await write.hangs();
    await thaw(driver);
    await write.through(1000);
    await driver.end();
  });

  test("freezes in the order given and thaws in reverse: a disk within a file system", async () => {
    const outer = session.makeFileSystem();
    const inner = session.makeFileSystem("ext4", outer.folder);
    const driver = session.start();
    for (let round = 0; round < 3; round++) {
      await freezeAll(driver, [inner.folder, outer.folder]);
      const writes = [new ProbeWrite(inner.folder), new ProbeWrite(outer.folder)];
      for (const write of writes) await write.hangs();
      expect(await thaw(driver)).toMatchObject({ expired: 0 });
      for (const write of writes) await write.through(1000);
    }
    await driver.end();
  });

  test("a thaw by somebody else makes it expired, and later freezes of theirs stay", async () => {
    const { folder } = session.makeFileSystem();
    const driver = session.start();
    await freezeAll(driver, [folder]);
    run("fsfreeze", "--unfreeze", folder);
    expect(await thaw(driver)).toMatchObject({ expired: 1 });
    run("fsfreeze", "--freeze", folder);
    expect(await thaw(driver)).toMatchObject({ expired: 1 });
    await driver.end();
    const write = new ProbeWrite(folder);
    await write.hangs();
    run("fsfreeze", "--unfreeze", folder);
    await write.through(1000);
  });

  test("refuses what makes no sense, and what it may not", async () => {
    const { folder } = session.makeFileSystem();
    const driver = session.start();
    expect(await driver.ask(thawRequest)).toMatchObject(errorOf("badRequest"));
    for (const entry of ["", "x /mnt", `7${folder}`, "7 mnt"]) {
      const request = { ...freezeRequest([]), tail: entry };
      expect(await driver.ask(request as ReturnType<typeof freezeRequest>)).toMatchObject(
        errorOf("badRequest"),
      );
    }
    for (const limitMs of [0, 600_001]) {
      expect(await driver.ask(freezeRequest([folder], limitMs))).toMatchObject(
        errorOf("badRequest"),
      );
    }
    const many = Array.from({ length: 257 }, () => "1 /");
    expect(await driver.ask(freezeRequest(many))).toMatchObject(errorOf("badRequest"));
    await freezeAll(driver, [folder]);
    expect(await driver.ask(freezeRequest([folder]))).toMatchObject(errorOf("badRequest"));
    await thaw(driver);
    await driver.end();

    const starter = ["setpriv", "--bounding-set=-sys_admin", "--"];
    const unprivileged = session.start({ starter });
    expect(await unprivileged.ask(freezeRequest([folder]))).toMatchObject(errorOf("notPermitted"));
    await unprivileged.end();
    expect(await isWritable(folder)).toBe(true);
  });

  test("the watchdog is locked in memory, out of the way, and holds nothing else open", async () => {
    const { folder } = session.makeFileSystem();
    const driver = session.start({ asShipped: true });
    await freezeAll(driver, [folder]);
    const watchdog = watchdogOf(driver) ?? 0;
    expect(hasOwnSession(watchdog)).toBe(true);
    const status = readFileSync(`/proc/${watchdog}/status`, "utf8");
    const kilobytes = (name: string) => Number(new RegExp(`${name}:\\s*(\\d+)`).exec(status)?.[1]);
    expect(kilobytes("VmLck")).toBeGreaterThan(500);
    expect(kilobytes("VmLck")).toBeGreaterThanOrEqual(kilobytes("VmRSS") - 100);
    const hasRight = (BigInt(`0x${/CapEff:\s*(\w+)/.exec(status)?.[1]}`) >> CAP_SYS_RESOURCE) & 1n;
    const score = readFileSync(`/proc/${watchdog}/oom_score_adj`, "utf8").trim();
    expect(score).toBe(hasRight ? "-1000" : "0");
    const open = readdirSync(`/proc/${watchdog}/fd`).map((fd) =>
      readlinkSync(`/proc/${watchdog}/fd/${fd}`).replace(/\d+/, "N"),
    );
    expect(open.sort()).toEqual([
      "/sys/kernel/rcu_expedited",
      folder.replace(/\d+/, "N"),
      "anon_inode:[signalfd]",
      "socket:[N]",
    ]);
    await thaw(driver);
    expect(watchdogOf(driver)).toBe(undefined);
    // Not even as a zombie.
    expect(spawnSync("ps", ["--ppid", String(driver.pid)]).status).toBe(1);
    await driver.end();
  });
});

describeWithKernel("while something is frozen", () => {
  let session: TestSession;
  beforeAll(buildHelper);
  beforeEach(() => {
    session = new TestSession();
  });
  afterEach(() => session.close());

  test("the helper collects, and no write is seen", async () => {
    const { machine, driver } = session;
    const disk = machine.loopDisk("disk", 64 << 20);
    run("mkfs.ext4", "-q", disk);
    const folder = machine.mount(disk);
    arrangeThaw(machine, folder);
    const slot = await session.attach(disk);
    run("dd", "if=/dev/urandom", `of=${folder}/file`, "bs=1M", "count=4", "status=none");
    await freezeAll(driver, [folder]);
    expect((await session.collect(slot)).count()).toBeGreaterThan(1024);
    const write = new ProbeWrite(folder);
    await write.hangs();
    expect((await session.collect(slot)).count()).toBe(0);
    await thaw(driver);
    await write.through(1000);
    expect((await session.collect(slot)).count()).toBeGreaterThan(0);
  });

  test("drain waits for writes only until its time is over, or the freeze's", async () => {
    const { machine, driver } = session;
    const outer = machine.loopDisk("outer", 64 << 20);
    run("mkfs.ext4", "-q", outer);
    const folder = machine.mount(outer);
    arrangeThaw(machine, folder);
    run("truncate", "-s", "16M", `${folder}/inner.img`);
    const inner = machine.attach(`${folder}/inner.img`);
    const { major, minor } = (await session.geometry(inner)).fields;
    const drain = (timeoutMs: number) => {
      const fields = { major, minor, timeoutMs, reserved: 0 };
      return driver.ask({ name: "drainRequest", request: 0, fields });
    };
    expect(await drain(0)).toMatchObject([{ name: "done" }]);

    await freezeAll(driver, [folder], 1500);
    const write = new ProbeWrite(dirname(inner), basename(inner), "oflag=direct");
    while ((await drain(0))[0]?.name === "done");
    expect(await drain(50)).toMatchObject(errorOf("busy"));
    expect(await drain(30_000)).toMatchObject(errorOf("freezeExpired"));
    await write.through(1000);
    expect(await thaw(driver)).toMatchObject({ expired: 1 });
    expect(await drain(1000)).toMatchObject([{ name: "done" }]);
    const fields = { major: 4000, minor: 1, timeoutMs: 0, reserved: 0 };
    const nowhere = await driver.ask({ name: "drainRequest", request: 0, fields });
    expect(nowhere).toMatchObject(errorOf("system"));
  });
});
