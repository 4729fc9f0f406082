import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { BlockSet } from "../../src/core/block_set.ts";
import { taintsBetween } from "../../src/core/gap_check.ts";
import type { WriteCounters } from "../../src/core/write_counters.ts";
import { readNote, writeNote } from "../../src/tracker/attachments.ts";
import { bridgeSets, type NewAttachment } from "../../src/tracker/bridge.ts";
import { PendingSet } from "../../src/tracker/pending.ts";

const BLOCK_COUNT = 100;
const RANGE = { wholeDisk: { major: 7, minor: 3 }, startSector: 0 };
const [FIRST, SECOND] = ["aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"];
const NOTHING: WriteCounters = { sectorsWritten: 40, sectorsDiscarded: 0 };
const BEFORE = {
  bootId: "boot",
  session: `session-${FIRST}`,
  diskSequence: 9,
  sizeBytes: BLOCK_COUNT * 4096,
  taints: { "programs skipped": 2 },
};
const AFTER: NewAttachment = {
  ...BEFORE,
  session: `session-${SECOND}`,
  taints: { "programs skipped": 0 },
  counters: NOTHING,
};

let folder: string;
beforeEach(() => {
  folder = mkdtempSync("/dev/shm/ibackup-bridge-");
});
afterEach(() => rmSync(folder, { recursive: true }));

function place() {
  return { runtimeFolder: folder, range: RANGE };
}

function openSet(repositoryId = "a"): PendingSet {
  return new PendingSet({ ...place(), repositoryId }, BLOCK_COUNT);
}

function noteStop(attachment: string, stoppedWith: Record<string, number> | null): void {
  const device = { major: 7, minor: 3 };
  const note = { device, since: null, unseen: 0, ends: 0, unseenBefore: 0, stoppedWith };
  writeNote(folder, { attachment }, note);
}

/** A set that collected and committed a backup, then was stopped in order. */
function stoppedSet(repositoryId = "a", last = { counters: NOTHING, taints: BEFORE.taints }): void {
  const set = openSet(repositoryId);
  set.reset(BEFORE);
  set.begin(undefined);
  set.beginEpoch();
  set.noteCollect(last);
  set.prepareCommit({ ...stored("one"), firstEpoch: set.epoch, taints: BEFORE.taints });
  set.commit();
  noteStop(FIRST, BEFORE.taints);
}

/** A backup, and the digest of its manifest. */
function stored(backupId: string): { backupId: string; sha256: string };
function stored(backupId: string | undefined): { backupId: string; sha256: string } | undefined;
function stored(backupId: string | undefined) {
  return backupId === undefined ? undefined : { backupId, sha256: `digest of ${backupId}` };
}

describe("bridgeSets()", () => {
  test("lets a set go on when nothing was written while tracking was stopped", () => {
    stoppedSet();
    bridgeSets(place(), AFTER);
    expect(openSet().state).toMatchObject({
      session: AFTER.session,
      taints: AFTER.taints,
      parentId: "one",
      bridged: true,
    });
  });

  test("says so until the next backup is committed", () => {
    stoppedSet();
    bridgeSets(place(), AFTER);
    const set = openSet();
    set.begin(stored("one"));
    expect(set.state?.bridged).toBe(true);
    set.beginEpoch();
    set.prepareCommit({ ...stored("two"), firstEpoch: set.epoch, taints: {} });
    set.commit();
    expect(openSet().state).toMatchObject({ parentId: "two", bridged: false });
  });

  test("keeps the blocks, and the backup that may have been committed", () => {
    stoppedSet();
    const set = openSet();
    set.begin(stored("one"));
    const [file = ""] = set.beginEpoch();
    writeFileSync(file, Uint8Array.from([0b110, ...new Array<number>(15).fill(0)]));
    set.noteCollect({ counters: NOTHING, taints: BEFORE.taints });
    set.prepareCommit({ ...stored("two"), firstEpoch: set.epoch, taints: BEFORE.taints });
    bridgeSets(place(), AFTER);
    const next = openSet();
    next.begin(stored("two"));
    expect(next.state).toMatchObject({ parentId: "two", bridged: true, taints: AFTER.taints });
    expect([...next.read().extents()]).toEqual([{ firstBlock: 1, blockCount: 2 }]);
  });

  // Each of these, alone, must be enough.
  const doubts: Record<string, Partial<NewAttachment>> = {
    "a write was counted": { counters: { ...NOTHING, sectorsWritten: 41 } },
    "a discard was counted": { counters: { ...NOTHING, sectorsDiscarded: 8 } },
    "the file of a loop disk was changed": { counters: { ...NOTHING, backingFile: "1 2 3" } },
    "the machine was started anew": { bootId: "other" },
    "another medium is in the device": { diskSequence: 10 },
    "the kernel has no disk sequence numbers": { diskSequence: undefined },
    "the disk was resized": { sizeBytes: 4096 },
  };
  for (const [reason, change] of Object.entries(doubts)) {
    test(`does not when ${reason}`, () => {
      stoppedSet();
      bridgeSets(place(), { ...AFTER, ...change });
      expect(openSet().state?.session).toBe(BEFORE.session);
    });
  }

  test("does not when its newest collect noted no counters", () => {
    stoppedSet();
    openSet().noteCollect(null);
    bridgeSets(place(), AFTER);
    expect(openSet().state?.session).toBe(BEFORE.session);
  });

  test("does not when tracking was not stopped in order, or the note is gone or damaged", () => {
    stoppedSet();
    noteStop(FIRST, null);
    bridgeSets(place(), AFTER);
    expect(openSet().state?.session).toBe(BEFORE.session);
    writeFileSync(`${folder}/attachments/${FIRST}`, "{");
    bridgeSets(place(), AFTER);
    expect(openSet().state?.session).toBe(BEFORE.session);
    rmSync(`${folder}/attachments`, { recursive: true });
    bridgeSets(place(), AFTER);
    expect(openSet().state?.session).toBe(BEFORE.session);
  });

  test("does not when a taint was raised before the stop, seen by a collect or not", () => {
    const tainted = { "programs skipped": 3 };
    stoppedSet();
    noteStop(FIRST, tainted);
    bridgeSets(place(), AFTER);
    expect(openSet().state?.session).toBe(BEFORE.session);
    stoppedSet("b", { counters: NOTHING, taints: tainted });
    noteStop(FIRST, tainted);
    bridgeSets(place(), AFTER);
    expect(openSet("b").state?.session).toBe(BEFORE.session);
  });
});

test("a note is read as it was written", () => {
  noteStop(SECOND, { reason: 1 });
  expect(readNote(folder, { attachment: SECOND })?.stoppedWith).toEqual({ reason: 1 });
  expect(readNote(folder, { attachment: FIRST })).toBeUndefined();
});

/**
 * Methodology: a model of the kernel, in which a write begins (is marked), ends later (is marked),
 * and is counted later still, whether or not somebody tracks. The hook may miss its end. Tracking is
 * stopped and started at any moment; two repositories are flushed in turn. Whenever a set says "trust me", no block may be
 * missing that was written since its newest backup read it.
 */
describe("sets of a disk whose tracking is stopped and started", () => {
  const block = fc.nat(BLOCK_COUNT - 1);
  const operation = fc.oneof(
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("begin"), block }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("end"), block }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("count"), block }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("end unseen"), block }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("flush a"), block }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("flush b"), block }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("stop"), block }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("start"), block }) },
  );

  class Model {
    /** Begun, and ended but not yet counted, nor told to the writer: both are in flight. */
    readonly begun: number[] = [];
    readonly ended: number[] = [];
    readonly kernel = new Set<number>();
    readonly needed = { a: new Set<number>(), b: new Set<number>() };
    readonly newest: { a?: string; b?: string } = {};
    trusted = 0;
    #attachment: string | undefined;
    #attachments = 0;
    #counted = 0;
    /** Since the attach: ends that the hooks saw, missed ends that were dealt with, the taint. */
    #seen = { begins: 0, ends: 0 };
    #since = 0;
    #isExact = true;
    #missed = 0;
    #unseen = 0;

    get counters(): WriteCounters {
      return { ...NOTHING, sectorsWritten: 8 * this.#counted };
    }

    begin(block: number): void {
      this.begun.push(block);
      if (this.#attachment === undefined) return;
      this.kernel.add(block);
      this.#seen.begins += 1;
    }

    /** The data reach the disk: from now on the block is needed, until it is read. */
    end(isSeen: boolean): void {
      const block = this.begun.shift();
      if (block === undefined) return;
      if (this.#attachment !== undefined && isSeen) {
        this.kernel.add(block);
        this.#seen.ends += 1;
      }
      this.ended.push(block);
      this.needed.a.add(block);
      this.needed.b.add(block);
    }

    count(): void {
      if (this.ended.shift() !== undefined) this.#counted += 1;
    }

    stop(): void {
      if (this.#attachment !== undefined) noteStop(this.#attachment, this.taints);
      this.#attachment = undefined;
      this.kernel.clear();
    }

    start(): void {
      if (this.#attachment !== undefined) return;
      this.#attachment = (++this.#attachments).toString(16).padStart(16, "0");
      noteStop(this.#attachment, null);
      this.#seen = { begins: 0, ends: 0 };
      this.#missed = 0;
      this.#unseen = 0;
      this.#since = this.#counted;
      this.#isExact = this.begun.length + this.ended.length === 0;
      if (!this.#isExact) return;
      const { session } = this;
      bridgeSets(place(), { ...AFTER, session, taints: this.taints, counters: this.counters });
    }

    get taints(): Record<string, number> {
      return { "writes not seen": this.#unseen };
    }

    get session(): string {
      return `session-${this.#attachment}`;
    }

    flush(id: "a" | "b", endsMeanwhile: boolean): void {
      if (this.#attachment === undefined) return;
      // Microseconds after it has ended; only during a collect that may still have to come.
      while (this.ended.length > 0) this.count();
      const set = openSet(id);
      const continues = set.state?.session === this.session;
      if (!continues) set.reset({ ...BEFORE, session: this.session, taints: this.taints });
      set.begin(stored(this.newest[id]));
      this.#collect(set, endsMeanwhile);
      const newest = this.newest[id];
      const { taints } = this;
      const { parentId, taints: before } = set.state ?? {};
      const isTrusted =
        continues && newest !== undefined && parentId === newest && !isTainted(before, taints);
      this.#read(id, isTrusted ? blocksOf(set.read()) : undefined);
      this.#collect(set, endsMeanwhile);
      const backupId = `backup-${id}-${set.epoch}-${this.#counted}`;
      set.prepareCommit({ ...stored(backupId), firstEpoch: set.epoch, taints });
      this.newest[id] = backupId;
      set.commit();
    }

    /** @param blocks Undefined: all of the disk. */
    #read(id: "a" | "b", blocks: number[] | undefined): void {
      if (blocks === undefined) {
        this.needed[id].clear();
        return;
      }
      this.trusted += 1;
      expect(blocks).toEqual(expect.arrayContaining([...this.needed[id]]));
      for (const block of blocks) this.needed[id].delete(block);
    }

    #collect(set: PendingSet, endsMeanwhile: boolean): void {
      const { counters } = this;
      const counted = this.#counted - this.#since;
      const missed = counted - this.#seen.ends;
      const { begins, ends } = this.#seen;
      const seen = this.#isExact ? Math.max(begins, ends) : ends;
      this.#unseen = Math.max(this.#unseen, counted - seen);
      const isStill = this.begun.length + this.ended.length === 0;
      if (endsMeanwhile) this.end(true);
      else this.count();
      for (const file of set.beginEpoch()) addBlocks(file, this.kernel);
      this.kernel.clear();
      if (missed > this.#missed) set.addRecent();
      this.#missed = Math.max(missed, this.#missed);
      if (isStill) set.forgetRecent();
      this.#isExact ||= isStill;
      set.noteCollect({ counters, taints: this.taints });
    }
  }

  test("never lose a block", () => {
    let trusted = 0;
    fc.assert(
      fc.property(fc.array(operation, { minLength: 4, maxLength: 60 }), (operations) => {
        rmSync(folder, { recursive: true });
        folder = mkdtempSync("/dev/shm/ibackup-bridge-");
        const model = new Model();
        model.start();
        for (const { kind, block: number } of operations) {
          if (kind === "begin") model.begin(number);
          if (kind === "end") model.end(true);
          if (kind === "end unseen") model.end(false);
          if (kind === "count") model.count();
          if (kind === "stop") model.stop();
          if (kind === "start") model.start();
          if (kind === "flush a") model.flush("a", number % 3 === 0);
          if (kind === "flush b") model.flush("b", number % 3 === 0);
        }
        trusted += model.trusted;
      }),
      { numRuns: 600 },
    );
    // The model is worth nothing when every flush compares.
    expect(trusted).toBeGreaterThan(50);
  });
});

function isTainted(before: Record<string, number> | undefined, after: Record<string, number>) {
  return taintsBetween(before ?? {}, after).length > 0;
}

/** What the helper does: OR the kernel's bits into the file. */
function addBlocks(file: string, blocks: Iterable<number>): void {
  const bytes = readFileSync(file);
  for (const block of blocks) bytes[block >> 3] = (bytes[block >> 3] ?? 0) | (1 << (block & 7));
  writeFileSync(file, bytes);
}

function blocksOf(set: BlockSet): number[] {
  return [...set.extents()].flatMap(({ firstBlock, blockCount }) =>
    Array.from({ length: blockCount }, (_, i) => firstBlock + i),
  );
}
