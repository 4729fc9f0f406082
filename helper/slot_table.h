/* SPDX-License-Identifier: Apache-2.0 */
/* The table of tracked devices, as the kernel has it. */
#ifndef IBACKUP_SLOT_TABLE_H
#define IBACKUP_SLOT_TABLE_H

#include <stdint.h>
#include "session.h"

/* A disk of the table, and which of its entries is meant. */
struct place {
	__u32 device;
	__u32 entry;
	struct disk disk;
};

/* Before the first entry of the table. */
#define SLOT_FIRST ((struct place){ .device = UINT32_MAX })

/* Goes on to the next tracked device. False when there is none. */
bool slot_next(const struct tracker *tracker, struct place *place);

/* Fails with noSlot. */
int slot_find(const struct tracker *tracker, uint32_t slot, struct place *place);

bool slot_any(const struct tracker *tracker);

/* Writes the disk back; one without entries is taken out. */
int slot_write_disk(const struct tracker *tracker, const struct place *place);

int slot_zero_counters(const struct tracker *tracker, uint32_t slot);

/* The sum over all CPUs. */
int slot_counters(const struct tracker *tracker, uint32_t slot, struct counters *sum);

/* Sends the frame `slot`. */
int slot_answer(const struct tracker *tracker, const struct place *place);

#endif
