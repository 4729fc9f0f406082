/** A week of operation in seconds: what the config file says is what there is afterwards. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { planRetention, type RetentionCandidate } from "../../src/core/retention.ts";
import { IbackupError } from "../../src/errors.ts";
import { listBackups } from "../../src/job/catalogue.ts";
import { openRepository } from "../../src/repo/repository.ts";
import { DirectoryStore } from "../../src/store/directory.ts";
import { CompressedClock, DaemonSite } from "../support/daemon_site.ts";
import { shell } from "../support/machine.ts";
import { canTrack } from "../support/site.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const START_MS = Date.parse("2026-03-02T00:30:00Z");

describe.runIf(canTrack())("a week", () => {
  let site: DaemonSite;
  beforeEach(() => {
    site = new DaemonSite();
  });
  afterEach(async () => await site.close());

  test("with a dead store for a day and a reboot leaves the history that the policy says", async () => {
    await site.init();
    const device = site.machine.loopDisk("source", 8 << 20);
    const settings = site.settings(`
      disks = ["${device}"]
      [trigger]
      every = "6h"
      [prune]
      schedule = "45 */3 * * *"
      keep-last = 5
      keep-daily = 4
      [verify]
      schedule = "15 */12 * * *"
      data = "50%"
    `);
    const clock = new CompressedClock(START_MS);
    const at = (hours: number, happen: () => void) =>
      clock.events.push({ atMs: START_MS + hours * HOUR_MS, happen });
    let written = 0;
    const write = (): void => {
      const to = `of=${device} bs=4096 seek=${(written++ * 37) % 2000} count=3 oflag=direct`;
      shell(`dd if=/dev/urandom ${to} conv=notrunc status=none`);
    };
    for (let hour = 1; hour < 7 * 24; hour += 5) at(hour, write);
    at(48, () => {
      site.storeFailure = dead();
    });
    at(72, () => {
      site.storeFailure = undefined;
    });

    const untilReboot = Promise.withResolvers<void>();
    at(100, () => untilReboot.resolve());
    const first = site.start(settings, clock);
    await untilReboot.promise;
    await first.end();
    expect(first.daemon.control.status().alarms).toEqual([]);
    await site.reboot();
    clock.pass(3 * HOUR_MS);
    const untilEnd = Promise.withResolvers<void>();
    at(7 * 24, () => untilEnd.resolve());
    const second = site.start(settings, clock);
    await untilEnd.promise;
    const status = second.daemon.control.status();
    await second.end();

    const taken = site.lines.filter(({ message }) => message.startsWith("backup taken"));
    expectSchedule(taken.map(({ atMs }) => (atMs - START_MS) / HOUR_MS));
    // Everything was seen, until the reboot: then one comparison.
    const verdicts = taken.map(({ message }) => /\((\w+)\)$/.exec(message)?.[1]);
    expect(verdicts.filter((verdict) => verdict !== "trusted")).toEqual(["base", "compared"]);

    // The dead store: told once, tried at most every 7.5 minutes, and told again when it had passed.
    const alarms = site.lines.filter(({ level }) => level === "error");
    expect(alarms.map(({ message }) => message)).toEqual([`Cannot reach the store: it is dead`]);
    const tried = site.lines.filter(({ message }) => message.includes("it is dead"));
    expect(tried.length).toBeGreaterThan(80);
    expect(tried.length).toBeLessThan(3 * 24 * 8);
    expect(site.lines.map(({ message }) => message)).toContain("passed: Cannot reach the store");

    expect(status.alarms).toEqual([]);
    expect(status.chores).toMatchObject([
      { name: "prune", succeededAt: expect.any(String) },
      { name: "verify", outcome: expect.stringContaining("no problem found") },
    ]);
    // Twice a day, but for the day without a store, and after it once for all that was missed.
    const verified = site.lines.filter(({ message }) => message.startsWith("no problem found"));
    expect(verified).toHaveLength(13);

    const store = new DirectoryStore(site.repositoryFolder);
    const repository = await openRepository(store);
    const context = { ...site.context(new AbortController().signal) };
    const { backups } = await listBackups(
      { ...context, openRepository: async () => repository },
      {},
    );
    expect(backups.map(({ capturedAt }) => capturedAt)).toEqual(keptOf(taken.map((it) => it.atMs)));
  }, 120_000);

  /** Every six hours, but not while the store was dead, nor while the machine was off. */
  function expectSchedule(hours: number[]): void {
    const before = [0, 6, 12, 18, 24, 30, 36, 42];
    const [late = 0] = hours.filter((hour) => hour >= 48);
    expect(late).toBeGreaterThanOrEqual(72);
    expect(late).toBeLessThanOrEqual(72.26);
    const untilReboot = [0, 6, 12, 18, 24].map((hour) => late + hour);
    const boot = Math.max(late + 30, 103);
    const after = Array.from({ length: 11 }, (_, index) => boot + 6 * index);
    const expected = [...before, ...untilReboot, ...after].filter((hour) => hour <= 7 * 24);
    expect(hours.length).toBe(expected.length);
    for (const [index, hour] of hours.entries()) expect(hour).toBeCloseTo(expected[index] ?? 0, 3);
  }

  /** What is left of these when prune runs at minute 45 of every third hour. On the third day nothing is taken. */
  function keptOf(takenMs: readonly number[]): string[] {
    let present: RetentionCandidate[] = [];
    const left = [...takenMs];
    for (let ms = START_MS; ms <= START_MS + 7 * DAY_MS; ms += 60_000) {
      while (left[0] !== undefined && left[0] <= ms) {
        const capturedAt = new Date(left.shift() ?? 0).toISOString();
        present.push({ backupId: capturedAt, capturedAt, tags: [], isProtected: false });
      }
      if (ms % (3 * HOUR_MS) !== 45 * 60_000) continue;
      const verdicts = planRetention(present, { last: 5, daily: 4 });
      present = present.filter((_, index) => verdicts[index]?.kept === true);
    }
    return present.map(({ capturedAt }) => capturedAt);
  }
});

function dead(): IbackupError {
  return new IbackupError("STORE_UNREACHABLE", "Cannot reach the store", {
    why: "it is dead",
    fix: "wait",
  });
}
