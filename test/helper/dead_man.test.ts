/**
 * Nothing stays frozen, whoever is killed, stopped or asked to end, and whenever.
 *
 * Methodology: a write that hangs while the file system is frozen must get through within 1 s of the
 * blow, or of the limit where the process that should thaw is stopped. The write is a child's, and a
 * thaw by a process that has no part in the test is arranged first.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from "node:fs";
import { env, execPath, kill, stderr } from "node:process";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { encodeFrame } from "../../src/frame/codec.ts";
import { ERROR_CODE } from "../../src/frame/layout.ts";
import { isWritable, ProbeWrite, startWriter } from "../support/freezing.ts";
import { run } from "../support/machine.ts";
import { seededRandom } from "../support/random.ts";
import type { Driver } from "./driver.ts";
import {
  FreezeSession,
  freezeAll,
  freezeRequest,
  gone,
  isInFreeze,
  syncsInFreeze,
  thaw,
  thawRequest,
  watchdogOf,
} from "./freeze_session.ts";
import { buildHelper, describeWithKernel } from "./kernel.ts";

const MERCY_MS = 1000;
const SHORT_LIMIT_MS = 400;
const RANDOM_ROUNDS = env["IBACKUP_LONG"] === "1" ? 300 : 8;

type Victim = "helper" | "watchdog";

describeWithKernel("the dead man's thaw", () => {
  let session: FreezeSession;
  beforeAll(buildHelper);
  beforeEach(() => {
    session = new FreezeSession();
  });
  afterEach(() => session.close());

  /** Freezes a file system and begins a write to it. */
  async function freezeOne(limitMs?: number) {
    const { folder } = session.makeFileSystem();
    const driver = session.start();
    await freezeAll(driver, [folder], limitMs);
    const frozenAt = performance.now();
    const watchdog = watchdogOf(driver) ?? 0;
    const write = new ProbeWrite(folder);
    await write.hangs();
    return { folder, driver, watchdog, write, frozenAt };
  }

  function strike(victim: Victim, signal: NodeJS.Signals, driver: Driver, watchdog: number): void {
    if (victim === "helper") driver.signal(signal);
    else kill(watchdog, signal);
  }

  const BLOWS = (["helper", "watchdog"] as const).flatMap((victim) =>
    (["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] as const).map((signal) => ({
      victim,
      signal,
    })),
  );

  test.for(BLOWS)("$signal to the $victim thaws", async ({ victim, signal }) => {
    const { driver, watchdog, write } = await freezeOne();
    strike(victim, signal, driver, watchdog);
    await write.through(MERCY_MS);
    await gone(watchdog);
    if (victim === "helper" && ["SIGKILL", "SIGTERM"].includes(signal)) {
      expect(await driver.ended()).toBe(signal);
    } else {
      expect(await thaw(driver)).toMatchObject({ expired: 1 });
      await driver.end();
    }
  });

  test.for(["helper", "watchdog"] as const)(
    "a %s that is stopped is not waited for",
    async (victim) => {
      const { driver, watchdog, write, frozenAt } = await freezeOne(SHORT_LIMIT_MS);
      strike(victim, "SIGSTOP", driver, watchdog);
      await write.through(SHORT_LIMIT_MS + MERCY_MS);
      // Begun before the outcome was told: some milliseconds earlier.
      expect(performance.now() - frozenAt).toBeGreaterThan(SHORT_LIMIT_MS - 100);
      if (victim === "helper") driver.signal("SIGCONT");
      expect(await thaw(driver)).toMatchObject({ expired: 1 });
      await gone(watchdog);
      await driver.end();
    },
  );

  test("a closed standard input thaws, and the helper ends", async () => {
    const { driver, watchdog, write } = await freezeOne();
    driver.closeInput();
    await write.through(MERCY_MS);
    expect(await driver.ended()).toBe(0);
    await gone(watchdog);
  });

  test("ibackup killed, or stopped past the limit, leaves nothing frozen", async () => {
    for (const [signal, limitMs, mercyMs] of [
      ["SIGKILL", 20_000, MERCY_MS],
      ["SIGSTOP", 1500, 1500 + MERCY_MS],
    ] as const) {
      const { disk, folder } = session.makeFileSystem();
      const script = new URL("../support/freeze_and_wait.ts", import.meta.url).pathname;
      const parent = spawn(execPath, [script, disk, String(limitMs)], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const ended = once(parent, "exit");
      await once(parent.stdout, "data");
      const write = new ProbeWrite(folder);
      await write.hangs();
      parent.kill(signal);
      await write.through(mercyMs);
      parent.kill("SIGKILL");
      await ended;
    }
  });

  test("the limit alone thaws all, also what lies within another", async () => {
    const outer = session.makeFileSystem();
    const inner = session.makeFileSystem("ext4", outer.folder);
    const driver = session.start();
    await freezeAll(driver, [inner.folder, outer.folder], SHORT_LIMIT_MS);
    const writes = [new ProbeWrite(inner.folder), new ProbeWrite(outer.folder)];
    for (const write of writes) await write.through(SHORT_LIMIT_MS + MERCY_MS);
    expect(await thaw(driver)).toMatchObject({ expired: 1 });
    await driver.end();
  });

  /**
   * A freeze that does not end: the disk of the file system is a file on one that is frozen, by
   * somebody else, and there is something to write out.
   */
  async function freezeEndlessly(limitMs: number) {
    const outer = session.makeFileSystem();
    const inner = session.makeFileSystem("ext4", outer.folder);
    writeFileSync(`${inner.folder}/dirty`, new Uint8Array(1 << 20));
    run("fsfreeze", "--freeze", outer.folder);
    const driver = session.start();
    const request = { ...freezeRequest([inner.folder], limitMs), request: 77 };
    driver.write(encodeFrame(request));
    await syncsInFreeze(driver.pid);
    const write = new ProbeWrite(inner.folder);
    await write.hangs();
    const watchdog = watchdogOf(driver) ?? 0;
    const end = () => run("fsfreeze", "--unfreeze", outer.folder);
    return { write, driver, watchdog, end };
  }

  test("a helper killed inside FIFREEZE", async () => {
    const { write, driver, watchdog, end } = await freezeEndlessly(20_000);
    driver.signal("SIGKILL");
    end();
    await write.through(MERCY_MS);
    await gone(watchdog);
  });

  test("a helper stopped inside FIFREEZE", async () => {
    const { write, driver, end } = await freezeEndlessly(SHORT_LIMIT_MS);
    driver.signal("SIGSTOP");
    end();
    await write.through(SHORT_LIMIT_MS + MERCY_MS);
    driver.signal("SIGCONT");
    expect(await driver.next()).toMatchObject({ name: "error" });
    await driver.end();
  });

  test("a watchdog killed, and standard input closed, while the helper is inside FIFREEZE", async () => {
    for (const blow of ["watchdog", "input"]) {
      const { write, driver, watchdog, end } = await freezeEndlessly(20_000);
      if (blow === "watchdog") kill(watchdog, "SIGKILL");
      else driver.closeInput();
      end();
      await write.through(MERCY_MS);
      const fields = { code: ERROR_CODE.freezeExpired };
      expect(await driver.next()).toMatchObject({ name: "error", request: 77, fields });
      await driver.end();
    }
  });

  test("a limit that passes inside FIFREEZE", async () => {
    const { write, driver, watchdog, end } = await freezeEndlessly(SHORT_LIMIT_MS);
    await new Promise((resolve) => setTimeout(resolve, SHORT_LIMIT_MS));
    end();
    await write.through(MERCY_MS);
    expect(await driver.next()).toMatchObject({
      fields: { code: ERROR_CODE.freezeExpired },
      tail: expect.stringContaining("the limit has passed"),
    });
    await gone(watchdog);
    await driver.end();
  });

  test("the wrong order, in which the freeze waits for itself, ends at the limit", async () => {
    const outer = session.makeFileSystem();
    const inner = session.makeFileSystem("ext4", outer.folder);
    writeFileSync(`${inner.folder}/dirty`, new Uint8Array(1 << 20));
    const driver = session.start();
    const startedAt = performance.now();
    const answers = await driver.ask(freezeRequest([outer.folder, inner.folder], SHORT_LIMIT_MS));
    expect(performance.now() - startedAt).toBeLessThan(SHORT_LIMIT_MS + MERCY_MS);
    expect(answers).toMatchObject([{ fields: { code: ERROR_CODE.freezeExpired } }]);
    expect(await isWritable(inner.folder)).toBe(true);
    expect(await isWritable(outer.folder)).toBe(true);
    await driver.end();
  });

  const AT_RANDOM = [
    { victim: "helper", signal: "SIGKILL" },
    { victim: "watchdog", signal: "SIGKILL" },
    { victim: "helper", signal: "SIGTERM" },
    { victim: "helper", signal: "SIGSTOP" },
    { victim: "watchdog", signal: "SIGSTOP" },
  ] as const;

  /** How long a freeze takes here and now, in milliseconds. */
  async function measureFreeze(folder: string): Promise<number> {
    const driver = session.start({ asShipped: true });
    await freezeAll(driver, [folder]);
    await thaw(driver);
    const startedAt = performance.now();
    await freezeAll(driver, [folder]);
    const tookMs = performance.now() - startedAt;
    await driver.end();
    return tookMs;
  }

  test.for(AT_RANDOM)(
    `$signal to the $victim at ${RANDOM_ROUNDS} random instants of a freeze under load`,
    async ({ victim, signal }) => {
      const random = seededRandom(`${signal} to the ${victim}`);
      const { folder } = session.makeFileSystem();
      await startWriter(session.machine, folder);
      const latestUs = 1500 * (await measureFreeze(folder));
      const limitMs = signal === "SIGSTOP" ? SHORT_LIMIT_MS + MERCY_MS : MERCY_MS;
      const request = { ...freezeRequest([folder], SHORT_LIMIT_MS), request: 77 };
      const struck = { early: 0, freezing: 0, frozen: 0 };
      for (let round = 0; round < RANDOM_ROUNDS; round++) {
        const driver = session.start({ asShipped: true });
        await driver.ask({ name: "helloRequest", request: 0, fields: {} });
        driver.write(encodeFrame(request));
        await new Promise((resolve) => setTimeout(resolve, random.below(latestUs) / 1000));
        const watchdog = watchdogOf(driver);
        struck[phaseOf(driver.pid, watchdog)]++;
        if (victim === "helper") driver.signal(signal);
        else if (watchdog !== undefined) killIfThere(watchdog, signal);
        else driver.closeInput();
        // The kernel goes on freezing for a helper that is killed or stopped in the midst of it.
        while (isInFreeze(driver.pid)) await new Promise((resolve) => setImmediate(resolve));
        expect(await isWritable(folder, limitMs), `round ${round}`).toBe(true);
        // Against the death of both there is no remedy: the helper that is left may finish.
        if (victim === "watchdog" && watchdog !== undefined) await driver.ask(thawRequest);
        await driver.kill();
        if (watchdog !== undefined) await gone(watchdog);
        expect(await isWritable(folder, MERCY_MS), `round ${round}, all gone`).toBe(true);
      }
      stderr.write(`${signal} to the ${victim}: ${JSON.stringify(struck)}\n`);
    },
  );

  test("the end of the whole cgroup, or its freezing, does not reach the watchdog", async () => {
    const root = cgroupRoot();
    const group = `${root}/ibackup-test-${session.machine.folder.split("-").at(-1)}`;
    mkdirSync(group);
    session.machine.onClose(() => rmdirSync(group));
    const enter = ["sh", "-c", `echo $$ > ${group}/cgroup.procs && exec "$@"`, "sh"];
    for (const blow of ["cgroup.kill", "cgroup.freeze"]) {
      const { folder } = session.makeFileSystem();
      const driver = session.start({ starter: enter });
      await freezeAll(driver, [folder], 1500);
      const write = new ProbeWrite(folder);
      await write.hangs();
      const watchdog = watchdogOf(driver) ?? 0;
      writeFileSync(`${group}/${blow}`, "1");
      await write.through(1500 + MERCY_MS);
      if (blow === "cgroup.freeze") writeFileSync(`${group}/${blow}`, "0");
      await driver.kill();
      await gone(watchdog);
    }
  });
});

/** How far a freeze has come. */
function phaseOf(helper: number, watchdog: number | undefined): "early" | "freezing" | "frozen" {
  if (isInFreeze(helper)) return "freezing";
  return watchdog === undefined ? "early" : "frozen";
}

function killIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Where cgroup v2 is mounted: in its place, or beside v1. */
function cgroupRoot(): string {
  const root = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].find((it) =>
    existsSync(`${it}/cgroup.controllers`),
  );
  if (root === undefined) throw new Error("cgroup v2 is not mounted");
  return root;
}
