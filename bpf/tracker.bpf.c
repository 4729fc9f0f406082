// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Changed block tracking: one program for each hook. They filter, and call what marks.
 *
 * Hook `block` marks at both ends of a write. The mark at its end makes "collect, then read" safe:
 * data that reach the disk after a block was read are marked after the collect. The mark at its
 * start says which blocks may be changing while they are read.
 *
 * Disks with a request queue are seen where a request goes to the driver and comes back: after
 * splits, merges and the partition's offset, with nothing in between. Disks without one (dm, md,
 * zram) are seen where a bio is submitted and ends; the bio has been advanced by then, so that its
 * range is kept in the map `bios` meanwhile.
 *
 * Hook `buffer` is mark_buffer_dirty(): it fires when a buffer turns dirty, before the data reach
 * the disk, and not at all for writes that bypass the buffer cache.
 */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "mark.bpf.h"
#include "rescue.bpf.h"

/* Bios in one discard: drivers take up to 256 ranges (NVMe's limit). */
#define DISCARD_BIOS_MAX 256
/* Words that a buffer can touch beside its first and last: it is never larger than a page. */
#define BUFFER_WORDS_MAX 4

/* Bios of a discard need not be neighbours: the request's own range is only their total length. */
static __always_inline void mark_discard(struct bpf_raw_tracepoint_args *ctx, struct request *rq,
					 struct disk *disk, __u32 device, enum end end)
{
	struct bio *bio = BPF_CORE_READ(rq, bio);

	for (int i = 0; i < DISCARD_BIOS_MAX; i++) {
		if (!bio)
			return;
		mark_device(ctx, device, BPF_CORE_READ(bio, bi_iter.bi_sector),
			    BPF_CORE_READ(bio, bi_iter.bi_size) >> SECTOR_SHIFT, end);
		bio = BPF_CORE_READ(bio, bi_next);
	}
	if (bio)
		TAINT_DISK(disk, taint_unmarked_ranges);
}

static __always_inline int mark_request(struct bpf_raw_tracepoint_args *ctx, struct request *rq,
					enum end end)
{
	struct request_head head;
	__u32 op, device, bytes;
	struct disk *disk;

	read_head(&head, rq);
	op = REQUEST_FIELD(&head, rq, cmd_flags) & REQ_OP_MASK;
	if (!op_writes(op))
		return 0;
	device = request_device(&head, rq);
	disk = find_disk(device);
	if (!disk)
		return 0;
	if (op >= REQ_OP_PASSTHROUGH) {
		TAINT_DISK(disk, taint_passthrough_writes);
		return 0;
	}
	/* Zero: the end of a flush sequence, whose data were their own request. */
	bytes = REQUEST_FIELD(&head, rq, __data_len);
	if (!bytes)
		return 0;
	if (op == REQ_OP_DISCARD)
		mark_discard(ctx, rq, disk, device, end);
	else
		mark_disk(ctx, disk, REQUEST_FIELD(&head, rq, __sector), bytes >> SECTOR_SHIFT,
			  end);
	return 0;
}

SEC("raw_tp/block_rq_issue")
int request_issue(struct bpf_raw_tracepoint_args *ctx)
{
	return mark_request(ctx, issued_request(ctx), END_ISSUE);
}

static __always_inline int mark_completion(struct bpf_raw_tracepoint_args *ctx)
{
	return mark_request(ctx, (struct request *)ctx->args[0], END_COMPLETION);
}

static __always_inline struct token request_token(struct bpf_raw_tracepoint_args *ctx)
{
	struct request *rq = (struct request *)ctx->args[0];

	return (struct token){ .object = (__u64)rq, .use = READ(rq, start_time_ns) };
}

SEC("raw_tp/block_rq_complete")
int request_complete(struct bpf_raw_tracepoint_args *ctx)
{
	return FIRST_TAKES(REQUEST, request_token(ctx)) ? mark_completion(ctx) : 0;
}

SEC("raw_tp/block_bio_queue")
int bio_queue(struct bpf_raw_tracepoint_args *ctx)
{
	struct bio *bio = queued_bio(ctx);
	__u32 op = READ(bio, bi_opf) & REQ_OP_MASK;
	struct bio_range range;
	struct disk *disk;
	__u64 key = (__u64)bio;

	if (!op_writes(op))
		return 0;
	range.device = bio_device(bio);
	disk = find_disk(range.device);
	if (!disk || !disk->bio_based)
		return 0;
	range.sector = READ(bio, bi_iter.bi_sector);
	range.sectors = READ(bio, bi_iter.bi_size) >> SECTOR_SHIFT;
	if (!range.sectors)
		return 0;
	if (bpf_map_update_elem(&bios, &key, &range, BPF_ANY))
		TAINT_DISK(disk, taint_failed_updates);
	mark_disk(ctx, disk, range.sector, range.sectors, END_ISSUE);
	return 0;
}

/* The first argument is the queue in every version. */
static __always_inline int mark_bio_end(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 key = ctx->args[1];
	struct bio_range *found = bpf_map_lookup_elem(&bios, &key);
	struct bio_range range;

	if (!found)
		return 0;
	range = *found;
	bpf_map_delete_elem(&bios, &key);
	return mark_device(ctx, range.device, range.sector, range.sectors, END_COMPLETION);
}

/* How far it has got is as good as a time: it has none of its own in every kernel. */
static __always_inline struct token bio_token(struct bpf_raw_tracepoint_args *ctx)
{
	struct bio *bio = (struct bio *)ctx->args[1];

	return (struct token){ .object = (__u64)bio, .use = READ(bio, bi_iter.bi_sector) };
}

SEC("raw_tp/block_bio_complete")
int bio_complete(struct bpf_raw_tracepoint_args *ctx)
{
	return FIRST_TAKES(BIO, bio_token(ctx)) ? mark_bio_end(ctx) : 0;
}

#ifndef IBACKUP_LEGACY

SEC("raw_tp/block_rq_complete")
int request_rescue(struct bpf_raw_tracepoint_args *ctx)
{
	struct rescue_state *here = SECOND_FINDS(REQUEST, request_token(ctx));

	if (!here)
		return 0;
	mark_completion(ctx);
	return count_rescue(here);
}

SEC("raw_tp/block_bio_complete")
int bio_rescue(struct bpf_raw_tracepoint_args *ctx)
{
	struct rescue_state *here = SECOND_FINDS(BIO, bio_token(ctx));

	if (!here)
		return 0;
	mark_bio_end(ctx);
	return count_rescue(here);
}

#endif

static __always_inline int mark_buffer(void *ctx, struct buffer_head *buffer)
{
	struct block_device *device = READ(buffer, b_bdev);
	struct disk *disk = find_disk(device_of(READ(device, bd_disk)));
	__u64 start, limit, number, sectors;
	struct span span;
	bool valid;

	if (!disk)
		return 0;
	start = partition_start(device);
	limit = partition_sectors(device);
	number = BPF_CORE_READ(buffer, b_blocknr);
	sectors = BPF_CORE_READ(buffer, b_size) >> SECTOR_SHIFT;
	/* ext4 gives a block that it has not placed yet a number far outside the device. */
	valid = sectors && number < limit && (number + 1) * sectors <= limit;

	for (__u32 i = 0; i < SLOTS_PER_DISK; i++) {
		struct tracked *tracked = &disk->tracked[i];

		if (i >= disk->count)
			return 0;
		if (!(tracked->hooks & HOOK_BUFFER))
			continue;
		if (!valid) {
			if (clip(tracked, start, limit, &span))
				COUNT(tracked->slot, buffers_invalid, 1);
		} else if (clip(tracked, start + number * sectors, sectors, &span)) {
			COUNT(tracked->slot, buffers_dirtied, 1);
			mark_span(ctx, tracked->slot, span.first, span.last, BUFFER_WORDS_MAX);
		}
	}
	return 0;
}

SEC("kprobe/mark_buffer_dirty")
int buffer_kprobe(struct pt_regs *ctx)
{
	return mark_buffer(ctx, (struct buffer_head *)PT_REGS_PARM1(ctx));
}

/* The first thing that mark_buffer_dirty() does; for kernels built without kprobes. */
SEC("raw_tp/block_dirty_buffer")
int buffer_tracepoint(struct bpf_raw_tracepoint_args *ctx)
{
	return mark_buffer(ctx, (struct buffer_head *)ctx->args[0]);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
