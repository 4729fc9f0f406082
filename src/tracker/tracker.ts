/** Tracking sessions and slots, as the helper reports them. */
import { readFileSync } from "node:fs";
import { BlockSet } from "../core/block_set.ts";
import { assert, IbackupError } from "../errors.ts";
import type { FrameOf } from "../frame/codec.ts";
import { HOOK } from "../frame/layout.ts";
import type { HelperProcess } from "./helper_process.ts";

export type HookName = keyof typeof HOOK;

/** The part of a disk that is tracked, as the kernel names it. */
export interface TrackedRange {
  wholeDisk: { major: number; minor: number };
  startSector: number;
  sectorCount: number;
  bioBased: boolean;
}

export interface Session {
  /** 32 lower-case hex digits. */
  id: string;
  bootId: string;
  startedAtBoottimeMs: number;
  hooks: HookName[];
  bufferHook: "none" | "kprobe" | "tracepoint";
  bpfObject: "none" | "modern" | "legacy";
  listening: boolean;
}

export interface Slot extends TrackedRange {
  slot: number;
  /** 16 hex digits; another for each time the device was attached. */
  attachment: string;
  hooks: HookName[];
  blockBytes: number;
  blockCount: number;
  dirtyBlocks: number;
  counters: {
    issued: number;
    completed: number;
    sectorsIssued: number;
    sectorsCompleted: number;
    buffersDirtied: number;
    buffersInvalid: number;
    eventsLost: number;
  };
  /** By reason, in words. Only ever grow. */
  taints: Readonly<Record<string, number>>;
}

export interface TrackingStatus {
  session: Session | undefined;
  slots: Slot[];
}

/** A bitmap of one bit a block stays at or below this; larger disks get larger blocks. */
const BITMAP_BYTES_MAX = 256 << 20;
const BLOCK_SHIFT_MIN = 3;
const SLOT_ALL = 0xffff_ffff;

/** log2 of the sectors in a block of a disk of this size: 3, that is 4 KiB, up to 8 TiB. */
export function blockShiftFor(sectorCount: number): number {
  let shift = BLOCK_SHIFT_MIN;
  while (Math.ceil(sectorCount / 2 ** shift) > BITMAP_BYTES_MAX * 8) shift++;
  return shift;
}

export async function readTrackingStatus(helper: HelperProcess): Promise<TrackingStatus> {
  const { frames } = await helper.ask({ name: "statusRequest", fields: {} });
  const status: TrackingStatus = { session: undefined, slots: [] };
  for (const frame of frames) {
    if (frame.name === "session") status.session = sessionOf(frame);
    if (frame.name === "slot") status.slots.push(slotOf(frame));
  }
  return status;
}

/** The slot that tracks exactly this range, if any. */
export function slotFor(status: TrackingStatus, range: TrackedRange): Slot | undefined {
  return status.slots.find(
    (slot) =>
      slot.wholeDisk.major === range.wholeDisk.major &&
      slot.wholeDisk.minor === range.wholeDisk.minor &&
      slot.startSector === range.startSector,
  );
}

export async function attach(
  helper: HelperProcess,
  range: TrackedRange,
  hooks: readonly HookName[],
): Promise<Slot> {
  const frame = await helper.askOne(
    {
      name: "attachRequest",
      fields: {
        ...range.wholeDisk,
        startSector: range.startSector,
        sectorCount: range.sectorCount,
        blockShift: blockShiftFor(range.sectorCount),
        hooks: hooks.reduce((set, hook) => set | HOOK[hook], 0),
        bioBased: range.bioBased ? 1 : 0,
        reserved: 0,
      },
    },
    "slot",
  );
  return slotOf(frame);
}

/** @param slot Undefined: every slot, and all that is pinned, even when it is broken. */
export async function detach(helper: HelperProcess, slot: Slot | undefined): Promise<void> {
  const fields = { slot: slot?.slot ?? SLOT_ALL, reserved: 0 };
  await helper.ask({ name: "detachRequest", fields }, { repeatable: false });
}

export interface Collected {
  /** The blocks that were moved out of the kernel; undefined when frames arrived damaged. */
  blocks: BlockSet | undefined;
  /** The slot after it. */
  slot: Slot;
}

/**
 * Moves a slot's dirty bits out of the kernel and into each of the pending files. A block that is
 * being written stays safe: the end of its write marks it again.
 */
export async function collect(
  helper: HelperProcess,
  from: { slot: Slot; session: string },
  pendingFiles: readonly string[],
): Promise<Collected> {
  const blocks = new BlockSet(from.slot.blockCount);
  let after: Slot | undefined;
  const { high, low } = splitSessionId(from.session);
  const fields = { slot: from.slot.slot, reserved: 0, sessionHigh: high, sessionLow: low };
  const { damaged } = await helper.ask(
    { name: "collectRequest", fields, tail: pendingFiles.join("\0") },
    {
      repeatable: false,
      onFrame: (frame) => {
        if (frame.name === "bitmap") blocks.addBitmap(frame.fields.firstWord, frame.tail);
        if (frame.name === "slot") after = slotOf(frame);
      },
    },
  );
  after ??= (await readTrackingStatus(helper)).slots.find(({ slot }) => slot === from.slot.slot);
  if (after === undefined) {
    throw new IbackupError("TRACKER", "Cannot collect the dirty blocks", {
      why: "tracking was stopped meanwhile",
      fix: "run `ibackup track start`, then the flush again",
    });
  }
  return { blocks: damaged ? undefined : blocks, slot: after };
}

/** Names this run of the kernel. */
export function readBootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}

function sessionOf({ fields }: FrameOf<"session">): Session | undefined {
  if (fields.sessionHigh === 0n && fields.sessionLow === 0n) return undefined;
  const hex = (half: bigint): string => half.toString(16).padStart(16, "0");
  return {
    id: hex(fields.sessionHigh) + hex(fields.sessionLow),
    bootId: readBootId(),
    startedAtBoottimeMs: fields.startedAtBoottimeMs,
    hooks: hooksOf(fields.hooksAttached),
    bufferHook: (["none", "kprobe", "tracepoint"] as const)[fields.bufferHookKind] ?? "none",
    bpfObject: (["none", "modern", "legacy"] as const)[fields.bpfObject] ?? "none",
    listening: fields.listening !== 0,
  };
}

function splitSessionId(id: string): { high: bigint; low: bigint } {
  assert(/^[0-9a-f]{32}$/.test(id), "a session id is 32 hex digits");
  return { high: BigInt(`0x${id.slice(0, 16)}`), low: BigInt(`0x${id.slice(16)}`) };
}

function slotOf({ fields }: FrameOf<"slot">): Slot {
  const { major, minor, slot, startSector, sectorCount, dirtyBlocks, blockShift } = fields;
  const { issued, completed, sectorsIssued, sectorsCompleted } = fields;
  const { buffersDirtied, buffersInvalid, eventsLost } = fields;
  return {
    slot,
    attachment: fields.attachment.toString(16).padStart(16, "0"),
    wholeDisk: { major, minor },
    startSector,
    sectorCount,
    bioBased: fields.bioBased === 1,
    hooks: hooksOf(fields.hooks),
    blockBytes: 512 * 2 ** blockShift,
    blockCount: Math.ceil(sectorCount / 2 ** blockShift),
    dirtyBlocks,
    counters: {
      issued,
      completed,
      sectorsIssued,
      sectorsCompleted,
      buffersDirtied,
      buffersInvalid,
      eventsLost,
    },
    taints: {
      "programs skipped": fields.taintSkippedPrograms,
      "ranges not marked": fields.taintUnmarkedRanges,
      "passthrough writes": fields.taintPassthroughWrites,
      "updates failed": fields.taintFailedUpdates,
    },
  };
}

function hooksOf(set: number): HookName[] {
  return (Object.keys(HOOK) as HookName[]).filter((hook) => (set & HOOK[hook]) !== 0);
}
