/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tracking session: maps, programs and links pinned in one folder of bpffs. It lives on when
 * the helper ends. It is there as a whole, or it is broken, or it is not there.
 */
#ifndef IBACKUP_SESSION_H
#define IBACKUP_SESSION_H

#include <stdbool.h>
#include "../bpf/tracker.h"

enum map {
	MAP_DISKS,
	MAP_BITMAPS,
	MAP_COUNTERS,
	MAP_EVENTS,
	MAP_BIOS,
	MAP_RESCUES,
	MAP_SESSION, /* pinned last: while it is missing, the session is not whole */
	MAP_COUNT,
};

/* An open session. Not open: `state` is NULL. */
struct tracker {
	int maps[MAP_COUNT];
	struct session *state; /* shared with the kernel */
};

/* Load the legacy object, whatever the kernel can do. To be set once, before anything else. */
extern bool session_legacy;

/* The name of a map in the BPF object and of its pin. */
const char *map_name(enum map map);

/*
 * Opens the pinned session. Returns 0 and leaves `state` NULL when there is none.
 * Fails with brokenSession when the pins are incomplete or another build's.
 */
int session_open(struct tracker *tracker);

/* The same, but fails with noSession when there is none. */
int session_open_existing(struct tracker *tracker);

/* Opens the pinned session, or makes one without programs. */
int session_start(struct tracker *tracker);

/* Unpins everything, whole or broken. What is not there is fine. */
int session_remove(void);

/* The same after a failed start. Returns -1. */
int session_undo(void);

void session_close(struct tracker *tracker);

/* Notes that a pin is missing or not of this build. Returns -1. */
int session_broken(const char *name);

#endif
