/* SPDX-License-Identifier: Apache-2.0 */
/* Standard output: whole frames, buffered. When nobody reads any more, the helper ends. */
#ifndef IBACKUP_ANSWER_H
#define IBACKUP_ANSWER_H

#include "frame.h"

/* The request whose number the next answers carry; 0 for events. */
void answer_to(uint32_t request);

void answer_send(uint32_t type, const struct frame_parts *parts);

/* A frame of fixed fields only. `fields` is the struct of that frame. */
#define ANSWER(type, content)                                            \
	answer_send((type), &(struct frame_parts){ .fields = &(content), \
						   .fields_bytes = sizeof(content) })

void answer_done(void);

/*
 * Notes why the current request failed, for answer_failure(). Returns -1, so that a function
 * may end in `return fail(...)`. `error` is an errno or 0; EPERM becomes "not permitted".
 */
__attribute__((format(printf, 3, 4))) int fail(enum frame_error_code code, int error,
					       const char *format, ...);

/* Sends what fail() noted last. */
void answer_failure(void);

/* The code that fail() noted last. */
enum frame_error_code failure_code(void);

/* Writes out what is buffered. */
void answer_flush(void);

#endif
