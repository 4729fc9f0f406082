// SPDX-License-Identifier: Apache-2.0
/*
 * Moves the bits of a slot out of the kernel.
 *
 * Piece by piece: look at the words, OR them into every pending file, and only then clear those
 * very bits in the kernel. Killed anywhere, each dirty block is in the kernel, in every pending
 * file, or in both. A bit that is set again meanwhile is cleared with the rest: its write ended
 * before the clearing, and the block is read after it.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "answer.h"
#include "bitmap.h"
#include "requests.h"
#include "settle.h"
#include "slot_table.h"

#define PIECE_WORDS 8192u /* 64 KiB of bits */
#define PENDING_FILES_MAX 64
/* A gap of so many zero words costs less than the start of another frame. */
#define GAP_WORDS_MAX 3u
#define FRAME_WORDS_MAX                                                      \
	((FRAME_PAYLOAD_BYTES_MAX - (uint32_t)sizeof(struct frame_bitmap)) / \
	 (uint32_t)sizeof(uint64_t))

struct pending {
	int files[PENDING_FILES_MAX];
	size_t count;
};

/* A run of words, from `first` on, that begins and ends with one that is not zero. */
struct piece {
	uint64_t words[PIECE_WORDS];
	uint32_t first;
	uint32_t count;
};

static void close_pending(struct pending *pending)
{
	while (pending->count)
		close(pending->files[--pending->count]);
}

static int open_pending_file(const char *path, uint64_t size)
{
	struct stat stat;
	int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot open %s", path);
	if (fstat(fd, &stat) || !S_ISREG(stat.st_mode) || stat.st_uid != 0 ||
	    (uint64_t)stat.st_size != size) {
		close(fd);
		return fail(FRAME_ERROR_CODE_SYSTEM, 0, "%s is not a file of root's of %llu bytes",
			    path, (unsigned long long)size);
	}
	return fd;
}

/* The tail: paths, separated by a zero byte. */
static int open_pending(struct pending *pending, const struct frame *frame, uint64_t size)
{
	static char paths[FRAME_PAYLOAD_BYTES_MAX + 1];
	const char *end = paths + frame->tail_bytes;

	pending->count = 0;
	memcpy(paths, frame->tail, frame->tail_bytes);
	paths[frame->tail_bytes] = 0;
	for (const char *path = paths; path < end; path += strlen(path) + 1) {
		int fd;

		if (pending->count == PENDING_FILES_MAX) {
			close_pending(pending);
			return fail(FRAME_ERROR_CODE_BAD_REQUEST, 0, "too many pending files");
		}
		fd = open_pending_file(path, size);
		if (fd < 0) {
			close_pending(pending);
			return -1;
		}
		pending->files[pending->count++] = fd;
	}
	if (!pending->count)
		return fail(FRAME_ERROR_CODE_BAD_REQUEST, 0, "no pending file");
	return 0;
}

/* Looks at up to PIECE_WORDS words from `from` on. The piece is empty when none is set. */
static void peek(struct piece *piece, const struct bitmap *bitmap, uint32_t from)
{
	uint32_t words = bitmap->word_count - from;

	if (words > PIECE_WORDS)
		words = PIECE_WORDS;
	piece->count = 0;
	if (!bitmap_any(bitmap, from, words))
		return;
	for (uint32_t i = 0; i < words; i++) {
		uint64_t word = bitmap_word(bitmap, from + i);

		if (!piece->count && !word)
			continue;
		if (!piece->count)
			piece->first = from + i;
		piece->words[piece->count++] = word;
	}
	while (piece->count && !piece->words[piece->count - 1])
		piece->count--;
}

/* All bytes, or -1 with errno. */
static int read_whole(int fd, void *bytes, size_t length, off_t offset)
{
	for (size_t done = 0; done < length;) {
		ssize_t count =
			pread(fd, (char *)bytes + done, length - done, offset + (off_t)done);

		if (count < 0 && errno == EINTR)
			continue;
		if (count == 0)
			errno = EIO;
		if (count <= 0)
			return -1;
		done += (size_t)count;
	}
	return 0;
}

static int write_whole(int fd, const void *bytes, size_t length, off_t offset)
{
	for (size_t done = 0; done < length;) {
		ssize_t count =
			pwrite(fd, (const char *)bytes + done, length - done, offset + (off_t)done);

		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			return -1;
		done += (size_t)count;
	}
	return 0;
}

static int keep(const struct piece *piece, const struct pending *pending)
{
	static uint64_t words[PIECE_WORDS];
	size_t length = piece->count * sizeof(uint64_t);
	off_t offset = (off_t)piece->first * (off_t)sizeof(uint64_t);

	for (size_t file = 0; file < pending->count; file++) {
		if (read_whole(pending->files[file], words, length, offset))
			return fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot read a pending file");
		for (uint32_t i = 0; i < piece->count; i++)
			words[i] |= piece->words[i];
		if (write_whole(pending->files[file], words, length, offset))
			return fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot write a pending file");
	}
	return 0;
}

static void clear(const struct piece *piece, const struct bitmap *bitmap)
{
	for (uint32_t i = 0; i < piece->count; i++)
		if (piece->words[i])
			bitmap_clear(bitmap, piece->first + i, piece->words[i]);
}

/* How many words from `from` on go into one frame: up to a long gap, or to the end. */
static uint32_t run_length(const struct piece *piece, uint32_t from)
{
	uint32_t length = 0;

	for (uint32_t i = 0; from + i < piece->count && i < FRAME_WORDS_MAX; i++) {
		if (piece->words[from + i])
			length = i + 1;
		else if (i - length >= GAP_WORDS_MAX)
			break;
	}
	return length;
}

static void answer_piece(const struct piece *piece, uint32_t slot)
{
	for (uint32_t at = 0; at < piece->count; at++) {
		struct frame_bitmap fields = { .slot = slot, .first_word = piece->first + at };
		uint32_t length;

		if (!piece->words[at])
			continue;
		length = run_length(piece, at);
		answer_send(FRAME_BITMAP,
			    &(struct frame_parts){ .fields = &fields,
						   .fields_bytes = sizeof(fields),
						   .tail = piece->words + at,
						   .tail_bytes = length * sizeof(uint64_t) });
		at += length - 1;
	}
}

static int move_bits(const struct bitmap *bitmap, const struct pending *pending, uint32_t slot)
{
	static struct piece piece;

	for (uint32_t from = 0; from < bitmap->word_count; from += PIECE_WORDS) {
		peek(&piece, bitmap, from);
		if (!piece.count)
			continue;
		if (keep(&piece, pending))
			return -1;
		clear(&piece, bitmap);
		answer_piece(&piece, slot);
	}
	return 0;
}

static int collect_slot(const struct tracker *tracker, const struct frame *frame)
{
	const struct frame_collect_request *request = frame->fields;
	struct pending pending;
	struct bitmap bitmap;
	struct place place;
	int result;

	if (request->session_high != tracker->state->high ||
	    request->session_low != tracker->state->low)
		return fail(FRAME_ERROR_CODE_NO_SESSION, 0, "another tracking session");
	if (slot_find(tracker, request->slot, &place) || settle(tracker, &place) ||
	    bitmap_open(&bitmap, tracker, request->slot))
		return -1;
	result = open_pending(&pending, frame, bitmap.word_count * sizeof(uint64_t));
	if (!result) {
		result = move_bits(&bitmap, &pending, request->slot);
		close_pending(&pending);
	}
	bitmap_close(&bitmap);
	return result ? -1 : slot_answer(tracker, &place);
}

int collect(const struct frame *frame)
{
	struct tracker tracker;
	int result;

	if (session_open_existing(&tracker))
		return -1;
	result = collect_slot(&tracker, frame);
	session_close(&tracker);
	if (!result)
		answer_done();
	return result;
}
