// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>
#include "device.h"
#include "pins.h"
#include "settle.h"

static int settle_locked(const struct tracker *tracker, struct place *place)
{
	struct tracked *tracked = &place->disk.tracked[place->entry];
	struct counters counters;
	__u32 failed_updates;

	if (slot_counters(tracker, tracked->slot, &counters))
		return -1;
	failed_updates = (__u32)counters.taint_failed_updates;
	if (!tracked->unsettled && tracked->failed_updates == failed_updates)
		return 0;
	tracked->failed_updates = failed_updates;
	tracked->unsettled_collects++;
	/* Idle now: all of them have ended, and what they wrote is there to be read. */
	tracked->unsettled = !device_becomes_idle(place->device);
	return slot_write_disk(tracker, place);
}

int settle(const struct tracker *tracker, struct place *place)
{
	__u32 slot = place->disk.tracked[place->entry].slot;
	int lock, result;

	if (!place->disk.bio_based)
		return 0;
	/* The table is written as a whole disk: nobody else may change it meanwhile. */
	lock = pins_lock();
	if (lock < 0)
		return -1;
	result = slot_find(tracker, slot, place);
	if (!result)
		result = settle_locked(tracker, place);
	close(lock);
	return result;
}
