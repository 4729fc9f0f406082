/** A store that takes requests and never answers: nothing else stands still. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { findDaemon } from "../../src/api/client.ts";
import { systemClock } from "../../src/daemon/clock.ts";
import { DaemonSite } from "../support/daemon_site.ts";
import { shell } from "../support/machine.ts";
import { canTrack } from "../support/site.ts";

describe.runIf(canTrack())("a store that hangs", () => {
  let site: DaemonSite;
  beforeEach(() => {
    site = new DaemonSite();
  });
  afterEach(async () => await site.close());

  test("stops neither the API, nor the counting, nor the end", async () => {
    await site.init();
    const device = site.machine.loopDisk("source", 8 << 20);
    let hangs = false;
    const never = (): Promise<never> => new Promise(() => undefined);
    site.wrapStore = (store) =>
      new Proxy(store, {
        get: (target, name) => {
          const own: unknown = Reflect.get(target, name);
          if (typeof own !== "function") return own;
          if (!hangs) return own.bind(target);
          return name === "list"
            ? () => ({ [Symbol.asyncIterator]: () => ({ next: never }) })
            : never;
        },
      });
    const settings = site.settings(`disks = ["${device}"]\n[trigger]\nblocks = 10\n`);
    const { daemon, end } = site.start(settings, systemClock);
    const disk = () => daemon.control.status().disks[0];
    await expect.poll(() => disk()?.totals.flushesDone, { timeout: 20_000 }).toBe(1);
    await expect.poll(() => disk()?.changedBlocks).toBe(0);

    hangs = true;
    const write = (block: number): void => {
      const to = `of=${device} bs=4096 seek=${block} count=10 oflag=direct`;
      shell(`dd if=/dev/urandom ${to} conv=notrunc status=none`);
    };
    write(100);
    await expect.poll(() => disk()?.flush?.state, { timeout: 10_000 }).toBe("running");
    write(200);
    await expect.poll(() => disk()?.changedBlocks, { timeout: 10_000 }).toBe(20);
    const client = await findDaemon(site.machine.runtimeFolder);
    const startedMs = performance.now();
    expect((await client?.status())?.disks[0]?.flush?.state).toBe("running");
    expect(await client?.metrics()).toContain("ibackup_disk_changed_blocks");
    expect(performance.now() - startedMs).toBeLessThan(2_000);

    const ended = end().then(() => "ended");
    expect(await Promise.race([ended, sleep(15_000, "still there")])).toBe("ended");
  }, 60_000);
});
