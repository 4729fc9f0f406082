// SPDX-License-Identifier: Apache-2.0
/*
 * ibackup's privileged arm. Requests come as frames on standard input, answers and events go as
 * frames to standard output, until standard input closes. It decides nothing and stores nothing.
 *
 *	ibackup-helper [--pins FOLDER] [--legacy] [--verbose]
 *
 * For tests: --pins keeps the tracking session elsewhere on bpffs, --legacy takes the BPF object
 * of old kernels. --verbose prints what libbpf says to standard error.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include "answer.h"
#include "device.h"
#include "freeze.h"
#include "listen.h"
#include "loader.h"
#include "pins.h"
#include "requests.h"
#include "session.h"

#ifndef IBACKUP_VERSION
#error "the Makefile passes IBACKUP_VERSION"
#endif

static bool verbose;

static int hello(const struct frame *frame)
{
	static const char version[] = IBACKUP_VERSION;
	struct frame_hello answer = { .bpf_object = loader_kind() };

	(void)frame;
	if (answer.bpf_object != BPF_OBJECT_NONE && session_legacy)
		answer.bpf_object = BPF_OBJECT_LEGACY;
	answer_send(FRAME_HELLO, &(struct frame_parts){
					 .fields = &answer,
					 .fields_bytes = sizeof(answer),
					 .tail = version,
					 .tail_bytes = strlen(version),
				 });
	return 0;
}

static const struct {
	enum frame_type type;
	int (*answer)(const struct frame *frame);
} requests[] = {
	{ FRAME_HELLO_REQUEST, hello },
	{ FRAME_ATTACH_REQUEST, slot_attach },
	{ FRAME_DETACH_REQUEST, slot_detach },
	{ FRAME_STATUS_REQUEST, status_answer },
	{ FRAME_COLLECT_REQUEST, collect },
	{ FRAME_LISTEN_REQUEST, listen_begin },
	{ FRAME_GEOMETRY_REQUEST, device_geometry },
	{ FRAME_ZERO_RANGE_REQUEST, device_zero_range },
	{ FRAME_REREAD_PARTITIONS_REQUEST, device_reread_partitions },
	{ FRAME_SYNC_REQUEST, path_sync },
	{ FRAME_LOCK_REQUEST, path_lock },
	{ FRAME_FREEZE_REQUEST, freeze_begin },
	{ FRAME_THAW_REQUEST, freeze_thaw },
	{ FRAME_DRAIN_REQUEST, device_drain },
};

static int dispatch(const struct frame *frame)
{
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		if (requests[i].type == frame->header.type)
			return requests[i].answer(frame);
	return fail(FRAME_ERROR_CODE_BAD_REQUEST, 0, "frame type %u is not a request",
		    frame->header.type);
}

static void take_bytes(const uint8_t *bytes, size_t length)
{
	static struct frame_reader reader;

	while (length) {
		const char *damage;
		struct frame frame;
		bool complete;
		size_t taken = frame_read(&reader, bytes, length, &complete);

		bytes += taken;
		length -= taken;
		if (!complete)
			continue;
		damage = frame_read_end(&reader, &frame);
		answer_to(damage ? 0 : frame.header.request);
		if (damage) {
			fail(FRAME_ERROR_CODE_BAD_REQUEST, 0, "damaged frame: %s", damage);
			answer_failure();
		} else if (dispatch(&frame)) {
			answer_failure();
		}
		answer_flush();
	}
}

/* False at the end of standard input. */
static bool take_input(void)
{
	static uint8_t bytes[65536];
	ssize_t length = read(STDIN_FILENO, bytes, sizeof(bytes));

	if (length > 0)
		take_bytes(bytes, (size_t)length);
	return length > 0 || (length < 0 && errno == EINTR);
}

static int take_events(void)
{
	int failed;

	answer_to(0);
	failed = listen_drain();
	if (failed)
		answer_failure();
	answer_flush();
	return failed;
}

/* Milliseconds for poll(): the shorter of two, of which -1 has no end. */
static int shorter(int left, int right)
{
	if (left < 0 || right < 0)
		return left < 0 ? right : left;
	return left < right ? left : right;
}

static int serve(void)
{
	for (;;) {
		int timeout = shorter(listen_timeout(), freeze_timeout());
		/* poll() leaves out a negative descriptor. */
		struct pollfd polled[] = {
			{ .fd = STDIN_FILENO, .events = POLLIN },
			{ .fd = listen_descriptor(), .events = POLLIN },
			{ .fd = freeze_watchdog_descriptor(), .events = POLLIN },
			{ .fd = freeze_signal_descriptor(), .events = POLLIN },
		};

		if (poll(polled, sizeof(polled) / sizeof(polled[0]), timeout) < 0) {
			if (errno == EINTR)
				continue;
			return EXIT_FAILURE;
		}
		freeze_attend();
		if (listen_descriptor() >= 0 && take_events())
			return EXIT_FAILURE;
		if (polled[0].revents && !take_input())
			return EXIT_SUCCESS;
	}
}

static int print_libbpf(enum libbpf_print_level level, const char *format, va_list arguments)
{
	return verbose && level != LIBBPF_DEBUG ? vfprintf(stderr, format, arguments) : 0;
}

static int parse_arguments(int argc, char **argv)
{
	static const struct option options[] = {
		{ "pins", required_argument, NULL, 'p' },
		{ "legacy", no_argument, NULL, 'l' },
		{ "verbose", no_argument, NULL, 'v' },
		{ 0 },
	};

	for (;;) {
		switch (getopt_long(argc, argv, "", options, NULL)) {
		case 'p':
			pins_folder = optarg;
			break;
		case 'l':
			session_legacy = true;
			break;
		case 'v':
			verbose = true;
			break;
		case -1:
			return optind == argc && strlen(pins_folder) < PINS_FOLDER_MAX ? 0 : -1;
		default:
			return -1;
		}
	}
}

int main(int argc, char **argv)
{
	int status;

	if (parse_arguments(argc, argv)) {
		fputs("usage: ibackup-helper [--pins FOLDER] [--legacy] [--verbose]\n", stderr);
		return 2;
	}
	/*
	 * Nobody else may look into it, and a reader that goes away is an error of write(). What a
	 * terminal sends to all its processes is for ibackup to answer: it still needs its helper.
	 */
	if (prctl(PR_SET_DUMPABLE, 0) || signal(SIGPIPE, SIG_IGN) == SIG_ERR ||
	    signal(SIGINT, SIG_IGN) == SIG_ERR || signal(SIGQUIT, SIG_IGN) == SIG_ERR ||
	    signal(SIGHUP, SIG_IGN) == SIG_ERR || atexit(freeze_end) || device_take_inherited())
		return EXIT_FAILURE;
	libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
	libbpf_set_print(print_libbpf);
	status = serve();
	listen_end();
	return status;
}
