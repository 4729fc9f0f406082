// SPDX-License-Identifier: Apache-2.0
#include <bpf/bpf.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>
#include "answer.h"
#include "bitmap.h"

#define BLOCKS_PER_WORD 64
/* A word of the map holds 8 blocks when each has a byte, which is 0 or 1. */
#define MAP_WORDS_PER_WORD 8

int bitmap_make(const struct tracker *tracker, uint32_t slot, uint64_t blocks)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	uint64_t words = (blocks + BLOCKS_PER_WORD - 1) / BLOCKS_PER_WORD;
	int fd, error;

	if (tracker->state->object == BPF_OBJECT_LEGACY)
		words *= MAP_WORDS_PER_WORD;
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "bitmap", sizeof(__u32), sizeof(__u64),
			    (__u32)words, &options);
	if (fd < 0)
		return fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot make a bitmap of %llu words",
			    (unsigned long long)words);
	error = bpf_map_update_elem(tracker->maps[MAP_BITMAPS], &slot, &fd, BPF_ANY) ? errno : 0;
	close(fd);
	if (error)
		return fail(FRAME_ERROR_CODE_SYSTEM, error, "cannot put the bitmap into its slot");
	return 0;
}

int bitmap_open(struct bitmap *bitmap, const struct tracker *tracker, uint32_t slot)
{
	struct bpf_map_info info = { 0 };
	__u32 info_size = sizeof(info);
	size_t words;
	void *memory;
	__u32 id;
	int fd;

	if (slot >= SLOTS_MAX || bpf_map_lookup_elem(tracker->maps[MAP_BITMAPS], &slot, &id))
		return fail(FRAME_ERROR_CODE_NO_SLOT, 0, "slot %u is not in use", slot);
	fd = bpf_map_get_fd_by_id(id);
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &info_size)) {
		int error = errno;

		if (fd >= 0)
			close(fd);
		return fail(FRAME_ERROR_CODE_SYSTEM, error, "cannot open the bitmap of slot %u",
			    slot);
	}
	words = info.max_entries;
	bitmap->bytes = tracker->state->object == BPF_OBJECT_LEGACY;
	bitmap->word_count = (uint32_t)(bitmap->bytes ? words / MAP_WORDS_PER_WORD : words);
	bitmap->memory_bytes = words * sizeof(uint64_t);
	memory = mmap(NULL, bitmap->memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (memory == MAP_FAILED)
		return fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot map the bitmap of slot %u",
			    slot);
	bitmap->memory = memory;
	return 0;
}

void bitmap_close(struct bitmap *bitmap)
{
	munmap(bitmap->memory, bitmap->memory_bytes);
	bitmap->memory = NULL;
}

static uint64_t *map_words(const struct bitmap *bitmap, uint32_t number)
{
	return bitmap->memory + (bitmap->bytes ? (size_t)number * MAP_WORDS_PER_WORD : number);
}

bool bitmap_any(const struct bitmap *bitmap, uint32_t first, uint32_t count)
{
	const uint64_t *from = map_words(bitmap, first);
	const uint64_t *to = map_words(bitmap, first + count);
	uint64_t any = 0;

	for (const uint64_t *word = from; word < to; word++)
		any |= *word;
	return any != 0;
}

/* 8 bytes of 0 or 1 to 8 bits: the product gathers bit 0 of byte i in bit 56 + i. */
static uint64_t bits_of_bytes(uint64_t bytes)
{
	return (bytes & 0x0101010101010101ull) * 0x0102040810204080ull >> 56;
}

/* The other way: spreads 8 bits, then keeps of byte i only bit i, as 0xff or 0. */
static uint64_t bytes_of_bits(uint64_t bits)
{
	uint64_t spread = (bits & 0xff) * 0x0101010101010101ull & 0x8040201008040201ull;

	/* Adding 0x7f to a byte carries into its top bit unless it is 0; 0x80 has it already. */
	spread = ((spread & 0x7f7f7f7f7f7f7f7full) + 0x7f7f7f7f7f7f7f7full) | spread;
	return (spread >> 7 & 0x0101010101010101ull) * 0xff;
}

uint64_t bitmap_word(const struct bitmap *bitmap, uint32_t number)
{
	const uint64_t *words = map_words(bitmap, number);
	uint64_t bits = 0;

	if (!bitmap->bytes)
		return __atomic_load_n(words, __ATOMIC_ACQUIRE);
	for (unsigned int i = 0; i < MAP_WORDS_PER_WORD; i++)
		bits |= bits_of_bytes(__atomic_load_n(&words[i], __ATOMIC_ACQUIRE)) << (8 * i);
	return bits;
}

void bitmap_clear(const struct bitmap *bitmap, uint32_t number, uint64_t bits)
{
	uint64_t *words = map_words(bitmap, number);

	if (!bitmap->bytes) {
		__atomic_fetch_and(words, ~bits, __ATOMIC_SEQ_CST);
		return;
	}
	for (unsigned int i = 0; i < MAP_WORDS_PER_WORD; i++)
		if (bits >> (8 * i) & 0xff)
			__atomic_fetch_and(&words[i], ~bytes_of_bits(bits >> (8 * i)),
					   __ATOMIC_SEQ_CST);
}

uint64_t bitmap_count(const struct bitmap *bitmap)
{
	const uint64_t *end = map_words(bitmap, bitmap->word_count);
	uint64_t count = 0;

	for (const uint64_t *word = bitmap->memory; word < end; word++)
		if (*word)
			count += (uint64_t)__builtin_popcountll(*word);
	return count;
}

uint64_t bitmap_event_bits(const struct dirty_event *event, bool bytes, uint32_t *number)
{
	*number = bytes ? event->word / MAP_WORDS_PER_WORD : event->word;
	if (!bytes)
		return event->mask;
	return bits_of_bytes(event->mask) << (8 * (event->word % MAP_WORDS_PER_WORD));
}
