// SPDX-License-Identifier: Apache-2.0
#include "target.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "answer.h"
#include "mountpoint.h"

struct target targets[FREEZE_MOUNTS_MAX];

void target_close_all(struct freeze *freeze)
{
	while (freeze->count) {
		int fd = freeze->mounts[--freeze->count];

		if (fd >= 0)
			close(fd);
	}
}

/* `entry`: mount id, space, mountpoint. */
static int open_target(const char *entry, struct freeze *freeze)
{
	struct target *target = &targets[freeze->count];
	uint64_t mount_id;
	char *rest;
	int fd;

	if (freeze->count == FREEZE_MOUNTS_MAX)
		return fail(FRAME_ERROR_CODE_BAD_REQUEST, 0, "freeze: more than %d file systems",
			    FREEZE_MOUNTS_MAX);
	mount_id = strtoull(entry, &rest, 10);
	if (rest == entry || rest[0] != ' ' || rest[1] != '/')
		return fail(FRAME_ERROR_CODE_BAD_REQUEST, 0, "freeze: \"%s\" is no mount", entry);
	*target = (struct target){ .path = rest + 1 };
	fd = mountpoint_open(target->path, mount_id, &target->error);
	if (fd < 0)
		target->outcome = FRAME_OUTCOME_UNREACHABLE;
	else if (mountpoint_is_read_only(fd, mount_id))
		target->outcome = FRAME_OUTCOME_READ_ONLY;
	freeze->mounts[freeze->count++] = fd;
	return 0;
}

int target_open_all(const struct frame *frame, struct freeze *freeze)
{
	static char entries[FRAME_PAYLOAD_BYTES_MAX + 1];
	const char *end = entries + frame->tail_bytes;

	memcpy(entries, frame->tail, frame->tail_bytes);
	entries[frame->tail_bytes] = 0;
	for (const char *entry = entries; entry < end; entry += strlen(entry) + 1) {
		if (open_target(entry, freeze)) {
			target_close_all(freeze);
			return -1;
		}
	}
	return freeze->count ? 0 : fail(FRAME_ERROR_CODE_BAD_REQUEST, 0, "freeze: no mount");
}

void target_answer_all(const struct freeze *freeze)
{
	for (uint32_t i = 0; i < freeze->count; i++) {
		struct frame_freeze_outcome answer = {
			.index = i,
			.outcome = targets[i].outcome,
			.errno_ = (uint32_t)targets[i].error,
			.elapsed_us = targets[i].elapsed_us,
		};

		ANSWER(FRAME_FREEZE_OUTCOME, answer);
	}
}
