/** The disk, its tracking and its two repositories, and what the model knows about them. */
import { mkdtempSync, rmSync } from "node:fs";
import type { JobContext } from "../../src/job/context.ts";
import type { Repository } from "../../src/repo/repository.ts";
import type { HookName } from "../../src/tracker/tracker.ts";
import { machineContext } from "../support/context.ts";
import type { Random } from "../support/random.ts";
import { Site } from "../support/site.ts";
import { type Change, ModelDisk, SECTOR_BYTES } from "./disk.ts";
import { ModelRepository } from "./repository.ts";

export const VM_ID = "model";
export const DISK_NAME = "disk";
export const DISK_BYTES_MAX = 16 << 20;

interface Parts {
  random: Random;
  folder: string;
  repositories: ModelRepository[];
  counts: Map<string, number>;
}

/**
 * "off": nothing sees the writes. "unsure": hooks may be there and may be broken, so that a flush
 * may trust them, compare, or fail and ask for a new start.
 */
export type TrackingState = "on" | "off" | "unsure";

export class World {
  readonly site = new Site();
  readonly random: Random;
  readonly disk: ModelDisk;
  readonly repositories: readonly ModelRepository[];
  readonly hooks: readonly HookName[];
  readonly #legacy: boolean;
  tracking: TrackingState = "off";
  /** Clocks jump; the order of the backups must not. */
  clockOffsetMs = 0;
  /** How long a flush by the binary takes, more or less: kills fall into it. */
  flushMs = 400;
  /** How often what came about. */
  readonly counts: Map<string, number>;
  /** What was done, for the one who has to find out. */
  readonly story: string[] = [];

  static async create(random: Random, counts: Map<string, number>): Promise<World> {
    const folder = mkdtempSync("/dev/shm/ibackup-model-");
    const urls = ["one", "two"].map((name) => `file://${folder}/${name}`);
    const repositories = [];
    for (const url of urls) repositories.push(await ModelRepository.create(url));
    return new World({ random, folder, repositories, counts });
  }

  private constructor({ random, folder, repositories, counts }: Parts) {
    const { machine } = this.site;
    machine.onClose(() => rmSync(folder, { recursive: true, force: true }));
    this.random = random;
    this.counts = counts;
    this.repositories = repositories;
    this.hooks = random.below(4) === 0 ? ["block", "buffer"] : ["block"];
    this.#legacy = random.below(4) === 0;
    const sectors = (4 << 20) / SECTOR_BYTES + random.below((8 << 20) / SECTOR_BYTES);
    this.disk = new ModelDisk(machine, `${folder}/disk.img`, sectors * SECTOR_BYTES);
  }

  context(repository: () => Promise<Repository>): JobContext {
    let opened: Promise<Repository> | undefined;
    const openOnce = (): Promise<Repository> => {
      opened ??= repository();
      return opened;
    };
    return {
      ...machineContext(this.site.machine),
      openStore: async () => (await openOnce()).store,
      openRepository: openOnce,
      helperArgs: ["--pins", this.site.pinFolder, ...(this.#legacy ? ["--legacy"] : [])],
      clock: {
        now: () => new Date(Date.now() + this.clockOffsetMs),
        monotonicMs: () => performance.now(),
      },
    };
  }

  /** A context for what needs no repository. */
  get bareContext(): JobContext {
    return this.context(() => Promise.reject(new Error("no repository is needed here")));
  }

  /** From now on a flush need not trust what was marked before. */
  doubt(reason: string): void {
    for (const { doubt } of this.repositories) doubt.may ??= reason;
  }

  /** Something was written that no flush may take as seen. */
  distrust(reason: string): void {
    for (const { doubt } of this.repositories) doubt.must ??= reason;
  }

  /** What was marked is forgotten; only where nothing was written this changes nothing. */
  forget(reason: string): void {
    for (const { doubt } of this.repositories) {
      if (doubt.written) doubt.must ??= reason;
      else doubt.may ??= reason;
    }
  }

  /** The lock of the disk is another one from now on. */
  changeLock(): void {
    for (const repository of this.repositories) {
      if (repository.lease === "left") repository.lease = "strange";
    }
  }

  count(what: string): void {
    this.counts.set(what, 1 + (this.counts.get(what) ?? 0));
  }

  /** To be called at each write that reaches the disk at once. */
  noteWrite(): void {
    for (const { doubt } of this.repositories) doubt.written = true;
    if (this.tracking === "off") this.distrust("written untracked");
    if (this.tracking === "unsure") this.doubt("written while the tracking may have been broken");
  }

  /** The kernel may write it out now or later, seen or unseen. */
  writeUnsynced(): void {
    this.disk.writeBuffered(this.randomChange(this.random, 1));
    for (const { doubt } of this.repositories) doubt.written = true;
    if (this.tracking !== "on") this.doubt("written through the page cache while untracked");
  }

  /** Somewhere on the disk: often the end, often where something was before, of many lengths. */
  randomChange(random: Random, unit: number): Change {
    const units = Math.floor(this.disk.sizeBytes / unit);
    const wanted = 1 + random.below([1, 2, 8, 64, 512][random.below(5)] ?? 1);
    const count = Math.min(wanted * Math.max(1, Math.floor(SECTOR_BYTES / unit)), units);
    const place = random.below(8);
    let first = random.below(units - count + 1);
    if (place === 0) first = units - count;
    if (place === 1) first = Math.min(first, 64);
    return { offset: first * unit, bytes: contentOf(random, count * unit) };
  }

  close(): void {
    this.site.close();
  }
}

/** Noise, or one value, or zeroes: the ways in which ibackup stores differ by it. */
function contentOf(random: Random, length: number): Uint8Array {
  const kind = random.below(6);
  if (kind === 0) return new Uint8Array(length);
  if (kind === 1) return new Uint8Array(length).fill(1 + random.below(255));
  return random.bytes(length);
}
