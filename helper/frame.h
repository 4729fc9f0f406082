/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames to bytes and back; the C twin of src/frame/codec.ts. No input or output here.
 *
 * On the wire: header, payload, CRC-32C of both; then COBS, every byte XOR 0x0A, one 0x0A.
 */
#ifndef IBACKUP_FRAME_H
#define IBACKUP_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include "frame.gen.h"

#define FRAME_CRC_BYTES 4
#define FRAME_RAW_MAX (sizeof(struct frame_header) + FRAME_PAYLOAD_BYTES_MAX + FRAME_CRC_BYTES)
/* COBS adds a byte at the start and one for each 254 bytes. */
#define FRAME_STUFFED_MAX (FRAME_RAW_MAX + FRAME_RAW_MAX / 254 + 1)

/* Parts of a payload, in their order; empty ones may be NULL. */
struct frame_parts {
	const void *fields;
	size_t fields_bytes;
	const void *tail;
	size_t tail_bytes;
};

/* A received frame. Its payload is valid until the next call on the reader. */
struct frame {
	struct frame_header header;
	const void *fields;
	const void *tail;
	size_t tail_bytes;
};

/*
 * Encodes one frame with its newline into `out`, which holds FRAME_STUFFED_MAX + 1 bytes.
 * Returns the number of bytes. The payload must fit in FRAME_PAYLOAD_BYTES_MAX.
 */
size_t frame_encode(uint8_t *out, uint32_t type, uint32_t request, const struct frame_parts *parts);

/* Collects the bytes of one frame. Zero it before the first use. */
struct frame_reader {
	size_t length;
	bool too_long;
	uint8_t stuffed[FRAME_STUFFED_MAX];
	_Alignas(8) uint8_t raw[FRAME_STUFFED_MAX];
};

/*
 * Takes bytes up to and including the next newline, or all of them; returns how many.
 * `*complete` says whether a newline was met: then frame_read_end() must be called.
 */
size_t frame_read(struct frame_reader *reader, const uint8_t *bytes, size_t length, bool *complete);

/* Decodes what was collected. Returns NULL, or why it is damaged. Ready for the next frame. */
const char *frame_read_end(struct frame_reader *reader, struct frame *frame);

/* CRC-32C, reflected; `crc` goes on from earlier bytes, 0 at the start. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t length);

#endif
