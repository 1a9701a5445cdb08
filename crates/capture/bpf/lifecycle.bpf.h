/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Beginnings and ends: of TCP connections, listeners and processes. */
#ifndef DT_LIFECYCLE_BPF_H
#define DT_LIFECYCLE_BPF_H

/* Bytes that arrived and were not read, one more at the end of the stream. */
static __always_inline __u32 unread(struct sock *sk)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);

	return tcp ? tcp->rcv_nxt - tcp->copied_seq : 0;
}

/* Opens and ends of TCP connections. Only the first of these runs in the owner's context for sure. */
SEC("tp_btf/inet_sock_set_state")
int deeptrace_state(unsigned long long *ctx)
{
	struct sock *sk = ARG(ctx, 0, struct sock *);
	int old = ARG(ctx, 1, int), new = ARG(ctx, 2, int);
	struct dt_knobs *k = get_knobs();
	__u64 key = (unsigned long)sk, id = bpf_get_current_pid_tgid();
	struct dt_socket *s;

	if (!k)
		return 0;
	if (new == DT_TCP_LISTEN) {
		submit_header(DT_LISTEN, sk->__sk_common.skc_net.net->ns.inum, 0, 0, sk->__sk_common.skc_num);
	} else if (new == DT_TCP_SYN_SENT) {
		if (k->paused || !is_watched(k, id >> 32))
			return 0;
		s = socket_state(sk, true);
		if (!s)
			return 0;
		/* A socket may connect again after it failed to. */
		s->described = s->ignored = s->failed = s->ending = 0;
		s->connected = 1;
		s->pid = id >> 32;
		s->tid = (__u32)id;
	} else if (new == DT_TCP_CLOSE) {
		int errno_ = sk->sk_err;

		s = bpf_map_lookup_elem(&sockets, &key);
		if (!s)
			return 0;
		if (!s->described && s->connected && old == DT_TCP_SYN_SENT && errno_)
			describe(sk, s, k, 0);
		/* What arrived before the end can still be read: the end is told after it. */
		if (s->described && sk->sk_receive_queue.qlen && unread(sk) > 1) {
			s->ending = !s->ignored && !s->failed;
			s->errno_ = errno_ > 0 ? errno_ : 0;
			return 0;
		}
		if (s->described && !s->ignored && !s->failed)
			submit_header(DT_CLOSE, s->cookie, 0, errno_ > 0 ? errno_ : 0, 0);
		/* Where its owner still has it open, it may still read the end of the stream. */
		if (sk->__sk_common.skc_flags & DT_SOCK_DEAD)
			bpf_map_delete_elem(&sockets, &key);
		else
			s->ignored = 1;
	}
	return 0;
}

/* Children of a process with a verdict inherit it. */
SEC("tp_btf/sched_process_fork")
int deeptrace_fork(unsigned long long *ctx)
{
	struct task_struct *parent = ARG(ctx, 0, struct task_struct *);
	struct task_struct *child = ARG(ctx, 1, struct task_struct *);
	__u32 from = parent->tgid, to = child->tgid;
	__u32 *verdict;

	if (from == to)
		return 0;
	verdict = bpf_map_lookup_elem(&processes, &from);
	if (verdict) {
		__u32 copy = *verdict;

		bpf_map_update_elem(&processes, &to, &copy, BPF_ANY);
		submit_header(DT_FORK, from, to, 0, 0);
	}
	return 0;
}

SEC("tp_btf/sched_process_exec")
int deeptrace_exec(unsigned long long *ctx)
{
	submit_header(DT_EXEC, 0, 0, 0, 0);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int deeptrace_end(unsigned long long *ctx)
{
	struct task_struct *task = ARG(ctx, 0, struct task_struct *);
	__u32 pid = task->tgid;

	if (task->pid != task->tgid)
		return 0;
	bpf_map_delete_elem(&processes, &pid);
	submit_header(DT_EXIT, 0, pid, 0, 0);
	return 0;
}

#endif
