/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IBACKUP_DEVICE_H
#define IBACKUP_DEVICE_H

#include <stdbool.h>
#include <linux/types.h>

/* Waits until no write is under way on a whole disk, at most 2 s. `device`: TRACKER_DEVICE. */
bool device_becomes_idle(__u32 device);

/* Notes whether descriptor 3 was inherited, and keeps it from being used for anything else. */
int device_take_inherited(void);

#endif
