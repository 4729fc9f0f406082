/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Freezing waits for an RCU grace period at each of its three levels, with the writers standing
 * still: 20 ms to 60 ms in all, most of what a freeze takes. Expedited ones take a few hundred
 * microseconds together. The kernel has one switch for all of it, so it is on for no longer than
 * FIFREEZE takes; who wants none of it sets /sys/kernel/rcu_normal, which the kernel puts above.
 */
#ifndef IBACKUP_GRACE_PERIOD_H
#define IBACKUP_GRACE_PERIOD_H

#include <stdatomic.h>
#include <stdbool.h>

/* A descriptor of the switch, for both functions; -1 where there is none that can be written. */
int grace_period_open(void);

/* Switches it on and notes that, unless somebody else has: then it stays as it is. */
void grace_period_hurry(int fd, atomic_bool *is_hurried);

/*
 * Switches it off if that was noted. The helper does it, and takes the note back; the watchdog does
 * it as well when it has to thaw, before and after: the helper may have been about to switch it on.
 */
void grace_period_relax(int fd, const atomic_bool *is_hurried);

#endif
