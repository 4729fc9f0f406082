/** What the page makes of the events it hears, without a browser. */
import { describe, expect, test } from "vitest";
import type { FlushDocument, StatusDocument } from "../../src/api/schemas.ts";
import { lineOf } from "../../src/page/elements.ts";
import { initialState, type PageEvent, reduce, writeRate } from "../../src/page/state.ts";

const NOW = Date.parse("2026-11-23T14:00:00Z");

const FLUSH: FlushDocument = {
  ...{ id: "f1", device: "/dev/vdb", state: "running", why: "asked for" },
  ...{ askedAt: "2026-11-23T13:59:58Z", startedAt: "2026-11-23T13:59:59Z", endedAt: null },
  ...{ progress: null, messages: [], result: null, failure: null },
};

function statusWith(flush: FlushDocument | null): StatusDocument {
  return {
    ...{ daemon: null, repo: null, vmId: "web-1", chores: [], alarms: [] },
    disks: [
      {
        ...{ device: "/dev/vdb", diskName: "vdb", sizeBytes: 4 << 20, isTracked: true },
        ...{ blockBytes: 4096, changedBlocks: 3, taints: [], newest: null, isNewestKnown: true },
        ...{ next: null, retryAt: null, flush },
        totals: {
          ...{ flushesDone: 0, flushesFailed: 0, bytesRead: 0, bytesStored: 0 },
          ...{ lastFlushMs: null, lastFreezeMs: null },
        },
      },
    ],
  };
}

function stateAfter(...events: PageEvent[]) {
  return events.reduce((state, event) => reduce(state, event, NOW), initialState(NOW));
}

const ACTIVITY: PageEvent = {
  kind: "activity",
  activity: {
    ...{ device: "/dev/vdb", blockCount: 1000, blocksPerCell: 10 },
    ...{ cells: new Array<number>(100).fill(0), unplacedBlocks: 0 },
  },
};

describe("the state of the page", () => {
  test("has what the status says is under way, and forgets what it does not name", () => {
    const other = { ...FLUSH, id: "f0" };
    const state = stateAfter(
      { kind: "flush", flush: other },
      { kind: "status", status: statusWith(FLUSH) },
    );
    expect(state.flushes).toEqual([FLUSH]);
    expect(stateAfter({ kind: "status", status: statusWith(null) }).flushes).toEqual([]);
  });

  test("moves a flush that has ended to those that are told", () => {
    const ended = { ...FLUSH, state: "done" as const, endedAt: "2026-11-23T14:00:00Z" };
    const state = stateAfter(
      { kind: "status", status: statusWith(FLUSH) },
      { kind: "flush", flush: ended },
    );
    expect(state).toMatchObject({ flushes: [], endedFlushes: [ended] });
    let many = state;
    for (let i = 0; i < 50; i++) {
      many = reduce(many, { kind: "flush", flush: { ...ended, id: `${i}` } }, NOW);
    }
    expect(many.endedFlushes.map(({ id }) => id)).toEqual(["49", "48", "47", "46", "45"]);
  });

  test("puts blocks on the map of their disk, once that is there, and counts them", () => {
    const blocks: PageEvent = {
      kind: "blocks",
      blocks: [
        { device: "/dev/vdb", firstBlock: 15, blockCount: 10 },
        { device: "/dev/vdz", firstBlock: 0, blockCount: 5 },
      ],
    };
    const state = stateAfter({ kind: "status", status: statusWith(null) }, ACTIVITY, blocks);
    expect(state.status?.disks[0]?.changedBlocks).toBe(3 + 10);
    expect(state.maps["/dev/vdb"]?.cells.slice(0, 4)).toEqual([0, 5, 5, 0]);
    expect(Object.keys(state.maps)).toEqual(["/dev/vdb"]);
    expect(writeRate(state)).toBe(3);
    const later = reduce(state, { kind: "tick" }, NOW + 6_000);
    expect(writeRate(later)).toBe(0);
    expect(later).toMatchObject({ writes: [] });
    expect(later.maps["/dev/vdb"]?.hits.size).toBe(0);
  });

  test("drops the map of a disk that is no longer looked after", () => {
    const gone = { ...statusWith(null), disks: [] };
    expect(stateAfter(ACTIVITY, { kind: "status", status: gone }).maps).toEqual({});
  });

  test("says since when the connection is lost, however often it fails", () => {
    const lost = reduce(stateAfter({ kind: "lost" }), { kind: "lost" }, NOW + 5_000);
    expect(lost.connection).toEqual({ kind: "lost", sinceMs: NOW });
    expect(reduce(lost, { kind: "connected" }, NOW).connection).toEqual({ kind: "open" });
  });

  test("gives each element a line that tells how it stands", () => {
    const progress = { label: "reading", doneBytes: 30, totalBytes: 120 };
    const state = stateAfter({ kind: "status", status: statusWith({ ...FLUSH, progress }) });
    expect(lineOf("helper", state)).toBe("reads, 25 %");
    expect(lineOf("daemon", state)).toBe("backs up");
    expect(lineOf("hook", state)).toBe("marks on 1 of 1");
    expect(lineOf("helper", stateAfter({ kind: "status", status: statusWith(null) }))).toBe(
      "does not listen",
    );
    expect(lineOf("store", initialState(NOW))).toBe("…");
  });
});
