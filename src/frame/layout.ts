/**
 * The only definition of what the helper and ibackup say to each other.
 *
 * `scripts/gen_frame_h.ts` prints the C side of it (`helper/frame.gen.h`), so the two cannot
 * differ. All numbers are little-endian and naturally aligned; no struct has padding.
 * A payload is its fixed fields, then the tail: text (UTF-8, no terminator), or records.
 */

export type FieldType =
  /** A number. */
  | "u32"
  /** A number up to 2^53 - 1; more is damage. */
  | "u64"
  /** 64 bits that are no quantity: a bigint in TypeScript, uint64_t in C. */
  | "bits64";

export type Tail =
  /** UTF-8 text up to the end of the payload. Several texts are separated by one 0x00. */
  | "text"
  /** 64-bit words of a bitmap; TypeScript keeps them as the bytes they are. */
  | "words"
  /** An array of records, each made of these fields. */
  | Readonly<Record<string, FieldType>>;

export interface FrameLayout {
  readonly type: number;
  readonly fields: Readonly<Record<string, FieldType>>;
  readonly tail?: Tail;
}

/** Raised when a frame changes its meaning. Another version is refused. */
export const FRAME_VERSION = 1;

/** No payload is longer, in bytes: bounds the memory of both sides. */
export const PAYLOAD_BYTES_MAX = 65_536;

/**
 * Precedes each payload. `length` counts the payload only, in bytes. `request` is the number that
 * the answer repeats; 0 in an event nobody asked for.
 */
export const HEADER = { length: "u32", type: "u32", version: "u32", request: "u32" } as const;

/** What is counted for each slot; only ever grows while a tracking session lasts. */
const COUNTERS = {
  /** Writes, discards and zeroings seen when they were handed to the driver, and when they ended. */
  issued: "u64",
  completed: "u64",
  /** 512-byte sectors of these: a bio or request that is sent on anew is counted again. */
  sectorsIssued: "u64",
  sectorsCompleted: "u64",
  /** Hook `buffer`: blocks reported, and reports whose block number was invalid (dropped). */
  buffersDirtied: "u64",
  buffersInvalid: "u64",
  /** Perf events that found no room. Costs nothing: the bitmap is the truth. */
  eventsLost: "u64",
  /** The rest are taints: each means that a written block may be missing from the bitmap. */
  taintSkippedPrograms: "u64",
  taintUnmarkedRanges: "u64",
  taintPassthroughWrites: "u64",
  taintFailedUpdates: "u64",
} as const;

export const FRAMES = {
  // --- requests -------------------------------------------------------------------------------
  /** Are you there, and of which build? Answer: `hello`. */
  helloRequest: { type: 1, fields: {} },
  /**
   * Track `[startSector, startSector + sectorCount)` of the whole disk `major:minor`.
   * Loads, attaches and pins the hooks when no tracking session exists. `hooks` is a set of HOOK
   * bits; `bioBased` is 1 for disks without request queue. A block is `1 << blockShift` sectors.
   * Answer: `slot`, or `error`.
   */
  attachRequest: {
    type: 2,
    fields: {
      major: "u32",
      minor: "u32",
      startSector: "u64",
      sectorCount: "u64",
      blockShift: "u32",
      hooks: "u32",
      bioBased: "u32",
      reserved: "u32",
    },
  },
  /**
   * Stop tracking a slot; with the last slot everything pinned goes. SLOT_ALL removes all at once,
   * also a broken session, and finding nothing is fine. Answer: `done`.
   */
  detachRequest: { type: 3, fields: { slot: "u32", reserved: "u32" } },
  /** Answer: `session` (sessionHigh = sessionLow = 0: none), one `slot` per slot, then `done`. */
  statusRequest: { type: 4, fields: {} },
  /**
   * Move the bits of a slot out of the kernel: first OR them into each of the pending files named
   * in the tail, then clear them. Bits set meanwhile stay. `session` must match.
   * Answer: `bitmap` frames (what was moved: runs that begin and end with a non-zero word), then
   * `slot`, then `done`.
   */
  collectRequest: {
    type: 5,
    fields: { slot: "u32", reserved: "u32", sessionHigh: "bits64", sessionLow: "bits64" },
    tail: "text",
  },
  /**
   * Report newly dirtied blocks until standard input closes. `pageCount` is the size of each CPU's
   * perf buffer in pages, a power of two. Answer: `done` when listening, then `blocks`, `lost`.
   */
  listenRequest: { type: 6, fields: { pageCount: "u32", reserved: "u32" } },
  /** Size and alignments of the block device at the path in the tail. Answer: `geometry`. */
  geometryRequest: { type: 7, fields: {}, tail: "text" },
  /** Zero a byte range of the file or device that was inherited as descriptor 3. Answer: `done`. */
  zeroRangeRequest: { type: 8, fields: { offset: "u64", length: "u64" } },
  /** Make the kernel read the partition table of descriptor 3 again. Answer: `done`. */
  rereadPartitionsRequest: { type: 9, fields: {} },
  /** Write out the file system that holds the path in the tail (syncfs). Answer: `done`. */
  syncRequest: { type: 10, fields: {}, tail: "text" },
  /**
   * Lock the file in the tail (flock) until the helper ends: `shared` 1 with others that share it,
   * 0 for itself alone. Waits `waitMs` at most, and answers nothing else meanwhile. The file is made
   * if need be, and must be a regular one of root's. Answer: `done`, or the error `locked`.
   */
  lockRequest: { type: 11, fields: { shared: "u32", waitMs: "u32" }, tail: "text" },
  /**
   * Freeze file systems (FIFREEZE), for `limitMs` at most from the first one on. In the tail one
   * text for each, in the order in which to freeze: `<mount id> <mountpoint>`. Answer: a
   * `freezeOutcome` for each, then `done`; or `error`, and then nothing is frozen. While they are
   * frozen other requests are answered. They are thawed by `thawRequest`, when the limit has passed,
   * when standard input closes, by a signal that asks to end, and by the watchdog.
   */
  freezeRequest: { type: 12, fields: { limitMs: "u32", reserved: "u32" }, tail: "text" },
  /** Thaw what was frozen. Answer: `thawed`, once more when it is asked again. */
  thawRequest: { type: 13, fields: {} },
  /** Wait until no write is in flight on the whole disk. Answer: `done`, or the error `busy`. */
  drainRequest: {
    type: 14,
    fields: { major: "u32", minor: "u32", timeoutMs: "u32", reserved: "u32" },
  },

  // --- answers and events ---------------------------------------------------------------------
  /** `bpfObject`: 0 none usable, 1 modern, 2 legacy (no atomics or no bpf_loop). Tail: version. */
  hello: { type: 101, fields: { bpfObject: "u32", reserved: "u32" }, tail: "text" },
  done: { type: 102, fields: {} },
  /** `code` is one of ERROR_CODE, `errno` 0 or the system's. Tail: what failed, in words. */
  error: { type: 103, fields: { code: "u32", errno: "u32" }, tail: "text" },
  /**
   * The tracking session. `hooksAttached` is a set of HOOK bits; `bufferHookKind` 0 none,
   * 1 kprobe, 2 tracepoint. `listening` is 1 while somebody listens.
   */
  session: {
    type: 104,
    fields: {
      sessionHigh: "bits64",
      sessionLow: "bits64",
      startedAtBoottimeMs: "u64",
      hooksAttached: "u32",
      bufferHookKind: "u32",
      bpfObject: "u32",
      listening: "u32",
    },
  },
  /**
   * One tracked device. `attachment` is a random number made when it was attached: a device that was
   * detached and attached again has another, also within one session. `dirtyBlocks` are the bits
   * set in the kernel now.
   */
  slot: {
    type: 105,
    fields: {
      slot: "u32",
      major: "u32",
      minor: "u32",
      blockShift: "u32",
      startSector: "u64",
      sectorCount: "u64",
      attachment: "bits64",
      hooks: "u32",
      bioBased: "u32",
      dirtyBlocks: "u64",
      ...COUNTERS,
    },
  },
  /** Words of the dirty bitmap from `firstWord` on; bit i of word w is block `64 * w + i`. */
  bitmap: { type: 106, fields: { slot: "u32", firstWord: "u32" }, tail: "words" },
  /** Runs of blocks that turned dirty. */
  blocks: {
    type: 107,
    fields: { slot: "u32", reserved: "u32" },
    tail: { firstBlock: "u64", blockCount: "u64" },
  },
  /** Perf events lost since the listener began; told with the next event that finds room. */
  lost: { type: 108, fields: { events: "u64" } },
  geometry: {
    type: 109,
    fields: {
      sizeBytes: "u64",
      logicalBlockBytes: "u32",
      physicalBlockBytes: "u32",
      major: "u32",
      minor: "u32",
      readOnly: "u32",
      reserved: "u32",
    },
  },
  /**
   * What became of the entry with this index: one of OUTCOME. `errno` is what the kernel answered,
   * 0 for nothing; `elapsedUs` how long FIFREEZE took.
   */
  freezeOutcome: {
    type: 110,
    fields: { index: "u32", outcome: "u32", errno: "u32", reserved: "u32", elapsedUs: "u64" },
  },
  /**
   * All is thawed. `frozenUs` counts from before the first FIFREEZE to after the last FITHAW;
   * `expired` is 1 when they were not frozen until this was asked for.
   */
  thawed: { type: 111, fields: { frozenUs: "u64", expired: "u32", reserved: "u32" } },
} as const satisfies Record<string, FrameLayout>;

/** In `detachRequest`: every slot. */
export const SLOT_ALL = 0xffff_ffff;

export const HOOK = { block: 1, buffer: 2 } as const;

export const OUTCOME = {
  frozen: 1,
  /** The file system is read-only: nothing to freeze. */
  readOnly: 2,
  /** It cannot be frozen. */
  unsupported: 3,
  /** Somebody else has frozen it, and will thaw it. */
  alreadyFrozen: 4,
  /** The path leads to another mount. */
  unreachable: 5,
} as const;

export const ERROR_CODE = {
  /** A request that makes no sense: a bug on our side. */
  badRequest: 1,
  notPermitted: 2,
  /** No /sys/kernel/btf/vmlinux. */
  noBtf: 3,
  /** bpffs is not mounted at /sys/fs/bpf. */
  noBpffs: 4,
  /** The verifier or the kernel refused a program or a map. */
  loadFailed: 5,
  attachFailed: 6,
  /** No tracking session, or another than the one named. */
  noSession: 7,
  noSlot: 8,
  alreadyTracked: 9,
  tooManySlots: 10,
  /** A system call failed; see errno. */
  system: 11,
  /** Pins are there but incomplete or of another build. */
  brokenSession: 12,
  /** Another process holds the lock. */
  locked: 13,
  /** A freeze ended before it was asked to. */
  freezeExpired: 14,
  /** Writes are still in flight. */
  busy: 15,
} as const;
