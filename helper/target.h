/* SPDX-License-Identifier: Apache-2.0 */
/* The mounts that a request names to be frozen. */
#ifndef IBACKUP_TARGET_H
#define IBACKUP_TARGET_H

#include "frame.h"
#include "thaw.h"

struct target {
	const char *path;
	uint32_t outcome; /* enum frame_outcome; 0 until it is known */
	int error;
	uint64_t elapsed_us;
};

/* Those of `freeze`, in its order. */
extern struct target targets[FREEZE_MOUNTS_MAX];

/*
 * Opens each mountpoint in the tail of the request. What cannot or need not be frozen has its
 * outcome already. 0, or -1 after fail().
 */
int target_open_all(const struct frame *frame, struct freeze *freeze);

void target_close_all(struct freeze *freeze);

void target_answer_all(const struct freeze *freeze);

#endif
