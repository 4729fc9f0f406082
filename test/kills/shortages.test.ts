/** Nothing is lost for want of memory or of room, and nothing has to be repaired. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { statfsSync } from "node:fs";
import { stderr } from "node:process";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { EXIT_STATUS } from "../../src/errors.ts";
import { isLong } from "../support/long.ts";
import { firstDifference, run, shell } from "../support/machine.ts";
import { MemoryGroup } from "../support/memory_group.ts";
import { canTrack, Site } from "../support/site.ts";
import { textOf } from "../support/step_killer.ts";
import { KillSite } from "./kill_site.ts";

const MIB = 1 << 20;
const SIZE_BYTES = 32 * MIB;
const PAGE_BYTES = 4096;
/** From less than starting takes to enough, with room to spare. */
const LIMITS_MIB = isLong
  ? [30, 40, 50, 60, 70, 80, 90, 100, 110, 120, 130, 140, 150, 160, 400]
  : [60, 100, 120, 400];

describe.runIf(canTrack())("a flush", () => {
  test("that the kernel kills for want of memory loses nothing", async () => {
    const kills = new KillSite();
    const group = new MemoryGroup(`ibackup-test-${randomBytes(4).toString("hex")}`);
    try {
      kills.takeBase();
      kills.startLoad();
      const endings: string[] = [];
      for (const limitMiB of LIMITS_MIB) {
        shell(`head -c 12M /dev/urandom > '${kills.mountpoint}/noise'`);
        group.limit(limitMiB * MIB);
        const ending = await kills.underSafety(async () => {
          const child = kills.spawnFlush(...group.entry);
          const said = textOf(child);
          const [status, signal] = await once(child, "close");
          expect(status, said()).not.toBe(1);
          return signal ?? status;
        });
        endings.push(`${limitMiB} MiB: ${ending}`);
        await kills.expectNextFlushRight();
      }
      kills.expectSound();
      stderr.write(`short of memory: ${endings.join(", ")}\n`);
      expect(endings.join()).toMatch(/SIGKILL/);
      expect(endings.at(-1)).toMatch(/ 0$/);
    } finally {
      kills.close();
      group.close();
    }
  });

  describe("of a disk that is quiet", () => {
    let site: Site;
    let source: string;
    let target: string;
    beforeEach(() => {
      site = new Site();
      source = site.machine.loopDisk("source", SIZE_BYTES);
      target = site.machine.loopDisk("target", SIZE_BYTES);
    });
    afterEach(() => site.close());

    test("fails while the repository has no room, and the next one has everything", () => {
      const folder = site.machine.mount("tmpfs", "-t", "tmpfs", "-o", `size=${8 * MIB}`);
      site.repo = `file://${folder}/repository`;
      begin();
      for (let round = 0; round < 3; round++) {
        scribble(10);
        expect(site.run("flush", source)).toMatchObject({ status: EXIT_STATUS.STORE_FULL });
        const free = statfsSync(folder).bfree * PAGE_BYTES;
        // What was not finished takes no room.
        expect(free).toBeGreaterThan(3 * MIB);
      }
      run("mount", "-o", `remount,size=${64 * MIB}`, folder);
      expectNextFlushWhole();
      expect(site.json("verify", "--data")).toMatchObject({ healthy: true });
    });

    test("fails while what is collected has no room, and the next one has everything", () => {
      const folder = site.machine.mount("tmpfs", "-t", "tmpfs", "-o", `mode=700,size=${MIB}`);
      site.extraEnvironment["IBACKUP_RUNTIME_DIR"] = folder;
      begin();
      const statuses = new Set<number | null>();
      for (let pages = 0; pages < 8; pages++) {
        scribble(2);
        // dd ends when it is full.
        shell(`dd if=/dev/zero of='${folder}/filler' bs=4k status=none 2> /dev/null || true`);
        run("truncate", "-s", `-${pages * PAGE_BYTES}`, `${folder}/filler`);
        const { status, stderr: messages } = site.run("flush", source);
        expect(status, messages).not.toBe(1);
        statuses.add(status);
        run("rm", `${folder}/filler`);
        expectNextFlushWhole();
      }
      expect(statuses.size).toBeGreaterThan(1);
    });

    test("ends well while its cache has no room", () => {
      const folder = site.machine.mount("tmpfs", "-t", "tmpfs", "-o", `mode=700,size=${MIB}`);
      site.extraEnvironment["IBACKUP_CACHE_DIR"] = folder;
      shell(`dd if=/dev/zero of='${folder}/filler' bs=4k status=none 2> /dev/null || true`);
      begin();
      scribble(5);
      expectNextFlushWhole();
      site.must("track", "stop");
      scribble(5);
      site.must("track", "start", source);
      expect(site.flush(source).gapCheck.verdict).toBe("compared");
      site.restore("latest", target);
      expect(firstDifference(source, target)).toBe("");
    });

    test("fails while the repository is not mounted, and the next one has everything", () => {
      const folder = site.machine.mount("tmpfs", "-t", "tmpfs");
      site.repo = `file://${folder}/repository`;
      begin();
      // Elsewhere for a while, so that it comes back as it was.
      const elsewhere = site.machine.mount(folder, "--bind");
      for (let round = 0; round < 3; round++) {
        run("umount", folder);
        scribble(3);
        expect(site.run("flush", source)).toMatchObject({ status: EXIT_STATUS.REPOSITORY_MISSING });
        run("mount", "--bind", elsewhere, folder);
        expectNextFlushWhole();
      }
    });

    function begin(): void {
      site.init();
      site.must("track", "start", source);
      expect(site.flush(source)).toMatchObject({ type: "base", consistency: "quiet" });
    }

    function scribble(sizeMiB: number): void {
      const dd = `dd of=${source} bs=1M oflag=direct iflag=fullblock conv=notrunc status=none`;
      shell(`head -c ${sizeMiB}M /dev/urandom | ${dd} seek=${sizeMiB}`);
    }

    function expectNextFlushWhole(): void {
      const flushed = site.flush(source);
      expect(flushed).toMatchObject({ gapCheck: { verdict: "trusted" }, consistency: "quiet" });
      site.restore("latest", target);
      expect(firstDifference(source, target)).toBe("");
    }
  });
});
