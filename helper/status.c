// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <sys/file.h>
#include <unistd.h>
#include "answer.h"
#include "pins.h"
#include "programs.h"
#include "requests.h"
#include "slot_table.h"

/* Whether somebody holds the listener's lock. One that was killed leaves its flag set: see to it.
 */
static bool is_listened(const struct tracker *tracker)
{
	int folder = pins_open();
	bool taken = folder >= 0 && flock(folder, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;

	if (folder >= 0) {
		if (!taken)
			tracker->state->listening = 0;
		close(folder);
	}
	return taken;
}

static int answer_status(const struct tracker *tracker)
{
	const struct session *state = tracker->state;
	struct place place = SLOT_FIRST;
	struct frame_session answer = {
		.session_high = state->high,
		.session_low = state->low,
		.started_at_boottime_ms = state->started_at_boottime_ms,
		.hooks_attached = ((state->programs & ~BUFFER_PROGRAMS) ? FRAME_HOOK_BLOCK : 0u) |
				  ((state->programs & BUFFER_PROGRAMS) ? FRAME_HOOK_BUFFER : 0u),
		.buffer_hook_kind = (state->programs & PROGRAM_BIT(BUFFER_KPROBE))       ? 1
				    : (state->programs & PROGRAM_BIT(BUFFER_TRACEPOINT)) ? 2
											 : 0,
		.bpf_object = state->object,
		.listening = is_listened(tracker),
	};

	ANSWER(FRAME_SESSION, answer);
	while (slot_next(tracker, &place))
		if (slot_answer(tracker, &place))
			return -1;
	return 0;
}

int status_answer(const struct frame *frame)
{
	struct frame_session none = { 0 };
	struct tracker tracker;
	int lock = pins_lock();
	int result;

	(void)frame;
	if (lock < 0)
		return -1;
	result = session_open(&tracker);
	if (!result && tracker.state) {
		result = answer_status(&tracker);
		session_close(&tracker);
	} else if (!result) {
		ANSWER(FRAME_SESSION, none);
	}
	close(lock);
	if (!result)
		answer_done();
	return result;
}
