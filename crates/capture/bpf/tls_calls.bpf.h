/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Which thread, or goroutine, is inside a function of a TLS library. */
#ifndef DT_TLS_CALLS_BPF_H
#define DT_TLS_CALLS_BPF_H

/* Names a goroutine within its process: threads have small numbers. */
static __always_inline __u64 goroutine(__u32 pid, __u64 g)
{
	return g ^ (__u64)pid << 48;
}

static __always_inline void mark_call(struct dt_tls_call *call, __u64 cookie)
{
	if (call->cookie && call->cookie != cookie)
		call->sockets = 255;
	else if (call->sockets < 254)
		call->sockets++;
	call->cookie = cookie;
}

/* A socket that carries TLS is used: by the library that the thread, or goroutine, is in. Go keeps the
 * address of the goroutine in r14, and so it is among the registers of its system calls. */
static __always_inline void mark_socket(struct dt_thread thread, __u64 cookie)
{
	__u64 key = thread.tid;
	struct dt_tls_call *call = bpf_map_lookup_elem(&tls_calls, &key);

	if (call && call->session) {
		mark_call(call, cookie);
		return;
	}
	if (!has_typed_task())
		return;
	key = goroutine(thread.pid, ((struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf()))->r14);
	call = bpf_map_lookup_elem(&tls_calls, &key);
	if (call && call->session)
		mark_call(call, cookie);
}

#endif
