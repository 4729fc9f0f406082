/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Two programs for the end of a write, for the kernel (since 6.1) skips a program that is running
 * already on this CPU: an interrupt that ends a write may have come in the middle of it.
 *
 * For each event, the kernel calls the first program, then the second. The first leaves a token,
 * which the second takes away. Where the second finds none, the first did not work on this event,
 * so it does. The token names the request or bio: of the events that are going on at one time no
 * two have the same, however they are nested. Where there is no room for it, the first leaves the
 * event to the second. So
 *
 *   runs of the first that were skipped + left - rescued
 *
 * is the number of events that neither worked on. (test/helper/rescue_model.test.ts goes through
 * all the ways in which events can interrupt each other.) A token stays behind when the second was
 * skipped and the first was not: it makes room at the next use of its memory. Where the kernel
 * keeps no times, it may keep the second from working on a later event, which then is counted.
 */
#ifndef IBACKUP_RESCUE_BPF_H
#define IBACKUP_RESCUE_BPF_H

#include "maps.bpf.h"

#ifdef IBACKUP_LEGACY

/* Kernels that need the legacy object skip nothing here. */
#define FIRST_TAKES(name, token) (true || (token).object)

#else

#define FIRST_TAKES(name, token) \
	first_takes(RESCUE_##name##_COMPLETE, PROGRAM_BIT(name##_RESCUE), token)
#define SECOND_FINDS(name, token) \
	second_finds(RESCUE_##name##_COMPLETE, PROGRAM_BIT(name##_RESCUE), token)

static __always_inline struct token *tokens_with(struct rescue_state *here, struct token token)
{
	/* The lowest bits of an address are those of its alignment. */
	__u32 hash = (__u32)(token.object >> 6) * 0x9e3779b1u;

	_Static_assert(TOKEN_SETS == 1 << 4, "as many as the bits that are kept");
	return here->tokens[hash >> 28];
}

/* Whether the first works on this event. The second, once it is there, learns that it does. */
static __always_inline bool first_takes(__u32 pair, __u32 second, struct token token)
{
	struct rescue_state *here = bpf_map_lookup_elem(&rescues, &pair);
	__u32 key = 0;
	struct session *now = bpf_map_lookup_elem(&session, &key);
	struct token *tokens;

	if (!here || !now || !(now->programs & second))
		return true;
	tokens = tokens_with(here, token);
#pragma unroll
	for (int i = 0; i < TOKENS_PER_SET; i++)
		if (!tokens[i].object || tokens[i].object == token.object) {
			tokens[i] = token;
			return true;
		}
	__sync_fetch_and_add(&here->left, 1);
	return false;
}

/* Where to count it, when the second has to work on this event; else NULL. */
static __always_inline struct rescue_state *second_finds(__u32 pair, __u32 second,
							 struct token token)
{
	struct rescue_state *here = bpf_map_lookup_elem(&rescues, &pair);
	__u32 key = 0;
	struct token *tokens;
	struct session *now;

	if (!here)
		return NULL;
	tokens = tokens_with(here, token);
#pragma unroll
	for (int i = 0; i < TOKENS_PER_SET; i++)
		if (tokens[i].object == token.object && tokens[i].use == token.use) {
			tokens[i].object = 0;
			return NULL;
		}
	now = bpf_map_lookup_elem(&session, &key);
	return now && now->rescuing & second ? here : NULL;
}

/* After the work. Whoever sees this sees that the first was skipped, too: the result is used. */
static __always_inline int count_rescue(struct rescue_state *here)
{
	__u64 rescued = __sync_fetch_and_add(&here->rescued, 1);

	barrier_var(rescued);
	return 0;
}

#endif

#endif
