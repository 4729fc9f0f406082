/* SPDX-License-Identifier: Apache-2.0 */
/* The BPF programs of a tracking session: which hook needs which, attached and pinned. */
#ifndef IBACKUP_PROGRAMS_H
#define IBACKUP_PROGRAMS_H

#include "session.h"

#define BUFFER_PROGRAMS (PROGRAM_BIT(BUFFER_KPROBE) | PROGRAM_BIT(BUFFER_TRACEPOINT))

/* Attaches and pins the programs that these hooks need and that are not attached yet. */
int programs_add(struct tracker *tracker, unsigned int hooks, bool bio_based);

/*
 * Lets the second programs work on what the first were skipped for. A grace period has to have
 * passed since programs_add().
 */
void programs_rescue(struct tracker *tracker);

/* Fails with brokenSession when one that should be pinned is not, or is another one. */
int programs_check(const struct tracker *tracker);

/* Unpins all of them, which detaches them. */
int programs_remove(void);

/* How many runs the kernel has skipped, over all programs, and no second program made up for. */
int programs_skipped(const struct tracker *tracker, __u64 *skipped);

#endif
