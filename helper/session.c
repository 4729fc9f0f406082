// SPDX-License-Identifier: Apache-2.0
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "answer.h"
#include "loader.h"
#include "pins.h"
#include "programs.h"

_Static_assert((int)MAP_COUNT <= PINS_MAX, "the session has room for the ids of the maps");

bool session_legacy;

static const struct {
	const char *name;
	__u32 key_size;
	__u32 value_size;
} maps[MAP_COUNT] = {
	[MAP_DISKS] = { "disks", sizeof(__u32), sizeof(struct disk) },
	[MAP_BITMAPS] = { "bitmaps", sizeof(__u32), sizeof(__u32) },
	[MAP_COUNTERS] = { "counters", sizeof(__u32), sizeof(struct counters) },
	[MAP_EVENTS] = { "events", sizeof(__u32), sizeof(__u32) },
	[MAP_BIOS] = { "bios", sizeof(__u64), sizeof(struct bio_range) },
	[MAP_RESCUES] = { "rescues", sizeof(__u32), sizeof(struct rescue_state) },
	[MAP_SESSION] = { "session", sizeof(__u32), sizeof(struct session) },
};

const char *map_name(enum map map)
{
	return maps[map].name;
}

int session_broken(const char *name)
{
	return fail(FRAME_ERROR_CODE_BROKEN_SESSION, errno, "pin missing or not ours: %s", name);
}

/* Opens a pinned map that must have the sizes of this build. */
static int open_map(enum map map)
{
	struct bpf_map_info info = { 0 };
	__u32 info_size = sizeof(info);
	struct path path;
	int fd = bpf_obj_get(pin_path(&path, PIN_MAP, maps[map].name));

	if (fd < 0)
		return session_broken(maps[map].name);
	if (bpf_obj_get_info_by_fd(fd, &info, &info_size) || info.key_size != maps[map].key_size ||
	    info.value_size != maps[map].value_size) {
		close(fd);
		return session_broken(maps[map].name);
	}
	return fd;
}

static int map_id(int map, __u32 *id)
{
	struct bpf_map_info info = { 0 };
	__u32 info_size = sizeof(info);

	if (bpf_obj_get_info_by_fd(map, &info, &info_size))
		return fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot look at a map");
	*id = info.id;
	return 0;
}

/* The pins are those that the session was made with, not others of the same names. */
static int check_maps(const struct tracker *tracker)
{
	for (int i = 0; i < MAP_COUNT; i++) {
		__u32 id = 0;

		if (map_id(tracker->maps[i], &id))
			return -1;
		if (id == tracker->state->map_ids[i])
			continue;
		errno = 0;
		return session_broken(maps[i].name);
	}
	return 0;
}

static int open_maps(struct tracker *tracker)
{
	void *state;

	for (int i = 0; i < MAP_COUNT; i++) {
		tracker->maps[i] = open_map(i);
		if (tracker->maps[i] < 0)
			return -1;
	}
	state = mmap(NULL, sizeof(struct session), PROT_READ | PROT_WRITE, MAP_SHARED,
		     tracker->maps[MAP_SESSION], 0);
	if (state == MAP_FAILED)
		return fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot map the session");
	tracker->state = state;
	return 0;
}

static void reset(struct tracker *tracker)
{
	tracker->state = NULL;
	for (int i = 0; i < MAP_COUNT; i++)
		tracker->maps[i] = -1;
}

int session_open(struct tracker *tracker)
{
	bool found;

	reset(tracker);
	if (pins_find(&found))
		return -1;
	if (!found)
		return 0;
	if (open_maps(tracker))
		goto failed;
	if (tracker->state->layout != TRACKER_LAYOUT) {
		errno = 0;
		session_broken("session");
		goto failed;
	}
	if (check_maps(tracker) || programs_check(tracker))
		goto failed;
	return 0;

failed:
	session_close(tracker);
	return -1;
}

int session_open_existing(struct tracker *tracker)
{
	if (session_open(tracker))
		return -1;
	if (!tracker->state)
		return fail(FRAME_ERROR_CODE_NO_SESSION, 0, "no tracking session");
	return 0;
}

void session_close(struct tracker *tracker)
{
	if (tracker->state)
		munmap(tracker->state, sizeof(*tracker->state));
	for (int i = 0; i < MAP_COUNT; i++)
		if (tracker->maps[i] >= 0)
			close(tracker->maps[i]);
	reset(tracker);
}

/* Loads an object of which no program is wanted: that leaves its maps. */
static int load_maps(struct loader *loader, enum bpf_object_kind kind)
{
	struct bpf_program *program;
	int error;

	if (loader_open(loader, kind))
		return -1;
	bpf_object__for_each_program (program, loader->object) {
		bpf_program__set_autoload(program, false);
	}
	error = bpf_object__load(loader->object);
	if (error)
		return fail(FRAME_ERROR_CODE_LOAD_FAILED, -error, "the kernel refused the maps");
	return 0;
}

static int name_session(struct session *state)
{
	struct timespec now;

	if (getrandom(&state->high, sizeof(state->high), 0) != sizeof(state->high) ||
	    getrandom(&state->low, sizeof(state->low), 0) != sizeof(state->low) ||
	    clock_gettime(CLOCK_BOOTTIME, &now))
		return fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot name the session");
	state->started_at_boottime_ms = (__u64)now.tv_sec * 1000 + (__u64)now.tv_nsec / 1000000;
	return 0;
}

static int write_session(int map, const struct session *state)
{
	__u32 key = 0;

	return bpf_map_update_elem(map, &key, state, BPF_ANY)
		       ? fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot write the session")
		       : 0;
}

static int pin_maps(struct loader *loader, enum bpf_object_kind kind)
{
	struct session state = { .layout = TRACKER_LAYOUT, .object = kind };

	if (name_session(&state))
		return -1;
	for (int i = 0; i < MAP_COUNT; i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(loader->object, maps[i].name);
		struct path path;

		if (!map)
			return fail(FRAME_ERROR_CODE_LOAD_FAILED, 0, "no map %s", maps[i].name);
		if (map_id(bpf_map__fd(map), &state.map_ids[i]))
			return -1;
		/* The last one: by now all of the ids are known. */
		if (i == MAP_SESSION && write_session(bpf_map__fd(map), &state))
			return -1;
		if (bpf_obj_pin(bpf_map__fd(map), pin_path(&path, PIN_MAP, maps[i].name)))
			return fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot pin %s", path.text);
	}
	return 0;
}

/* Removes what a start left that failed; -1, with the failure of either. */
int session_undo(void)
{
	session_remove();
	return -1;
}

int session_start(struct tracker *tracker)
{
	enum bpf_object_kind kind;
	struct loader loader;
	int result;

	if (session_open(tracker))
		return -1;
	if (tracker->state)
		return 0;
	kind = session_legacy ? BPF_OBJECT_LEGACY : loader_kind();
	if (kind == BPF_OBJECT_NONE)
		return -1;
	result = load_maps(&loader, kind);
	if (!result && mkdir(pins_folder, 0700))
		result = fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot make %s", pins_folder);
	else if (!result && pin_maps(&loader, kind))
		result = session_undo();
	loader_close(&loader);
	return result ? -1 : session_open(tracker);
}

int session_remove(void)
{
	bool found;

	if (pins_find(&found))
		return -1;
	if (!found)
		return 0;
	if (programs_remove())
		return -1;
	/* The map that makes it a session goes first: what is left is broken, and says so. */
	for (int i = MAP_COUNT - 1; i >= 0; i--)
		if (pin_remove(PIN_MAP, maps[i].name))
			return -1;
	if (rmdir(pins_folder))
		return fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot remove %s", pins_folder);
	return 0;
}
