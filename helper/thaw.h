/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is frozen, as the helper and its watchdog both see it, and how it is thawed.
 *
 * Either of the two may be stopped or killed at any instant, so neither ever waits for the other:
 * each thaws whatever is not yet noted as thawed. A FITHAW too many does no harm (EINVAL).
 */
#ifndef IBACKUP_THAW_H
#define IBACKUP_THAW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FREEZE_MOUNTS_MAX 256

enum mount_state {
	MOUNT_LEFT, /* not ours to thaw: not frozen yet, or not by us */
	MOUNT_FREEZING,
	MOUNT_FROZEN,
	MOUNT_THAWED,
};

/* Shared memory. */
struct freeze_page {
	_Atomic uint64_t deadline_ns; /* 0: the clock does not run yet */
	_Atomic uint64_t thawed_ns;   /* when the last of them was thawed */
	atomic_bool expired;          /* thawed, or about to be, before anybody asked for it */
	atomic_bool is_hurried;       /* see grace_period.h */
	atomic_uint states[FREEZE_MOUNTS_MAX];
};

struct freeze {
	size_t count;
	int mounts[FREEZE_MOUNTS_MAX]; /* opened mountpoints in the order of freezing; -1: none */
	int grace_period;              /* see grace_period.h */
	struct freeze_page *page;
};

/* CLOCK_MONOTONIC. */
uint64_t clock_ns(void);

/* Until the deadline, rounded up; -1 while the clock does not run. */
int freeze_ms_left(const struct freeze *freeze);

/*
 * Thaws one file system if it is ours. False: to be tried again, for it is still being frozen or
 * FITHAW failed. `is_freezer_done`: no FIFREEZE of ours is under way any more.
 */
bool thaw_mount(const struct freeze *freeze, size_t index, bool is_freezer_done);

#endif
