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

#define LOCK_PAUSE_MS 10
#define LOCKS_MAX 256

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

/* flock() with a time limit; fails with EWOULDBLOCK. */
static int lock_within(int fd, int operation, uint32_t limit_ms)
{
	const struct timespec pause = { .tv_nsec = LOCK_PAUSE_MS * 1000000L };

	for (uint32_t waited_ms = 0;; waited_ms += LOCK_PAUSE_MS) {
		int result = flock(fd, operation | LOCK_NB);

		if (!result || errno != EWOULDBLOCK || waited_ms >= limit_ms)
			return result;
		nanosleep(&pause, NULL);
	}
}

/* The descriptor stays open: the lock is held until the helper ends. */
int path_lock(const struct frame *frame)
{
	static int locks;
	const struct frame_lock_request *request = frame->fields;
	struct path_text path;
	int fd;

	if (path_of(frame, &path))
		return -1;
	if (locks == LOCKS_MAX)
		return fail(FRAME_ERROR_CODE_BAD_REQUEST, 0, "too many locks");
	fd = open_lock(path.text);
	if (fd < 0)
		return -1;
	if (lock_within(fd, request->shared ? LOCK_SH : LOCK_EX, request->wait_ms)) {
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
