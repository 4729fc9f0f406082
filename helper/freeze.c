// SPDX-License-Identifier: Apache-2.0
#include "freeze.h"
#include <errno.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>
#include "answer.h"
#include "grace_period.h"
#include "requests.h"
#include "target.h"
#include "watchdog.h"

#define LIMIT_MS_MAX 600000
#define THAW_TRIES 1000 /* 1 ms each; then the watchdog goes on alone */

static struct freeze freeze;
static struct watchdog watchdog = { .pid = -1, .socket = -1 };
static int signals = -1;
static sigset_t mask_before;
static bool is_frozen;
static uint64_t began_ns;

/* The last freeze that ended. */
static struct frame_thawed last;
static bool has_last;

static int block_signals(void)
{
	sigset_t polite;

	watchdog_polite_signals(&polite);
	if (sigprocmask(SIG_BLOCK, &polite, &mask_before))
		return fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot block signals");
	signals = signalfd(-1, &polite, SFD_CLOEXEC);
	if (signals >= 0)
		return 0;
	sigprocmask(SIG_SETMASK, &mask_before, NULL);
	return fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot wait for signals");
}

/* A signal that waits is delivered now, when nothing is frozen: it was never taken. */
static void unblock_signals(void)
{
	close(signals);
	signals = -1;
	sigprocmask(SIG_SETMASK, &mask_before, NULL);
}

/* What is to be read from a disk, or waits for memory, may have to wait for the thaw. */
static int lock_memory(void)
{
	/* Not MCL_FUTURE: nothing that is mapped later is needed for the thaw. */
	return mlockall(MCL_CURRENT)
		       ? fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot lock the memory")
		       : 0;
}

static void unshare_memory(void)
{
	munmap(freeze.page, sizeof(*freeze.page));
	if (freeze.grace_period >= 0)
		close(freeze.grace_period);
}

static int prepare(void)
{
	if (block_signals())
		return -1;
	freeze.page = mmap(NULL, sizeof(*freeze.page), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (freeze.page == MAP_FAILED) {
		fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot share memory");
	} else {
		freeze.grace_period = grace_period_open();
		if (!watchdog_start(&watchdog, &freeze)) {
			if (!lock_memory())
				return 0;
			watchdog_end(&watchdog, true);
		}
		unshare_memory();
	}
	unblock_signals();
	return -1;
}

/* In the order in which they were mounted: what lies on another comes after it. */
static int thaw_targets(void)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	size_t left = freeze.count;
	int error = 0;

	for (int try = 0; left && try < THAW_TRIES;) {
		if (thaw_mount(&freeze, left - 1, true)) {
			left--;
			continue;
		}
		error = errno;
		nanosleep(&pause, NULL);
		try++;
	}
	watchdog_end(&watchdog, !left);
	return left ? fail(FRAME_ERROR_CODE_SYSTEM, error, "cannot thaw %s", targets[left - 1].path)
		    : 0;
}

static int end(bool is_early)
{
	int result = thaw_targets();
	uint64_t thawed_ns = atomic_load(&freeze.page->thawed_ns);

	last = (struct frame_thawed){
		.frozen_us = thawed_ns ? (thawed_ns - began_ns) / 1000 : 0,
		.expired = is_early || result || atomic_load(&freeze.page->expired),
	};
	has_last = true;
	is_frozen = false;
	munlockall();
	unshare_memory();
	target_close_all(&freeze);
	unblock_signals();
	return result;
}

/* Why the freeze must end now; NULL while it need not. */
static const char *reason_to_end(void)
{
	struct pollfd polled[] = {
		{ .fd = STDIN_FILENO }, /* its end is always told */
		{ .fd = watchdog.socket, .events = POLLIN },
		{ .fd = signals, .events = POLLIN },
	};

	if (!freeze_ms_left(&freeze))
		return "the limit has passed";
	if (atomic_load(&freeze.page->expired))
		return "the watchdog has thawed";
	if (poll(polled, sizeof(polled) / sizeof(polled[0]), 0) <= 0)
		return NULL;
	if (polled[0].revents)
		return "nobody asks for it any more";
	return polled[1].revents ? "the watchdog has gone" : "a signal asks to end";
}

static enum frame_outcome outcome_of(int error)
{
	switch (error) {
	case 0:
		return FRAME_OUTCOME_FROZEN;
	case EBUSY:
		return FRAME_OUTCOME_ALREADY_FROZEN;
	/* EINVAL: f2fs says so when it cannot be frozen now. */
	case EOPNOTSUPP:
	case ENOTTY:
	case EINVAL:
		return FRAME_OUTCOME_UNSUPPORTED;
	default:
		return 0;
	}
}

static int freeze_target(size_t index)
{
	struct target *target = &targets[index];
	atomic_uint *state = &freeze.page->states[index];
	unsigned int freezing = MOUNT_FREEZING;
	const char *reason;
	uint64_t before;

	if (target->outcome)
		return 0;
	/* First the note, then the look: the watchdog does it the other way round. */
	atomic_store(state, MOUNT_FREEZING);
	reason = reason_to_end();
	if (reason) {
		atomic_store(state, MOUNT_LEFT);
		return fail(FRAME_ERROR_CODE_FREEZE_EXPIRED, 0, "cannot freeze %s: %s",
			    target->path, reason);
	}
	before = clock_ns();
	target->error = ioctl(freeze.mounts[index], FIFREEZE, 0) ? errno : 0;
	target->elapsed_us = (clock_ns() - before) / 1000;
	if (target->error)
		atomic_store(state, MOUNT_LEFT);
	else
		atomic_compare_exchange_strong(state, &freezing, MOUNT_FROZEN);
	target->outcome = outcome_of(target->error);
	return target->outcome ? 0
			       : fail(FRAME_ERROR_CODE_SYSTEM, target->error, "cannot freeze %s",
				      target->path);
}

static int freeze_each(void)
{
	int result = 0;

	grace_period_hurry(freeze.grace_period, &freeze.page->is_hurried);
	for (size_t i = 0; !result && i < freeze.count; i++)
		result = freeze_target(i);
	grace_period_relax(freeze.grace_period, &freeze.page->is_hurried);
	atomic_store(&freeze.page->is_hurried, false);
	return result;
}

static int freeze_targets(uint32_t limit_ms)
{
	const char *reason;

	began_ns = clock_ns();
	atomic_store(&freeze.page->deadline_ns, began_ns + limit_ms * 1000000ull);
	if (watchdog_wake(&watchdog))
		return fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot wake the watchdog");
	if (freeze_each())
		return -1;
	reason = reason_to_end();
	return reason ? fail(FRAME_ERROR_CODE_FREEZE_EXPIRED, 0, "cannot stay frozen: %s", reason)
		      : 0;
}

int freeze_begin(const struct frame *frame)
{
	const struct frame_freeze_request *request = frame->fields;

	if (is_frozen)
		return fail(FRAME_ERROR_CODE_BAD_REQUEST, 0, "freeze: frozen already");
	if (!request->limit_ms || request->limit_ms > LIMIT_MS_MAX)
		return fail(FRAME_ERROR_CODE_BAD_REQUEST, 0, "freeze: limit out of bounds");
	if (target_open_all(frame, &freeze))
		return -1;
	if (prepare()) {
		target_close_all(&freeze);
		return -1;
	}
	is_frozen = true;
	if (freeze_targets(request->limit_ms)) {
		end(true);
		return -1;
	}
	target_answer_all(&freeze);
	answer_done();
	return 0;
}

/* May be asked again, should the answer get lost. */
int freeze_thaw(const struct frame *frame)
{
	(void)frame;
	if (is_frozen && end(false))
		return -1;
	if (!has_last)
		return fail(FRAME_ERROR_CODE_BAD_REQUEST, 0, "thaw: nothing was frozen");
	ANSWER(FRAME_THAWED, last);
	return 0;
}

int freeze_watchdog_descriptor(void)
{
	return watchdog.socket;
}

int freeze_signal_descriptor(void)
{
	return signals;
}

int freeze_timeout(void)
{
	return is_frozen ? freeze_ms_left(&freeze) : -1;
}

bool freeze_attend(void)
{
	if (!is_frozen || !reason_to_end())
		return true;
	end(true);
	return false;
}

void freeze_end(void)
{
	if (is_frozen)
		end(true);
}
