// SPDX-License-Identifier: Apache-2.0
#include "mountpoint.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

int mountpoint_open(const char *path, uint64_t mount_id, int *error)
{
	struct statx stat;
	/* Not O_PATH: such a descriptor knows no ioctl(). */
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	*error = fd < 0 ? errno : 0;
	if (fd < 0)
		return -1;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stat))
		*error = errno;
	else if (!(stat.stx_mask & STATX_MNT_ID))
		*error = ENOSYS;
	else if (stat.stx_mnt_id == mount_id)
		return fd;
	close(fd);
	return -1;
}

/* The options of the file system are the last field of a line, and begin with "ro" or "rw". */
static bool line_says_read_only(const char *line)
{
	const char *options = strrchr(line, ' ');

	return options && !strncmp(options, " ro", 3) && strchr(",\n", options[3]);
}

bool mountpoint_is_read_only(int fd, uint64_t mount_id)
{
	struct statvfs statvfs;
	bool is_read_only = false;
	size_t size = 0;
	char *line = NULL;
	FILE *file;

	/* This flag is set for the mount as well as for the file system: the list tells them apart.
	 */
	if (!fstatvfs(fd, &statvfs) && !(statvfs.f_flag & ST_RDONLY))
		return false;
	file = fopen("/proc/self/mountinfo", "re");
	if (!file)
		return false;
	while (!is_read_only && getline(&line, &size, file) > 0)
		is_read_only = strtoull(line, NULL, 10) == mount_id && line_says_read_only(line);
	free(line);
	fclose(file);
	return is_read_only;
}
