// SPDX-License-Identifier: Apache-2.0
#include "thaw.h"
#include <errno.h>
#include <limits.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <time.h>

#define NS_PER_MS 1000000u

uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 * NS_PER_MS + (uint64_t)now.tv_nsec;
}

int freeze_ms_left(const struct freeze *freeze)
{
	uint64_t deadline = atomic_load(&freeze->page->deadline_ns);
	uint64_t now = clock_ns();
	uint64_t left;

	if (!deadline)
		return -1;
	left = deadline > now ? (deadline - now + NS_PER_MS - 1) / NS_PER_MS : 0;
	return left < INT_MAX ? (int)left : INT_MAX;
}

/*
 * EINVAL says that it is not frozen: when it was, somebody else has thawed it; when our FIFREEZE is
 * under way, it will be in a moment.
 *
 * A freezer that was killed, or stopped, just when the kernel told it that somebody else had frozen
 * the file system, cannot say so any more. Then theirs is thawed: of the two promises "nothing
 * stays frozen" is the greater.
 */
bool thaw_mount(const struct freeze *freeze, size_t index, bool is_freezer_done)
{
	struct freeze_page *page = freeze->page;
	unsigned int state = atomic_load(&page->states[index]);

	if (state == MOUNT_LEFT || state == MOUNT_THAWED)
		return true;
	if (ioctl(freeze->mounts[index], FITHAW, 0)) {
		if (errno != EINVAL || (state == MOUNT_FREEZING && !is_freezer_done))
			return false;
		if (state == MOUNT_FROZEN)
			atomic_store(&page->expired, true);
	}
	atomic_store(&page->thawed_ns, clock_ns());
	atomic_store(&page->states[index], MOUNT_THAWED);
	return true;
}
