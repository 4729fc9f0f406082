/** Every hole of the gap check: writes that no hook saw make the next flush compare the disk. */
import { existsSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { firstDifference, run, shell } from "../support/machine.ts";
import type { Flushed } from "../support/program.ts";
import { type Random, seededRandom } from "../support/random.ts";
import { canTrack, Site } from "../support/site.ts";

const SIZE_BYTES = 48 << 20;

describe.runIf(canTrack())("a gap in the tracking", () => {
  let site: Site;
  let source: string;
  let random: Random;
  beforeEach(() => {
    site = new Site();
    site.init();
    random = seededRandom("gaps");
    source = site.machine.loopDisk("source", SIZE_BYTES);
    shell(`head -c 24M /dev/urandom | dd of=${source} bs=4M oflag=direct status=none`);
    site.must("track", "start", source);
    expect(site.flush(source)).toMatchObject({ type: "base" });
  });
  afterEach(() => site.close());

  describe("while tracking is stopped", () => {
    const writes: Record<string, () => void> = {
      "writes past the page cache": () => scatter(source, random, 20),
      "one buffered write": () => {
        shell(`head -c 700 /dev/urandom | dd of=${source} conv=notrunc,fsync status=none`);
      },
      "a discard": () => void run("blkdiscard", "-o", "8192", "-l", "40960", source),
      "a zeroing": () => void run("blkdiscard", "-z", "-o", "8192", "-l", "40960", source),
      "writes that the kernel is told not to count": () => {
        countWrites(source, false);
        scatter(source, random, 20);
      },
      "writes that the kernel is told not to count, and to count again after them": () => {
        countWrites(source, false);
        scatter(source, random, 20);
        countWrites(source, true);
      },
      "a change of the loop disk's file behind its back": () => {
        const image = site.machine.path("source.img");
        shell(
          `head -c 4096 /dev/urandom | dd of='${image}' bs=4096 seek=7 conv=notrunc status=none`,
        );
      },
    };
    for (const [name, write] of Object.entries(writes)) {
      test(`is noticed when there was: ${name}`, () => {
        site.must("track", "stop", source);
        write();
        site.must("track", "start", source);
        expectCompared(/tracking was started anew/);
        expectTrustedAfterWrites();
      });
    }

    test("is none when nothing was written", () => {
      site.must("track", "stop");
      site.must("track", "start", source);
      expectTrusted(site.flush(source), /the kernel counted none while tracking was stopped/);
      expectRestored();
      expectTrustedAfterWrites();
    });

    test("is none either for blocks that a failed flush had collected, in any repository", () => {
      const [first, second] = [site.repo, `file://${site.machine.path("second")}`];
      site.repo = second;
      site.init();
      site.flush(source);
      scatter(source, random, 20);
      // Nothing can be put there.
      const packs = `${site.machine.path("second")}/packs`;
      shell(`mv '${packs}' '${packs}.away' && touch '${packs}'`);
      expect(site.run("flush", source).status).not.toBe(0);
      shell(`rm '${packs}' && mv '${packs}.away' '${packs}'`);
      site.must("track", "stop");
      site.must("track", "start", source);
      for (const repo of [first, second]) {
        site.repo = repo;
        const flushed = site.flush(source);
        expectTrusted(flushed, /the kernel counted none/);
        expect(flushed.blocksChanged).toBeGreaterThan(0);
        expectRestored();
      }
    });

    test("is noticed when writes came between the last flush and the stop", () => {
      scatter(source, random, 20);
      site.must("track", "stop");
      site.must("track", "start", source);
      expectCompared(/tracking was started anew/);
    });
  });

  describe("by pins that went", () => {
    test.each([
      "link_request_issue",
      "link_request_complete",
      "program_request_issue",
      "map_disks",
    ])("is noticed when %s was deleted", (pin) => {
      run("rm", `${site.pinFolder}/${pin}`);
      scatter(source, random, 20);
      expectBroken();
    });

    test("is noticed when all were deleted, with tracking started again or not", () => {
      run("rm", "-r", site.pinFolder);
      scatter(source, random, 20);
      expectCompared(/the disk is not tracked/);
      run("rm", "-rf", site.pinFolder);
      site.must("track", "start", source);
      expectCompared(/tracking was started anew/);
      run("rm", "-r", site.pinFolder);
      // Nothing is written now; how it ended is not known.
      site.must("track", "start", source);
      expectCompared(/tracking was started anew/);
      expectTrustedAfterWrites();
    });

    test.each(["link_request_complete", "program_request_issue", "map_disks"])(
      "is noticed when %s was replaced by another of the same kind",
      (pin) => {
        const other = new Site();
        try {
          other.must("track", "start", site.machine.loopDisk("other", 1 << 20));
          run("mv", "-f", `${other.pinFolder}/${pin}`, `${site.pinFolder}/${pin}`);
          scatter(source, random, 20);
          expectBroken();
        } finally {
          other.close();
        }
      },
    );

    test("cannot come from a link that is detached: the kernel refuses that", () => {
      const link = `${site.pinFolder}/link_request_complete`;
      expect(() => run("bpftool", "link", "detach", "pinned", link)).toThrow(/not supported/);
      expectTrustedAfterWrites();
    });

    /** The flush compares, and says what to do; when that is done, the next one trusts again. */
    function expectBroken(): void {
      const status = site.run("track", "status");
      expect(status).toMatchObject({ status: 9, stdout: "" });
      expect(status.stderr).toContain("ibackup track stop");
      const { status: flushed, stderr } = site.run("flush", source);
      expect(flushed).toBe(0);
      expect(stderr).toMatch(/run `ibackup track stop`, then `ibackup track start`/);
      expectRestored();
      scatter(source, random, 20);
      expectCompared(/tracking is broken: Pin missing or not ours/);
      site.must("track", "stop");
      site.must("track", "start", source);
      expectCompared(/tracking was started anew/);
      expectTrustedAfterWrites();
    }
  });

  describe("that the kernel's counters tell", () => {
    test("is noticed when the disk was out of the table of tracked disks for a while", () => {
      const before = site.status(source).devices[0];
      expect(before?.taints).toMatchObject({ "writes not seen": 0 });
      const back = takeOut(source);
      scatter(source, random, 20);
      back();
      scatter(source, random, 5);
      const [tainted] = site.status(source).devices;
      expect(tainted?.taints["writes not seen"]).toBe(20 * 8);
      expect(site.must("track", "status", source)).toContain("160 writes not seen");
      const flushed = expectCompared(/tainted: writes not seen \(160\)/);
      expect(flushed.taints).toEqual([{ reason: "writes not seen", count: 160 }]);
      expectTrustedAfterWrites();
    });

    test.each(["-z", "-f"])("is noticed when it was a blkdiscard %s", (kind) => {
      const back = takeOut(source);
      run("blkdiscard", kind, "-o", "40960", "-l", "81920", source);
      back();
      expectCompared(/tainted: writes not seen \(160\)/);
      expectTrustedAfterWrites();
    });

    test("is mended by a flush that was asked to scan", () => {
      const back = takeOut(source);
      scatter(source, random, 3);
      back();
      const flushed = site.flush(source, "--scan");
      expect(flushed).toMatchObject({ gapCheck: { verdict: "compared" } });
      expectRestored();
      expectTrustedAfterWrites();
    });

    test("is not noticed, and no taint, where the kernel is told not to count", () => {
      countWrites(source, false);
      scatter(source, random, 20);
      const flushed = site.flush(source);
      expectTrusted(flushed, /every write/);
      countWrites(source, true);
      scatter(source, random, 20);
      expectTrusted(site.flush(source), /every write/);
      expectRestored();
    });

    /** Takes a disk out of the map of the tracked ones. @returns What puts it back. */
    function takeOut(device: string): () => void {
      const map = `${site.pinFolder}/map_disks`;
      const [{ key, value }] = JSON.parse(run("bpftool", "-j", "map", "dump", "pinned", map));
      expect(device).toMatch(/^\/dev\/loop/);
      run("bpftool", "map", "delete", "pinned", map, "key", ...key);
      return () => {
        run("bpftool", "map", "update", "pinned", map, "key", ...key, "value", ...value);
      };
    }
  });

  describe("by another disk or size", () => {
    test("is noticed when another file of the same size is behind the same name", () => {
      const image = site.machine.path("other.img");
      run("cp", site.machine.path("source.img"), image);
      scatter(image, random, 20);
      run("losetup", "-d", source);
      run("losetup", "--direct-io=on", source, image);
      site.machine.onClose(() => run("losetup", "-d", source));
      expectCompared(/another medium is in the device/);
      expectTrustedAfterWrites();
    });

    test("is noticed when that happened while tracking was stopped", () => {
      site.must("track", "stop");
      run("losetup", "-d", source);
      run("losetup", "--direct-io=on", source, site.machine.path("source.img"));
      site.machine.onClose(() => run("losetup", "-d", source));
      site.must("track", "start", source);
      expectCompared(/tracking was started anew/);
    });

    test.each([
      ["grown", SIZE_BYTES + (8 << 20)],
      ["shrunk", SIZE_BYTES - (8 << 20)],
    ])("is noticed when the disk was %s", (_, sizeBytes) => {
      resize(sizeBytes);
      scatter(source, random, 20);
      expectCompared(/resized from 50331648 to/);
      site.must("track", "start", source);
      expectCompared(/resized|tracking was started anew|did not see/);
      expectTrustedAfterWrites();
    });

    test("is noticed when it was resized while tracking was stopped, and back", () => {
      site.must("track", "stop");
      resize(SIZE_BYTES >> 1);
      resize(SIZE_BYTES);
      site.must("track", "start", source);
      expectCompared(/tracking was started anew/);
    });

    function resize(sizeBytes: number): void {
      truncateSync(site.machine.path("source.img"), sizeBytes);
      run("losetup", "-c", source);
    }
  });

  describe("by a copy of the machine", () => {
    test("is noticed when a machine of the same boot id has made the newest backup", () => {
      const pending = `${site.machine.runtimeFolder}/pending`;
      // The copy's memory: what it remembers is from before the newest backup.
      run("cp", "-a", pending, site.machine.path("remembered"));
      scatter(source, random, 20);
      const { backupId } = site.flush(source);
      run("rm", "-r", pending);
      run("cp", "-a", site.machine.path("remembered"), pending);
      scatter(source, random, 20);
      const flushed = expectCompared(/the newest backup is .*, not the one this machine made last/);
      expect(flushed.parentId).toBe(backupId);
      expectTrustedAfterWrites();
    });

    test("is noticed when the machine was started anew", () => {
      const state = shell(`ls ${site.machine.runtimeFolder}/pending/*/*/state.json`).trim();
      const remembered = JSON.parse(readFileSync(state, "utf8"));
      writeFileSync(state, JSON.stringify({ ...remembered, bootId: "of another boot" }));
      expectCompared(/the machine was started anew/);
    });
  });

  // Declared: ARCHITECTURE.md and docs/GAPS.md say so. These tests say when that is no longer true.
  describe("that nothing in the kernel tells", () => {
    test("stays: the file of a tracked loop disk changed behind its back; --scan finds it", () => {
      const image = site.machine.path("source.img");
      shell(`head -c 4096 /dev/urandom | dd of='${image}' bs=4096 seek=7 conv=notrunc status=none`);
      expectTrusted(site.flush(source), /every write/);
      expect(restoredDifference()).not.toBe("");
      expect(site.flush(source, "--scan").gapCheck.verdict).toBe("compared");
      expectRestored();
    });

    test("stays: a tracked disk shrunk and grown back; --scan finds it", () => {
      scatter(source, random, 1);
      site.flush(source);
      const image = site.machine.path("source.img");
      truncateSync(image, 8 << 20);
      run("losetup", "-c", source);
      truncateSync(image, SIZE_BYTES);
      run("losetup", "-c", source);
      expectTrusted(site.flush(source), /every write/);
      expect(restoredDifference()).not.toBe("");
      expect(site.flush(source, "--scan").gapCheck.verdict).toBe("compared");
      expectRestored();
    });
  });

  function expectCompared(reason: RegExp): Flushed {
    const flushed = site.flush(source);
    expect(flushed.gapCheck).toEqual({
      verdict: "compared",
      reason: expect.stringMatching(reason),
    });
    expectRestored();
    return flushed;
  }

  function expectTrustedAfterWrites(): void {
    scatter(source, random, 20);
    expectTrusted(site.flush(source), /^every write since the parent was seen$/);
    expectRestored();
  }

  function expectRestored(): void {
    expect(restoredDifference()).toBe("");
  }

  function restoredDifference(): string {
    const image = site.machine.path("restored.img");
    if (existsSync(image)) run("rm", image);
    site.restore("latest", image);
    return firstDifference(source, image);
  }
});

function expectTrusted(flushed: Flushed, reason: RegExp): void {
  expect(flushed.gapCheck).toEqual({
    verdict: "trusted",
    reason: expect.stringMatching(reason),
  });
  expect(flushed.taints).toEqual([]);
}

/** Switches the kernel's counting of the disk's reads and writes. */
function countWrites(device: string, isOn: boolean): void {
  const attribute = `/sys/block/${device.slice("/dev/".length)}/queue/iostats`;
  writeFileSync(attribute, isOn ? "1" : "0");
}

/** Writes single blocks in as many different places, past the page cache. */
function scatter(path: string, random: Random, count: number): void {
  const blocks = new Set<number>();
  while (blocks.size < count) blocks.add(random.below((32 << 20) / 4096));
  const script = [...blocks].map(
    (seek) =>
      "dd if=/dev/urandom bs=4096 count=1 iflag=fullblock status=none conv=notrunc " +
      `oflag=direct of='${path}' seek=${seek}`,
  );
  shell(script.join("\n"));
}
