/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dead man's thaw: a process of its own that thaws when the limit has passed, when the helper
 * is gone, or when it is asked to end. It writes to no file system and needs no memory that it has
 * not.
 */
#ifndef IBACKUP_WATCHDOG_H
#define IBACKUP_WATCHDOG_H

#include <sys/types.h>
#include "thaw.h"

struct watchdog {
	pid_t pid;
	int socket; /* readable when the watchdog has gone */
};

/* To be called before anything is frozen. 0, or -1 after fail(). */
int watchdog_start(struct watchdog *watchdog, const struct freeze *freeze);

/* The deadline was set: the watchdog looks at it. Returns -1 with errno when there is none. */
int watchdog_wake(const struct watchdog *watchdog);

/*
 * Ends it, however it is: stopped, or gone. For when nothing is frozen any more; otherwise it is
 * left to itself, and takes the closed socket for the helper's death.
 */
void watchdog_end(struct watchdog *watchdog, bool is_all_thawed);

/* The signals that ask a process to end; both block them while something is frozen. */
void watchdog_polite_signals(sigset_t *signals);

#endif
