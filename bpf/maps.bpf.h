/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps, which the helper pins, and counting in them. What each holds is in tracker.h. */
#ifndef IBACKUP_MAPS_BPF_H
#define IBACKUP_MAPS_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "tracker.h"

struct bitmap {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	__uint(max_entries, 1); /* the helper makes each with as many words as its device needs */
	__type(key, __u32);
	__type(value, __u64);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, SLOTS_MAX);
	__type(key, __u32);
	__array(values, struct bitmap);
} bitmaps SEC(".maps");

/* Not preallocated: an entry that was replaced may still be read until a grace period is over. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SLOTS_MAX);
	__type(key, __u32);
	__type(value, struct disk);
} disks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLOTS_MAX);
	__type(key, __u32);
	__type(value, struct counters);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct session);
} session SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BIOS_MAX);
	__type(key, __u64);
	__type(value, struct bio_range);
} bios SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RESCUE_COUNT);
	__type(key, __u32);
	__type(value, struct rescue_state);
} rescues SEC(".maps");

/* Adds to one counter of a slot. Atomic: an interrupt may run the other program on this CPU. */
#define COUNT(slot_number, field, amount)                                                 \
	({                                                                                \
		__u32 counted_slot = (slot_number);                                       \
		struct counters *counted = bpf_map_lookup_elem(&counters, &counted_slot); \
                                                                                          \
		if (counted)                                                              \
			__sync_fetch_and_add(&counted->field, (amount));                  \
	})

/*
 * A tracked disk, or NULL. The set of devices tells most of the others without a lookup in the
 * hash, which would be most of what a request to a disk that is not tracked costs.
 */
static __always_inline struct disk *find_disk(__u32 device)
{
	__u32 key = 0;
	struct session *now = bpf_map_lookup_elem(&session, &key);

	if (now && !(now->devices & TRACKER_DEVICE_BIT(device)))
		return NULL;
	return bpf_map_lookup_elem(&disks, &device);
}

static __always_inline bool somebody_listens(void)
{
	__u32 key = 0;
	struct session *now = bpf_map_lookup_elem(&session, &key);

	return now && now->listening;
}

/* Counts a taint in every slot of a disk that hook `block` tracks. */
#define TAINT_DISK(disk, field)                                                 \
	({                                                                      \
		for (__u32 tainted = 0; tainted < SLOTS_PER_DISK; tainted++)    \
			if (tainted < (disk)->count &&                          \
			    (disk)->tracked[tainted].hooks & HOOK_BLOCK)        \
				COUNT((disk)->tracked[tainted].slot, field, 1); \
	})

#endif
