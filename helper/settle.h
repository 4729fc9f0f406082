/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes to a disk without request queue whose end nobody will mark: those that were under way when
 * the disk was attached, and those that found no room in the map `bios`.
 */
#ifndef IBACKUP_SETTLE_H
#define IBACKUP_SETTLE_H

#include "slot_table.h"

/*
 * At each collect: while there can be such writes the taint of the slot grows, so that nothing that
 * is read meanwhile is trusted. Refreshes the place. 0, or -1 after fail().
 */
int settle(const struct tracker *tracker, struct place *place);

#endif
