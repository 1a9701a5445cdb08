/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* TLS records: where they begin in a stream. Their headers are not encrypted (RFC 8446 section 5.1), so
 * nothing else of a record has to be copied to know where plaintext is on the wire. */
#ifndef DT_TLS_RECORDS_BPF_H
#define DT_TLS_RECORDS_BPF_H

#define DT_TLS_HEADER 5
#define DT_TLS_RECORD_MAX (16384 + 2048)	/* RFC 5246 section 6.2.3 */
#define DT_TLS_SEGMENTS 16
#define DT_TLS_MISSES_MAX 200	/* calls of a connection that are looked at for a first record */

/* A header: change cipher, alert, hand-shake or data; version 3.0 to 3.4; and a length that may be. */
static __always_inline bool is_record(const __u8 *h)
{
	__u32 len = h[3] << 8 | h[4];

	return h[0] >= 20 && h[0] <= 23 && h[1] == 3 && h[2] <= 4 && len && len <= DT_TLS_RECORD_MAX;
}

/* The segment `index` of the user's buffers. */
static __always_inline struct user_iovec tls_segment(const struct dt_user *u, __u32 index)
{
	struct user_iovec segment = { .base = u->buffer, .len = u->len };

	if (u->segments)
		bpf_probe_read_user(&segment, sizeof(segment), (void *)(u->iov + index * sizeof(segment)));
	return segment;
}

/* The walk through a call. It is in a map, and in functions that take numbers only, so that the verifier
 * looks at each of them once and follows no values. Their argument is the key, always zero. */
struct dt_walk {
	__u64 segment_end;	/* of the segment in hand, from the call's first byte */
	__u64 base;	/* where the call's first byte would be, were all of it in this segment */
	struct dt_user user;
	__u64 cookie;
	struct dt_tls_state state;
	__u32 flags;	/* of the call */
	__u32 index;
	__u32 len;
	__u32 at;	/* the next header, from the call's first byte */
	__u32 seen;	/* bytes of it */
	__u32 count;
	__u32 start;
	__u8 header[8];
	struct dt_records told;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct dt_walk);
} walks SEC(".maps");

static __always_inline struct dt_walk *walk_in_hand(__u32 key)
{
	return bpf_map_lookup_elem(&walks, &key);
}

/* Brings the segment that holds the next byte into hand. Zero: there is none. */
__noinline int deeptrace_walk_segment(__u32 key)
{
	struct dt_walk *w = walk_in_hand(key);

	if (!w)
		return 0;
	for (__u32 i = 0; i < DT_TLS_SEGMENTS && w->at >= w->segment_end; i++) {
		struct user_iovec segment;

		if (w->index >= (w->user.segments ?: 1) || w->index >= DT_TLS_SEGMENTS)
			return 0;
		segment = tls_segment(&w->user, w->index);
		w->index++;
		w->base = segment.base - w->segment_end;
		w->segment_end += segment.len;
	}
	return w->at < w->segment_end;
}

/* Reads what is missing of a header, as far as the call goes. Zero: the bytes cannot be read. */
__noinline int deeptrace_walk_header(__u32 key)
{
	struct dt_walk *w = walk_in_hand(key);

	if (!w || !deeptrace_walk_segment(key))
		return 0;
	if (!w->seen && w->at + DT_TLS_HEADER <= w->segment_end && w->at + DT_TLS_HEADER <= w->len) {
		if (bpf_probe_read_user(w->header, DT_TLS_HEADER, (void *)(w->base + w->at)))
			return 0;
		w->seen = DT_TLS_HEADER;
		w->at += DT_TLS_HEADER;
		return 1;
	}
	/* It is cut, by the end of a segment or of the call before. */
	for (int i = 0; i < DT_TLS_HEADER && w->seen < DT_TLS_HEADER && w->at < w->len; i++) {
		__u32 seen = w->seen;

		if (!deeptrace_walk_segment(key) ||
		    bpf_probe_read_user(&w->header[seen & 7], 1, (void *)(w->base + w->at)))
			return 0;
		w->seen = seen + 1;
		w->at++;
	}
	return 1;
}

/* Follows the chain of records through the call. Zero: it is broken. */
__noinline int deeptrace_walk(__u32 key)
{
	struct dt_walk *w = walk_in_hand(key);

	if (!w)
		return 0;
	for (int i = 0; i < DT_RECORDS_MAX && w->at < w->len; i++) {
		struct dt_tls_record *record;
		__u32 count = w->count;

		if (!deeptrace_walk_header(key))
			return 0;
		if (w->seen < DT_TLS_HEADER)
			return 1;
		if (!is_record(w->header))
			return 0;
		record = &w->told.records[count & (DT_RECORDS_MAX - 1)];
		record->position = w->start + w->at - DT_TLS_HEADER;
		record->len = w->header[3] << 8 | w->header[4];
		record->type = w->header[0];
		w->count = count + 1;
		w->at += record->len;
		w->seen = 0;
	}
	return w->at >= w->len;
}

/* Whether the call begins with a record. */
static __always_inline bool begins_record(struct dt_walk *w)
{
	struct user_iovec segment;
	__u8 h[8] = {};

	if (w->len < DT_TLS_HEADER || (w->flags & DT_NO_BUFFER))
		return false;
	segment = tls_segment(&w->user, 0);
	if (segment.len < DT_TLS_HEADER || bpf_probe_read_user(h, DT_TLS_HEADER, (void *)segment.base))
		return false;
	return is_record(h);
}

static __always_inline void submit_records(struct dt_walk *w, bool broken)
{
	__u64 count = w->count;

	header(&w->told.h, current_thread(), DT_RECORDS, w->cookie, count);
	w->told.flags = w->flags & DT_SENT;
	w->told.missed = broken;
	barrier_var(count);
	if (count > DT_RECORDS_MAX)
		count = DT_RECORDS_MAX;
	if (bpf_ringbuf_output(&events, &w->told,
			       offsetof(struct dt_records, records) + count * sizeof(w->told.records[0]),
			       BPF_RB_NO_WAKEUP))
		count_loss(DT_RING_FULL);
}

/* What TLS there is in the call in hand: its records, and the library that makes it. */
__noinline int deeptrace_tls_bytes(__u32 key)
{
	struct dt_walk *w = walk_in_hand(key);
	struct dt_tls_state *s;
	__u32 direction;
	bool known;

	if (!w)
		return 0;
	s = &w->state;
	direction = w->flags & DT_SENT;
	known = s->is_tls & (1 << direction);
	if (!known && !begins_record(w)) {
		/* TLS begins early in a connection, also where it is asked for in another protocol. */
		if (!s->is_tls)
			s->misses++;
		else
			mark_socket(current_thread(), w->cookie);
		return 0;
	}
	s->misses = 0;
	mark_socket(current_thread(), w->cookie);
	if (known) {
		w->seen = direction ? s->header_seen[1] : s->header_seen[0];
		__builtin_memcpy(w->header, direction ? s->header[1] : s->header[0], DT_TLS_HEADER);
		if (!w->seen)
			w->at = (direction ? s->record_at[1] : s->record_at[0]) - w->start;
	}
	/* The next header lies at most a record ahead: else bytes are missing. */
	if ((w->flags & DT_NO_BUFFER) || w->at > w->len + DT_TLS_RECORD_MAX || !deeptrace_walk(key)) {
		s->is_tls &= ~(1 << direction);
		submit_records(w, true);
		return 0;
	}
	s->is_tls |= 1 << direction;
	if (direction) {
		s->record_at[1] = w->start + w->at;
		s->header_seen[1] = w->seen;
		__builtin_memcpy(s->header[1], w->header, DT_TLS_HEADER);
	} else {
		s->record_at[0] = w->start + w->at;
		s->header_seen[0] = w->seen;
		__builtin_memcpy(s->header[0], w->header, DT_TLS_HEADER);
	}
	if (w->count)
		submit_records(w, false);
	return 0;
}

/* Looks for TLS in a call. */
static __noinline int on_tls_bytes(struct dt_socket *s, const struct dt_moved *m, const struct dt_user *u)
{
	struct dt_walk *w = walk_in_hand(0);

	if (!w || !s || !m || !u)
		return 0;
	w->segment_end = w->base = 0;
	w->index = w->seen = w->count = w->at = 0;
	w->start = m->start;
	w->len = m->len;
	w->flags = m->flags;
	w->user = *u;
	w->cookie = s->cookie;
	w->state = s->tls;
	deeptrace_tls_bytes(0);
	s->tls = w->state;
	return 0;
}

#endif
