/** The machine's switch that a freeze sets: on while FIFREEZE runs, and never for longer. */
import { readFileSync, writeFileSync } from "node:fs";
import { kill } from "node:process";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { encodeFrame } from "../../src/frame/codec.ts";
import { run } from "../support/machine.ts";
import {
  FreezeSession,
  freezeAll,
  freezeRequest,
  syncsInFreeze,
  thaw,
  watchdogOf,
} from "./freeze_session.ts";
import { buildHelper, describeWithKernel } from "./kernel.ts";

const SWITCH = "/sys/kernel/rcu_expedited";

const read = (): string => readFileSync(SWITCH, "utf8").trim();
/** Another ibackup of this machine may have it for a moment. */
const isBack = () => expect.poll(read, { timeout: 2000, interval: 5 }).toBe("0");

describeWithKernel("expedited grace periods", () => {
  let session: FreezeSession;
  beforeAll(buildHelper);
  beforeEach(async () => {
    session = new FreezeSession();
    await isBack();
  });
  afterEach(() => session.close());

  test("are over when the file systems are frozen", async () => {
    const { folder } = session.makeFileSystem();
    const driver = session.start();
    await freezeAll(driver, [folder]);
    await isBack();
    await thaw(driver);
    await driver.end();
    await isBack();
  });

  test("stay when somebody else has asked for them", async () => {
    const { folder } = session.makeFileSystem();
    const driver = session.start();
    writeFileSync(SWITCH, "1");
    try {
      await freezeAll(driver, [folder]);
      await thaw(driver);
      expect(read()).toBe("1");
    } finally {
      writeFileSync(SWITCH, "0");
    }
    await driver.end();
  });

  /** Begins a freeze that does not end before `end` is called. */
  async function freezeEndlessly(limitMs: number) {
    const outer = session.makeFileSystem();
    const inner = session.makeFileSystem("ext4", outer.folder);
    writeFileSync(`${inner.folder}/dirty`, new Uint8Array(1 << 20));
    run("fsfreeze", "--freeze", outer.folder);
    const driver = session.start();
    driver.write(encodeFrame({ ...freezeRequest([inner.folder], limitMs), request: 1 }));
    await syncsInFreeze(driver.pid);
    expect(read()).toBe("1");
    return { driver, end: () => run("fsfreeze", "--unfreeze", outer.folder) };
  }

  test("end with a helper that is killed inside FIFREEZE", async () => {
    const { driver, end } = await freezeEndlessly(20_000);
    driver.signal("SIGKILL");
    end();
    await isBack();
  });

  test("end at the limit, though the helper is stopped", async () => {
    const { driver, end } = await freezeEndlessly(400);
    driver.signal("SIGSTOP");
    await isBack();
    end();
    driver.signal("SIGCONT");
    expect(await driver.next()).toMatchObject({ name: "error" });
    await driver.end();
  });

  test("end with FIFREEZE where the watchdog was killed", async () => {
    const { driver, end } = await freezeEndlessly(20_000);
    kill(watchdogOf(driver) ?? 0, "SIGKILL");
    end();
    expect(await driver.next()).toMatchObject({ name: "error" });
    await isBack();
    await driver.end();
  });
});
