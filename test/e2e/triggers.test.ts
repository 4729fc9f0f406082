/** Figure 8 on a real disk: each condition fires when it should, and not before. */
import { writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { shell } from "../support/machine.ts";
import type { Flushed } from "../support/program.ts";
import { canTrack, Site } from "../support/site.ts";

describe.runIf(canTrack())("flush --if-due", () => {
  let site: Site;
  let source: string;
  let config: string;
  beforeEach(() => {
    site = new Site();
    site.init();
    config = site.machine.path("config.toml");
    source = site.machine.loopDisk("source", 16 << 20);
    site.must("track", "start", source);
  });
  afterEach(() => site.close());

  interface Waiting {
    due: false;
    why: string;
    nextAt: string | null;
  }

  function flushIfDue(trigger: string): Flushed | Waiting {
    writeFileSync(config, `[trigger]\n${trigger}\n`, { mode: 0o600 });
    return site.json("flush", source, "--if-due", "--config", config);
  }

  function triggerOf(flushed: Flushed | Waiting): string {
    const { backupId } = flushed as Flushed;
    return site.json<{ manifest: { trigger: string } }>("show", backupId).manifest.trigger;
  }

  function write(firstBlock: number, count: number): void {
    const to = `of=${source} bs=4096 seek=${firstBlock} count=${count} oflag=direct`;
    shell(`dd if=/dev/urandom ${to} conv=notrunc status=none`);
  }

  test("counts blocks, each once, and from the last backup on", () => {
    expect(triggerOf(flushIfDue("blocks = 20"))).toBe("no backup to continue");
    expect(flushIfDue("blocks = 20")).toMatchObject({
      due: false,
      why: "20 changed blocks",
      nextAt: null,
    });
    write(100, 19);
    write(100, 19);
    expect(flushIfDue("blocks = 20")).toMatchObject({ due: false });
    write(500, 1);
    expect(triggerOf(flushIfDue("blocks = 20"))).toBe("20 changed blocks of 20");
    expect(flushIfDue("blocks = 20")).toMatchObject({ due: false });
  });

  test("counts what a flush to another repository has collected", () => {
    flushIfDue("blocks = 20");
    const first = site.repo;
    site.repo = `file://${site.machine.path("second")}`;
    site.init();
    site.flush(source);
    site.repo = first;
    write(0, 20);
    site.repo = `file://${site.machine.path("second")}`;
    site.flush(source);
    site.repo = first;
    expect(triggerOf(flushIfDue("blocks = 20"))).toBe("20 changed blocks of 20");
  });

  test("waits for the time, and with all-of for both", async () => {
    expect(triggerOf(site.flush(source))).toBe("asked for");
    const takenMs = Date.now();
    const both = 'all = [{ every = "4s" }, { bytes = "40KiB" }]';
    expect(flushIfDue('every = "1h"')).toMatchObject({
      due: false,
      why: "1 h 0 min since the last backup",
    });
    write(0, 10);
    const waiting = flushIfDue(both) as Waiting;
    expect(waiting).toMatchObject({ due: false });
    expect(Math.abs(Date.parse(waiting.nextAt ?? "") - takenMs - 4000)).toBeLessThan(2000);
    // The time itself is what is tested.
    await new Promise((resolve) =>
      setTimeout(resolve, Date.parse(waiting.nextAt ?? "") - Date.now()),
    );
    expect(triggerOf(flushIfDue(both))).toBe(
      "4 s since the last backup and 10 changed blocks of 10",
    );
  });

  test("without a [trigger] says what to write", () => {
    const { status, stderr } = site.run("flush", source, "--if-due");
    expect(status).toBe(2);
    expect(stderr).toContain("[trigger]");
  });
});
