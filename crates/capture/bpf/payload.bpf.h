/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Payload: where the user's bytes are, and copying as few of them as the policy asks. */
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
	struct user_msghdr64 m = {};

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

/* Finds the buffers of the system call that the current thread is in. `index`: which message of a
 * vector of messages. */
static __always_inline void user_buffers(struct dt_user *u, struct pt_regs *regs, long nr, __u32 index)
{
	__u64 second = READ_REG(regs, si);

	switch (nr) {
	case NR_sendto:
	case NR_recvfrom:
		u->name = READ_REG(regs, r8);
		u->buffer = second;
		u->len = READ_REG(regs, dx);
		break;
	case NR_read:
	case NR_write:
		u->buffer = second;
		u->len = READ_REG(regs, dx);
		break;
	case NR_readv:
	case NR_writev:
		u->iov = second;
		u->segments = (__u32)READ_REG(regs, dx);
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

/* The peer's address out of a sockaddr_in or sockaddr_in6. */
static __always_inline void user_peer(struct dt_call *c, __u64 name)
{
	__u8 raw[24] = {};
	__u16 family;

	if (!name || bpf_probe_read_user(raw, sizeof(raw), (void *)name)) {
		/* A sockaddr_in has 16 bytes: the last of a page may end there. */
		if (!name || bpf_probe_read_user(raw, 16, (void *)name))
			return;
	}
	family = *(__u16 *)raw;
	if (family != DT_AF_INET && family != DT_AF_INET6)
		return;
	c->flags |= DT_PEER;
	c->peer_port = bpf_ntohs(*(__u16 *)(raw + 2));
	if (family == DT_AF_INET)
		map_ipv4(c->peer, *(__be32 *)(raw + 4));
	else
		__builtin_memcpy(c->peer, raw + 8, 16);
}

/* Bytes to copy of this call: what the policy asks, nothing of what may be skipped. */
static __always_inline __u32 wanted_bytes(struct dt_socket *s, const struct dt_knobs *k,
					  const struct dt_call *c)
{
	__u32 direction = c->flags & DT_SENT;
	__u32 bytes;

	if (s->policy_generation != k->policy_generation) {
		struct dt_policy *p = bpf_map_lookup_elem(&policies, &s->cookie);

		s->policy_generation = k->policy_generation;
		if (p) {
			s->bytes_per_call = p->bytes_per_call + 1;
			s->skip_directions = p->skip_directions;
			s->skip_until[0] = p->skip_until[0];
			s->skip_until[1] = p->skip_until[1];
		}
	}
	bytes = s->bytes_per_call ? s->bytes_per_call - 1 : k->bytes_default;
	if (s->skip_directions & (1 << direction)) {
		__u64 end = c->start + c->h.len;
		__u64 until = direction ? s->skip_until[1] : s->skip_until[0];
		/* TCP wraps at 32 bits; a skip is never longer than half of that. */
		bool before = s->transport == DT_TCP ? (__s32)((__u32)until - (__u32)end) >= 0 : end <= until;

		if (before)
			bytes = 0;
		else
			s->skip_directions &= ~(1 << direction);
	}
	if (bytes > k->bytes_max)
		bytes = k->bytes_max;
	return bytes < c->h.len ? bytes : c->h.len;
}

/* Reserves a record with room for `ROOM` bytes, fills and submits it. */
#define SUBMIT(ROOM)                                                                         \
	do {                                                                                 \
		struct dt_call *r = bpf_ringbuf_reserve(&events, sizeof(*r) + (ROOM), 0);    \
		if (!r) {                                                                    \
			count_loss(DT_RING_FULL);                                            \
			return 0;                                                            \
		}                                                                            \
		*r = *c;                                                                     \
		n = bytes;                                                                   \
		barrier_var(n);                                                              \
		if (n > (ROOM))                                                              \
			n = (ROOM);                                                          \
		if (n && bpf_probe_read_user(r->payload, n, (void *)buffer)) {               \
			count_loss(DT_COPY_FAILED);                                          \
			n = 0;                                                               \
		}                                                                            \
		r->copied = n;                                                               \
		bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);                                     \
		return 0;                                                                    \
	} while (0)

static __noinline int submit_flat(struct dt_call *c, __u64 buffer, __u32 bytes)
{
	/* 64 bits: older verifiers do not see that a copy of half a register has its limit. */
	__u64 n;

	if (!c)
		return 0;
	if (bytes == 0)
		SUBMIT(0);
	if (bytes <= 64)
		SUBMIT(64);
	if (bytes <= 256)
		SUBMIT(256);
	if (bytes <= 1024)
		SUBMIT(1024);
	if (bytes <= 4096)
		SUBMIT(4096);
	SUBMIT(DT_PAYLOAD_MAX);
}

/* The same for several segments, gathered first. At most 16 of them are looked at. */
static __noinline int submit_gathered(struct dt_call *c, __u64 iov, __u32 segments, __u32 bytes)
{
	__u32 zero = 0, done;
	struct dt_scratch *room = bpf_map_lookup_elem(&scratch, &zero);

	if (!c || !room)
		return 0;
	if (bytes > DT_GATHER_MAX)
		bytes = DT_GATHER_MAX;
	room->done = 0;
	for (__u32 i = 0; i < 16 && i < segments; i++) {
		struct user_iovec segment;
		__u64 n;

		done = *(volatile __u32 *)&room->done;
		if (done >= DT_GATHER_MAX || done >= bytes ||
		    bpf_probe_read_user(&segment, sizeof(segment), (void *)(iov + i * sizeof(segment))))
			break;
		n = segment.len < bytes - done ? segment.len : bytes - done;
		barrier_var(n);
		if (n > DT_GATHER_MAX)
			n = DT_GATHER_MAX;
		if (n && bpf_probe_read_user(room->payload + done, n, (void *)segment.base)) {
			count_loss(DT_COPY_FAILED);
			break;
		}
		*(volatile __u32 *)&room->done = done + n;
	}
	done = *(volatile __u32 *)&room->done;
	barrier_var(done);
	if (done > DT_GATHER_MAX)
		done = DT_GATHER_MAX;
	c->copied = done;
	__builtin_memcpy(room->call, c, sizeof(*c));
	if (bpf_ringbuf_output(&events, room, sizeof(struct dt_call) + done, BPF_RB_NO_WAKEUP))
		count_loss(DT_RING_FULL);
	return 0;
}

#endif
