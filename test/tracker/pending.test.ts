import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { BlockSet } from "../../src/core/block_set.ts";
import { PendingSet } from "../../src/tracker/pending.ts";

const BLOCK_COUNT = 200;
const SESSION = {
  bootId: "boot",
  session: "session",
  sizeBytes: BLOCK_COUNT * 4096,
  taints: {},
};

let folder: string;
beforeEach(() => {
  folder = mkdtempSync("/dev/shm/ibackup-pending-");
});
afterEach(() => rmSync(folder, { recursive: true }));

function openSet(repositoryId: string, session = SESSION.session): PendingSet {
  const range = { wholeDisk: { major: 7, minor: 3 }, startSector: 0 };
  const set = new PendingSet({ runtimeFolder: folder, range, repositoryId }, BLOCK_COUNT);
  if (set.state?.session !== session) set.reset({ ...SESSION, session });
  return set;
}

/** What the helper does: OR the kernel's bits into each file, then clear them. */
function collect(kernel: Set<number>, files: readonly string[]): void {
  for (const file of files) {
    const bytes = readFileSync(file);
    for (const block of kernel) {
      const at = block >> 3;
      bytes[at] = (bytes[at] ?? 0) | (1 << (block & 7));
    }
    writeFileSync(file, bytes);
  }
  kernel.clear();
}

function blocksOf(set: BlockSet): number[] {
  return [...set.extents()].flatMap(({ firstBlock, blockCount }) =>
    Array.from({ length: blockCount }, (_, i) => firstBlock + i),
  );
}

/** A backup, and the digest of its manifest. */
function stored(backupId: string): { backupId: string; sha256: string };
function stored(backupId: string | undefined): { backupId: string; sha256: string } | undefined;
function stored(backupId: string | undefined) {
  return backupId === undefined ? undefined : { backupId, sha256: `digest of ${backupId}` };
}

describe("PendingSet", () => {
  test("keeps what a failed flush had collected", () => {
    const failed = openSet("a");
    failed.begin(undefined);
    collect(new Set([1, 2]), failed.beginEpoch());

    const next = openSet("a");
    next.begin(undefined);
    collect(new Set([2, 9]), next.beginEpoch());
    expect(blocksOf(next.read())).toEqual([1, 2, 9]);
    expect(blocksOf(next.readEpoch())).toEqual([2, 9]);
  });

  test("finds nothing in a file whose maker was killed before it had its size", () => {
    const killed = openSet("a");
    killed.begin(undefined);
    collect(new Set([7]), killed.beginEpoch());
    const [unfinished = ""] = killed.beginEpoch();
    truncateSync(unfinished, 0);

    const next = openSet("a");
    next.begin(undefined);
    collect(new Set([8]), next.beginEpoch());
    expect(blocksOf(next.read())).toEqual([7, 8]);
  });

  test("takes no more room with each collect, nor with each flush that fails", () => {
    const written = [1, 2, 3, 4, 5];
    for (const round of written) {
      const failed = openSet("a");
      failed.begin(undefined);
      for (const again of [0, 50, 100]) collect(new Set([round + again]), failed.beginEpoch());
      expect(blocksOf(failed.readEpoch())).toEqual([round + 100]);
    }
    const all = [0, 50, 100].flatMap((again) => written.map((round) => round + again));
    expect(blocksOf(openSet("a").read())).toEqual(all);
    const files = readdirSync(join(folder, "pending/7-3-0/a"));
    expect(files.sort()).toEqual(["17.bits", "20.bits", "carry.bits", "state.json"]);
  });

  test("drops on commit what was collected before the last read, and nothing else", () => {
    const set = openSet("a");
    set.begin(undefined);
    collect(new Set([1]), set.beginEpoch());
    collect(new Set([5]), set.beginEpoch());
    set.prepareCommit({ ...stored("one"), firstEpoch: set.epoch, taints: {} });
    set.commit();
    expect(set.state?.parentId).toBe("one");

    const next = openSet("a");
    next.begin(stored("one"));
    expect(blocksOf(next.read())).toEqual([5]);
  });

  test("does not take the backup of a copy of this machine for its own", () => {
    const set = openSet("a");
    set.begin(undefined);
    collect(new Set([1]), set.beginEpoch());
    set.prepareCommit({ ...stored("one"), firstEpoch: set.epoch + 1, taints: {} });

    const next = openSet("a");
    next.begin({ ...stored("one"), sha256: "of what the copy has read" });
    expect(blocksOf(next.read())).toEqual([1]);
    expect(next.state?.parentId).toBeNull();
  });

  test("starts anew in another session", () => {
    const set = openSet("a");
    set.begin(undefined);
    collect(new Set([1]), set.beginEpoch());
    const next = openSet("a", "another");
    next.begin(undefined);
    expect(blocksOf(next.read())).toEqual([]);
    expect(next.state?.parentId).toBeNull();
  });

  test("does not trust a state that makes no sense", () => {
    openSet("a").begin(undefined);
    writeFileSync(join(folder, "pending/7-3-0/a/state.json"), "{");
    const range = { wholeDisk: { major: 7, minor: 3 }, startSector: 0 };
    const set = new PendingSet({ runtimeFolder: folder, range, repositoryId: "a" }, BLOCK_COUNT);
    expect(set.state).toBeUndefined();
  });
});

/**
 * Methodology: a model knows, for each of two repositories, which blocks were written since its
 * newest backup read them. Flushes stop at every step, as a SIGKILL would stop them, and go on in
 * a new process. Whenever the state says "trust me", no such block may be missing.
 */
describe("two pending sets of one disk", () => {
  const STEPS = [
    "begin",
    "collect",
    "read",
    "collect again",
    "collect once more",
    "prepare",
    "put",
    "commit",
  ] as const;
  const operation = fc.oneof(
    fc.record({ kind: fc.constant("write" as const), block: fc.nat(BLOCK_COUNT - 1) }),
    fc.record({
      kind: fc.constant("flush" as const),
      repository: fc.constantFrom("a", "b"),
      stopBefore: fc.constantFrom(undefined, undefined, ...STEPS),
      writtenMeanwhile: fc.array(fc.nat(BLOCK_COUNT - 1), { maxLength: 4 }),
    }),
  );

  class Model {
    readonly kernel = new Set<number>();
    readonly needed = { a: new Set<number>(), b: new Set<number>() };
    readonly newest: { a?: string; b?: string } = {};
    #backups = 0;

    write(block: number): void {
      this.kernel.add(block);
      this.needed.a.add(block);
      this.needed.b.add(block);
    }

    flush(id: "a" | "b", stopBefore: string | undefined, writtenMeanwhile: number[]): void {
      const stops = (step: (typeof STEPS)[number]): boolean => step === stopBefore;
      if (stops("begin")) return;
      const set = openSet(id);
      set.begin(stored(this.newest[id]));
      if (stops("collect")) return;
      collect(this.kernel, set.beginEpoch());
      const trusted = this.newest[id] !== undefined && set.state?.parentId === this.newest[id];
      if (stops("read")) return;
      if (trusted)
        expect(blocksOf(set.read())).toEqual(expect.arrayContaining([...this.needed[id]]));
      // What the first of these collects brings is read, what the last one brings is not.
      const half = writtenMeanwhile.length >> 1;
      for (const block of writtenMeanwhile.slice(0, half)) this.write(block);
      if (stops("collect again")) return;
      collect(this.kernel, set.beginEpoch());
      const unread = new Set(writtenMeanwhile.slice(half));
      for (const block of unread) this.write(block);
      if (stops("collect once more")) return;
      collect(this.kernel, set.beginEpoch());
      if (stops("prepare")) return;
      const backupId = `backup-${++this.#backups}`;
      set.prepareCommit({ ...stored(backupId), firstEpoch: set.epoch, taints: {} });
      if (stops("put")) return;
      this.newest[id] = backupId;
      this.needed[id] = unread;
      if (stops("commit")) return;
      set.commit();
    }
  }

  test("never lose a block, wherever a flush of either is cut off", () => {
    fc.assert(
      fc.property(fc.array(operation, { minLength: 1, maxLength: 40 }), (operations) => {
        rmSync(folder, { recursive: true });
        folder = mkdtempSync("/dev/shm/ibackup-pending-");
        const model = new Model();
        for (const step of operations) {
          if (step.kind === "write") model.write(step.block);
          else model.flush(step.repository as "a" | "b", step.stopBefore, step.writtenMeanwhile);
        }
        model.flush("a", undefined, []);
        model.flush("b", undefined, []);
        expect([model.needed.a.size, model.needed.b.size]).toEqual([0, 0]);
      }),
      { numRuns: 300 },
    );
  });
});
