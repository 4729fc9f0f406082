// SPDX-License-Identifier: Apache-2.0
#include "listen.h"
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>
#include "answer.h"
#include "bitmap.h"
#include "pins.h"
#include "requests.h"

#define PAGES_MAX 4096u
#define RUNS_MAX                                                   \
	((FRAME_PAYLOAD_BYTES_MAX - sizeof(struct frame_blocks)) / \
	 sizeof(struct frame_blocks_record))
/* Waking the listener costs the writer: only so many events wake it, the rest wait for the timer.
 */
#define EVENTS_PER_WAKE 64
#define DRAIN_INTERVAL_MS 100
#define LOCK_TRIES 100 /* 1 ms each: `status` takes this lock for an instant */

static struct tracker tracker;
static struct perf_buffer *perf;
static uint64_t events_lost;
static bool events_lost_untold;

/* Runs of one slot that wait to be sent. */
static struct {
	struct frame_blocks fields;
	struct frame_blocks_record runs[RUNS_MAX];
	size_t count;
} batch;

static void send_batch(void)
{
	if (batch.count)
		answer_send(FRAME_BLOCKS, &(struct frame_parts){
						  .fields = &batch.fields,
						  .fields_bytes = sizeof(batch.fields),
						  .tail = batch.runs,
						  .tail_bytes = batch.count * sizeof(batch.runs[0]),
					  });
	batch.count = 0;
}

static void add_run(uint64_t first, uint64_t count)
{
	struct frame_blocks_record *last = &batch.runs[batch.count ? batch.count - 1 : 0];

	if (batch.count && last->first_block + last->block_count == first) {
		last->block_count += count;
		return;
	}
	if (batch.count == RUNS_MAX)
		send_batch();
	batch.runs[batch.count++] =
		(struct frame_blocks_record){ .first_block = first, .block_count = count };
}

static void take_event(const struct dirty_event *event)
{
	uint32_t word;
	uint64_t bits;

	if (batch.count && batch.fields.slot != event->slot)
		send_batch();
	batch.fields.slot = event->slot;
	bits = bitmap_event_bits(event, tracker.state->object == BPF_OBJECT_LEGACY, &word);
	while (bits) {
		unsigned int first = (unsigned int)__builtin_ctzll(bits);
		uint64_t rest = ~(bits >> first);
		/* cppcheck-suppress knownConditionTrueFalse; all 64 bits may be set */
		unsigned int count = rest ? (unsigned int)__builtin_ctzll(rest) : 64;

		add_run(64ull * word + first, count);
		bits &= bits + (1ull << first); /* without its lowest run */
	}
}

/* What the kernel puts into the buffer, as <linux/perf_event.h> describes it. */
struct sample {
	struct perf_event_header header;
	__u32 size;
	struct dirty_event event;
} __attribute__((packed));

struct lost_record {
	struct perf_event_header header;
	__u64 id;
	__u64 count;
};

static enum bpf_perf_event_ret on_record(void *context, int cpu, struct perf_event_header *header)
{
	(void)context;
	(void)cpu;
	if (header->type == PERF_RECORD_SAMPLE && header->size >= sizeof(struct sample)) {
		struct dirty_event event;

		memcpy(&event, &((const struct sample *)(const void *)header)->event,
		       sizeof(event));
		take_event(&event);
	} else if (header->type == PERF_RECORD_LOST) {
		events_lost += ((const struct lost_record *)(const void *)header)->count;
		events_lost_untold = true;
	}
	return LIBBPF_PERF_EVENT_CONT;
}

/* One listener at a time, for a perf buffer takes the place of another. */
static int lock_folder(void)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	int folder = pins_open();

	if (folder < 0)
		return fail(FRAME_ERROR_CODE_NO_SESSION, errno, "no tracking session");
	for (int try = 0; try < LOCK_TRIES; try++) {
		if (!flock(folder, LOCK_EX | LOCK_NB))
			return folder; /* stays open, and locked, until the helper ends */
		nanosleep(&pause, NULL);
	}
	close(folder);
	return fail(FRAME_ERROR_CODE_LOCKED, 0, "somebody listens already");
}

int listen_begin(const struct frame *frame)
{
	struct perf_event_attr attributes = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attributes),
		.config = PERF_COUNT_SW_BPF_OUTPUT,
		.sample_type = PERF_SAMPLE_RAW,
		.sample_period = 1,
		.wakeup_events = EVENTS_PER_WAKE,
	};
	const struct frame_listen_request *request = frame->fields;
	int folder;

	if (perf)
		return fail(FRAME_ERROR_CODE_BAD_REQUEST, 0, "listening already");
	if (!request->page_count || request->page_count > PAGES_MAX ||
	    request->page_count & (request->page_count - 1))
		return fail(FRAME_ERROR_CODE_BAD_REQUEST, 0, "pageCount is no power of two");
	if (session_open_existing(&tracker))
		return -1;
	folder = lock_folder();
	if (folder >= 0) {
		perf = perf_buffer__new_raw(tracker.maps[MAP_EVENTS], request->page_count,
					    &attributes, on_record, NULL, NULL);
		if (perf) {
			tracker.state->listening = 1;
			answer_done();
			return 0;
		}
		fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot open the perf buffers");
		close(folder);
	}
	session_close(&tracker);
	return -1;
}

int listen_descriptor(void)
{
	return perf ? perf_buffer__epoll_fd(perf) : -1;
}

int listen_timeout(void)
{
	return perf ? DRAIN_INTERVAL_MS : -1;
}

int listen_drain(void)
{
	struct frame_lost lost;
	int result = perf_buffer__consume(perf);

	if (result < 0)
		return fail(FRAME_ERROR_CODE_SYSTEM, -result, "cannot read the perf buffers");
	send_batch();
	if (events_lost_untold) {
		lost.events = events_lost;
		ANSWER(FRAME_LOST, lost);
		events_lost_untold = false;
	}
	return 0;
}

void listen_end(void)
{
	if (!perf)
		return;
	tracker.state->listening = 0;
	perf_buffer__free(perf);
	perf = NULL;
	session_close(&tracker);
}
