// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The least that a program on this hook can cost: nothing at all, and the bare copy of the user's bytes
 * into the ring buffer without asking who, what or where. What event_cost measures ours against. */
#include <linux/types.h>
#include <linux/bpf.h>
#include "kernel.h"
#include <bpf/bpf_helpers.h>

/* Bytes to copy of each call; 0: do nothing. Set before loading. */
const volatile __u32 dt_floor_bytes = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} events SEC(".maps");

static __always_inline int copy(void)
{
	struct pt_regs *regs;
	unsigned long buffer = 0;
	void *record;

	if (!dt_floor_bytes)
		return 0;
	regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	bpf_probe_read_kernel(&buffer, sizeof(buffer), &regs->si);
	/* A constant for the verifier, once the value is known. */
	switch (dt_floor_bytes) {
#define SIZE(N)                                                                       \
	case N:                                                                       \
		record = bpf_ringbuf_reserve(&events, N, 0);                          \
		if (!record)                                                          \
			return 0;                                                     \
		bpf_probe_read_user(record, N, (void *)buffer);                       \
		bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);                         \
		break
	SIZE(64);
	SIZE(256);
	SIZE(1024);
	SIZE(4096);
	}
	return 0;
}

SEC("tp_btf/sock_send_length")
int deeptrace_floor_send(void *ctx)
{
	return copy();
}

SEC("tp_btf/sock_recv_length")
int deeptrace_floor_recv(void *ctx)
{
	return copy();
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
