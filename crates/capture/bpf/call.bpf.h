/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Calls: stamp one, place it in its stream, send it. Alike for both hooks. */
#ifndef DT_CALL_BPF_H
#define DT_CALL_BPF_H

static __always_inline void header(struct dt_header *h, __u16 kind, __u64 cookie)
{
	__u64 id = bpf_get_current_pid_tgid();

	h->time = bpf_ktime_get_boot_ns();
	h->cookie = cookie;
	h->pid = id >> 32;
	h->tid = (__u32)id;
	h->kind = kind;
}

/* A record that is a header and no more. */
static __always_inline void submit_header(__u16 kind, __u64 cookie, __u32 pid, __u16 errno_, __u32 len)
{
	struct dt_header *h = bpf_ringbuf_reserve(&events, sizeof(*h), 0);

	if (!h) {
		count_loss(DT_RING_FULL);
		return;
	}
	header(h, kind, cookie);
	if (pid)
		h->pid = pid;
	h->errno_ = errno_;
	h->len = len;
	bpf_ringbuf_submit(h, BPF_RB_NO_WAKEUP);
}

/* Reset, broken pipe, timed out, refused: the connection is dead. Others are passing. */
static __always_inline bool is_fatal(int errno_)
{
	return errno_ == 104 || errno_ == 32 || errno_ == 110 || errno_ == 111;
}

/* Positions and flags of a call, after which `after` more bytes went the same way. */
static __always_inline void place(struct dt_call *c, struct sock *sk, struct dt_socket *s, __u32 after,
				  const bool typed)
{
	bool sent = c->flags & DT_SENT;

	if (s->transport == DT_TCP) {
		struct tcp_sock *tcp = typed ? bpf_skc_to_tcp_sock(sk) : (struct tcp_sock *)sk;
		__u32 end = 0;

		if (tcp)
			end = sent ? READ(typed, tcp, write_seq) : received_end(sk, tcp, typed);
		c->start = end - after - c->h.len;
		return;
	}
	__u64 step = s->transport == DT_UNIX_STREAM ? c->h.len : 1;

	c->start = __sync_fetch_and_add(&s->count[sent], step);
	if (!sent && s->transport == DT_UNIX_STREAM && READ(typed, sk, sk_receive_queue.qlen) == 0)
		c->flags |= DT_DRAINED;
}

/* Which message of its vector a thread is at: the tracepoints fire once a message. */
static __always_inline __u32 vector_index(__u64 base, __u64 count, int ret)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
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

static __always_inline int finish(struct sock *sk, struct dt_socket *s, struct dt_knobs *k, struct dt_call *c,
				  struct dt_user *u, __u32 after, const bool typed)
{
	__u32 bytes;

	place(c, sk, s, after, typed);
	if (!s->described && !describe(sk, s, k, (__u64)(c->h.len + after) | (__u64)(c->flags & DT_SENT) << 32)) {
		count_loss(DT_RING_FULL);
		return 0;
	}
	if (s->ignored)
		return 0;
	header(&c->h, DT_CALL, s->cookie);
	/* The socket tracepoint comes before the kernel tells the user the peer of what was received. */
	if ((s->transport & 1) && u->name && (!typed || (c->flags & DT_SENT)))
		user_peer(c, u->name);
	if (u->flags & DT_NO_BUFFER)
		c->flags |= DT_NO_BUFFER;
	bytes = c->flags & DT_NO_BUFFER ? 0 : wanted_bytes(s, k, c);
	if (u->segments)
		submit_gathered(c, u->iov, u->segments, bytes);
	else
		submit_flat(c, u->buffer, bytes < u->len ? bytes : (__u32)u->len);
	if (s->ending)
		end_if_drained(sk, s, typed);
	return 0;
}

#endif
