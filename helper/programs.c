// SPDX-License-Identifier: Apache-2.0
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "answer.h"
#include "loader.h"
#include "pins.h"
#include "programs.h"

_Static_assert((int)PROGRAM_COUNT <= PINS_MAX, "the session has room for the ids of the links");

static const char *const names[PROGRAM_COUNT] = {
	[PROGRAM_REQUEST_COMPLETE] = "request_complete",
	[PROGRAM_REQUEST_RESCUE] = "request_rescue",
	[PROGRAM_REQUEST_ISSUE] = "request_issue",
	[PROGRAM_BIO_COMPLETE] = "bio_complete",
	[PROGRAM_BIO_RESCUE] = "bio_rescue",
	[PROGRAM_BIO_QUEUE] = "bio_queue",
	[PROGRAM_BUFFER_KPROBE] = "buffer_kprobe",
	[PROGRAM_BUFFER_TRACEPOINT] = "buffer_tracepoint",
};

/* The legacy object has no second programs. */
static const struct {
	enum program first;
	enum program second;
} pairs[RESCUE_COUNT] = {
	[RESCUE_REQUEST_COMPLETE] = { PROGRAM_REQUEST_COMPLETE, PROGRAM_REQUEST_RESCUE },
	[RESCUE_BIO_COMPLETE] = { PROGRAM_BIO_COMPLETE, PROGRAM_BIO_RESCUE },
};

#define RESCUE_PROGRAMS (PROGRAM_BIT(REQUEST_RESCUE) | PROGRAM_BIT(BIO_RESCUE))

static int attach_and_pin(struct tracker *tracker, struct bpf_object *object, enum program program)
{
	const char *name = names[program];
	struct bpf_program *loaded = bpf_object__find_program_by_name(object, name);
	struct bpf_link_info info = { 0 };
	__u32 info_size = sizeof(info);
	struct bpf_link *link;
	struct path path;
	int error;

	if (!loaded)
		return fail(FRAME_ERROR_CODE_LOAD_FAILED, 0, "no program %s", name);
	/* A helper that died here before may have left pins that the session does not know. */
	if (pin_remove(PIN_LINK, name) || pin_remove(PIN_PROGRAM, name))
		return -1;
	link = bpf_program__attach(loaded);
	if (!link)
		return fail(FRAME_ERROR_CODE_ATTACH_FAILED, errno, "cannot attach %s", name);
	error = bpf_program__pin(loaded, pin_path(&path, PIN_PROGRAM, name));
	if (!error)
		error = bpf_link__pin(link, pin_path(&path, PIN_LINK, name));
	if (!error)
		error = bpf_obj_get_info_by_fd(bpf_link__fd(link), &info, &info_size);
	/* Destroying a pinned link closes it only. */
	bpf_link__destroy(link);
	if (error)
		return fail(FRAME_ERROR_CODE_ATTACH_FAILED, -error, "cannot pin %s", name);
	tracker->state->link_ids[program] = info.id;
	return 0;
}

/* Loads the object for these programs only, onto the maps of the session. */
static int load_programs(struct loader *loader, const struct tracker *tracker, unsigned int wanted)
{
	int error = 0;

	if (loader_open(loader, tracker->state->object))
		return -1;
	for (int i = 0; i < MAP_COUNT && !error; i++)
		error = bpf_map__reuse_fd(bpf_object__find_map_by_name(loader->object, map_name(i)),
					  tracker->maps[i]);
	for (int i = 0; i < PROGRAM_COUNT && !error; i++) {
		struct bpf_program *program =
			bpf_object__find_program_by_name(loader->object, names[i]);

		if (program)
			error = bpf_program__set_autoload(program, wanted >> i & 1);
	}
	if (!error)
		error = bpf_object__load(loader->object);
	if (error)
		return fail(FRAME_ERROR_CODE_LOAD_FAILED, -error, "the kernel refused a program");
	return 0;
}

/* All of them or none. */
static int attach_programs(struct tracker *tracker, unsigned int wanted)
{
	struct loader loader;
	int result = load_programs(&loader, tracker, wanted);

	/* In the order of the enum, in which the kernel calls those of one tracepoint. */
	for (int i = 0; i < PROGRAM_COUNT && !result; i++)
		if (wanted & 1u << i)
			result = attach_and_pin(tracker, loader.object, i);
	loader_close(&loader);
	if (!result) {
		tracker->state->programs |= wanted;
		return 0;
	}
	for (int i = 0; i < PROGRAM_COUNT; i++) {
		struct path path;

		if (!(wanted & 1u << i))
			continue;
		unlink(pin_path(&path, PIN_LINK, names[i]));
		unlink(pin_path(&path, PIN_PROGRAM, names[i]));
	}
	return -1;
}

int programs_add(struct tracker *tracker, unsigned int hooks, bool bio_based)
{
	unsigned int wanted = 0;

	if (hooks & HOOK_BLOCK)
		wanted = bio_based ? PROGRAM_BIT(BIO_COMPLETE) | PROGRAM_BIT(BIO_RESCUE) |
					     PROGRAM_BIT(BIO_QUEUE)
				   : PROGRAM_BIT(REQUEST_COMPLETE) | PROGRAM_BIT(REQUEST_RESCUE) |
					     PROGRAM_BIT(REQUEST_ISSUE);
	if (tracker->state->object == BPF_OBJECT_LEGACY)
		wanted &= ~RESCUE_PROGRAMS;
	wanted &= ~tracker->state->programs;
	if (wanted && attach_programs(tracker, wanted))
		return -1;
	if (!(hooks & HOOK_BUFFER) || tracker->state->programs & BUFFER_PROGRAMS)
		return 0;
	/* Kprobes may be compiled out, and their links cannot be pinned before 5.15. */
	if (!attach_programs(tracker, PROGRAM_BIT(BUFFER_KPROBE)))
		return 0;
	return attach_programs(tracker, PROGRAM_BIT(BUFFER_TRACEPOINT));
}

void programs_rescue(struct tracker *tracker)
{
	tracker->state->rescuing = tracker->state->programs & RESCUE_PROGRAMS;
}

/* What the kernel says of a pinned link or program. Returns -1 with errno. */
static int pinned_info(enum pin pin, const char *name, void *info, __u32 info_size)
{
	struct path path;
	int fd = bpf_obj_get(pin_path(&path, pin, name));
	int error;

	if (fd < 0)
		return -1;
	error = bpf_obj_get_info_by_fd(fd, info, &info_size);
	close(fd);
	return error ? -1 : 0;
}

/*
 * A link lives for as long as its pin: one that was unpinned is detached, and what somebody pins
 * in its place has another id. Nothing else can take a link's program away.
 */
static int check_pins(const struct tracker *tracker, enum program program)
{
	struct bpf_link_info link = { 0 };
	struct bpf_prog_info loaded = { 0 };
	const char *name = names[program];

	if (pinned_info(PIN_LINK, name, &link, sizeof(link)) ||
	    pinned_info(PIN_PROGRAM, name, &loaded, sizeof(loaded)))
		return session_broken(name);
	if (link.id == tracker->state->link_ids[program] && link.prog_id == loaded.id)
		return 0;
	errno = 0;
	return session_broken(name);
}

int programs_check(const struct tracker *tracker)
{
	for (int i = 0; i < PROGRAM_COUNT; i++)
		if (tracker->state->programs & 1u << i && check_pins(tracker, i))
			return -1;
	return 0;
}

int programs_remove(void)
{
	/* Backwards: without the first, the second would count what nobody skipped. */
	for (int i = PROGRAM_COUNT - 1; i >= 0; i--)
		if (pin_remove(PIN_LINK, names[i]) || pin_remove(PIN_PROGRAM, names[i]))
			return -1;
	return 0;
}

/* Sums what two programs have counted, over all CPUs. */
static int sum_rescues(const struct tracker *tracker, __u32 pair, struct rescue_state *sum)
{
	int cpus = libbpf_num_possible_cpus();
	struct rescue_state *each = cpus > 0 ? calloc((size_t)cpus, sizeof(*each)) : NULL;
	int failed;

	*sum = (struct rescue_state){ 0 };
	if (!each)
		return fail(FRAME_ERROR_CODE_SYSTEM, errno, "no memory for the counters");
	failed = bpf_map_lookup_elem(tracker->maps[MAP_RESCUES], &pair, each);
	for (int cpu = 0; cpu < cpus; cpu++) {
		sum->rescued += each[cpu].rescued;
		sum->left += each[cpu].left;
	}
	free(each);
	return failed ? fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot read the counters") : 0;
}

/* Runs of one program that the kernel has skipped; 0 when it is not attached. */
static int runs_skipped(const struct tracker *tracker, enum program program, __u64 *skipped)
{
	struct bpf_prog_info info = { 0 };

	*skipped = 0;
	if (!(tracker->state->programs & 1u << program))
		return 0;
	if (pinned_info(PIN_PROGRAM, names[program], &info, sizeof(info)))
		return session_broken(names[program]);
	*skipped = info.recursion_misses;
	return 0;
}

/*
 * What was rescued is read before what it is taken from: what happens meanwhile can only be a taint
 * too many. Nothing is rescued that was neither skipped nor left; if it seems so, the kernel does
 * not call the programs in their order, and none of these numbers tells anything.
 */
static int pair_skipped(const struct tracker *tracker, enum rescue pair, __u64 *skipped)
{
	struct rescue_state before, after;

	if (sum_rescues(tracker, pair, &before) || sum_rescues(tracker, pair, &after) ||
	    runs_skipped(tracker, pairs[pair].first, skipped))
		return -1;
	*skipped += after.left;
	if (before.rescued > *skipped)
		return fail(FRAME_ERROR_CODE_BROKEN_SESSION, 0,
			    "%s: worked on %llu events, of which %llu were left to it",
			    names[pairs[pair].second], (unsigned long long)before.rescued,
			    (unsigned long long)*skipped);
	*skipped -= before.rescued;
	return 0;
}

int programs_skipped(const struct tracker *tracker, __u64 *skipped)
{
	static const enum program alone[] = { PROGRAM_REQUEST_ISSUE, PROGRAM_BIO_QUEUE,
					      PROGRAM_BUFFER_KPROBE, PROGRAM_BUFFER_TRACEPOINT };
	__u64 more;

	*skipped = 0;
	for (unsigned int i = 0; i < sizeof(alone) / sizeof(*alone); i++, *skipped += more)
		if (runs_skipped(tracker, alone[i], &more))
			return -1;
	for (unsigned int i = 0; i < RESCUE_COUNT; i++, *skipped += more)
		if (pair_skipped(tracker, i, &more))
			return -1;
	return 0;
}
