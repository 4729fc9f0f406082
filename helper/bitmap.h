/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dirty bitmap of a slot, shared with the kernel. Seen from here it is made of 64-bit words
 * with a bit for each block, whichever object runs: the legacy one keeps a byte for each.
 */
#ifndef IBACKUP_BITMAP_H
#define IBACKUP_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "session.h"

/* 256 MiB of bits. */
#define BLOCKS_MAX (1ull << 31)

struct bitmap {
	uint64_t *memory;
	size_t memory_bytes;
	uint32_t word_count; /* of 64 blocks */
	bool bytes;          /* a byte for each block */
};

/* Makes an empty bitmap for this many blocks and puts it into the slot. */
int bitmap_make(const struct tracker *tracker, uint32_t slot, uint64_t blocks);

/* Maps the bitmap of a slot; fails with noSlot when it has none. */
int bitmap_open(struct bitmap *bitmap, const struct tracker *tracker, uint32_t slot);

void bitmap_close(struct bitmap *bitmap);

/* Whether any block of `count` words from `first` on is set. Fast. */
bool bitmap_any(const struct bitmap *bitmap, uint32_t first, uint32_t count);

/* One word as it is now. */
uint64_t bitmap_word(const struct bitmap *bitmap, uint32_t number);

/* Clears these bits of a word, and none that was set meanwhile. */
void bitmap_clear(const struct bitmap *bitmap, uint32_t number, uint64_t bits);

uint64_t bitmap_count(const struct bitmap *bitmap);

/* The blocks of an event's mask as bits of the word at `*number`, which is set. */
uint64_t bitmap_event_bits(const struct dirty_event *event, bool bytes, uint32_t *number);

#endif
