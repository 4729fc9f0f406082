/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel: the fields that are read, and one accessor for each difference between versions.
 *
 * A difference is told by BTF, never by the version: distributions backport. `___` starts a
 * flavour, which libbpf drops when it looks for the struct in the running kernel.
 */
#ifndef IBACKUP_KERNEL_BPF_H
#define IBACKUP_KERNEL_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "tracker.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct gendisk {
	int major;
	int first_minor;
};

struct request_queue {
	struct gendisk *disk;
};

struct block_device {
	struct gendisk *bd_disk;
	__u64 bd_start_sect;
	__u64 bd_nr_sectors;
};

struct bvec_iter {
	__u64 bi_sector;
	__u32 bi_size; /* bytes */
};

struct bio {
	struct bio *bi_next;
	struct block_device *bi_bdev;
	__u32 bi_opf;
	struct bvec_iter bi_iter;
};

struct request {
	struct request_queue *q;
	__u32 cmd_flags;
	__u32 __data_len; /* bytes */
	__u64 __sector;
	struct bio *bio;
	__u64 start_time_ns;
};

struct buffer_head {
	__u64 b_blocknr; /* in units of b_size, from the start of b_bdev */
	__u64 b_size;
	struct block_device *b_bdev;
};

struct request___before_5_17 {
	struct gendisk *rq_disk;
};

struct bio___before_5_12 {
	struct gendisk *bi_disk;
};

struct hd_struct {
	__u64 start_sect;
	__u64 nr_sects;
};

struct block_device___before_5_11 {
	struct hd_struct *bd_part;
};

struct inode {
	__s64 i_size;
};

struct block_device___before_5_16 {
	struct inode *bd_inode;
};

#pragma clang attribute pop

#define SECTOR_SHIFT 9

/* The operation is the low byte of the flags of a request or bio. These numbers never changed. */
#define REQ_OP_MASK 0xff
#define REQ_OP_DISCARD 3
/* From here on: commands that user space or a driver made, with no sector the kernel knows. */
#define REQ_OP_PASSTHROUGH 32

/* Every operation that sends data or changes them is odd: "Bit 0 is the direction bit". */
static __always_inline bool op_writes(__u32 op)
{
	return op & 1;
}

/*
 * Where the tracepoints have their request or bio: set by the helper, from the BTF of the kernel.
 *
 * a54895fa057c "block: remove the request_queue to argument request based tracepoints" (5.11, and
 * the 5.10 stable series) and e8a676d61c07 "block: simplify and extended the block_bio_merge
 * tracepoint class" (5.11) took away a first argument `struct request_queue *`.
 */
const volatile bool issue_has_queue;
const volatile bool bio_queue_has_queue;

/*
 * The argument after the queue, where there is one. The barrier keeps the two loads apart: clang
 * would make them one, from an address that it computes, which the verifier does not allow.
 */
static __always_inline __u64 argument_after_queue(struct bpf_raw_tracepoint_args *ctx,
						  bool has_queue)
{
	__u64 argument;

	if (!has_queue)
		return ctx->args[0];
	argument = ctx->args[1];
	barrier_var(argument);
	return argument;
}

static __always_inline struct request *issued_request(struct bpf_raw_tracepoint_args *ctx)
{
	return (struct request *)argument_after_queue(ctx, issue_has_queue);
}

static __always_inline struct bio *queued_bio(struct bpf_raw_tracepoint_args *ctx)
{
	return (struct bio *)argument_after_queue(ctx, bio_queue_has_queue);
}

/*
 * Loads that the verifier makes safe by itself, where the kernel has the cast for them (6.2): one
 * instruction each instead of a call. An address that is not the kernel's reads as 0, as with
 * BPF_CORE_READ. The branches that are not for this kernel are gone before they are verified.
 */
#ifdef IBACKUP_LEGACY

#define LOADS_DIRECTLY false
#define LOAD(pointer, field) BPF_CORE_READ(pointer, field)

#else

/* Set by the helper, from the BTF of the kernel. */
const volatile bool has_rdonly_cast;

extern void *bpf_rdonly_cast(void *pointer, __u32 type) __ksym __weak;

#define LOADS_DIRECTLY has_rdonly_cast
#define LOAD(pointer, field)                                                                      \
	(((typeof(pointer))bpf_rdonly_cast(pointer, bpf_core_type_id_kernel(typeof(*(pointer))))) \
		 ->field)

#endif

/* One field of a kernel object, the shortest way. */
#define READ(pointer, field) (LOADS_DIRECTLY ? LOAD(pointer, field) : BPF_CORE_READ(pointer, field))

/*
 * Where each load is a call: the first bytes of a request, taken at once. One call costs as much
 * for them as for one field, and this is the path of every request of every disk.
 */
struct request_head {
	__u64 words[8];
};

static __always_inline void read_head(struct request_head *head, struct request *rq)
{
	if (!LOADS_DIRECTLY)
		bpf_probe_read_kernel(head, sizeof(*head), rq);
}

/* A field of a request: from its head, where every known kernel has it, or by a read of its own. */
#define REQUEST_FIELD(head, rq, field)                                                         \
	({                                                                                     \
		__u32 field_offset = bpf_core_field_offset((rq)->field);                       \
		typeof((rq)->field) field_value;                                               \
                                                                                               \
		if (!LOADS_DIRECTLY && field_offset + sizeof(field_value) <= sizeof(*(head)))  \
			field_value = *(typeof(field_value) *)((void *)(head) + field_offset); \
		else                                                                           \
			field_value = READ(rq, field);                                         \
		field_value;                                                                   \
	})

/* Two neighbours, taken at once for the same reason. */
static __always_inline __u32 device_of(struct gendisk *disk)
{
	struct {
		int major;
		int first_minor;
	} numbers;

	if (LOADS_DIRECTLY) {
		numbers.major = LOAD(disk, major);
		numbers.first_minor = LOAD(disk, first_minor);
	} else if (bpf_core_field_offset(disk->first_minor) ==
		   bpf_core_field_offset(disk->major) + sizeof(numbers.major)) {
		bpf_core_read(&numbers, sizeof(numbers), &disk->major);
	} else {
		numbers.major = BPF_CORE_READ(disk, major);
		numbers.first_minor = BPF_CORE_READ(disk, first_minor);
	}
	return TRACKER_DEVICE(numbers.major, numbers.first_minor);
}

/*
 * f3fa33acca9f "block: remove the ->rq_disk field in struct request" (5.17).
 * The queue had no disk before 5.15, and has none on an admin queue: then device 0 is read.
 */
static __always_inline __u32 request_device(const struct request_head *head, struct request *rq)
{
	struct request___before_5_17 *old = (void *)rq;
	struct request_queue *queue;

	if (bpf_core_field_exists(old->rq_disk))
		return device_of(BPF_CORE_READ(old, rq_disk));
	queue = REQUEST_FIELD(head, rq, q);
	return device_of(READ(queue, disk));
}

/* 309dca309fc3 "block: store a block_device pointer in struct bio" (5.12). */
static __always_inline __u32 bio_device(struct bio *bio)
{
	struct bio___before_5_12 *old = (void *)bio;
	struct block_device *device;

	if (bpf_core_field_exists(old->bi_disk))
		return device_of(BPF_CORE_READ(old, bi_disk));
	device = READ(bio, bi_bdev);
	return device_of(READ(device, bd_disk));
}

/* 0d02129e76ed "block: merge struct block_device and struct hd_struct" (5.11). */
static __always_inline __u64 partition_start(struct block_device *device)
{
	struct block_device___before_5_11 *old = (void *)device;

	if (bpf_core_field_exists(old->bd_part))
		return BPF_CORE_READ(old, bd_part, start_sect);
	return BPF_CORE_READ(device, bd_start_sect);
}

/* As above; "block: cache inode size in bdev" (5.16) then gave the device its own size. */
static __always_inline __u64 partition_sectors(struct block_device *device)
{
	struct block_device___before_5_11 *oldest = (void *)device;
	struct block_device___before_5_16 *old = (void *)device;

	if (bpf_core_field_exists(device->bd_nr_sectors))
		return BPF_CORE_READ(device, bd_nr_sectors);
	if (bpf_core_field_exists(oldest->bd_part))
		return BPF_CORE_READ(oldest, bd_part, nr_sects);
	return (__u64)BPF_CORE_READ(old, bd_inode, i_size) >> SECTOR_SHIFT;
}

#endif
