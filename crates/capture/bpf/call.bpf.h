/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Calls: place one in its stream and send it. Alike for both hooks. */
#ifndef DT_CALL_BPF_H
#define DT_CALL_BPF_H

/* Reset, broken pipe, timed out, refused: the connection is dead. Others are passing. */
static __always_inline bool is_fatal(int errno_)
{
	return errno_ == 104 || errno_ == 32 || errno_ == 110 || errno_ == 111;
}

/* Position and flags of a call, after which `after` more bytes went the same way. */
static __always_inline void place(struct dt_moved *m, struct sock *sk, struct dt_socket *s, __u32 after,
				  const bool typed)
{
	bool sent = m->flags & DT_SENT;

	if (s->transport == DT_TCP) {
		struct tcp_sock *tcp = typed ? bpf_skc_to_tcp_sock(sk) : (struct tcp_sock *)sk;
		__u32 end = 0;

		if (tcp)
			end = sent ? READ(typed, tcp, write_seq) : received_end(sk, tcp, typed);
		m->start = (__u32)(end - after - m->len);
		return;
	}
	__u64 step = s->transport == DT_UNIX_STREAM ? m->len : 1;

	if (typed) {
		m->start = __sync_fetch_and_add(&s->count[sent], step);
	} else {
		/* To add and get in one needs Linux 5.12. Two threads that send at once may count alike. */
		m->start = *(volatile __u64 *)&s->count[sent];
		__sync_fetch_and_add(&s->count[sent], step);
	}
	if (!sent && s->transport == DT_UNIX_STREAM && READ(typed, sk, sk_receive_queue.qlen) == 0)
		m->flags |= DT_DRAINED;
}

/* Which message of its vector a thread is at: the tracepoints fire once a message. */
static __always_inline __u32 vector_index(__u32 tid, __u64 base, __u64 count, int ret)
{
	struct dt_vector *v = bpf_map_lookup_elem(&vectors, &tid);
	__u32 index = v && v->base == base ? (__u32)v->next : 0;
	struct dt_vector next = { .base = base, .next = index + 1 };

	if (ret < 0 || next.next >= count)
		bpf_map_delete_elem(&vectors, &tid);
	else
		bpf_map_update_elem(&vectors, &tid, &next, BPF_ANY);
	return index;
}

/* Tells the end of a connection that died while bytes were still to be read, once they are. */
static __always_inline void end_if_drained(struct sock *sk, struct dt_socket *s, const bool typed)
{
	struct tcp_sock *tcp = typed ? bpf_skc_to_tcp_sock(sk) : (struct tcp_sock *)sk;

	/* The end of the stream has a number of its own and may stay unread. */
	if (!tcp || READ(typed, tcp, rcv_nxt) - READ(typed, tcp, copied_seq) > 1)
		return;
	submit_header(DT_CLOSE, s->cookie, 0, s->errno_, 0);
	s->ignored = 1;
}

static __always_inline int finish(struct sock *sk, struct dt_socket *s, struct dt_moved *m, struct dt_user *u,
				  __u32 after, const bool typed)
{
	__u32 bytes;

	place(m, sk, s, after, typed);
	if (!s->described && !describe(sk, s, (__u64)(m->len + after) | (__u64)(m->flags & DT_SENT) << 32)) {
		count_loss(DT_RING_FULL);
		return 0;
	}
	if (s->ignored)
		return 0;
	m->cookie = s->cookie;
	/* The socket tracepoint comes before the kernel tells the user the peer of what was received. */
	if ((s->transport & 1) && (!typed || (m->flags & DT_SENT)))
		m->name = u->name;
	m->flags |= u->flags & DT_NO_BUFFER;
	if (s->transport == DT_TCP && knobs.tls && m->len && s->tls.misses < DT_TLS_MISSES_MAX)
		on_tls_bytes(s, m, u);
	bytes = m->flags & DT_NO_BUFFER ? 0 : wanted_bytes(s, m);
	if (u->segments)
		submit_gathered(m, u->iov, u->segments, bytes);
	else
		submit_flat(m, u->buffer, bytes < u->len ? bytes : u->len);
	if (s->ending)
		end_if_drained(sk, s, typed);
	return 0;
}

#endif
