/** Tracks a disk by both hooks at once, each with a bitmap of its own. */
import { rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { env } from "node:process";
import { fileURLToPath } from "node:url";
import type { BlockSet } from "../../src/core/block_set.ts";
import { describeDevice } from "../../src/disk/block_device.ts";
import { HelperProcess } from "../../src/tracker/helper_process.ts";
import {
  attach,
  collect,
  detach,
  readTrackingStatus,
  type Session,
  type Slot,
} from "../../src/tracker/tracker.ts";

const HELPER =
  env["IBACKUP_HELPER"] ??
  fileURLToPath(new URL("../../helper/.output/ibackup-helper", import.meta.url));
/** Apart from the pins of an ibackup that tracks disks of this machine. */
const PINS = "/sys/fs/bpf/ibackup-hook-coverage";

/** What was reported since the last time. */
export interface Reported {
  byBlock: BlockSet;
  byBuffer: BlockSet;
  /** Reports of the hook `buffer` with a number that is no block of the disk. */
  invalid: number;
}

export class TwoHooks {
  /** What the hook `buffer` is here. */
  readonly bufferHook: Session["bufferHook"];
  /** Why the dirty set of the hook `block` would not have been trusted, as of the last collect. */
  taints: string[] = [];
  readonly #helper: HelperProcess;
  readonly #session: Session;
  /** What is collected goes into a file first, whoever wants it. */
  readonly #pendingFile: string;
  readonly #block: Slot;
  #buffer: Slot;

  private constructor(
    tracking: { helper: HelperProcess; session: Session; pendingFile: string },
    slots: { block: Slot; buffer: Slot },
  ) {
    this.#helper = tracking.helper;
    this.#session = tracking.session;
    this.#pendingFile = tracking.pendingFile;
    this.#block = slots.block;
    this.#buffer = slots.buffer;
    this.bufferHook = tracking.session.bufferHook;
  }

  /**
   * @param pendingFile A file to use, best on tmpfs.
   * @param pins Folder on bpffs.
   */
  static async attach(path: string, pendingFile: string, pins = PINS): Promise<TwoHooks> {
    statSync(HELPER);
    const device = describeDevice(path);
    const helper = new HelperProcess({ path: HELPER, args: ["--pins", pins] });
    const block = await attach(helper, device, ["block"]);
    // A slot is told from another by its range: this one ends a block later, past the disk.
    const longer = { ...device, sectorCount: device.sectorCount + 8 };
    const buffer = await attach(helper, longer, ["buffer"]);
    const { session } = await readTrackingStatus(helper);
    if (session === undefined) throw new Error("there is no tracking session after an attach");
    return new TwoHooks({ helper, session, pendingFile }, { block, buffer });
  }

  async collect(): Promise<Reported> {
    const invalidBefore = this.#buffer.counters.buffersInvalid;
    const { blocks: byBlock, slot } = await this.#collectFrom(this.#block);
    this.taints = Object.entries(slot.taints)
      .filter(([, times]) => times > 0)
      .map(([reason, times]) => `${times} ${reason}`);
    const { blocks: byBuffer, slot: after } = await this.#collectFrom(this.#buffer);
    this.#buffer = after;
    return { byBlock, byBuffer, invalid: after.counters.buffersInvalid - invalidBefore };
  }

  async close(): Promise<void> {
    await detach(this.#helper, undefined);
    await this.#helper.close();
  }

  async #collectFrom(slot: Slot): Promise<{ blocks: BlockSet; slot: Slot }> {
    writeFileSync(this.#pendingFile, "");
    truncateSync(this.#pendingFile, Math.ceil(slot.blockCount / 64) * 8);
    const from = { slot, session: this.#session.id };
    const collected = await collect(this.#helper, from, [this.#pendingFile]);
    rmSync(this.#pendingFile);
    if (collected.blocks === undefined) throw new Error("frames of the helper arrived damaged");
    return { blocks: collected.blocks, slot: collected.slot };
  }
}
