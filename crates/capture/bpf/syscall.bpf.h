/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The hook for kernels without socket tracepoints: the exit of every system call, with all of its
 * arguments still in the registers. io_uring is not seen. */
#ifndef DT_SYSCALL_BPF_H
#define DT_SYSCALL_BPF_H

#define DT_VECTOR_MAX 64	/* messages of one call that are looked at */
#define DT_EXIT_TRUNC 0x100	/* the bytes were thrown away, not copied */

/* The call in hand, for deeptrace_message: a global function takes numbers only. */
struct dt_exit {
	__u64 sk;
	__u64 nr;
	struct pt_regs regs;	/* only si, dx and r8 are set */
	__u32 flags;
	__u32 after;	/* bytes of the messages behind this one */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct dt_exit);
} exits SEC(".maps");

/* One message of the call in hand. Global, so that the verifier looks at it once and not once for each
 * message, and so that its variables are not on the stack twice. */
__noinline int deeptrace_message(__u32 index, __u32 len)
{
	struct dt_moved m = { .thread = current_thread(), .len = len, .kind = DT_CALL };
	struct dt_user u = { .len = ~0ULL };
	__u32 zero = 0;
	struct dt_exit *e = bpf_map_lookup_elem(&exits, &zero);
	struct dt_socket *s;

	if (!e)
		return 0;
	s = bpf_map_lookup_elem(&addresses, &e->sk);
	if (!s)
		return 0;
	m.flags = e->flags & DT_SENT;
	user_buffers(&u, &e->regs, e->nr, index);
	if (len == 0 && u.len == 0)
		return 0;
	if (e->flags & DT_EXIT_TRUNC && s->transport == DT_TCP)
		u.flags = DT_NO_BUFFER;
	return finish((struct sock *)e->sk, s, &m, &u, e->after, false);
}

/* Bytes that message `index` of a vector moved. */
static __always_inline __u32 message_len(__u64 vector, __u32 index)
{
	__u64 at = vector + (__u64)index * DT_MMSGHDR_SIZE + DT_MSGHDR_SIZE;
	__u32 len = 0;

	bpf_probe_read_user(&len, sizeof(len), (void *)at);
	return len;
}

/* All messages have been moved by now: the position of each follows from the bytes behind it. */
static __noinline int each_message(__u64 vector, __u32 count)
{
	__u32 zero = 0;
	struct dt_exit *e = bpf_map_lookup_elem(&exits, &zero);

	if (!e)
		return 0;
	for (__u32 i = 0; i < DT_VECTOR_MAX && i < count; i++)
		e->after += message_len(vector, i);
	for (__u32 i = 0; i < DT_VECTOR_MAX && i < count; i++) {
		__u32 len = message_len(vector, i);

		e->after -= len;
		if (len)
			deeptrace_message(i, len);
	}
	if (count > DT_VECTOR_MAX)
		count_losses(DT_COPY_FAILED, count - DT_VECTOR_MAX);
	return 0;
}

SEC("tp_btf/sys_exit")
int deeptrace_exit(unsigned long long *ctx)
{
	struct pt_regs *regs = ARG(ctx, 0, struct pt_regs *);
	long ret = ARG(ctx, 1, long), nr = regs->orig_ax;
	struct dt_socket *s;
	struct dt_exit *e;
	struct sock *sk;
	__u32 fd, zero = 0, flags = 0, asked = 0;

	switch (nr) {
	case NR_write:
	case NR_writev:
	case NR_sendto:
	case NR_sendmsg:
	case NR_sendmmsg:
	case NR_sendfile:
	case NR_splice:
		flags = DT_SENT;
		break;
	case NR_read:
	case NR_readv:
	case NR_recvfrom:
	case NR_recvmsg:
	case NR_recvmmsg:
		break;
	default:
		return 0;
	}
	if (!is_watched(current_thread().pid))
		return 0;
	if (ret < 0 && !is_fatal(-ret))
		return 0;
	/* Flags are the fourth argument of recvfrom and recvmmsg, the third of recvmsg. */
	if (nr == NR_recvfrom || nr == NR_recvmmsg)
		asked = regs->r10;
	else if (nr == NR_recvmsg)
		asked = regs->dx;
	if (asked & (DT_MSG_PEEK | DT_MSG_ERRQUEUE))
		return 0;
	fd = nr == NR_splice ? regs->dx : regs->di;
	sk = socket_of(fd);
	if (!sk)
		return 0;
	if (knobs.paused) {
		count_loss(DT_PAUSED);
		return 0;
	}
	s = socket_state(sk, false);
	if (!s)
		return 0;
	if (ret < 0) {
		if (s->described && !s->ignored && !s->failed)
			submit_header(DT_CLOSE, s->cookie, 0, -ret, 0);
		s->failed = 1;
		s->ending = 0;
		return 0;
	}
	if (ret == 0 && (flags || (s->transport & 1)))
		return 0;
	if (asked & DT_MSG_TRUNC)
		flags |= DT_EXIT_TRUNC;
	e = bpf_map_lookup_elem(&exits, &zero);
	if (!e)
		return 0;
	e->sk = (unsigned long)sk;
	e->regs.si = regs->si;
	e->regs.dx = regs->dx;
	e->regs.r8 = regs->r8;
	e->nr = nr;
	e->flags = flags;
	e->after = 0;
	if (nr == NR_sendmmsg || nr == NR_recvmmsg)
		return each_message(regs->si, ret);
	return deeptrace_message(0, ret);
}

#endif
