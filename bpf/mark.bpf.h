/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Marking ranges of sectors in the bitmaps.
 *
 * Whatever cannot be marked is counted as a taint: the bitmap may say too much, never too little
 * without saying so.
 *
 * This source is compiled twice. The legacy object (IBACKUP_LEGACY) is for kernels without atomic
 * OR (5.12) or bpf_loop (5.17). It keeps a byte for each block, so that plain stores do.
 */
#ifndef IBACKUP_MARK_BPF_H
#define IBACKUP_MARK_BPF_H

#include "kernel.bpf.h"
#include "maps.bpf.h"

#ifdef IBACKUP_LEGACY

#define BLOCKS_PER_WORD 8
#define WORD_ALL 0x0101010101010101ULL
/* The blocks of a word from, and up to and including, this one. */
#define MASK_FROM(block) (WORD_ALL << ((block) % 8 * 8))
#define MASK_UP_TO(block) (WORD_ALL >> (56 - (block) % 8 * 8))

/* One call of mark_blocks() verifies a loop of this many words; more blocks take more calls. */
#define WORDS_PER_CALL 1024
#define CALLS_MAX 136

/* Returns the bytes that were not set before. Only bytes that have to be set are stored to. */
static __always_inline __u64 set_in_word(__u64 *word, __u64 mask)
{
	__u64 fresh = mask & ~*(volatile __u64 *)word;

	if (!fresh)
		return 0;
	if (mask == WORD_ALL) {
		*(volatile __u64 *)word = WORD_ALL;
		return fresh;
	}
#pragma unroll
	for (int i = 0; i < 8; i++)
		if (mask >> (i * 8) & 1)
			((volatile __u8 *)word)[i] = 1;
	return fresh;
}

#else

#define BLOCKS_PER_WORD 64
#define WORD_ALL (~0ULL)
#define MASK_FROM(block) (WORD_ALL << (block) % 64)
#define MASK_UP_TO(block) (WORD_ALL >> (63 - (block) % 64))

/* bpf_loop() takes as many steps, and no request is longer than 2^20 blocks. */
#define WORDS_PER_CALL (1 << 23)
#define CALLS_MAX 1

/* Returns the bits that were not set before. Most writes find theirs set: then nothing is locked.
 */
static __always_inline __u64 set_in_word(__u64 *word, __u64 mask)
{
	if (!(mask & ~*(volatile __u64 *)word))
		return 0;
	return mask & ~__sync_fetch_and_or(word, mask);
}

#endif

#define BLOCKS_PER_CALL ((__u64)WORDS_PER_CALL * BLOCKS_PER_WORD)

/* What mark_word() needs, in one place so that bpf_loop() can hand it on. */
struct marking {
	void *ctx;
	void *bitmap;
	__u64 first_word;
	__u32 slot;
};

static __always_inline void mark_word(struct marking *marking, __u64 number, __u64 mask)
{
	struct dirty_event event = { .slot = marking->slot, .word = (__u32)number };
	__u64 *word = bpf_map_lookup_elem(marking->bitmap, &event.word);

	if (!word) {
		COUNT(marking->slot, taint_unmarked_ranges, 1);
		return;
	}
	event.mask = set_in_word(word, mask);
	if (!event.mask || !somebody_listens())
		return;
	if (bpf_perf_event_output(marking->ctx, &events, BPF_F_CURRENT_CPU, &event, sizeof(event)))
		COUNT(marking->slot, events_lost, 1);
}

#ifdef IBACKUP_LEGACY

static __always_inline void mark_whole_words(struct marking *marking, __u64 count, __u32 limit)
{
	for (__u32 i = 0; i < limit; i++) {
		if (i >= count)
			return;
		mark_word(marking, marking->first_word + i, WORD_ALL);
	}
}

#else

static long mark_next_word(__u32 index, void *data)
{
	struct marking *marking = data;

	mark_word(marking, marking->first_word + index, WORD_ALL);
	return 0;
}

static __always_inline void mark_whole_words(struct marking *marking, __u64 count, __u32 limit)
{
	if (count && count <= limit)
		bpf_loop((__u32)count, mark_next_word, marking, 0);
}

#endif

/* Marks blocks [first, last] of a slot: at most `limit` words between those of first and last. */
static __always_inline void mark_span(void *ctx, __u32 slot, __u64 first, __u64 last, __u32 limit)
{
	__u64 first_word = first / BLOCKS_PER_WORD;
	__u64 last_word = last / BLOCKS_PER_WORD;
	struct marking marking = {
		.ctx = ctx,
		.bitmap = bpf_map_lookup_elem(&bitmaps, &slot),
		.first_word = first_word + 1,
		.slot = slot,
	};

	if (!marking.bitmap || first_word > last_word || last_word > first_word + limit + 1) {
		COUNT(slot, taint_unmarked_ranges, 1);
		return;
	}
	if (first_word == last_word) {
		mark_word(&marking, first_word, MASK_FROM(first) & MASK_UP_TO(last));
		return;
	}
	mark_word(&marking, first_word, MASK_FROM(first));
	mark_word(&marking, last_word, MASK_UP_TO(last));
	mark_whole_words(&marking, last_word - first_word - 1, limit);
}

/* A function of its own, not inlined: the verifier checks its loop once, not at every call. */
__attribute__((noinline)) int mark_blocks(struct bpf_raw_tracepoint_args *ctx, __u32 slot,
					  __u64 first, __u64 last)
{
	mark_span(ctx, slot, first, last, WORDS_PER_CALL);
	return 0;
}

/* A range of sectors as blocks of one slot. */
struct span {
	__u64 first; /* block */
	__u64 last;  /* block, the last one of the span */
	__u64 sectors;
};

/* The part of a range that lies in a slot, from the slot's start. False when there is none. */
static __always_inline bool clip(const struct tracked *tracked, __u64 sector, __u64 sectors,
				 struct span *span)
{
	__u64 from = tracked->start_sector;
	__u64 to = from + tracked->sector_count;

	if (sector > from)
		from = sector;
	if (sector + sectors < to)
		to = sector + sectors;
	if (from >= to)
		return false;
	span->first = (from - tracked->start_sector) >> (tracked->block_shift & 63);
	span->last = (to - 1 - tracked->start_sector) >> (tracked->block_shift & 63);
	span->sectors = to - from;
	return true;
}

/* Which end of a write is being marked. */
enum end {
	END_ISSUE,
	END_COMPLETION,
};

static __always_inline void count_end(__u32 slot, enum end end, __u64 sectors)
{
	struct counters *counted = bpf_map_lookup_elem(&counters, &slot);

	if (!counted)
		return;
	if (end == END_ISSUE) {
		__sync_fetch_and_add(&counted->issued, 1);
		__sync_fetch_and_add(&counted->sectors_issued, sectors);
	} else {
		__sync_fetch_and_add(&counted->completed, 1);
		__sync_fetch_and_add(&counted->sectors_completed, sectors);
	}
}

/* Marks the part of a range that lies in one slot. */
static __always_inline void mark_slot(struct bpf_raw_tracepoint_args *ctx,
				      const struct tracked *tracked, __u64 sector, __u32 sectors,
				      enum end end)
{
	struct span span;

	if (!(tracked->hooks & HOOK_BLOCK) || !clip(tracked, sector, sectors, &span))
		return;
	count_end(tracked->slot, end, span.sectors);
	if (span.first / BLOCKS_PER_WORD == span.last / BLOCKS_PER_WORD) {
		/* Most writes. Without the call, which is not free. */
		mark_span(ctx, tracked->slot, span.first, span.last, 0);
		return;
	}
	for (__u32 call = 0; call < CALLS_MAX && span.first <= span.last; call++) {
		__u64 last = span.first + BLOCKS_PER_CALL - 1;

		if (last > span.last)
			last = span.last;
		mark_blocks(ctx, tracked->slot, span.first, last);
		span.first = last + 1;
	}
	if (span.first <= span.last)
		COUNT(tracked->slot, taint_unmarked_ranges, 1);
}

/* Marks a range of a whole disk in each slot that it touches. */
static __always_inline void mark_disk(struct bpf_raw_tracepoint_args *ctx, const struct disk *disk,
				      __u64 sector, __u32 sectors, enum end end)
{
	for (__u32 i = 0; i < SLOTS_PER_DISK && i < disk->count; i++)
		mark_slot(ctx, &disk->tracked[i], sector, sectors, end);
}

/* The same where it is called in a loop, or far from the disk: as mark_blocks(), not inlined. */
__attribute__((noinline)) int mark_device(struct bpf_raw_tracepoint_args *ctx, __u32 device,
					  __u64 sector, __u32 sectors, __u32 end)
{
	const struct disk *disk = bpf_map_lookup_elem(&disks, &device);

	if (disk)
		mark_disk(ctx, disk, sector, sectors, end);
	return 0;
}

#endif
