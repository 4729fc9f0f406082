/** Damaged repositories: the damage is named, and never restored as if it were data. */
import type { Buffer } from "node:buffer";
import {
  copyFileSync,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { digestOf, shell } from "../support/machine.ts";
import { type Random, seededRandom } from "../support/random.ts";
import { canTrack, filesBelow, manifestKeyIn, type Restored, Site } from "../support/site.ts";

const SIZE_BYTES = 48 << 20;
const BLOCKS = SIZE_BYTES / 4096;

interface Verified {
  healthy: boolean;
  problems: {
    object: string;
    reason: string;
    backups: string[];
    extents: { firstBlock: number; blockCount: number }[];
  }[];
}

const HURTS: Record<string, (path: string, random: Random) => void> = {
  "with a flipped bit": (path, random) => {
    const bytes = readFileSync(path);
    const at = random.below(bytes.length);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
    writeFileSync(path, bytes);
  },
  // Where frames are, not the header or the table at the end, which a restore need not look at.
  "with a flipped bit in its middle": (path, random) => {
    const bytes = readFileSync(path);
    const at = bytes.length >> 1;
    bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
    writeFileSync(path, bytes);
  },
  "cut off": (path, random) => truncateSync(path, random.below(statSync(path).size)),
  empty: (path) => truncateSync(path, 0),
  "with bytes behind its end": (path) => writeFileSync(path, "more", { flag: "a" }),
  missing: (path) => rmSync(path),
};
const CASES = ["manifests", "indexes", "packs"].flatMap((kind) =>
  Object.keys(HURTS).map((hurt) => ({ kind, hurt })),
);

/** Frames are found by their offsets, so nothing that is behind them takes a block away. */
function isHarmless({ kind, hurt }: { kind: string; hurt: string }): boolean {
  return kind === "packs" && hurt === "with bytes behind its end";
}

describe.runIf(canTrack())("a repository", () => {
  let site: Site;
  let healthy: string;
  let source: string;
  let target: string;
  /** Base and incremental. */
  let ids: string[];

  beforeAll(() => {
    site = new Site();
    site.init();
    source = site.machine.loopDisk("source", SIZE_BYTES);
    target = site.machine.loopDisk("target", SIZE_BYTES);
    shell(`head -c 36M /dev/urandom | dd of=${source} bs=4M oflag=direct status=none`);
    site.must("track", "start", source);
    ids = [site.flush(source).backupId];
    shell(`head -c 1M /dev/urandom | dd of=${source} bs=1M seek=9 oflag=direct status=none`);
    ids.push(site.flush(source).backupId);
    healthy = site.machine.path("healthy");
    cpSync(new URL(site.repo).pathname, healthy, { recursive: true });
  });
  afterAll(() => site.close());
  beforeEach(() => {
    const folder = site.machine.path("repository");
    rmSync(folder, { recursive: true });
    cpSync(healthy, folder, { recursive: true });
  });

  test("that is whole verifies", () => {
    expect(site.json<Verified>("verify", "--data")).toMatchObject({ healthy: true, problems: [] });
  });

  test.each(CASES)("with an object of $kind $hurt names it, and restores nothing wrong", (each) => {
    const random = seededRandom(`${each.kind} ${each.hurt}`);
    const object = hurtOne(each, random);
    const verified = site.run("verify", "--data", "--json");
    expect({ object, status: verified.status }).toEqual({ object, status: 18 });
    const { problems, healthy: isHealthy } = JSON.parse(verified.stdout) as Verified;
    expect(isHealthy).toBe(false);
    expect(problems.map((found) => found.object)).toContain(object);
    const problem = problems.find((found) => found.object === object);
    if (each.kind !== "manifests" && !isHarmless(each)) {
      expect(problem?.extents.length).toBeGreaterThan(0);
      expect(problem?.backups).toContain(ids[1]);
      expect(site.run("verify", "--data").stdout).toMatch(/blocks?: /);
    }
    expectNoWrongRestore(object);
  });

  test("with a damaged pack gives all the other blocks with --partial, and names the lost", () => {
    const random = seededRandom("partial");
    const object = hurtOne({ kind: "packs", hurt: "with a flipped bit in its middle" }, random);
    shell(
      `head -c ${SIZE_BYTES} /dev/zero | tr '\\0' '\\125' | dd of=${target} bs=4M oflag=direct iflag=fullblock status=none`,
    );
    const outcome = site.run(
      ...(["restore", ids[1] ?? "", "--target", target, "--force"] as const),
      ...["--partial", "--json"],
    );
    expect(outcome.status).toBe(18);
    const { damaged } = JSON.parse(outcome.stdout) as Restored;
    expect(damaged.map((damage) => damage.object)).toEqual([object]);
    const lost = new Set<number>();
    for (const { firstBlock, blockCount } of damaged.flatMap(({ extents }) => extents)) {
      for (let i = 0; i < blockCount; i++) lost.add(firstBlock + i);
    }
    expect(lost.size).toBeGreaterThan(0);
    expect(lost.size).toBeLessThanOrEqual(64);
    const [wanted, got] = [imageOf(source, "wanted"), imageOf(target, "got")];
    for (let block = 0; block < BLOCKS; block++) {
      const [from, to] = [block * 4096, (block + 1) * 4096];
      const same = wanted.subarray(from, to).equals(got.subarray(from, to));
      if (lost.has(block)) expect(got.subarray(from, to).every((byte) => byte === 0x55)).toBe(true);
      else if (!same) expect.fail(`block ${block} is wrong and was not named`);
    }
  });

  test("whose objects were swapped is not believed", () => {
    for (const kind of ["indexes", "packs"]) {
      const [first = "", second = ""] = objectsOf(kind);
      copyFileSync(pathOf(second), pathOf(first));
      expect(site.run("verify", "--data").status).toBe(18);
      expectNoWrongRestore(first);
      copyFileSync(join(healthy, first), pathOf(first));
    }
  });

  test("whose manifest was replaced by one of another backup is not believed", () => {
    const [base = "", incremental = ""] = ids.map((id) => manifestKeyIn(healthy, id));
    copyFileSync(pathOf(base), pathOf(incremental));
    expect(site.run("verify").status).toBe(18);
    expectNoWrongRestore(incremental);
  });

  test("with a damaged manifest gets a whole backup all the same, which does not build on it", () => {
    for (const [id, verdict] of [
      [ids[1], "compared"],
      [ids[0], "base"],
    ]) {
      const key = manifestKeyIn(healthy, id ?? "");
      truncateSync(pathOf(key), 100);
      const flushed = site.flush(source);
      expect(flushed.gapCheck.verdict).toBe(verdict);
      expect(flushed.parentId).not.toBe(id);
      site.restore(flushed.backupId, target);
      expect(digestOf(target)).toBe(digestOf(source));
      copyFileSync(join(healthy, key), pathOf(key));
    }
  });

  function hurtOne({ kind, hurt }: { kind: string; hurt: string }, random: Random): string {
    // The newest manifest is not missed by anybody: without it there is no such backup.
    const isMissed = (object: string): boolean =>
      hurt !== "missing" || object !== manifestKeyIn(healthy, ids.at(-1) ?? "");
    const objects = objectsOf(kind).filter(isMissed);
    const object = objects[random.below(objects.length)] ?? "";
    HURTS[hurt]?.(pathOf(object), random);
    return object;
  }

  /** Whatever a restore of the newest or of the base does, it does not pass wrong bytes off as right. */
  function expectNoWrongRestore(object: string): void {
    const image = site.machine.path("image");
    for (const id of ids) {
      rmSync(image, { force: true });
      const outcome = site.run("restore", id, "--target", image);
      if (outcome.status === 0) {
        expect({ object, digest: digestOf(image) }).toEqual({ object, digest: digestIn(id) });
        continue;
      }
      expect([12, 17, 18]).toContain(outcome.status);
      expect(outcome.stderr).toMatch(/^error: .+\n {2}why: .+\n {2}fix: .+/);
      expect(existsSync(image)).toBe(false);
      expect(readdirSync(site.machine.folder).filter((name) => name.includes("partial"))).toEqual(
        [],
      );
    }
  }

  /** What the undamaged repository gives. */
  function digestIn(id: string): string {
    const image = site.machine.path("healthy-image");
    rmSync(image, { force: true });
    site.must("--repo", `file://${healthy}`, "restore", id, "--target", image);
    return digestOf(image);
  }

  function objectsOf(kind: string): string[] {
    return filesBelow(pathOf(kind)).map((name) => `${kind}/${name}`);
  }

  function pathOf(object: string): string {
    return site.machine.path(`repository/${object}`);
  }

  function imageOf(device: string, name: string): Buffer {
    const path = site.machine.path(name);
    shell(`dd if=${device} of='${path}' bs=4M iflag=direct status=none`);
    return readFileSync(path);
  }
});
