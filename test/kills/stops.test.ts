/** Who is stopped while file systems are frozen keeps nobody waiting longer than the limit. */
import { once } from "node:events";
import { existsSync } from "node:fs";
import { stderr } from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { signal } from "../support/processes.ts";
import { canTrack } from "../support/site.ts";
import { type Role, textOf } from "../support/step_killer.ts";
import { KillSite } from "./kill_site.ts";

const LIMIT_MS = 2000;
/** What a machine with more to do than it can takes to wake who has to thaw. */
const MARGIN_MS = 1000;

describe.runIf(canTrack())("while a file system is frozen", () => {
  let kills: KillSite;
  beforeEach(() => {
    kills = new KillSite();
    kills.takeBase();
    kills.startLoad();
  });
  afterEach(() => kills.close());

  test.each<{ stopped: Role[] }>([
    { stopped: ["flush"] },
    { stopped: ["helper"] },
    { stopped: ["watchdog"] },
    { stopped: ["flush", "helper"] },
    { stopped: ["flush", "watchdog"] },
  ])("$stopped may be stopped for longer than the limit", async ({ stopped }) => {
    const mark = kills.site.machine.path("frozen");
    await kills.underSafety(async () => {
      const hook = ["--frozen", `touch '${mark}'; sleep 30`];
      const child = kills.startFlush(...hook, "--freeze-limit", `${LIMIT_MS}ms`);
      const said = textOf(child);
      const ended = once(child, "close");
      while (!existsSync(mark) && child.exitCode === null) await sleep(2);
      const pids = stopped.flatMap((role) => kills.find(child, role) ?? []);
      for (const pid of pids) signal(pid, "SIGSTOP");
      const frozenMs = performance.now();
      await kills.expectWritable(LIMIT_MS + MARGIN_MS);
      const thawedMs = Math.round(performance.now() - frozenMs);
      for (const pid of pids) signal(pid, "SIGCONT");
      const [status] = await ended;
      stderr.write(
        `${stopped.join(" and ")} stopped: written again after ${thawedMs} ms; ${said()}`,
      );
      expect(pids).toHaveLength(stopped.length);
      // No point in time was asked for, so the backup is one of a while.
      expect(status).toBe(0);
      expect(["quiet", "fuzzy"]).toContain(kills.newestConsistency());
    });
    await kills.expectNextFlushRight();
    kills.expectSound();
  });
});
