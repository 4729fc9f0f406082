// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "answer.h"
#include "pins.h"

const char *pins_folder = "/sys/fs/bpf/ibackup";

const char *pin_path(struct path *path, enum pin pin, const char *name)
{
	static const char *const prefixes[] = { "map", "program", "link" };
	int length = snprintf(path->text, sizeof(path->text), "%s/%s_%s", pins_folder,
			      prefixes[pin], name);

	/* main() has checked that the folder's path is far shorter. */
	return length > 0 && (size_t)length < sizeof(path->text) ? path->text : "";
}

int pin_remove(enum pin pin, const char *name)
{
	struct path path;

	if (unlink(pin_path(&path, pin, name)) && errno != ENOENT)
		return fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot remove %s", path.text);
	return 0;
}

static int open_parent(void)
{
	struct path parent;
	struct statfs stat;
	char *slash;
	int fd;

	snprintf(parent.text, sizeof(parent.text), "%s", pins_folder);
	slash = strrchr(parent.text, '/');
	if (!slash || slash == parent.text)
		return fail(FRAME_ERROR_CODE_BAD_REQUEST, 0, "no folder for pins: %s", parent.text);
	*slash = 0;
	fd = open(parent.text, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail(FRAME_ERROR_CODE_NO_BPFFS, errno, "cannot open %s", parent.text);
	if (fstatfs(fd, &stat) || stat.f_type != BPF_FS_MAGIC) {
		close(fd);
		return fail(FRAME_ERROR_CODE_NO_BPFFS, 0, "no bpffs is mounted at %s", parent.text);
	}
	return fd;
}

int pins_lock(void)
{
	int fd = open_parent();

	if (fd >= 0 && flock(fd, LOCK_EX)) {
		close(fd);
		return fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot lock the folder of the pins");
	}
	return fd;
}

int pins_open(void)
{
	return open(pins_folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

int pins_find(bool *found)
{
	struct stat stat;
	int parent = open_parent();

	if (parent < 0)
		return -1;
	close(parent);
	*found = lstat(pins_folder, &stat) == 0;
	if (!*found)
		return errno == ENOENT ? 0
				       : fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot look at %s",
					      pins_folder);
	if (!S_ISDIR(stat.st_mode) || stat.st_uid != 0 || stat.st_mode & 077)
		return fail(FRAME_ERROR_CODE_BROKEN_SESSION, 0,
			    "%s is not a folder that root alone may use", pins_folder);
	return 0;
}
