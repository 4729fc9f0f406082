/* SPDX-License-Identifier: Apache-2.0 */
/* The two BPF objects inside the helper, and what decides between them: the kernel's BTF. */
#ifndef IBACKUP_LOADER_H
#define IBACKUP_LOADER_H

#include <bpf/libbpf.h>
#include "../bpf/tracker.h"

/* Which object this kernel can run. BPF_OBJECT_NONE: it has no BTF, as fail() then says. */
enum bpf_object_kind loader_kind(void);

/* One of the objects, opened but not loaded. */
struct loader {
	struct bpf_object *object;
	struct modern_bpf *modern;
	struct legacy_bpf *legacy;
};

/* Opens an object and fits it to the forms that this kernel's tracepoints have. */
int loader_open(struct loader *loader, enum bpf_object_kind kind);

void loader_close(struct loader *loader);

#endif
