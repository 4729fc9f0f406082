// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "answer.h"

static uint8_t buffer[2 * FRAME_STUFFED_MAX];
static size_t buffered;
static uint32_t current_request;

static struct {
	struct frame_error fields;
	char text[512];
} failure;

void answer_to(uint32_t request)
{
	current_request = request;
}

void answer_flush(void)
{
	size_t written = 0;

	while (written < buffered) {
		ssize_t count = write(STDOUT_FILENO, buffer + written, buffered - written);

		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			exit(errno == EPIPE ? EXIT_SUCCESS : EXIT_FAILURE);
		written += (size_t)count;
	}
	buffered = 0;
}

void answer_send(uint32_t type, const struct frame_parts *parts)
{
	if (buffered > sizeof(buffer) - FRAME_STUFFED_MAX - 1)
		answer_flush();
	buffered += frame_encode(buffer + buffered, type, current_request, parts);
}

void answer_done(void)
{
	answer_send(FRAME_DONE, &(struct frame_parts){ 0 });
}

/* For root EACCES says something else: the verifier refuses programs with it. */
static bool is_for_want_of_rights(int error)
{
	return error == EPERM || (error == EACCES && geteuid() != 0);
}

int fail(enum frame_error_code code, int error, const char *format, ...)
{
	va_list arguments;

	failure.fields.code = is_for_want_of_rights(error) ? FRAME_ERROR_CODE_NOT_PERMITTED : code;
	failure.fields.errno_ = (uint32_t)error;
	va_start(arguments, format);
	if (vsnprintf(failure.text, sizeof(failure.text), format, arguments) < 0)
		failure.text[0] = 0;
	va_end(arguments);
	return -1;
}

enum frame_error_code failure_code(void)
{
	return failure.fields.code;
}

void answer_failure(void)
{
	answer_send(FRAME_ERROR, &(struct frame_parts){
					 .fields = &failure.fields,
					 .fields_bytes = sizeof(failure.fields),
					 .tail = failure.text,
					 .tail_bytes = strlen(failure.text),
				 });
}
