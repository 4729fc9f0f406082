// SPDX-License-Identifier: Apache-2.0
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "answer.h"
#include "bitmap.h"
#include "programs.h"
#include "slot_table.h"

_Static_assert(sizeof(struct counters) ==
		       sizeof(struct frame_slot) - offsetof(struct frame_slot, issued),
	       "the counters end the frame, in the same order");

bool slot_next(const struct tracker *tracker, struct place *place)
{
	int disks = tracker->maps[MAP_DISKS];

	if (place->device != UINT32_MAX && ++place->entry < place->disk.count)
		return true;
	do {
		const __u32 *previous = place->device == UINT32_MAX ? NULL : &place->device;

		if (bpf_map_get_next_key(disks, previous, &place->device))
			return false;
		place->entry = 0;
	} while (bpf_map_lookup_elem(disks, &place->device, &place->disk) || !place->disk.count);
	return true;
}

int slot_find(const struct tracker *tracker, uint32_t slot, struct place *place)
{
	*place = SLOT_FIRST;
	while (slot_next(tracker, place))
		if (place->disk.tracked[place->entry].slot == slot)
			return 0;
	return fail(FRAME_ERROR_CODE_NO_SLOT, 0, "slot %u is not in use", slot);
}

bool slot_any(const struct tracker *tracker)
{
	struct place place = SLOT_FIRST;

	return slot_next(tracker, &place);
}

int slot_write_disk(const struct tracker *tracker, const struct place *place)
{
	int disks = tracker->maps[MAP_DISKS];
	int failed;

	/* Before it is there, and for good: a bit too many costs a lookup, one too few a write. */
	__atomic_fetch_or(&tracker->state->devices, TRACKER_DEVICE_BIT(place->device),
			  __ATOMIC_SEQ_CST);
	failed = place->disk.count
			 ? bpf_map_update_elem(disks, &place->device, &place->disk, BPF_ANY)
			 : bpf_map_delete_elem(disks, &place->device);
	return failed ? fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot write the table of disks") : 0;
}

/* Room for the counters of a slot, one set for each CPU; to be freed. */
static struct counters *make_counters(size_t *cpus)
{
	int count = libbpf_num_possible_cpus();
	struct counters *counters;

	_Static_assert(sizeof(*counters) % 8 == 0, "the kernel pads each to 8 bytes");
	if (count <= 0) {
		fail(FRAME_ERROR_CODE_SYSTEM, -count, "cannot count the CPUs");
		return NULL;
	}
	*cpus = (size_t)count;
	counters = calloc(*cpus, sizeof(*counters));
	if (!counters)
		fail(FRAME_ERROR_CODE_SYSTEM, errno, "no memory for the counters");
	return counters;
}

int slot_zero_counters(const struct tracker *tracker, uint32_t slot)
{
	size_t cpus;
	struct counters *zero = make_counters(&cpus);
	int failed;

	if (!zero)
		return -1;
	failed = bpf_map_update_elem(tracker->maps[MAP_COUNTERS], &slot, zero, BPF_ANY);
	free(zero);
	return failed ? fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot reset the counters") : 0;
}

int slot_counters(const struct tracker *tracker, uint32_t slot, struct counters *sum)
{
	size_t cpus;
	struct counters *each = make_counters(&cpus);
	int failed;

	if (!each)
		return -1;
	failed = bpf_map_lookup_elem(tracker->maps[MAP_COUNTERS], &slot, each);
	memset(sum, 0, sizeof(*sum));
	for (size_t cpu = 0; cpu < cpus; cpu++)
		for (size_t i = 0; i < sizeof(*sum) / sizeof(__u64); i++)
			((__u64 *)sum)[i] += ((const __u64 *)&each[cpu])[i];
	free(each);
	return failed ? fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot read the counters") : 0;
}

int slot_answer(const struct tracker *tracker, const struct place *place)
{
	const struct tracked *tracked = &place->disk.tracked[place->entry];
	struct frame_slot answer = {
		.slot = tracked->slot,
		.major = TRACKER_MAJOR(place->device),
		.minor = TRACKER_MINOR(place->device),
		.block_shift = tracked->block_shift,
		.start_sector = tracked->start_sector,
		.sector_count = tracked->sector_count,
		.attachment = tracked->attachment,
		.hooks = tracked->hooks,
		.bio_based = place->disk.bio_based,
	};
	struct counters counters;
	struct bitmap bitmap;

	if (slot_counters(tracker, tracked->slot, &counters) ||
	    programs_skipped(tracker, &counters.taint_skipped_programs) ||
	    bitmap_open(&bitmap, tracker, tracked->slot))
		return -1;
	counters.taint_unmarked_ranges += tracked->unsettled_collects;
	answer.dirty_blocks = bitmap_count(&bitmap);
	bitmap_close(&bitmap);
	memcpy((char *)&answer + offsetof(struct frame_slot, issued), &counters, sizeof(counters));
	ANSWER(FRAME_SLOT, answer);
	return 0;
}
