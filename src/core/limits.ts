/** What every object of a repository keeps to; FORMAT.md states the same numbers. */

/** Blocks per window. A data frame never crosses a window, so planning goes window by window. */
export const WINDOW_BLOCKS = 2 ** 22;

/** Most blocks in one data frame. */
export const FRAME_BLOCKS_MAX = 64;

/** Most raw bytes in one data frame, which matters where blocks are larger than 64 KiB. */
export const FRAME_BYTES_MAX = 4 << 20;

/** Largest pack, in bytes. A frame that does not shrink still fits. */
export const PACK_BYTES_MAX = 16 << 20;

/** Most blocks of a disk: one bit each makes a bitmap of 256 MiB. */
export const DISK_BLOCKS_MAX = 2 ** 31;

export const BLOCK_BYTES_MIN = 4096;
export const BLOCK_BYTES_MAX = 1 << 20;

/** Most records, and most extents in all of them, that one index object holds. */
export const INDEX_RECORDS_MAX = 65_536;
export const INDEX_EXTENTS_MAX = 262_144;

/** Largest index object, in bytes, packed and unpacked. */
export const INDEX_BYTES_MAX = 16 << 20;

/** Largest document (repository, manifest), in bytes. */
export const DOCUMENT_BYTES_MAX = 16 << 20;
