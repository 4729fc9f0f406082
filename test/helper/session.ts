import { existsSync, mkdtempSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { BlockSet } from "../../src/core/block_set.ts";
import type { Frame, FrameOf } from "../../src/frame/codec.ts";
import { HOOK, SLOT_ALL } from "../../src/frame/layout.ts";
import { Machine, shell } from "../support/machine.ts";
import { Driver } from "./driver.ts";

export const BLOCK = 4096;

export interface AttachOptions {
  readonly startSector?: number;
  readonly sectorCount?: number;
  readonly hooks?: number;
  readonly bioBased?: boolean;
}

export type Slot = FrameOf<"slot">["fields"];

/** A tracking session of one test, its disks, and the helper that serves it. */
export class TestSession {
  readonly machine = new Machine();
  readonly pins: string;
  readonly #legacy: boolean;
  #driver: Driver | undefined;
  #files = 0;

  constructor({ legacy = false }: { legacy?: boolean } = {}) {
    this.#legacy = legacy;
    this.pins = `/sys/fs/bpf/${mkdtempSync(this.machine.path("pins-")).split("/").at(-1)}`;
  }

  /** The helper, started when it is first needed. */
  get driver(): Driver {
    this.#driver ??= this.start();
    return this.#driver;
  }

  /** One more helper for the same session. */
  start(): Driver {
    return new Driver({ pins: this.pins, legacy: this.#legacy });
  }

  /** The helper goes; the next request starts another. */
  async restart(how: "end" | "kill"): Promise<void> {
    await this.driver[how]();
    this.#driver = undefined;
  }

  geometry(path: string): Promise<FrameOf<"geometry">> {
    const request: Frame = { name: "geometryRequest", request: 0, fields: {}, tail: path };
    return this.driver.askFor(request, "geometry");
  }

  async attachRequest(disk: string, options: AttachOptions = {}): Promise<Frame> {
    const { major, minor, sizeBytes } = (await this.geometry(disk)).fields;
    const { startSector = 0, hooks = HOOK.block, bioBased = false } = options;
    const { sectorCount = sizeBytes / 512 - startSector } = options;
    const fields = {
      ...{ major, minor, startSector, sectorCount, hooks },
      ...{ blockShift: 3, bioBased: bioBased ? 1 : 0, reserved: 0 },
    };
    return { name: "attachRequest", request: 0, fields };
  }

  async attach(disk: string, options: AttachOptions = {}): Promise<Slot> {
    const request = await this.attachRequest(disk, options);
    return (await this.driver.askFor(request, "slot")).fields;
  }

  async status(slot: number): Promise<Slot> {
    const answers = await this.driver.ask({ name: "statusRequest", request: 0, fields: {} });
    const found = answers.find((each) => each.name === "slot" && each.fields.slot === slot);
    if (found?.name !== "slot") throw new Error(`no slot ${slot} in the status`);
    return found.fields;
  }

  /** An empty pending set on tmpfs. */
  pendingFile({ sectorCount }: Slot, folder = this.machine.runtimeFolder): string {
    const file = join(folder, `pending-${this.#files++}`);
    writeFileSync(file, "", { mode: 0o600 });
    truncateSync(file, Math.ceil(sectorCount / 8 / 64) * 8);
    return file;
  }

  async collectRequest(slot: Slot, files: readonly string[]): Promise<Frame> {
    const status: Frame = { name: "statusRequest", request: 0, fields: {} };
    const { sessionHigh, sessionLow } = (await this.driver.askFor(status, "session")).fields;
    const fields = { slot: slot.slot, reserved: 0, sessionHigh, sessionLow };
    return { name: "collectRequest", request: 0, fields, tail: files.join("\0") };
  }

  /** Collects into a new pending set, which must have what the frames have. */
  async collect(slot: Slot): Promise<BlockSet> {
    const file = this.pendingFile(slot);
    const answers = await this.driver.ask(await this.collectRequest(slot, [file]));
    expect(answers.at(-1)?.name).toBe("done");
    const blocks = new BlockSet(Math.ceil(slot.sectorCount / 8));
    for (const answer of answers) {
      if (answer.name === "bitmap") blocks.addBitmap(answer.fields.firstWord, answer.tail);
    }
    expect(extentsOf(this.pending(slot, file))).toEqual(extentsOf(blocks));
    return blocks;
  }

  pending(slot: Slot, file: string): BlockSet {
    const blocks = new BlockSet(Math.ceil(slot.sectorCount / 8));
    blocks.addBitmap(0, readFileSync(file));
    return blocks;
  }

  detach(slot: number): Promise<Frame[]> {
    return this.driver.ask({ name: "detachRequest", request: 0, fields: { slot, reserved: 0 } });
  }

  /** Removes everything; the helpers must end well and leave nothing pinned. */
  async close(): Promise<void> {
    try {
      await this.detach(SLOT_ALL);
      await this.restart("end");
      expect(existsSync(this.pins)).toBe(false);
    } finally {
      this.machine.close();
    }
  }
}

/** `[first, count]` of each run: short to write down, and to read in a failure. */
export function extentsOf(blocks: BlockSet): [number, number][] {
  return [...blocks.extents()].map(({ firstBlock, blockCount }) => [firstBlock, blockCount]);
}

/** Writes blocks past the page cache. */
export function writeBlocks(disk: string, firstBlock: number, blockCount: number): void {
  shell(
    `dd if=/dev/zero of='${disk}' bs=${BLOCK} seek=${firstBlock} count=${blockCount}` +
      " oflag=direct conv=notrunc,nocreat status=none",
  );
}

/** Writes single sectors past the page cache. */
export function writeSectors(disk: string, firstSector: number, sectorCount: number): void {
  shell(
    `dd if=/dev/zero of='${disk}' bs=512 seek=${firstSector} count=${sectorCount}` +
      " oflag=direct conv=notrunc,nocreat status=none",
  );
}
