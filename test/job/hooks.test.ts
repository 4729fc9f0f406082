/** What the hooks of a flush see, when they run, and what their failures do. */
import { existsSync, readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { JobContext } from "../../src/job/context.ts";
import { flushDevice } from "../../src/job/flush.ts";
import type { HookOptions } from "../../src/job/hooks.ts";
import { SILENT_PROGRESS } from "../../src/job/progress.ts";
import { startTracking, stopTracking } from "../../src/job/track.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { newRepository } from "../support/backups.ts";
import { testContext } from "../support/context.ts";
import { arrangeThaw, isWritable } from "../support/freezing.ts";
import { Machine, run, shell } from "../support/machine.ts";
import { canTrack } from "../support/site.ts";

const PINS = "ibackup_test_hooks";

describe.runIf(canTrack())("hooks", () => {
  let machine: Machine;
  let disk: string;
  let folder: string;
  let repository: Repository;
  let context: JobContext;
  let messages: string[];

  beforeEach(async () => {
    machine = new Machine();
    disk = machine.loopDisk("disk", 32 << 20);
    run("mkfs.ext4", "-q", disk);
    folder = machine.mount(disk);
    arrangeThaw(machine, folder);
    repository = await newRepository();
    messages = [];
    const progress = { ...SILENT_PROGRESS, message: (text: string) => void messages.push(text) };
    context = { ...testContext(machine, { repository, pins: PINS }), progress };
    await startTracking(context, [disk], ["block"]);
  });
  afterEach(async () => {
    await stopTracking(context, []);
    machine.close();
  });

  const flush = async (
    commands: HookOptions["commands"],
    options: { timeLimitMs?: number; limitMs?: number; consistency?: "frozen" | "fuzzy" } = {},
    signal = context.signal,
  ) => {
    const { timeLimitMs = 20_000, limitMs = 10_000, consistency = "fuzzy" } = options;
    return await flushDevice(
      { ...context, signal },
      {
        ...{ device: disk, vmId: "vm", diskName: "disk", base: false, scan: false, consistency },
        freeze: { limitMs, budgetMs: limitMs },
        hooks: { commands, timeLimitMs },
      },
    );
  };

  const log = (): string => machine.path("log");
  const lines = (): string[] =>
    existsSync(log()) ? readFileSync(log(), "utf8").trimEnd().split("\n") : [];
  /** Whether the journal is empty, which it is only while the file system is frozen. */
  const note = (name: string): string =>
    `state=$(dumpe2fs -h "$IBACKUP_DEVICE" 2>/dev/null | grep -q needs_recovery && echo moving || echo frozen)
     echo "${name} $state $IBACKUP_DEVICE $IBACKUP_MOUNTPOINTS" >> ${log()}`;

  async function expectNothingFrozenNorCommitted(): Promise<void> {
    expect(await isWritable(folder)).toBe(true);
    expect(await repository.manifests()).toEqual([]);
  }

  test("run before, while, and after the file systems are frozen, and know the disk", async () => {
    const result = await flush(
      {
        "pre-freeze": note("pre-freeze"),
        frozen: note("frozen"),
        "post-thaw": note("post-thaw"),
      },
      { consistency: "frozen" },
    );
    expect(result).toMatchObject({ consistency: "frozen", hookFailure: undefined });
    expect(lines()).toEqual([
      `pre-freeze moving ${disk} ${folder}`,
      `frozen frozen ${disk} ${folder}`,
      `post-thaw moving ${disk} ${folder}`,
    ]);
  });

  test("may write to standard output, which is shown", async () => {
    await flush({ "pre-freeze": "echo one; echo two >&2", frozen: "printf 'three\\033[1m'" });
    expect(messages).toEqual(
      expect.arrayContaining(["pre-freeze: one", "pre-freeze: two", "frozen: three?[1m"]),
    );
  });

  test("may leave a process behind, which is not waited for", async () => {
    const mark = `sleep 31${Date.now() % 1000}`;
    const startedAt = performance.now();
    await flush({ "pre-freeze": `${mark} & echo $! > ${log()}` });
    expect(performance.now() - startedAt).toBeLessThan(20_000);
    run("kill", ...lines());
  });

  test("pre-freeze that fails stops the flush, and post-thaw undoes what it began", async () => {
    const failing = flush({
      "pre-freeze": "exit 3",
      frozen: note("frozen"),
      "post-thaw": note("post-thaw"),
    });
    await expect(failing).rejects.toMatchObject({
      code: "HOOK",
      message: "The pre-freeze hook failed",
      why: "it ended with status 3",
    });
    expect(lines()).toEqual([`post-thaw moving ${disk} ${folder}`]);
    await expectNothingFrozenNorCommitted();
  });

  test("frozen that fails thaws and stops the flush", async () => {
    const failing = flush({ frozen: "kill -9 $$", "post-thaw": note("post-thaw") });
    await expect(failing).rejects.toMatchObject({ code: "HOOK", why: "it ended with SIGKILL" });
    expect(lines()).toEqual([`post-thaw moving ${disk} ${folder}`]);
    await expectNothingFrozenNorCommitted();
  });

  test("post-thaw that fails is told, and the backup stays", async () => {
    const { backupId, hookFailure } = await flush({ "post-thaw": "exit 1" });
    expect(hookFailure).toMatchObject({ code: "HOOK", message: "The post-thaw hook failed" });
    const [stored] = await repository.manifests();
    expect(stored?.manifest.backupId).toBe(backupId);
  });

  test("are killed with all their children when their time is over", async () => {
    const seconds = `77${Date.now() % 1000}`;
    const failing = flush(
      { "pre-freeze": `sleep ${seconds} & sleep ${seconds}` },
      { timeLimitMs: 300 },
    );
    await expect(failing).rejects.toMatchObject({
      code: "HOOK",
      why: "it did not end within 300 ms",
    });
    expect(shell(`pgrep -fx 'sleep ${seconds}' || echo none`).trim()).toBe("none");
    await expectNothingFrozenNorCommitted();
  });

  test("have a time limit of their own while the file systems are frozen, too", async () => {
    const failing = flush({ frozen: "sleep 60" }, { timeLimitMs: 200 });
    await expect(failing).rejects.toMatchObject({
      code: "HOOK",
      why: expect.stringMatching(/200 ms/),
    });
    await expectNothingFrozenNorCommitted();
  });

  // It writes to what is frozen: until the thaw not even SIGKILL ends it.
  test.for(["sleep 60", 'echo x > "$IBACKUP_MOUNTPOINTS/file"'])(
    "frozen as `%s` is cut off at the freeze limit, and the backup is no point in time",
    async (command) => {
      const startedAt = performance.now();
      const result = await flush(
        { frozen: command, "post-thaw": note("post-thaw") },
        { limitMs: 800 },
      );
      expect(["quiet", "fuzzy"]).toContain(result.consistency);
      expect(result.freezeMs).toBeGreaterThanOrEqual(700);
      expect(result.freezeMs).toBeLessThan(2000);
      expect(performance.now() - startedAt).toBeLessThan(20_000);
      expect(lines()).toHaveLength(1);
      expect(await isWritable(folder)).toBe(true);
    },
  );

  test("frozen that passes the freeze limit fails a flush that has to be frozen", async () => {
    const failing = flush({ frozen: "sleep 60" }, { limitMs: 800, consistency: "frozen" });
    await expect(failing).rejects.toMatchObject({
      code: "CONSISTENCY",
      why: expect.stringMatching(/the freeze limit of 800 ms passed/),
    });
    await expectNothingFrozenNorCommitted();
  });

  test("end when the user interrupts; post-thaw runs all the same", async () => {
    const interruption = new AbortController();
    const reason = new Error("interrupted");
    const marker = machine.path("frozen");
    const failing = flush(
      { frozen: `touch ${marker}; sleep 60`, "post-thaw": note("post-thaw") },
      {},
      interruption.signal,
    );
    failing.catch(() => undefined);
    while (!existsSync(marker)) await new Promise((resolve) => setImmediate(resolve));
    const interruptedAt = performance.now();
    interruption.abort(reason);
    await expect(failing).rejects.toBe(reason);
    expect(performance.now() - interruptedAt).toBeLessThan(5000);
    expect(lines()).toEqual([`post-thaw moving ${disk} ${folder}`]);
    await expectNothingFrozenNorCommitted();
  });
});
