/** The programs of a session, run one by one as the kernel would where it skips some. */
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { run } from "../support/machine.ts";
import { buildHelper, describeWithKernel } from "./kernel.ts";
import { TestSession } from "./session.ts";

const MIB = 2 ** 20;
const SOURCE = new URL("../support/run_program.c", import.meta.url).pathname;
const TOKENS_PER_SET = 4;

/** As `tokens_with()` in bpf/rescue.bpf.h. */
function setOf(address: number): number {
  return Math.imul(address >>> 6, 0x9e3779b1) >>> 28;
}

/** Addresses at which nothing lies, and whose tokens go into one set. */
function addresses(count: number): number[] {
  const all = Array.from({ length: 1000 }, (_, i) => 0x10000 + i * 64);
  return all.filter((address) => setOf(address) === 5).slice(0, count);
}

describeWithKernel("programs for the end of a request", () => {
  let session: TestSession;
  let slot: number;
  let runProgram: string;

  beforeAll(buildHelper);
  beforeEach(async () => {
    session = new TestSession();
    runProgram = session.machine.path("run_program");
    run("cc", "-Wall", "-Wextra", "-Werror", "-o", runProgram, SOURCE, "-lbpf");
    slot = (await session.attach(session.machine.loopDisk("disk", 16 * MIB))).slot;
  });
  afterEach(() => session.close());

  const end = (program: "request_complete" | "request_rescue", address: number): void =>
    void run(runProgram, `${session.pins}/program_${program}`, String(address));
  const skipped = async (): Promise<number> => (await session.status(slot)).taintSkippedPrograms;

  test("agree on what the first has worked on", async () => {
    const [one = 0, other = 0] = addresses(2);
    end("request_complete", one);
    end("request_complete", other);
    end("request_rescue", other);
    end("request_rescue", one);
    expect(await skipped()).toBe(0);
  });

  test("count as skipped what is left to the second until it has worked on it", async () => {
    const [last = 0, ...others] = addresses(TOKENS_PER_SET + 1);
    for (const address of [...others, last]) end("request_complete", address);
    expect(await skipped()).toBe(1);
    end("request_rescue", last);
    expect(await skipped()).toBe(0);
    for (const address of others) end("request_rescue", address);
    expect(await skipped()).toBe(0);
  });

  test("find room again when a request is used again whose token stayed behind", async () => {
    const [again = 0, ...others] = addresses(TOKENS_PER_SET);
    for (const address of [again, ...others, again]) end("request_complete", address);
    expect(await skipped()).toBe(0);
    for (const address of [again, ...others]) end("request_rescue", address);
  });

  test("are not believed when the second was called without the first", async () => {
    const [address = 0] = addresses(1);
    end("request_rescue", address);
    await expect(skipped()).rejects.toThrow();
    end("request_complete", address);
    const answers = await session.driver.ask({ name: "statusRequest", request: 0, fields: {} });
    expect(answers).toMatchObject([{ name: "session" }, { name: "error" }]);
  });
});
