// SPDX-License-Identifier: Apache-2.0
#include <bpf/btf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include "answer.h"
#include "legacy.skel.h"
#include "loader.h"
#include "modern.skel.h"

static struct btf *kernel_btf(void)
{
	static struct btf *btf;

	if (!btf)
		btf = btf__load_vmlinux_btf();
	if (!btf)
		fail(FRAME_ERROR_CODE_NO_BTF, errno, "cannot read /sys/kernel/btf/vmlinux");
	return btf;
}

/* Whether an enum of the kernel has this member. */
static bool kernel_has(const struct btf *btf, const char *enumeration, const char *member)
{
	int id = btf__find_by_name_kind(btf, enumeration, BTF_KIND_ENUM);
	const struct btf_type *type = id > 0 ? btf__type_by_id(btf, (__u32)id) : NULL;

	if (!type)
		return false;
	for (__u32 i = 0; i < btf_vlen(type); i++)
		if (!strcmp(btf__name_by_offset(btf, btf_enum(type)[i].name_off), member))
			return true;
	return false;
}

/* How many arguments a raw tracepoint has; -1 when the kernel has no such tracepoint. */
static int tracepoint_arguments(const struct btf *btf, const char *btf_name)
{
	int id = btf__find_by_name_kind(btf, btf_name, BTF_KIND_TYPEDEF);
	const struct btf_type *type = id > 0 ? btf__type_by_id(btf, (__u32)id) : NULL;

	/* typedef void (*btf_trace_NAME)(void *, ...): the first is the tracepoint's own. */
	type = type ? btf__type_by_id(btf, type->type) : NULL;
	type = type && btf_is_ptr(type) ? btf__type_by_id(btf, type->type) : NULL;
	return type && btf_is_func_proto(type) ? btf_vlen(type) - 1 : -1;
}

/* bpf_loop came with 5.17, the atomic operations with 5.12: who has the one has the other. */
enum bpf_object_kind loader_kind(void)
{
	const struct btf *btf = kernel_btf();

	if (!btf)
		return BPF_OBJECT_NONE;
	return kernel_has(btf, "bpf_func_id", "BPF_FUNC_loop") ? BPF_OBJECT_MODERN
							       : BPF_OBJECT_LEGACY;
}

int loader_open(struct loader *loader, enum bpf_object_kind kind)
{
	const struct btf *btf = kernel_btf();
	bool issue_has_queue, bio_queue_has_queue;

	memset(loader, 0, sizeof(*loader));
	if (!btf)
		return -1;
	issue_has_queue = tracepoint_arguments(btf, "btf_trace_block_rq_issue") == 2;
	bio_queue_has_queue = tracepoint_arguments(btf, "btf_trace_block_bio_queue") == 2;

	if (kind == BPF_OBJECT_MODERN) {
		loader->modern = modern_bpf__open();
		if (loader->modern) {
			loader->object = loader->modern->obj;
			loader->modern->rodata->issue_has_queue = issue_has_queue;
			loader->modern->rodata->bio_queue_has_queue = bio_queue_has_queue;
			loader->modern->rodata->has_rdonly_cast =
				btf__find_by_name_kind(btf, "bpf_rdonly_cast", BTF_KIND_FUNC) > 0;
		}
	} else {
		loader->legacy = legacy_bpf__open();
		if (loader->legacy) {
			loader->object = loader->legacy->obj;
			loader->legacy->rodata->issue_has_queue = issue_has_queue;
			loader->legacy->rodata->bio_queue_has_queue = bio_queue_has_queue;
		}
	}
	if (!loader->object)
		return fail(FRAME_ERROR_CODE_LOAD_FAILED, errno, "cannot open the BPF object");
	return 0;
}

void loader_close(struct loader *loader)
{
	modern_bpf__destroy(loader->modern);
	legacy_bpf__destroy(loader->legacy);
	memset(loader, 0, sizeof(*loader));
}
