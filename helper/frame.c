// SPDX-License-Identifier: Apache-2.0
#include <assert.h>
#include <string.h>
#include "frame.h"

#define NEWLINE 0x0a
#define CODE_MAX 255
#define CRC32C_POLYNOMIAL 0x82f63b78u

uint32_t crc32c(uint32_t crc, const void *bytes, size_t length)
{
	static uint32_t table[256];
	const uint8_t *at = bytes;

	for (uint32_t byte = 0; !table[255] && byte < 256; byte++) {
		table[byte] = byte;
		for (int bit = 0; bit < 8; bit++)
			table[byte] = table[byte] >> 1 ^ (table[byte] & 1 ? CRC32C_POLYNOMIAL : 0);
	}
	crc = ~crc;
	while (length--)
		crc = crc >> 8 ^ table[(crc ^ *at++) & 0xff];
	return ~crc;
}

/* Where the stuffed bytes of a frame go. `code` is the byte that counts the current run. */
struct stuffing {
	uint8_t *out;
	size_t code;
	size_t at;
};

static void stuff(struct stuffing *stuffing, const void *bytes, size_t length)
{
	const uint8_t *byte = bytes;

	for (size_t i = 0; i < length; i++) {
		/* clang-tidy knows the first byte of a struct only. NOLINTNEXTLINE */
		if (byte[i])
			stuffing->out[stuffing->at++] = byte[i] ^ NEWLINE;
		if (!byte[i] || stuffing->at - stuffing->code == CODE_MAX) {
			stuffing->out[stuffing->code] =
				(uint8_t)(stuffing->at - stuffing->code) ^ NEWLINE;
			stuffing->code = stuffing->at++;
		}
	}
}

size_t frame_encode(uint8_t *out, uint32_t type, uint32_t request, const struct frame_parts *parts)
{
	struct frame_header header = {
		.length = (uint32_t)(parts->fields_bytes + parts->tail_bytes),
		.type = type,
		.version = FRAME_VERSION,
		.request = request,
	};
	struct stuffing stuffing = { .out = out, .code = 0, .at = 1 };
	uint32_t crc;

	assert(parts->fields_bytes + parts->tail_bytes <= FRAME_PAYLOAD_BYTES_MAX);
	crc = crc32c(0, &header, sizeof(header));
	crc = crc32c(crc, parts->fields, parts->fields_bytes);
	crc = crc32c(crc, parts->tail, parts->tail_bytes);

	stuff(&stuffing, &header, sizeof(header));
	stuff(&stuffing, parts->fields, parts->fields_bytes);
	stuff(&stuffing, parts->tail, parts->tail_bytes);
	stuff(&stuffing, &crc, sizeof(crc));
	out[stuffing.code] = (uint8_t)(stuffing.at - stuffing.code) ^ NEWLINE;
	out[stuffing.at++] = NEWLINE;
	return stuffing.at;
}

/* Returns the length of the raw bytes, or 0 when a code byte points past the end. */
static size_t unstuff(uint8_t *raw, const uint8_t *stuffed, size_t length)
{
	size_t raw_length = 0;

	for (size_t at = 0; at < length;) {
		size_t code = stuffed[at++] ^ NEWLINE;

		if (!code || code - 1 > length - at)
			return 0;
		for (size_t end = at + code - 1; at < end;)
			raw[raw_length++] = stuffed[at++] ^ NEWLINE;
		if (code < CODE_MAX && at < length)
			raw[raw_length++] = 0;
	}
	return raw_length;
}

static const struct frame_shape *shape_of(uint32_t type)
{
	for (size_t i = 0; i < sizeof(frame_shapes) / sizeof(frame_shapes[0]); i++)
		if (frame_shapes[i].type == type)
			return &frame_shapes[i];
	return NULL;
}

size_t frame_read(struct frame_reader *reader, const uint8_t *bytes, size_t length, bool *complete)
{
	const uint8_t *newline = memchr(bytes, NEWLINE, length);
	size_t part = newline ? (size_t)(newline - bytes) : length;

	*complete = newline != NULL;
	if (part > sizeof(reader->stuffed) - reader->length)
		reader->too_long = true;
	if (!reader->too_long) {
		memcpy(reader->stuffed + reader->length, bytes, part);
		reader->length += part;
	}
	return newline ? part + 1 : part;
}

static const char *decode(struct frame_reader *reader, size_t length, struct frame *frame)
{
	const struct frame_shape *shape;
	size_t payload_bytes;
	uint32_t crc;

	if (length < sizeof(frame->header) + FRAME_CRC_BYTES || length > FRAME_RAW_MAX)
		return "bad length";
	payload_bytes = length - sizeof(frame->header) - FRAME_CRC_BYTES;
	memcpy(&frame->header, reader->raw, sizeof(frame->header));
	memcpy(&crc, reader->raw + length - FRAME_CRC_BYTES, sizeof(crc));
	if (crc != crc32c(0, reader->raw, length - FRAME_CRC_BYTES))
		return "bad checksum";
	if (frame->header.length != payload_bytes)
		return "bad length";
	if (frame->header.version != FRAME_VERSION)
		return "another version";
	shape = shape_of(frame->header.type);
	if (!shape)
		return "unknown type";
	if (payload_bytes < shape->fixed_bytes)
		return "bad payload";
	frame->fields = reader->raw + sizeof(frame->header);
	frame->tail = reader->raw + sizeof(frame->header) + shape->fixed_bytes;
	frame->tail_bytes = payload_bytes - shape->fixed_bytes;
	if (shape->tail_unit ? frame->tail_bytes % shape->tail_unit : frame->tail_bytes)
		return "bad payload";
	return NULL;
}

const char *frame_read_end(struct frame_reader *reader, struct frame *frame)
{
	size_t stuffed_length = reader->length;
	bool too_long = reader->too_long;
	size_t length;

	reader->length = 0;
	reader->too_long = false;
	if (too_long)
		return "too long";
	if (!stuffed_length)
		return "empty";
	length = unstuff(reader->raw, reader->stuffed, stuffed_length);
	if (!length)
		return "bad stuffing";
	return decode(reader, length, frame);
}
