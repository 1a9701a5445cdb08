/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Records: reserve, fill, submit. Fields go straight into the ring buffer. */
#ifndef DT_RECORD_BPF_H
#define DT_RECORD_BPF_H

/* A call that moved bytes: what there is to tell of it. */
struct dt_moved {
	struct dt_thread thread;
	__u64 cookie;
	__u64 start;
	__u64 name;	/* sockaddr of the peer, where it matters */
	__u64 unit;	/* what runs on the thread; 0: not known */
	__u32 len;
	__u32 flags;
	__u16 kind;	/* DT_CALL or DT_PLAINTEXT */
	__u16 sockets;	/* these are of the latter */
	__u64 asked;
};

static __always_inline void header(struct dt_header *h, struct dt_thread thread, __u16 kind,
				   __u64 cookie, __u32 len)
{
	h->time = bpf_ktime_get_boot_ns();
	h->cookie = cookie;
	h->pid = thread.pid;
	h->tid = thread.tid;
	h->kind = kind;
	h->errno_ = 0;
	h->len = len;
}

/* A record that is a header and no more. */
static __always_inline void submit_header(__u16 kind, __u64 cookie, __u32 pid, __u16 errno_, __u32 len)
{
	struct dt_header *h = bpf_ringbuf_reserve(&events, sizeof(*h), 0);
	struct dt_thread thread = current_thread();

	if (!h) {
		count_loss(DT_RING_FULL);
		return;
	}
	if (pid)
		thread.pid = pid;
	header(h, thread, kind, cookie, len);
	h->errno_ = errno_;
	bpf_ringbuf_submit(h, BPF_RB_NO_WAKEUP);
}

/* The peer's address out of a sockaddr_in or sockaddr_in6. */
static __always_inline void user_peer(struct dt_call *r, __u64 name)
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
	r->flags |= DT_PEER;
	r->peer_port = bpf_ntohs(*(__u16 *)(raw + 2));
	/* What was in the ring before is still there. */
	__builtin_memset(r->peer, 0, sizeof(r->peer));
	if (family == DT_AF_INET)
		map_ipv4(r->peer, *(__be32 *)(raw + 4));
	else
		__builtin_memcpy(r->peer, raw + 8, 16);
}

static __always_inline void fill(struct dt_call *r, const struct dt_moved *m)
{
	header(&r->h, m->thread, m->kind, m->cookie, m->len);
	r->start = m->start;
	r->flags = m->flags;
	if (m->kind == DT_PLAINTEXT) {
		struct dt_plaintext *p = (struct dt_plaintext *)r;

		p->sockets = m->sockets;
		p->asked = m->asked;
		p->unit = m->unit;
		return;
	}
	if (m->name) {
		user_peer(r, m->name);
	} else if (m->unit) {
		r->flags |= DT_UNIT;
		__builtin_memcpy(r->peer, &m->unit, sizeof(m->unit));
	}
}

/* Size of the record of a call with so many bytes of payload. */
static __always_inline __u64 record_size(__u64 bytes)
{
	const __u64 head = sizeof(struct dt_call);

	if (bytes == 0)
		return head;
	if (bytes <= 64)
		return head + 64;
	if (bytes <= 128)
		return head + 128;
	if (bytes <= 256)
		return head + 256;
	if (bytes <= 512)
		return head + 512;
	if (bytes <= 1024)
		return head + 1024;
	if (bytes <= 4096)
		return head + 4096;
	return head + DT_PAYLOAD_MAX;
}

/* Sends a call with the first `bytes` bytes at `buffer`. What is reserved must be a constant on each way
 * that the verifier goes: user space leaves the room behind the bytes, never written, in the ring. */
static __always_inline void submit_flat(const struct dt_moved *m, __u64 buffer, __u64 bytes)
{
	__u64 size = record_size(bytes), room;
	struct dt_call *r;

	/* The room must follow from the size, else clang finds it by comparing again and, for old verifiers,
	 * the two have nothing to do with each other. */
	barrier_var(size);
	r = bpf_ringbuf_reserve(&events, size, 0);
	if (!r) {
		count_loss(DT_RING_FULL);
		return;
	}
	fill(r, m);
	room = size - sizeof(*r);
	barrier_var(bytes);
	if (bytes > room)
		bytes = room;
	if (bytes && bpf_probe_read_user(r->payload, bytes, (void *)buffer)) {
		count_loss(DT_COPY_FAILED);
		bytes = 0;
	}
	r->copied = bytes;
	bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
}

/* The same for several segments, gathered first. At most DT_SEGMENTS_MAX of them are looked at: gRPC's C
 * core sends three or so for each of its concurrent calls. Each costs the verifier some 1600 instructions. */
static __noinline int submit_gathered(const struct dt_moved *m, __u64 iov, __u32 segments, __u32 bytes)
{
	__u32 zero = 0, done;
	struct dt_scratch *room = bpf_map_lookup_elem(&scratch, &zero);

	if (!m || !room)
		return 0;
	if (bytes > DT_GATHER_MAX)
		bytes = DT_GATHER_MAX;
	room->done = 0;
	for (__u32 i = 0; i < DT_SEGMENTS_MAX && i < segments; i++) {
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
	fill((struct dt_call *)room->call, m);
	((struct dt_call *)room->call)->copied = done;
	if (bpf_ringbuf_output(&events, room, sizeof(struct dt_call) + done, BPF_RB_NO_WAKEUP))
		count_loss(DT_RING_FULL);
	return 0;
}

#endif
