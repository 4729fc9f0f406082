/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Freezing file systems, never for longer than a limit. While something is frozen the helper goes
 * on answering; its main loop attends to the freeze whenever one of the descriptors wakes it.
 */
#ifndef IBACKUP_FREEZE_H
#define IBACKUP_FREEZE_H

#include <stdbool.h>

/* To be polled for input; -1 while nothing is frozen. */
int freeze_watchdog_descriptor(void);
int freeze_signal_descriptor(void);

/* After so many milliseconds the limit is there; -1 while nothing is frozen. */
int freeze_timeout(void);

/*
 * Thaws if the time has come: the limit passed, the watchdog or ibackup has gone, or a signal asks
 * for it. Returns false when it did.
 */
bool freeze_attend(void);

/* Thaws what is frozen, at the end of the helper. */
void freeze_end(void);

#endif
