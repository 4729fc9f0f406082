// SPDX-License-Identifier: Apache-2.0
#include <bpf/bpf.h>
#include <errno.h>
#include <sys/random.h>
#include <unistd.h>
#include "answer.h"
#include "bitmap.h"
#include "device.h"
#include "pins.h"
#include "programs.h"
#include "requests.h"
#include "slot_table.h"

_Static_assert((int)HOOK_BLOCK == FRAME_HOOK_BLOCK, "one number for a hook");
_Static_assert((int)HOOK_BUFFER == FRAME_HOOK_BUFFER, "one number for a hook");
#define BLOCK_SHIFT_MIN 3 /* 4 KiB */
#define BLOCK_SHIFT_MAX 40

static int check_attach(const struct frame_attach_request *request)
{
	bool valid =
		request->major < 1u << 12 && request->minor < 1u << 20 &&
		request->sector_count > 0 &&
		request->start_sector < UINT64_MAX / 2 - request->sector_count &&
		request->sector_count < UINT64_MAX / 2 && request->block_shift >= BLOCK_SHIFT_MIN &&
		request->block_shift <= BLOCK_SHIFT_MAX &&
		(request->sector_count - 1) >> request->block_shift < BLOCKS_MAX &&
		request->hooks && !(request->hooks & ~(unsigned int)(HOOK_BLOCK | HOOK_BUFFER)) &&
		request->bio_based <= 1;

	return valid ? 0 : fail(FRAME_ERROR_CODE_BAD_REQUEST, 0, "attach: values out of range");
}

/* Finds room for a new slot: its number, and its entry in the disk. */
static int find_room(const struct tracker *tracker, const struct frame_attach_request *request,
		     uint32_t *slot, struct place *room)
{
	struct place place = SLOT_FIRST;
	uint64_t used = 0;

	*room = (struct place){ .device = TRACKER_DEVICE(request->major, request->minor),
				.disk.bio_based = request->bio_based };
	while (slot_next(tracker, &place)) {
		const struct tracked *tracked = &place.disk.tracked[place.entry];

		used |= 1ull << tracked->slot;
		if (place.device != room->device)
			continue;
		room->disk = place.disk;
		if (tracked->start_sector == request->start_sector &&
		    tracked->sector_count == request->sector_count)
			return fail(FRAME_ERROR_CODE_ALREADY_TRACKED, 0, "tracked as slot %u",
				    tracked->slot);
	}
	if (room->disk.bio_based != request->bio_based)
		return fail(FRAME_ERROR_CODE_BAD_REQUEST, 0, "attach: bioBased differs on a disk");
	if (room->disk.count == SLOTS_PER_DISK || used == UINT64_MAX)
		return fail(FRAME_ERROR_CODE_TOO_MANY_SLOTS, 0, "%s",
			    used == UINT64_MAX ? "all slots are in use"
					       : "too many slots on this disk");
	*slot = (uint32_t)__builtin_ctzll(~used);
	room->entry = room->disk.count++;
	return 0;
}

/*
 * From here on writes are marked. What was submitted before to a disk without request queue ends
 * unseen: until nothing is under way the slot is unsettled, and it stays so if a helper dies.
 */
static int enter_slot(const struct tracker *tracker, struct place *place)
{
	struct tracked *tracked = &place->disk.tracked[place->entry];

	tracked->unsettled = place->disk.bio_based && tracked->hooks & HOOK_BLOCK;
	if (slot_write_disk(tracker, place))
		return -1;
	if (!tracked->unsettled || !device_becomes_idle(place->device))
		return 0;
	tracked->unsettled = 0;
	return slot_write_disk(tracker, place);
}

static int add_slot(struct tracker *tracker, const struct frame_attach_request *request)
{
	struct place place;
	uint32_t slot = UINT32_MAX;

	if (find_room(tracker, request, &slot, &place))
		return -1;
	place.disk.tracked[place.entry] = (struct tracked){
		.start_sector = request->start_sector,
		.sector_count = request->sector_count,
		.slot = slot,
		.block_shift = request->block_shift,
		.hooks = request->hooks,
	};
	if (getrandom(&place.disk.tracked[place.entry].attachment, sizeof(__u64), 0) !=
	    sizeof(__u64))
		return fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot name the attachment");
	if (slot_zero_counters(tracker, slot) ||
	    programs_add(tracker, request->hooks, request->bio_based) ||
	    bitmap_make(tracker, slot, ((request->sector_count - 1) >> request->block_shift) + 1))
		return -1;
	/* The kernel has waited for a grace period after it put the bitmap into its slot. */
	programs_rescue(tracker);
	if (enter_slot(tracker, &place)) {
		place.disk.count = place.entry;
		slot_write_disk(tracker, &place);
		bpf_map_delete_elem(tracker->maps[MAP_BITMAPS], &slot);
		return -1;
	}
	return slot_answer(tracker, &place);
}

int slot_attach(const struct frame *frame)
{
	struct tracker tracker;
	int lock, result;

	if (check_attach(frame->fields))
		return -1;
	lock = pins_lock();
	if (lock < 0)
		return -1;
	result = session_start(&tracker);
	if (!result) {
		result = add_slot(&tracker, frame->fields);
		if (result && !slot_any(&tracker))
			result = session_undo();
		session_close(&tracker);
	}
	close(lock);
	return result;
}

static int remove_slot(struct tracker *tracker, uint32_t slot)
{
	struct place place;
	struct disk *disk = &place.disk;

	if (slot_find(tracker, slot, &place))
		return -1;
	disk->count--;
	for (__u32 i = place.entry; i < disk->count; i++)
		disk->tracked[i] = disk->tracked[i + 1];
	if (slot_write_disk(tracker, &place))
		return -1;
	if (bpf_map_delete_elem(tracker->maps[MAP_BITMAPS], &slot))
		return fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot drop the bitmap");
	return slot_any(tracker) ? 0 : session_remove();
}

int slot_detach(const struct frame *frame)
{
	const struct frame_detach_request *request = frame->fields;
	struct tracker tracker;
	int lock = pins_lock();
	int result;

	if (lock < 0)
		return -1;
	if (request->slot == FRAME_SLOT_ALL) {
		result = session_remove();
	} else {
		result = session_open_existing(&tracker);
		if (!result) {
			result = remove_slot(&tracker, request->slot);
			session_close(&tracker);
		}
	}
	close(lock);
	if (!result)
		answer_done();
	return result;
}
