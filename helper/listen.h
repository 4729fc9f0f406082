/* SPDX-License-Identifier: Apache-2.0 */
/* Reports blocks as they turn dirty, from perf events. Lossy by nature: the bitmap is the truth. */
#ifndef IBACKUP_LISTEN_H
#define IBACKUP_LISTEN_H

/* To be polled for input; -1 while nobody listens. */
int listen_descriptor(void);

/* After so many milliseconds events are to be drained even if none woke us; -1: never. */
int listen_timeout(void);

/* Takes what is there and sends it. */
int listen_drain(void);

/* Clears the flag that makes the programs send events. */
void listen_end(void);

#endif
