/* SPDX-License-Identifier: Apache-2.0 */
/* The BPF programs of a tracking session: which hook needs which, attached and pinned. */
#ifndef IBACKUP_PROGRAMS_H
#define IBACKUP_PROGRAMS_H

#include "session.h"

/* Their set is kept in the session's map. The end of a write comes before its start. */
enum program {
	PROGRAM_REQUEST_COMPLETE,
	PROGRAM_REQUEST_ISSUE,
	PROGRAM_BIO_COMPLETE,
	PROGRAM_BIO_QUEUE,
	PROGRAM_BUFFER_KPROBE,
	PROGRAM_BUFFER_TRACEPOINT,
	PROGRAM_COUNT,
};

#define PROGRAM_BIT(program) (1u << PROGRAM_##program)
#define BUFFER_PROGRAMS (PROGRAM_BIT(BUFFER_KPROBE) | PROGRAM_BIT(BUFFER_TRACEPOINT))

/* Attaches and pins the programs that these hooks need and that are not attached yet. */
int programs_add(struct tracker *tracker, unsigned int hooks, bool bio_based);

/* Fails with brokenSession when one that should be pinned is not, or is another one. */
int programs_check(const struct tracker *tracker);

/* Unpins all of them, which detaches them. */
int programs_remove(void);

/* How many runs the kernel has skipped, over all programs. */
int programs_skipped(const struct tracker *tracker, __u64 *skipped);

#endif
