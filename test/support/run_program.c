// SPDX-License-Identifier: Apache-2.0
/*
 * Runs a pinned raw tracepoint program by itself, on one CPU, past the kernel's guard.
 *
 *   run_program PIN EVENT    EVENT: what it takes for the address of its request or bio
 */
#include <bpf/bpf.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	__u64 arguments[3];
	LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = arguments,
		    .ctx_size_in = sizeof(arguments), .flags = BPF_F_TEST_RUN_ON_CPU);
	int program = argc == 3 ? bpf_obj_get(argv[1]) : -1;

	if (program < 0) {
		perror("run_program");
		return 2;
	}
	for (int i = 0; i < 3; i++)
		arguments[i] = strtoull(argv[2], NULL, 0);
	if (bpf_prog_test_run_opts(program, &options)) {
		perror("run_program: test run");
		return 1;
	}
	return 0;
}
