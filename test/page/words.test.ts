/** Figures, times and requests as the page makes them. */
import { describe, expect, test } from "vitest";
import type { BackupsDocument } from "../../src/api/schemas.ts";
import {
  formatLeft,
  formatPercent,
  formatTime,
  formatWhen,
  instantOf,
  secondAfter,
} from "../../src/page/format.ts";
import { leftMs, paceOf } from "../../src/page/pace.ts";
import {
  firstWanted,
  placesIn,
  planRequestOf,
  sortedTargets,
  withPlace,
} from "../../src/page/restore_steps.ts";

describe("figures", () => {
  test("are 100 % only when all is done", () => {
    expect([0, 0.076, 0.9999, 1, 1.2].map(formatPercent)).toEqual([
      ...["0 %", "7 %", "99 %", "100 %", "100 %"],
    ]);
  });

  test("tell when, in one unit", () => {
    const at = (ms: number): string => formatWhen(1e12 + ms, 1e12);
    expect([-1_000, 1_000, -20_000, 240_000].map(at)).toEqual([
      ...["just now", "now", "20 s ago", "in 4 min"],
    ]);
    expect([-3 * 3_600_000, 72 * 3_600_000].map(at)).toEqual(["3 h ago", "in 3 days"]);
  });

  test("are instants that can be typed back", () => {
    expect(formatTime("2026-11-23T14:05:06.789Z")).toBe("2026-11-23 14:05:06Z");
    expect(secondAfter("2026-11-23T14:05:06.789Z")).toBe("2026-11-23 14:05:07Z");
    expect(secondAfter("2026-11-23T14:05:06.000Z")).toBe("2026-11-23 14:05:06Z");
    expect(instantOf("2026-11-23 14:05:07Z")).toBe("2026-11-23T14:05:07.000Z");
    expect(instantOf(" 2026-11-23T14:05 ")).toBe("2026-11-23T14:05:00.000Z");
    for (const wrong of ["", "yesterday", "2026-13-01 00:00", "2026-11-23 14:05+01:00"]) {
      expect(instantOf(wrong)).toBeUndefined();
    }
  });

  test("tell the time left by how fast this step goes, once that is known", () => {
    const step = (label: string, doneBytes: number) => ({ label, doneBytes, totalBytes: 1_000 });
    const pace = paceOf(undefined, step("reading", 100), 0);
    expect(leftMs(pace, step("reading", 100), 5_000)).toBeUndefined();
    expect(leftMs(pace, step("reading", 300), 2_900)).toBeUndefined();
    expect(leftMs(pace, step("reading", 300), 4_000)).toBe(14_000);
    expect(paceOf(pace, step("reading", 300), 2_000)).toBe(pace);
    expect(paceOf(pace, step("verifying", 300), 2_000)).toMatchObject({ sinceMs: 2_000 });
    expect(leftMs(pace, { ...step("reading", 300), totalBytes: 0 }, 2_000)).toBeUndefined();
    expect(formatLeft(undefined)).toBe("");
    expect([7_000, 6_320, 1, 70_000].map(formatLeft)).toEqual([
      ...["about 7 s left", "about 7 s left", "about 1 s left", "about 1 min 10 s left"],
    ]);
  });
});

const BACKUPS = ["a1 vda", "a2 vda", "b1 vdb"].map(
  (text, i): BackupsDocument["backups"][number] => {
    const [backupId = "", disk = ""] = text.split(" ");
    return {
      ...{ backupId, vmId: "web-1", disk, type: "base", parentId: null, consistency: "frozen" },
      capturedAt: `2026-11-23T14:0${i}:00.500Z`,
      ...{ blocksChanged: 1, bytesStored: 1, tags: [], protected: false },
    };
  },
);

describe("a restore", () => {
  const disk = { device: "/dev/vdc", file: "", changedOnly: false };

  test("begins with the newest backup, or the one that was pressed", () => {
    expect(placesIn(BACKUPS)).toEqual(["vda of web-1", "vdb of web-1"]);
    expect(firstWanted(BACKUPS)).toMatchObject({ backupId: "b1", place: "vdb of web-1" });
    const wanted = firstWanted(BACKUPS, "a1");
    expect(wanted).toMatchObject({ backupId: "a1", instant: "2026-11-23 14:00:01Z" });
    expect(withPlace(firstWanted(BACKUPS), "vda of web-1", BACKUPS).backupId).toBe("a2");
    expect(planRequestOf(firstWanted([]), disk, [])).toBeUndefined();
  });

  test("asks for a backup, or for an instant of a disk, and where to", () => {
    const wanted = firstWanted(BACKUPS, "a1");
    expect(planRequestOf(wanted, disk, BACKUPS)).toEqual({ backupId: "a1", target: "/dev/vdc" });
    const file = { device: "", file: " /srv/copy.img ", changedOnly: true };
    expect(planRequestOf({ ...wanted, by: "instant" }, file, BACKUPS)).toEqual({
      ...{ at: "2026-11-23T14:00:01.000Z", disk: "vda", vm: "web-1" },
      ...{ target: "/srv/copy.img", changedOnly: true },
    });
    expect(planRequestOf(wanted, { ...file, file: "copy.img" }, BACKUPS)).toBeUndefined();
    const never = { ...wanted, by: "instant" as const, instant: "soon" };
    expect(planRequestOf(never, disk, BACKUPS)).toBeUndefined();
  });

  test("shows the disks first that can be written to", () => {
    const target = { sizeBytes: 1, model: null, contents: [], mountedAt: [] };
    const targets = [
      { ...target, path: "/dev/a", whyNot: "it is mounted" },
      { ...target, path: "/dev/b", whyNot: null },
    ];
    expect(sortedTargets({ targets }).map(({ path }) => path)).toEqual(["/dev/b", "/dev/a"]);
  });
});
