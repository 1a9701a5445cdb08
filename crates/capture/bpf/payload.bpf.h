/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Payload: where the user's bytes are, and how few of them the policy asks for. */
#ifndef DT_PAYLOAD_BPF_H
#define DT_PAYLOAD_BPF_H

/* Where the bytes of a call are in the user's memory. */
struct dt_user {
	__u64 buffer;	/* one buffer, where `segments` is 0 */
	__u64 iov;
	__u32 segments;
	__u32 flags;	/* DT_NO_BUFFER */
	__u64 name;	/* sockaddr of the peer, where given */
	__u64 len;	/* of `buffer`: a datagram may have been longer */
};

static __always_inline void user_msghdr(struct dt_user *u, __u64 address)
{
	struct user_msghdr m = {};

	if (!address || bpf_probe_read_user(&m, sizeof(m), (void *)address)) {
		u->flags = DT_NO_BUFFER;
		return;
	}
	u->iov = m.iov;
	u->segments = m.iov_len > 1024 ? 1024 : (__u32)m.iov_len;
	u->name = m.name;
}

/* One segment is the usual case: then it is as good as a plain buffer. */
static __always_inline void user_flatten(struct dt_user *u)
{
	struct user_iovec segment = {};

	if (u->segments != 1)
		return;
	bpf_probe_read_user(&segment, sizeof(segment), (void *)u->iov);
	u->buffer = segment.base;
	u->len = segment.len;
	u->segments = 0;
}

/* Finds the buffers of the system call with the number `nr` and its arguments in `regs`. `index`: which
 * message of a vector of messages. */
static __always_inline void user_buffers(struct dt_user *u, const struct pt_regs *regs, long nr, __u32 index)
{
	__u64 second = regs->si;

	switch (nr) {
	case NR_sendto:
	case NR_recvfrom:
		u->name = regs->r8;
		u->buffer = second;
		u->len = regs->dx;
		break;
	case NR_read:
	case NR_write:
		u->buffer = second;
		u->len = regs->dx;
		break;
	case NR_readv:
	case NR_writev:
		u->iov = second;
		u->segments = (__u32)regs->dx;
		break;
	case NR_sendmsg:
	case NR_recvmsg:
		user_msghdr(u, second);
		break;
	case NR_sendmmsg:
	case NR_recvmmsg:
		user_msghdr(u, second + (__u64)index * DT_MMSGHDR_SIZE);
		break;
	default:
		u->flags = DT_NO_BUFFER;
	}
	user_flatten(u);
}

/* Bytes to copy of this call: what the policy asks, nothing of what may be skipped. */
static __always_inline __u32 wanted_bytes(struct dt_socket *s, const struct dt_moved *m)
{
	__u32 direction = m->flags & DT_SENT;
	__u32 bytes;

	if (s->policy_generation != knobs.policy_generation) {
		struct dt_policy *p = bpf_map_lookup_elem(&policies, &s->cookie);

		s->policy_generation = knobs.policy_generation;
		if (p) {
			s->bytes_per_call = p->bytes_per_call + 1;
			s->skip_directions = p->skip_directions;
			s->skip_until[0] = p->skip_until[0];
			s->skip_until[1] = p->skip_until[1];
		}
	}
	bytes = s->bytes_per_call ? s->bytes_per_call - 1 : knobs.bytes_default;
	if (s->skip_directions & (1 << direction)) {
		__u64 end = m->start + m->len;
		__u64 until = direction ? s->skip_until[1] : s->skip_until[0];
		/* TCP wraps at 32 bits; a skip is never longer than half of that. */
		bool before = s->transport == DT_TCP ? (__s32)((__u32)until - (__u32)end) >= 0 : end <= until;

		if (before)
			bytes = 0;
		else
			s->skip_directions &= ~(1 << direction);
	}
	if (bytes > knobs.bytes_max)
		bytes = knobs.bytes_max;
	return bytes < m->len ? bytes : m->len;
}

#endif
