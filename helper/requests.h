/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What answers each request. `frame` has the fields and the tail that the layout says. Returns 0
 * when all answers were sent, -1 when fail() noted why not.
 */
#ifndef IBACKUP_REQUESTS_H
#define IBACKUP_REQUESTS_H

#include "frame.h"

/* slot.c */
int slot_attach(const struct frame *frame);
int slot_detach(const struct frame *frame);

/* status.c */
int status_answer(const struct frame *frame);

/* collect.c */
int collect(const struct frame *frame);

/* listen.c */
int listen_begin(const struct frame *frame);

/* device.c */
int device_geometry(const struct frame *frame);
int device_zero_range(const struct frame *frame);
int device_reread_partitions(const struct frame *frame);
int device_drain(const struct frame *frame);

/* path.c */
int path_sync(const struct frame *frame);
int path_lock(const struct frame *frame);

/* freeze.c */
int freeze_begin(const struct frame *frame);
int freeze_thaw(const struct frame *frame);

#endif
