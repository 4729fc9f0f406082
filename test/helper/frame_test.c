// SPDX-License-Identifier: Apache-2.0
/*
 * Tests helper/frame.c, and shares golden bytes with test/frame/golden.test.ts.
 *
 *	frame-test write		prints the golden frames
 *	frame-test read < FILE		exit status 0: FILE holds exactly the golden frames
 *	frame-test damage SEED		damages frames at random: what decodes is what was sent
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "frame.h"

#define GOLDEN_MAX 64

struct golden {
	uint32_t type;
	uint32_t request;
	struct frame_parts parts;
};

static struct golden golden[GOLDEN_MAX];
static size_t golden_count;

static void add(uint32_t type, uint32_t request, struct frame_parts parts)
{
	assert(golden_count < GOLDEN_MAX);
	golden[golden_count++] = (struct golden){ type, request, parts };
}

#define WORDS_MAX ((FRAME_PAYLOAD_BYTES_MAX - sizeof(struct frame_bitmap)) / 8)

/* The list of test/frame/golden.ts, in its order. */
static void make_golden(void)
{
	static const struct frame_attach_request attach = {
		.major = 259,
		.minor = 10,
		.start_sector = 2048,
		.sector_count = 1ull << 33,
		.block_shift = 3,
		.hooks = FRAME_HOOK_BLOCK | FRAME_HOOK_BUFFER,
	};
	static const struct frame_collect_request collect = {
		.slot = 5,
		.session_high = 0x0a0a0a0a0a0a0a0a,
		.session_low = UINT64_MAX,
	};
	static const char paths[] = "/run/ibackup/a\0/run/ibackup/b\nc";
	static const struct frame_error error = { .code = 11, .errno_ = 28 };
	static const struct frame_bitmap bitmap = { .slot = 63, .first_word = 10 };
	static const uint64_t words[] = { 1, 0, 0x0a0a0a0a0a0a0a0a, 1ull << 63 };
	static const struct frame_blocks blocks = { .slot = 0 };
	static const struct frame_blocks_record runs[] = { { 0, 1 }, { 1ull << 40, 1ull << 31 } };
	static const struct frame_freeze_request freeze = { .limit_ms = 10000 };
	static const char mounts[] = "42 /srv/data\0"
				     "28 /";
	static const struct frame_freeze_outcome outcome = {
		.index = 1,
		.outcome = FRAME_OUTCOME_ALREADY_FROZEN,
		.errno_ = 16,
		.elapsed_us = 1ull << 33,
	};
	static const struct frame_thawed thawed = { .frozen_us = 1ull << 40, .expired = 1 };
	static const struct frame_drain_request drain = {
		.major = 254,
		.minor = 10,
		.timeout_ms = 1000,
	};
	static const struct frame_bitmap longest = { .slot = 1, .first_word = 0xffffe000 };
	static uint64_t noise[WORDS_MAX];
	static char xs[258];

	add(FRAME_HELLO_REQUEST, 1, (struct frame_parts){ 0 });
	add(FRAME_ATTACH_REQUEST, 2, (struct frame_parts){ &attach, sizeof(attach), NULL, 0 });
	add(FRAME_COLLECT_REQUEST, 10,
	    (struct frame_parts){ &collect, sizeof(collect), paths, sizeof(paths) - 1 });
	add(FRAME_ERROR, 3, (struct frame_parts){ &error, sizeof(error), "no space", 8 });
	add(FRAME_BITMAP, 4, (struct frame_parts){ &bitmap, sizeof(bitmap), words, sizeof(words) });
	add(FRAME_BLOCKS, 0, (struct frame_parts){ &blocks, sizeof(blocks), runs, sizeof(runs) });
	add(FRAME_FREEZE_REQUEST, 12,
	    (struct frame_parts){ &freeze, sizeof(freeze), mounts, sizeof(mounts) - 1 });
	add(FRAME_FREEZE_OUTCOME, 12, (struct frame_parts){ &outcome, sizeof(outcome), NULL, 0 });
	add(FRAME_THAWED, 13, (struct frame_parts){ &thawed, sizeof(thawed), NULL, 0 });
	add(FRAME_DRAIN_REQUEST, 14, (struct frame_parts){ &drain, sizeof(drain), NULL, 0 });
	/* Around the longest run that one COBS code can announce. */
	memset(xs, 'x', sizeof(xs));
	for (uint32_t length = 246; length <= sizeof(xs); length++)
		add(FRAME_SYNC_REQUEST, length, (struct frame_parts){ NULL, 0, xs, length });
	for (size_t i = 0; i < WORDS_MAX; i++)
		noise[i] = i * 0x9e3779b97f4a7c15ull;
	add(FRAME_BITMAP, UINT32_MAX,
	    (struct frame_parts){ &longest, sizeof(longest), noise, sizeof(noise) });
}

static int is_golden(const struct frame *frame, const struct golden *expected)
{
	const struct frame_parts *parts = &expected->parts;

	return frame->header.type == expected->type && frame->header.request == expected->request &&
	       frame->tail_bytes == parts->tail_bytes &&
	       (!parts->fields_bytes ||
		!memcmp(frame->fields, parts->fields, parts->fields_bytes)) &&
	       (!parts->tail_bytes || !memcmp(frame->tail, parts->tail, parts->tail_bytes));
}

static int write_golden(void)
{
	static uint8_t bytes[FRAME_STUFFED_MAX + 1];

	for (size_t i = 0; i < golden_count; i++) {
		size_t length =
			frame_encode(bytes, golden[i].type, golden[i].request, &golden[i].parts);

		assert(length <= sizeof(bytes));
		if (fwrite(bytes, 1, length, stdout) != length)
			return EXIT_FAILURE;
	}
	return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int read_golden(void)
{
	static struct frame_reader reader;
	size_t seen = 0;
	uint8_t byte;

	while (fread(&byte, 1, 1, stdin) == 1) {
		struct frame frame;
		bool complete;

		if (frame_read(&reader, &byte, 1, &complete) != 1)
			return EXIT_FAILURE;
		if (!complete)
			continue;
		if (frame_read_end(&reader, &frame) || seen == golden_count ||
		    !is_golden(&frame, &golden[seen]))
			return EXIT_FAILURE;
		seen++;
	}
	return seen == golden_count ? EXIT_SUCCESS : EXIT_FAILURE;
}

static uint64_t random_state;

/* xorshift64*: the same seed gives the same damage. */
static uint32_t random_below(uint32_t limit)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (uint32_t)((random_state * 0x2545f4914f6cdd1dull >> 32) % limit);
}

/* Flips, cuts off or inserts; the bytes are in a buffer with room for one more. */
static size_t damage(uint8_t *bytes, size_t length)
{
	size_t at = random_below((uint32_t)length);

	switch (random_below(4)) {
	case 0:
		bytes[at] ^= (uint8_t)(1u << random_below(8));
		return length;
	case 1:
		return at;
	case 2:
		memmove(bytes + at + 1, bytes + at, length - at);
		bytes[at] = (uint8_t)random_below(256);
		return length + 1;
	default:
		bytes[at] = '\n';
		return length;
	}
}

struct stream {
	struct frame_reader reader;
	size_t sent;       /* golden frame that was sent last */
	bool decoded_sent; /* and came out undamaged */
};

static int feed(struct stream *stream, const uint8_t *bytes, size_t length)
{
	while (length) {
		struct frame frame;
		bool complete;
		size_t taken = frame_read(&stream->reader, bytes, length, &complete);

		bytes += taken;
		length -= taken;
		if (!complete || frame_read_end(&stream->reader, &frame))
			continue;
		/* A newline that came too early may leave a frame whole: then it is one of ours. */
		if (!is_golden(&frame, &golden[stream->sent]))
			return -1;
		stream->decoded_sent = true;
	}
	return 0;
}

static int damage_frames(uint64_t seed)
{
	static uint8_t bytes[FRAME_STUFFED_MAX + 2];
	static struct stream stream;

	random_state = seed | 1;
	for (int round = 0; round < 100000; round++) {
		/* All but the longest: it would take most of the time. */
		size_t sent = random_below((uint32_t)golden_count - 1);
		size_t length = frame_encode(bytes, golden[sent].type, golden[sent].request,
					     &golden[sent].parts);
		bool damaged = random_below(2);

		stream.sent = sent;
		stream.decoded_sent = false;
		if (damaged)
			length = damage(bytes, length);
		if (feed(&stream, bytes, length))
			return EXIT_FAILURE;
		if (!damaged && !stream.decoded_sent)
			return EXIT_FAILURE;
		/* Only what ends in a newline lets the next frame begin. */
		if (!length || bytes[length - 1] != '\n')
			if (feed(&stream, (const uint8_t *)"\n", 1))
				return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	make_golden();
	assert(crc32c(0, "123456789", 9) == 0xe3069283);
	if (argc == 2 && !strcmp(argv[1], "write"))
		return write_golden();
	if (argc == 2 && !strcmp(argv[1], "read"))
		return read_golden();
	if (argc == 3 && !strcmp(argv[1], "damage"))
		return damage_frames(strtoull(argv[2], NULL, 10));
	return 2;
}
