// SPDX-License-Identifier: Apache-2.0
/*
 * Runs a command and kills it, or a process that it started, right before its Nth step.
 *
 *   step_killer ROLE N REPORT COMMAND...
 *
 * A step is a system call that changes something outside of the process. ROLE says whose steps
 * count, and who is killed: the "flush" is the command, the "helper" a process that executes a file
 * of that name, the "watchdog" one that the helper has forked. The steps of all threads of a
 * process count together. The report names each step that was reached, a line a step; the last one
 * was not taken when N was reached. N 0 kills nobody. The exit status is the command's, or 128 and
 * the signal that ended it; 125 when the tracing itself failed.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <linux/ptrace.h>
#include <unistd.h>

#define TASKS_MAX 256
#define TEXT_MAX 256
#define TRACE_OPTIONS                                                                             \
	(PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | \
	 PTRACE_O_TRACEEXEC)

/* Which argument of a system call is a path or a descriptor; -1 for none. */
struct step_kind {
	long number;
	const char *name;
	int path;
	int descriptor;
};

static const struct step_kind kinds[] = {
	{ SYS_openat, "openat", 1, -1 }, /* only to make or to empty a file */
#ifdef SYS_open
	{ SYS_open, "open", 0, -1 },
#endif
	{ SYS_write, "write", -1, 0 },
	{ SYS_pwrite64, "pwrite64", -1, 0 },
	{ SYS_writev, "writev", -1, 0 },
	{ SYS_pwritev, "pwritev", -1, 0 },
	{ SYS_sendto, "sendto", -1, 0 },
	{ SYS_ftruncate, "ftruncate", -1, 0 },
	{ SYS_fallocate, "fallocate", -1, 0 },
	{ SYS_fsync, "fsync", -1, 0 },
	{ SYS_fdatasync, "fdatasync", -1, 0 },
	{ SYS_syncfs, "syncfs", -1, 0 },
	{ SYS_flock, "flock", -1, 0 },
	{ SYS_ioctl, "ioctl", -1, 0 },
#ifdef SYS_rename
	{ SYS_rename, "rename", 0, -1 },
#endif
#ifdef SYS_renameat
	{ SYS_renameat, "renameat", 1, -1 },
#endif
	{ SYS_renameat2, "renameat2", 1, -1 },
#ifdef SYS_link
	{ SYS_link, "link", 1, -1 },
#endif
	{ SYS_linkat, "linkat", 3, -1 },
#ifdef SYS_unlink
	{ SYS_unlink, "unlink", 0, -1 },
#endif
	{ SYS_unlinkat, "unlinkat", 1, -1 },
#ifdef SYS_mkdir
	{ SYS_mkdir, "mkdir", 0, -1 },
#endif
	{ SYS_mkdirat, "mkdirat", 1, -1 },
#ifdef SYS_rmdir
	{ SYS_rmdir, "rmdir", 0, -1 },
#endif
	{ SYS_kill, "kill", -1, -1 },
	{ SYS_bpf, "bpf", -1, -1 },
	{ SYS_execve, "execve", 0, -1 },
#ifdef SYS_fork
	{ SYS_fork, "fork", -1, -1 },
#endif
#ifdef SYS_vfork
	{ SYS_vfork, "vfork", -1, -1 },
#endif
	{ SYS_exit_group, "exit_group", -1, -1 },
};

enum role {
	ROLE_FLUSH,
	ROLE_HELPER,
	ROLE_WATCHDOG,
	ROLE_OTHER, /* a hook */
};

struct task {
	pid_t tid;
	pid_t process;
	enum role role;
};

static struct task tasks[TASKS_MAX];
static size_t task_count;
static enum role wanted_role;
static long wanted_step;
static long steps;
static FILE *report;

static void die(const char *what)
{
	fprintf(stderr, "step_killer: %s: %s\n", what, strerror(errno));
	exit(125);
}

static struct task *find_task(pid_t tid)
{
	for (size_t i = 0; i < task_count; i++)
		if (tasks[i].tid == tid)
			return &tasks[i];
	return NULL;
}

static pid_t number_in_status(pid_t tid, const char *field)
{
	char path[64], line[256];
	long value = 0;
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	status = fopen(path, "r");
	if (!status)
		return 0;
	while (fgets(line, sizeof(line), status))
		if (!strncmp(line, field, strlen(field)))
			value = strtol(line + strlen(field), NULL, 10);
	fclose(status);
	return (pid_t)value;
}

static enum role role_of_forked(enum role maker)
{
	return maker == ROLE_HELPER ? ROLE_WATCHDOG : ROLE_OTHER;
}

static struct task *add_task(pid_t tid, pid_t made_by)
{
	const struct task *maker = find_task(made_by);
	struct task *task = find_task(tid);

	if (task)
		return task;
	if (task_count == TASKS_MAX) {
		errno = ENOSPC;
		die("too many tasks");
	}
	task = &tasks[task_count++];
	task->tid = tid;
	task->process = number_in_status(tid, "Tgid:");
	task->role = ROLE_FLUSH;
	if (maker)
		task->role =
			task->process == maker->process ? maker->role : role_of_forked(maker->role);
	return task;
}

static void note_program(struct task *task)
{
	char path[64], text[TEXT_MAX];
	ssize_t count;

	snprintf(path, sizeof(path), "/proc/%d/exe", task->tid);
	count = readlink(path, text, sizeof(text) - 1);
	text[count < 0 ? 0 : count] = 0;
	if (task->role != ROLE_FLUSH)
		task->role = strstr(text, "ibackup-helper") ? ROLE_HELPER : ROLE_OTHER;
}

static void forget_task(pid_t tid)
{
	struct task *task = find_task(tid);

	if (task)
		*task = tasks[--task_count];
}

static void read_text(pid_t tid, uint64_t address, char *text)
{
	struct iovec local = { .iov_base = text, .iov_len = TEXT_MAX - 1 };
	struct iovec remote = { .iov_base = (void *)(uintptr_t)address, .iov_len = TEXT_MAX - 1 };
	uint64_t in_page = 4096 - address % 4096;
	ssize_t count;

	if (in_page < remote.iov_len)
		remote.iov_len = in_page;
	memset(text, 0, TEXT_MAX);
	count = process_vm_readv(tid, &local, 1, &remote, 1, 0);
	if (count < 0)
		text[0] = 0;
}

static void read_descriptor(pid_t tid, uint64_t descriptor, char *text)
{
	char path[64];
	ssize_t count;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", tid, (int)descriptor);
	count = readlink(path, text, TEXT_MAX - 1);
	text[count < 0 ? 0 : count] = 0;
}

/* Whether the call changes something; `text` is what it acts on. */
static bool is_step(pid_t tid, const struct ptrace_syscall_info *info, const struct step_kind *kind,
		    char *text)
{
	const uint64_t *arguments = (const uint64_t *)info->entry.args;

	text[0] = 0;
	if (kind->path >= 0)
		read_text(tid, arguments[kind->path], text);
	if (kind->descriptor >= 0)
		read_descriptor(tid, arguments[kind->descriptor], text);
	if (!strncmp(kind->name, "open", 4))
		return arguments[kind->path + 1] & (O_CREAT | O_TRUNC);
	/* Threads wake one another by these. */
	return strcmp(text, "anon_inode:[eventfd]") != 0;
}

static void at_entry(const struct task *task)
{
	struct ptrace_syscall_info info;
	char text[TEXT_MAX];

	if (task->role != wanted_role ||
	    ptrace(PTRACE_GET_SYSCALL_INFO, task->tid, sizeof(info), &info) <= 0 ||
	    info.op != PTRACE_SYSCALL_INFO_ENTRY)
		return;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if ((uint64_t)kinds[i].number != info.entry.nr)
			continue;
		if (!is_step(task->tid, &info, &kinds[i], text))
			return;
		steps++;
		fprintf(report, "%s %s", kinds[i].name, text);
		if (kinds[i].number == SYS_ioctl || kinds[i].number == SYS_bpf)
			fprintf(report, " %#llx",
				(unsigned long long)
					info.entry.args[kinds[i].number == SYS_ioctl ? 1 : 0]);
		fputc('\n', report);
		(void)fflush(report);
		/* Before it is let go on: the call is not made any more. */
		if (steps == wanted_step)
			kill(task->process, SIGKILL);
		return;
	}
}

/* What to let the task go on with; the signal to give it, if any. */
static void go_on(pid_t tid, int status)
{
	int signal = WSTOPSIG(status);
	int event = status >> 16;
	unsigned long made = 0;

	if (event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_FORK ||
	    event == PTRACE_EVENT_VFORK) {
		if (!ptrace(PTRACE_GETEVENTMSG, tid, 0, &made))
			add_task((pid_t)made, tid);
	}
	if (event == PTRACE_EVENT_EXEC && find_task(tid))
		note_program(find_task(tid));
	if (event == PTRACE_EVENT_STOP && (signal == SIGSTOP || signal == SIGTSTP)) {
		ptrace(PTRACE_LISTEN, tid, 0, 0);
		return;
	}
	if (event || signal == (SIGTRAP | 0x80))
		signal = 0;
	ptrace(PTRACE_SYSCALL, tid, 0, (long)signal);
}

static int trace(pid_t command)
{
	int result = 125;

	for (;;) {
		int status;
		pid_t tid = waitpid(-1, &status, __WALL);
		struct task *task;

		if (tid < 0 && errno == EINTR)
			continue;
		if (tid < 0)
			return result;
		if (WIFEXITED(status) || WIFSIGNALED(status)) {
			if (tid == command)
				result = WIFEXITED(status) ? WEXITSTATUS(status)
							   : 128 + WTERMSIG(status);
			/* Those who outlive it go on without us: how long is what is tested. */
			if (tid == command && wanted_step && steps >= wanted_step)
				return result;
			forget_task(tid);
			continue;
		}
		/* It may stop before the one that made it has told of it. */
		task = find_task(tid);
		if (!task) {
			pid_t process = number_in_status(tid, "Tgid:");

			task = add_task(tid,
					process != tid ? process : number_in_status(tid, "PPid:"));
		}
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			at_entry(task);
		go_on(tid, status);
	}
}

static enum role role_named(const char *name)
{
	static const char *const names[] = { "flush", "helper", "watchdog" };

	for (int i = 0; i < 3; i++)
		if (!strcmp(name, names[i]))
			return (enum role)i;
	errno = EINVAL;
	die(name);
	return ROLE_OTHER;
}

int main(int argc, char **argv)
{
	int status;
	pid_t command;

	if (argc < 5) {
		fprintf(stderr, "usage: step_killer ROLE N REPORT COMMAND...\n");
		return 125;
	}
	wanted_role = role_named(argv[1]);
	wanted_step = strtol(argv[2], NULL, 10);
	report = fopen(argv[3], "we");
	if (!report)
		die(argv[3]);
	command = fork();
	if (command < 0)
		die("fork");
	if (!command) {
		raise(SIGSTOP);
		execvp(argv[4], argv + 4);
		die(argv[4]);
	}
	if (waitpid(command, &status, WUNTRACED) < 0 ||
	    ptrace(PTRACE_SEIZE, command, 0, TRACE_OPTIONS))
		die("ptrace");
	add_task(command, 0);
	kill(command, SIGCONT);
	return trace(command);
}
