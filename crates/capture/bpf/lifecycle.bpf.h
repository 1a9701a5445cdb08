/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Beginnings and ends: of TCP connections, listeners and processes. */
#ifndef DT_LIFECYCLE_BPF_H
#define DT_LIFECYCLE_BPF_H

/* Bytes that arrived and were not read, one more at the end of the stream. */
static __always_inline __u32 unread(struct sock *sk, const bool typed)
{
	struct tcp_sock *tcp = typed ? bpf_skc_to_tcp_sock(sk) : (struct tcp_sock *)sk;

	return tcp ? READ(typed, tcp, rcv_nxt) - READ(typed, tcp, copied_seq) : 0;
}

/* A connection has failed, or both sides have closed it. */
static __always_inline void on_end(struct sock *sk, int old, const bool typed)
{
	struct dt_socket *s = known_socket(sk, typed);
	int errno_ = sk->sk_err;

	if (!s)
		return;
	if (!s->described && s->connected && old == DT_TCP_SYN_SENT && errno_)
		describe(sk, s, 0);
	/* What arrived before the end can still be read: the end is told after it. */
	if (s->described && sk->sk_receive_queue.qlen && unread(sk, typed) > 1) {
		s->ending = !s->ignored && !s->failed;
		s->errno_ = errno_ > 0 ? errno_ : 0;
		return;
	}
	if (s->described && !s->ignored && !s->failed)
		submit_header(DT_CLOSE, s->cookie, 0, errno_ > 0 ? errno_ : 0, 0);
	/* Where its owner still has it open, it may still read the end of the stream. */
	s->ignored = 1;
	if (!typed && (sk->__sk_common.skc_flags & DT_SOCK_DEAD)) {
		__u64 key = (unsigned long)sk;

		bpf_map_delete_elem(&addresses, &key);
	}
}

static __always_inline int on_state(struct sock *sk, int old, int new, const bool typed)
{
	if (new == DT_TCP_LISTEN) {
		submit_header(DT_LISTEN, sk->__sk_common.skc_net.net->ns.inum, 0, 0, sk->__sk_common.skc_num);
	} else if (new == DT_TCP_SYN_SENT) {
		struct dt_thread thread = current_thread();
		struct dt_socket *s;

		if (!is_watched(thread.pid) || knobs.paused)
			return 0;
		s = socket_state(sk, typed);
		if (!s)
			return 0;
		/* A socket may connect again after it failed to. */
		s->described = s->ignored = s->failed = s->ending = 0;
		s->connected = 1;
		s->pid = thread.pid;
		s->tid = thread.tid;
	} else if (new == DT_TCP_CLOSE) {
		on_end(sk, old, typed);
	}
	return 0;
}

/* Opens and ends of TCP connections. Only the first of these runs in the owner's context for sure. */
SEC("tp_btf/inet_sock_set_state")
int deeptrace_state(unsigned long long *ctx)
{
	return on_state(ARG(ctx, 0, struct sock *), ARG(ctx, 1, int), ARG(ctx, 2, int), true);
}

/* The same, for the exit of system calls: what is remembered of sockets is elsewhere. */
SEC("tp_btf/inet_sock_set_state")
int deeptrace_state_by_address(unsigned long long *ctx)
{
	return on_state(ARG(ctx, 0, struct sock *), ARG(ctx, 1, int), ARG(ctx, 2, int), false);
}

/* Children inherit the verdict on their parent; whatever was said of the pid before is void. */
SEC("tp_btf/sched_process_fork")
int deeptrace_fork(unsigned long long *ctx)
{
	struct task_struct *parent = ARG(ctx, 0, struct task_struct *);
	struct task_struct *child = ARG(ctx, 1, struct task_struct *);
	__u32 from = parent->tgid, to = child->tgid;
	__u8 *theirs, *ours, verdict;

	if (from == to)
		return 0;
	theirs = verdict_on(from);
	ours = verdict_on(to);
	verdict = theirs ? *theirs : 0;
	if (ours)
		*ours = verdict;
	if (verdict)
		submit_header(DT_FORK, from, to, 0, 0);
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
	__u8 *verdict;

	if (task->pid != task->tgid)
		return 0;
	verdict = verdict_on(pid);
	if (verdict)
		*verdict = 0;
	submit_header(DT_EXIT, 0, pid, 0, 0);
	return 0;
}

#endif
