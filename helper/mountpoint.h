/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IBACKUP_MOUNTPOINT_H
#define IBACKUP_MOUNTPOINT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Opens a mountpoint for ioctl(). Returns -1 when the path does not lead to that mount: it is gone,
 * or another is mounted over it. `*error` is then the errno, 0 for another mount.
 */
int mountpoint_open(const char *path, uint64_t mount_id, int *error);

/* Whether the file system itself is read-only; a read-only bind mount of a writable one is not. */
bool mountpoint_is_read_only(int fd, uint64_t mount_id);

#endif
