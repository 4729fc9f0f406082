/** Listens to the blocks that turn dirty, as they do. */
import { BlockSet } from "../core/block_set.ts";
import type { BlockExtent } from "../core/extent.ts";
import { describeDevice } from "../disk/block_device.ts";
import { IbackupError } from "../errors.ts";
import type { HelperProcess } from "../tracker/helper_process.ts";
import { readTrackingStatus, type Slot, slotFor } from "../tracker/tracker.ts";
import type { JobContext } from "./context.ts";
import { pathOf, withHelper } from "./track.ts";

export interface WatchOptions {
  /** None: all that are tracked. */
  devices: readonly string[];
  /** Ends the watch after so long; else only the signal does. */
  forMs: number | undefined;
  /** Size of each CPU's event buffer, in pages; a power of two. */
  bufferPages: number;
  /** Called when the listener is in place: what is written from now on is reported. */
  onListening?: () => void;
  /** Called for each run of blocks. */
  onBlocks?: (device: string, extent: BlockExtent) => void;
}

export interface Watched {
  devices: {
    device: string;
    blockBytes: number;
    /** Events, not distinct blocks: a block can turn dirty again after a collect. */
    blocksReported: number;
    /** What was reported, merged and ascending. */
    extents: BlockExtent[];
  }[];
  /** Events that found no room. They cost nothing but this report: a flush misses nothing. */
  eventsLost: number;
}

/** @throws IbackupError TRACKER when a device is not tracked, or another process listens. */
export async function watchDevices(context: JobContext, options: WatchOptions): Promise<Watched> {
  return await withHelper(context, async (helper) => {
    const status = await readTrackingStatus(helper);
    const wanted = options.devices.map((path) =>
      required(path, slotFor(status, describeDevice(path))),
    );
    const slots = options.devices.length === 0 ? status.slots : wanted;
    const listener = new Listener(slots, options.onBlocks ?? (() => undefined));
    helper.onEvent = (frame) => listener.take(frame);
    const fields = { pageCount: options.bufferPages, reserved: 0 };
    await helper.ask({ name: "listenRequest", fields }, { repeatable: false });
    options.onListening?.();
    await Promise.race([untilEnd(context.signal, options.forMs), helperEnded(helper)]);
    listener.noteLost((await readTrackingStatus(helper)).slots);
    return listener;
  }).then((listener) => listener.result());
}

class Listener {
  readonly #devices: ReadonlyMap<number, Device>;
  readonly #onBlocks: NonNullable<WatchOptions["onBlocks"]>;
  readonly #lostBefore: ReadonlyMap<string, number>;
  #eventsLost = 0;

  constructor(slots: readonly Slot[], onBlocks: NonNullable<WatchOptions["onBlocks"]>) {
    this.#lostBefore = new Map(slots.map((slot) => [slot.attachment, slot.counters.eventsLost]));
    this.#devices = new Map(slots.map((slot) => [slot.slot, deviceOf(slot)]));
    this.#onBlocks = onBlocks;
  }

  take(frame: Parameters<HelperProcess["onEvent"]>[0]): void {
    if (frame.name === "lost") this.#eventsLost = Math.max(this.#eventsLost, frame.fields.events);
    if (frame.name !== "blocks") return;
    const device = this.#devices.get(frame.fields.slot);
    if (device === undefined) return;
    for (const extent of frame.tail) {
      device.blocks.add(extent.firstBlock, extent.blockCount);
      device.blocksReported += extent.blockCount;
      this.#onBlocks(device.path, extent);
    }
  }

  /**
   * The buffer tells of a loss only with the next event that finds room; the kernel's counters of
   * the slots know of all.
   */
  noteLost(slots: readonly Slot[]): void {
    const lost = slots.reduce((sum, { attachment, counters }) => {
      const before = this.#lostBefore.get(attachment);
      return before === undefined ? sum : sum + counters.eventsLost - before;
    }, 0);
    this.#eventsLost = Math.max(this.#eventsLost, lost);
  }

  result(): Watched {
    const devices = [...this.#devices.values()].map((device) => ({
      device: device.path,
      blockBytes: device.blockBytes,
      blocksReported: device.blocksReported,
      extents: [...device.blocks.extents()],
    }));
    return { devices, eventsLost: this.#eventsLost };
  }
}

interface Device {
  path: string;
  blockBytes: number;
  blocks: BlockSet;
  blocksReported: number;
}

function deviceOf(slot: Slot): Device {
  const { blockBytes, blockCount } = slot;
  return { path: pathOf(slot), blockBytes, blocks: new BlockSet(blockCount), blocksReported: 0 };
}

function required(path: string, slot: Slot | undefined): Slot {
  if (slot !== undefined) return slot;
  throw new IbackupError("TRACKER", `Cannot watch "${path}"`, {
    why: "it is not tracked",
    fix: `run \`ibackup track start ${path}\``,
  });
}

async function helperEnded(helper: HelperProcess): Promise<never> {
  await helper.ended;
  throw new IbackupError("TRACKER", "Cannot go on watching", {
    why: "the helper has ended",
    fix: "run `ibackup doctor`; `dmesg` tells when the kernel ended it",
  });
}

/** Being told to stop is how a watch ends, not a failure. */
async function untilEnd(signal: AbortSignal, forMs: number | undefined): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    const timer = forMs === undefined ? undefined : setTimeout(resolve, forMs);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
