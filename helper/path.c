// SPDX-License-Identifier: Apache-2.0
#include "path.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "answer.h"
#include "requests.h"

#define LOCK_TRIES 200 /* 10 ms each */
#define LOCKS_MAX 64

int path_of(const struct frame *frame, struct path_text *path)
{
	if (!frame->tail_bytes || frame->tail_bytes >= sizeof(path->text) ||
	    memchr(frame->tail, 0, frame->tail_bytes))
		return fail(FRAME_ERROR_CODE_BAD_REQUEST, 0, "the tail is not one path");
	memcpy(path->text, frame->tail, frame->tail_bytes);
	path->text[frame->tail_bytes] = 0;
	return 0;
}

int path_sync(const struct frame *frame)
{
	struct path_text path;
	int fd, failed;

	if (path_of(frame, &path))
		return -1;
	fd = open(path.text, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot open %s", path.text);
	failed = syncfs(fd) ? errno : 0;
	close(fd);
	if (failed)
		return fail(FRAME_ERROR_CODE_SYSTEM, failed, "cannot sync %s", path.text);
	answer_done();
	return 0;
}

/* Opens a lock file; -1 with fail() noted when it is not one that only root can have made. */
static int open_lock(const char *path)
{
	struct stat stat;
	int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);

	if (fd < 0)
		return fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot open %s", path);
	if (fstat(fd, &stat) || !S_ISREG(stat.st_mode) || stat.st_uid != 0) {
		close(fd);
		return fail(FRAME_ERROR_CODE_SYSTEM, 0, "%s is not a file of root's", path);
	}
	return fd;
}

/*
 * The helper of an ibackup that was killed holds its lock until it has finished what it was at, so
 * a lock is only said to be held when it stays so.
 */
static int lock_soon(int fd)
{
	const struct timespec pause = { .tv_nsec = 10000000 };
	int result = -1;

	for (int try = 0; try < LOCK_TRIES; try++) {
		result = flock(fd, LOCK_EX | LOCK_NB);
		if (!result || errno != EWOULDBLOCK)
			return result;
		nanosleep(&pause, NULL);
	}
	return result;
}

/* The descriptor stays open: the lock is held until the helper ends. */
int path_lock(const struct frame *frame)
{
	static int locks;
	struct path_text path;
	int fd;

	if (path_of(frame, &path))
		return -1;
	if (locks == LOCKS_MAX)
		return fail(FRAME_ERROR_CODE_BAD_REQUEST, 0, "too many locks");
	fd = open_lock(path.text);
	if (fd < 0)
		return -1;
	if (lock_soon(fd)) {
		int error = errno;

		close(fd);
		return error == EWOULDBLOCK
			       ? fail(FRAME_ERROR_CODE_LOCKED, 0, "%s is locked", path.text)
			       : fail(FRAME_ERROR_CODE_SYSTEM, error, "cannot lock %s", path.text);
	}
	locks++;
	answer_done();
	return 0;
}
