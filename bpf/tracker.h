/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the BPF programs and the helper both know: the contents of the maps. No code.
 *
 * The maps outlive the helper that made them. Raise TRACKER_LAYOUT when one of them changes.
 */
#ifndef IBACKUP_TRACKER_H
#define IBACKUP_TRACKER_H

#include <linux/types.h>

#define TRACKER_LAYOUT 5

#define SLOTS_MAX 64     /* tracked devices */
#define SLOTS_PER_DISK 4 /* of them on one whole disk */
#define PINS_MAX 8       /* pinned maps, and pinned links */
#define BIOS_MAX 16384   /* writes in flight on all disks without request queue */
#define TOKEN_SETS 16    /* a power of two: places for tokens, of one CPU */
#define TOKENS_PER_SET 4 /* a cache line of them */

#define TRACKER_DEVICE(major, minor) ((__u32)(major) << 20 | (__u32)(minor))
#define TRACKER_MAJOR(device) ((device) >> 20)
#define TRACKER_MINOR(device) ((device)&0xfffff)

/* Its bit in the session's set of devices. Several devices may share one. */
#define TRACKER_DEVICE_BIT(device) (1ULL << ((__u32)((device)*0x9e3779b1u) >> 26))

enum hook {
	HOOK_BLOCK = 1,
	HOOK_BUFFER = 2,
};

/*
 * The end of a write comes before its start, and a program before the one that is called after it
 * on the same tracepoint, for what the kernel skipped (bpf/rescue.bpf.h).
 */
enum program {
	PROGRAM_REQUEST_COMPLETE,
	PROGRAM_REQUEST_RESCUE,
	PROGRAM_REQUEST_ISSUE,
	PROGRAM_BIO_COMPLETE,
	PROGRAM_BIO_RESCUE,
	PROGRAM_BIO_QUEUE,
	PROGRAM_BUFFER_KPROBE,
	PROGRAM_BUFFER_TRACEPOINT,
	PROGRAM_COUNT,
};

#define PROGRAM_BIT(program) (1u << PROGRAM_##program)

enum bpf_object_kind {
	BPF_OBJECT_NONE = 0,
	BPF_OBJECT_MODERN = 1, /* a bit a block: 64 blocks in a word of the bitmap */
	BPF_OBJECT_LEGACY = 2, /* a byte a block: 8 blocks in a word */
};

/* Sectors [start_sector, start_sector + sector_count) of a whole disk. */
struct tracked {
	__u64 start_sector;
	__u64 sector_count;
	__u64 attachment; /* random name of this attachment */
	__u32 slot;
	__u32 block_shift; /* a block is 1 << block_shift sectors */
	__u32 hooks;
	__u32 unsettled;          /* 1: writes may be under way whose end nobody will mark */
	__u32 unsettled_collects; /* while that was so: a taint that grows */
	__u32 failed_updates;     /* taint_failed_updates, when it was looked at last */
};

/* Map `disks`, keyed by TRACKER_DEVICE: only tracked disks are there. */
struct disk {
	__u32 count;
	__u32 bio_based; /* no request queue: dm, md, zram */
	struct tracked tracked[SLOTS_PER_DISK];
};

/* Map `counters`, by slot and CPU. The order is that of the frame `slot`. */
struct counters {
	__u64 issued;
	__u64 completed;
	__u64 sectors_issued;
	__u64 sectors_completed;
	__u64 buffers_dirtied;
	__u64 buffers_invalid;
	__u64 events_lost;
	__u64 taint_skipped_programs; /* filled in by the helper */
	__u64 taint_unmarked_ranges;
	__u64 taint_passthrough_writes;
	__u64 taint_failed_updates;
};

/* Map `bios`, keyed by the bio's address: what a write in flight covers. */
struct bio_range {
	__u64 sector;
	__u32 sectors;
	__u32 device;
};

/* Which programs have a second one behind them. */
enum rescue {
	RESCUE_REQUEST_COMPLETE,
	RESCUE_BIO_COMPLETE,
	RESCUE_COUNT,
};

/* That the first program has worked on an event. */
struct token {
	__u64 object; /* address of its request or bio; 0: no token */
	__u64 use;    /* what tells this use of that memory from the next */
};

/* Map `rescues`, by enum rescue and CPU: what the two say to each other. */
struct rescue_state {
	struct token tokens[TOKEN_SETS][TOKENS_PER_SET];
	__u64 rescued; /* events that the second worked on */
	__u64 left;    /* events that the first left to it: no room for the token */
};

/* Map `session`, one entry. Made by the helper; the programs only read it. */
struct session {
	__u64 high; /* high and low: random name of the tracking session */
	__u64 low;
	__u64 started_at_boottime_ms;
	__u64 devices;  /* TRACKER_DEVICE_BIT of each device that ever was in `disks` */
	__u32 layout;   /* TRACKER_LAYOUT */
	__u32 object;   /* enum bpf_object_kind */
	__u32 programs; /* set of enum program: those attached and pinned */
	__u32 rescuing; /* of them: for so long that what runs now has left its tokens */
	__u32 listening;
	__u32 map_ids[PINS_MAX];  /* by the helper's enum map: the kernel's ids, to tell a pin */
	__u32 link_ids[PINS_MAX]; /* by enum program: that was replaced by another */
};

/* Perf event: these bits (or bytes) of a word of the bitmap turned dirty. */
struct dirty_event {
	__u32 slot;
	__u32 word;
	__u64 mask;
};

#endif
