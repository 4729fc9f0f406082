// SPDX-License-Identifier: Apache-2.0
#include "watchdog.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "answer.h"
#include "grace_period.h"

#define READY_SECONDS_MAX 5
#define THREAD_STACK_BYTES 65536
#define THAW_TRIES 60000 /* 1 ms each: a file system that then cannot be thawed never will be */

static const struct timespec pause_1ms = { .tv_nsec = 1000000 };

/* What the threads of the watchdog share. */
static struct {
	const struct freeze *freeze;
	sem_t thaw;
	atomic_bool helper_gone;
	atomic_size_t busy;
} watch;

void watchdog_polite_signals(sigset_t *signals)
{
	sigemptyset(signals);
	sigaddset(signals, SIGTERM);
	sigaddset(signals, SIGINT);
	sigaddset(signals, SIGHUP);
	sigaddset(signals, SIGQUIT);
}

/*
 * Each file system has a thread of its own, for FITHAW may have to wait: for the end of its own
 * FIFREEZE, or (it writes the superblock) for the thaw of the file system below a loop device. No
 * order of thawing is right for all these cases; all at once is.
 */
static void *thaw_when_told(void *argument)
{
	size_t index = (size_t)(uintptr_t)argument;

	while (sem_wait(&watch.thaw))
		;
	for (int try = 0; try < THAW_TRIES; try++) {
		unsigned int state = atomic_load(&watch.freeze->page->states[index]);

		if (thaw_mount(watch.freeze, index, atomic_load(&watch.helper_gone)))
			break;
		if (state == MOUNT_FREEZING)
			try = 0;
		nanosleep(&pause_1ms, NULL);
	}
	atomic_fetch_sub(&watch.busy, 1);
	return NULL;
}

static int start_threads(void)
{
	pthread_attr_t attributes;
	int error = pthread_attr_init(&attributes);

	if (!error)
		error = pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
	for (size_t i = 0; !error && i < watch.freeze->count; i++) {
		pthread_t thread;

		if (watch.freeze->mounts[i] < 0)
			continue;
		error = pthread_create(&thread, &attributes, thaw_when_told, (void *)(uintptr_t)i);
		if (!error)
			atomic_fetch_add(&watch.busy, 1);
	}
	return error;
}

static bool is_kept(int fd, const int *others, size_t other_count)
{
	for (size_t i = 0; i < watch.freeze->count; i++)
		if (watch.freeze->mounts[i] == fd)
			return true;
	for (size_t i = 0; i < other_count; i++)
		if (others[i] == fd)
			return true;
	return false;
}

/* The helper's pipes must close with the helper, and its locks be released. */
static int close_all_but(const int *others, size_t other_count)
{
	int last = 0;

	for (size_t i = 0; i < other_count; i++)
		last = others[i] > last ? others[i] : last;
	for (size_t i = 0; i < watch.freeze->count; i++)
		last = watch.freeze->mounts[i] > last ? watch.freeze->mounts[i] : last;
	for (int fd = 0; fd < last; fd++)
		if (!is_kept(fd, others, other_count))
			close(fd);
	return close_range((unsigned int)last + 1, ~0u, 0) ? errno : 0;
}

static void write_if_possible(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0) {
		/* What is asked for here makes a good thing better; the helper thaws as well. */
	}
	close(fd);
}

/*
 * What takes a whole service (its memory limit, systemd-oomd, a frozen or throttled cgroup, the
 * SIGKILL of `systemctl kill`) would take the helper and the watchdog at once, and with both the
 * thaw. So the watchdog leaves the cgroup of the service for the root cgroup. It lives no longer
 * than the limit of the freeze, so a service manager that looks after its cgroup misses nothing.
 * In a container the "root" is the container's, and where there is no way out it stays.
 */
static void leave_the_crowd(void)
{
	setsid();
	prctl(PR_SET_NAME, "ibackup-thaw");
	write_if_possible("/proc/self/oom_score_adj", "-1000");
	write_if_possible("/sys/fs/cgroup/cgroup.procs", "0");
	write_if_possible("/sys/fs/cgroup/unified/cgroup.procs", "0");
}

/* Gives the descriptor of its signals, or -1 with errno. */
static int prepare(int socket)
{
	sigset_t signals;
	int fd, error;

	/* Also those that nobody sends politely: only SIGKILL and SIGSTOP are left. */
	sigfillset(&signals);
	if (sigprocmask(SIG_SETMASK, &signals, NULL))
		return -1;
	leave_the_crowd();
	watchdog_polite_signals(&signals);
	fd = signalfd(-1, &signals, SFD_CLOEXEC);
	if (fd < 0 || sem_init(&watch.thaw, 0, 0))
		return -1;
	error = close_all_but((const int[]){ socket, fd, watch.freeze->grace_period }, 3);
	if (!error)
		error = start_threads();
	errno = error;
	return error || mlockall(MCL_CURRENT | MCL_FUTURE) ? -1 : fd;
}

/* False when the helper has gone. */
static bool take_wake(int socket)
{
	char bytes[64];

	return recv(socket, bytes, sizeof(bytes), MSG_DONTWAIT) > 0;
}

/* Returns when it is time to thaw. */
static void wait_for_the_end(int socket, int signals)
{
	for (;;) {
		struct pollfd polled[] = {
			{ .fd = socket, .events = POLLIN },
			{ .fd = signals, .events = POLLIN },
		};

		if (poll(polled, 2, freeze_ms_left(watch.freeze)) < 0)
			continue; /* EINTR: it was stopped and goes on */
		if (polled[0].revents && !take_wake(socket)) {
			atomic_store(&watch.helper_gone, true);
			return;
		}
		if (polled[1].revents || !freeze_ms_left(watch.freeze))
			return;
	}
}

static void relax(void)
{
	grace_period_relax(watch.freeze->grace_period, &watch.freeze->page->is_hurried);
}

/*
 * While the helper lives it may be inside FIFREEZE, and only its closed socket or its note says
 * that this is over. The socket closes after the ioctl has ended, also when the helper was killed
 * in it.
 */
static void thaw_all(int socket)
{
	atomic_store(&watch.freeze->page->expired, true);
	relax();
	for (size_t i = 0; i < watch.freeze->count; i++)
		sem_post(&watch.thaw);
	while (atomic_load(&watch.busy)) {
		struct pollfd polled = { .fd = atomic_load(&watch.helper_gone) ? -1 : socket,
					 .events = POLLIN };

		if (poll(&polled, 1, 1) > 0 && !take_wake(socket))
			atomic_store(&watch.helper_gone, true);
	}
	relax();
}

__attribute__((noreturn)) static void run(const struct freeze *freeze, int socket)
{
	int signals, error;

	watch.freeze = freeze;
	signals = prepare(socket);
	error = signals < 0 ? errno : 0;
	if (send(socket, &error, sizeof(error), MSG_NOSIGNAL) == sizeof(error) && !error) {
		wait_for_the_end(socket, signals);
		thaw_all(socket);
	}
	_exit(EXIT_SUCCESS);
}

/* Returns 0, or the error that kept the watchdog from its work. */
static int await_ready(int socket)
{
	const struct timeval limit = { .tv_sec = READY_SECONDS_MAX };
	int error = 0;
	ssize_t length;

	if (setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)))
		return errno;
	do
		length = recv(socket, &error, sizeof(error), MSG_WAITALL);
	while (length < 0 && errno == EINTR);
	if (length < 0)
		return errno == EAGAIN ? ETIMEDOUT : errno;
	return length == sizeof(error) ? error : ESRCH;
}

int watchdog_start(struct watchdog *watchdog, const struct freeze *freeze)
{
	int pair[2];
	int error;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return fail(FRAME_ERROR_CODE_SYSTEM, errno, "cannot start the watchdog");
	watchdog->socket = pair[0];
	watchdog->pid = fork();
	if (!watchdog->pid)
		run(freeze, pair[1]);
	error = watchdog->pid < 0 ? errno : 0;
	close(pair[1]);
	if (!error)
		error = await_ready(watchdog->socket);
	if (!error)
		return 0;
	watchdog_end(watchdog, true);
	return fail(FRAME_ERROR_CODE_SYSTEM, error, "cannot start the watchdog");
}

int watchdog_wake(const struct watchdog *watchdog)
{
	return send(watchdog->socket, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1 ? 0 : -1;
}

void watchdog_end(struct watchdog *watchdog, bool is_all_thawed)
{
	/* Before its socket closes, or it would take that for the helper's death. */
	if (watchdog->pid > 0 && is_all_thawed && !kill(watchdog->pid, SIGKILL))
		while (waitpid(watchdog->pid, NULL, 0) < 0 && errno == EINTR)
			;
	watchdog->pid = -1;
	close(watchdog->socket);
	watchdog->socket = -1;
}
