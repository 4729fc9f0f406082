// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>
#include "../bpf/tracker.h"
#include "answer.h"
#include "device.h"
#include "freeze.h"
#include "path.h"
#include "requests.h"
#include "thaw.h"

#define INHERITED 3
#define IDLE_POLLS_MAX 2000 /* 1 ms each */
#define DRAIN_PAUSE_NS 200000
#define DRAIN_TIMEOUT_MS_MAX 60000

static bool inherited;

int device_take_inherited(void)
{
	inherited = fcntl(INHERITED, F_GETFD) >= 0;
	if (inherited)
		return fcntl(INHERITED, F_SETFD, FD_CLOEXEC);
	/* The lowest free descriptor is 3: standard input, output and error are open. */
	return open("/dev/null", O_RDONLY | O_CLOEXEC) == INHERITED ? 0 : -1;
}

/* Writes and discards that the driver has; -1 with errno when the kernel does not say. */
static long writes_in_flight(__u32 major, __u32 minor)
{
	unsigned int reads, writes;
	char path[64];
	FILE *file;
	int count;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/inflight", major, minor);
	file = fopen(path, "re");
	if (!file)
		return -1;
	count = fscanf(file, "%u %u", &reads, &writes);
	fclose(file);
	errno = EIO;
	return count == 2 ? (long)writes : -1;
}

bool device_becomes_idle(__u32 device)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	for (int poll = 0; poll < IDLE_POLLS_MAX; poll++) {
		long writes = writes_in_flight(TRACKER_MAJOR(device), TRACKER_MINOR(device));

		if (writes <= 0)
			return !writes;
		nanosleep(&pause, NULL);
	}
	return false;
}

/*
 * Reads may go on: they change nothing, and somebody always reads. A limit that passes meanwhile
 * thaws, here as anywhere.
 */
int device_drain(const struct frame *frame)
{
	const struct timespec pause = { .tv_nsec = DRAIN_PAUSE_NS };
	const struct frame_drain_request *request = frame->fields;
	uint64_t until = clock_ns() + request->timeout_ms * 1000000ull;

	if (request->timeout_ms > DRAIN_TIMEOUT_MS_MAX)
		return fail(FRAME_ERROR_CODE_BAD_REQUEST, 0, "drain: timeout out of bounds");
	for (;;) {
		long writes = writes_in_flight(request->major, request->minor);

		if (writes < 0)
			return fail(FRAME_ERROR_CODE_SYSTEM, errno,
				    "cannot see what is in flight on the disk %u:%u",
				    request->major, request->minor);
		if (!writes)
			break;
		if (clock_ns() >= until)
			return fail(FRAME_ERROR_CODE_BUSY, 0, "%ld writes are in flight", writes);
		nanosleep(&pause, NULL);
		if (!freeze_attend())
			return fail(FRAME_ERROR_CODE_FREEZE_EXPIRED, 0,
				    "the freeze ended while writes were in flight");
	}
	answer_done();
	return 0;
}

static int answer_geometry(int fd, const char *path)
{
	struct frame_geometry answer = { 0 };
	int logical, read_only;
	unsigned int physical;
	struct stat stat;

	if (fstat(fd, &stat))
		return fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot look at %s", path);
	if (!S_ISBLK(stat.st_mode))
		return fail(FRAME_ERROR_CODE_SYSTEM, ENOTBLK, "%s is not a block device", path);
	if (ioctl(fd, BLKGETSIZE64, &answer.size_bytes) || ioctl(fd, BLKSSZGET, &logical) ||
	    ioctl(fd, BLKPBSZGET, &physical) || ioctl(fd, BLKROGET, &read_only))
		return fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot ask %s for its size", path);
	answer.logical_block_bytes = (uint32_t)logical;
	answer.physical_block_bytes = physical;
	answer.major = major(stat.st_rdev);
	answer.minor = minor(stat.st_rdev);
	answer.read_only = read_only != 0;
	ANSWER(FRAME_GEOMETRY, answer);
	return 0;
}

int device_geometry(const struct frame *frame)
{
	struct path_text path;
	int fd, result;

	if (path_of(frame, &path))
		return -1;
	fd = open(path.text, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot open %s", path.text);
	result = answer_geometry(fd, path.text);
	close(fd);
	return result;
}

/* For file systems that cannot punch holes. */
static int write_zeroes(uint64_t offset, uint64_t length)
{
	static const char zeroes[65536];

	while (length) {
		size_t part = length < sizeof(zeroes) ? (size_t)length : sizeof(zeroes);
		ssize_t count = pwrite(INHERITED, zeroes, part, (off_t)offset);

		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			return -1;
		offset += (uint64_t)count;
		length -= (uint64_t)count;
	}
	return 0;
}

static int zero_range(uint64_t offset, uint64_t length)
{
	uint64_t range[2] = { offset, length };
	struct stat stat;

	if (fstat(INHERITED, &stat))
		return -1;
	if (S_ISBLK(stat.st_mode))
		return ioctl(INHERITED, BLKZEROOUT, range);
	if (!fallocate(INHERITED, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
		       (off_t)length))
		return 0;
	return errno == EOPNOTSUPP ? write_zeroes(offset, length) : -1;
}

static int need_inherited(void)
{
	return inherited ? 0 : fail(FRAME_ERROR_CODE_BAD_REQUEST, EBADF, "no descriptor 3");
}

int device_zero_range(const struct frame *frame)
{
	const struct frame_zero_range_request *request = frame->fields;

	if (need_inherited())
		return -1;
	if (!request->length || request->offset > INT64_MAX ||
	    request->length > INT64_MAX - request->offset)
		return fail(FRAME_ERROR_CODE_BAD_REQUEST, 0, "zero: range out of bounds");
	if (zero_range(request->offset, request->length))
		return fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot zero %llu bytes at %llu",
			    (unsigned long long)request->length,
			    (unsigned long long)request->offset);
	answer_done();
	return 0;
}

/*
 * EINVAL: the device is a partition, or a disk that never has any (a loop device made without
 * --partscan): there is nothing to read. EBUSY: somebody, udev most often, looks at a partition.
 */
static int reread_partitions(void)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	for (int attempt = 0; ioctl(INHERITED, BLKRRPART); attempt++) {
		if (errno == EINVAL || errno == ENOTTY)
			return 0;
		if (errno != EBUSY || attempt == IDLE_POLLS_MAX)
			return -1;
		nanosleep(&pause, NULL);
	}
	return 0;
}

int device_reread_partitions(const struct frame *frame)
{
	(void)frame;
	if (need_inherited())
		return -1;
	if (reread_partitions())
		return fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot read the partitions again");
	answer_done();
	return 0;
}
