/** The listener: every block that turns dirty is told, and lost events cost nothing. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { kill } from "node:process";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { firstDifference, run, shell } from "../support/machine.ts";
import { startIbackup } from "../support/program.ts";
import { seededRandom } from "../support/random.ts";
import { canTrack, ownBlocks, Site } from "../support/site.ts";

const SIZE_BYTES = 96 << 20;

interface Watched {
  devices: {
    device: string;
    blocksReported: number;
    extents: { firstBlock: number; blockCount: number }[];
  }[];
  eventsLost: number;
}

describe.runIf(canTrack())("a listener", () => {
  let site: Site;
  let source: string;
  beforeEach(() => {
    site = new Site();
    site.init();
    source = site.machine.loopDisk("source", SIZE_BYTES);
    site.must("track", "start", source);
    site.flush(source);
  });
  afterEach(() => site.close());

  test("is told the number of every block that turns dirty, and of no other", async () => {
    const random = seededRandom("events");
    const watch = await listen("--buffer-pages", "4096");
    const written = new Set<number>();
    for (let i = 0; i < 100; i++) {
      const first = random.below(SIZE_BYTES / 4096 - 600);
      const count = 1 + random.below(i % 10 === 0 ? 600 : 4);
      write(first, count);
      for (let block = 0; block < count; block++) written.add(first + block);
    }
    run("blkdiscard", "-o", "0", "-l", "1M", source);
    for (let block = 0; block < 256; block++) written.add(block);
    // Told to stop right after the last write, it still tells of it.
    write(24_000, 1);
    written.add(24_000);
    const { devices, eventsLost } = await stop(watch);
    expect(eventsLost).toBe(0);
    expect(devices.map(({ device }) => device)).toEqual([source]);
    expect(blocksOf(devices[0])).toEqual(written);
    // Each block turned dirty once.
    expect(devices[0]?.blocksReported).toBe(written.size);
    const { backupId } = site.flush(source);
    expect(await ownBlocks(site.repo, backupId)).toEqual(written);
  });

  test("is told of a block again when it was written after a flush", async () => {
    const watch = await listen();
    for (let round = 0; round < 3; round++) {
      write(77, 2);
      expect(site.flush(source)).toMatchObject({
        gapCheck: { verdict: "trusted" },
        blocksChanged: 2,
      });
    }
    const { devices } = await stop(watch);
    expect(devices[0]?.blocksReported).toBe(6);
  });

  test("with one page of buffer loses events, counts them, and the flush misses nothing", async () => {
    const watch = await listen("--buffer-pages", "1");
    const helper = childOf(watch.child.pid);
    // Only a listener that does not keep up is sure to lose something.
    kill(helper, "SIGSTOP");
    const options = ["--rw=randwrite", "--bs=4k", "--norandommap", "--iodepth=32", "--numjobs=2"];
    run(
      ...(["fio", "--name=load", `--filename=${source}`, "--ioengine=libaio"] as const),
      ...["--direct=1", "--time_based", "--runtime=3", "--minimal", ...options],
    );
    kill(helper, "SIGCONT");
    const { devices, eventsLost } = await stop(watch);
    expect(eventsLost).toBeGreaterThan(0);
    const flushed = site.flush(source);
    expect(flushed).toMatchObject({ gapCheck: { verdict: "trusted" }, taints: [] });
    const reported = blocksOf(devices[0]);
    expect(reported.size).toBeLessThan(flushed.blocksChanged);
    // No loss goes uncounted: one event tells of one block here.
    expect(reported.size + eventsLost).toBeGreaterThanOrEqual(flushed.blocksChanged);
    const own = await ownBlocks(site.repo, flushed.backupId);
    expect([...reported].filter((block) => !own.has(block))).toEqual([]);
    const target = site.machine.loopDisk("target", SIZE_BYTES);
    site.restore("latest", target);
    expect(firstDifference(source, target)).toBe("");
  });

  test("ends with its report when Ctrl-C reaches all processes of the terminal", async () => {
    const watch = await listen();
    const helper = childOf(watch.child.pid);
    write(5, 3);
    kill(helper, "SIGINT");
    const { devices } = await stop(watch, "SIGINT");
    expect(blocksOf(devices[0])).toEqual(new Set([5, 6, 7]));
  });

  test("keeps nobody from tracking, flushing and stopping", async () => {
    const other = site.machine.loopDisk("other", 16 << 20);
    const watch = await listen();
    expect(site.status().session?.listening).toBe(true);
    site.must("track", "start", other);
    expect(site.flush(other)).toMatchObject({ type: "base" });
    site.must("track", "stop", other);
    await stop(watch);
    expect(site.status().session?.listening).toBe(false);
  });

  test("is one at a time", async () => {
    const watch = await listen();
    const second = site.run("track", "watch", "--for", "1s");
    expect(second.status).not.toBe(0);
    expect(second.stderr).toMatch(/^error: .+\n {2}why: .+\n {2}fix: .+/);
    await stop(watch);
  });

  interface Watch {
    child: ChildProcess;
    output: () => string;
  }

  async function listen(...options: string[]): Promise<Watch> {
    const words = ["track", "watch", source, "--json", ...options];
    const child = startIbackup(site.machine, words, site.options);
    let [output, messages] = ["", ""];
    child.stdout?.on("data", (text) => {
      output += text;
    });
    await new Promise<void>((resolve, reject) => {
      child.once("exit", () => reject(new Error(`the watch has ended: ${messages}`)));
      child.stderr?.on("data", (text) => {
        messages += text;
        if (messages.includes("listening")) resolve();
      });
    });
    return { child, output: () => output };
  }

  async function stop(
    { child, output }: Watch,
    signal: "SIGINT" | "SIGTERM" = "SIGTERM",
  ): Promise<Watched> {
    const closed = once(child, "close");
    child.kill(signal);
    await closed;
    return JSON.parse(output()) as Watched;
  }

  function write(firstBlock: number, count: number): void {
    const to = `of=${source} bs=4096 seek=${firstBlock} count=${count} oflag=direct`;
    shell(`dd if=/dev/urandom ${to} conv=notrunc status=none`);
  }
});

function childOf(pid: number | undefined): number {
  return Number(run("pgrep", "-P", String(pid)).trim());
}

function blocksOf(device: Watched["devices"][number] | undefined): Set<number> {
  const blocks = new Set<number>();
  for (const { firstBlock, blockCount } of device?.extents ?? []) {
    for (let i = 0; i < blockCount; i++) blocks.add(firstBlock + i);
  }
  return blocks;
}
