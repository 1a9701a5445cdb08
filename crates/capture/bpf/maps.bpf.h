/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Maps, what is counted, and who is watched. Together at most 32 MiB with the ring at 16. */
#ifndef DT_MAPS_BPF_H
#define DT_MAPS_BPF_H

/* Whether the kernel's own socket cookies can be had; set before loading. */
const volatile __u8 dt_has_cookies = 0;

/* What is remembered of a socket, by its address in the kernel; `ino` tells a reused address. The
 * socket not used for longest makes room; when it speaks again it is described again. */
struct dt_socket {
	__u64 cookie;
	__u32 ino;
	__u32 pid;	/* who called connect */
	__u32 tid;
	__u32 bytes_per_call;
	__u32 policy_generation;
	__u8 transport;
	__u8 described;
	__u8 connected;
	__u8 ignored;
	__u32 skip_directions;
	__u16 failed;	/* its error was told */
	__u8 ending;	/* dead, but with bytes that its owner may still read */
	__u8 pad;
	__u16 errno_;	/* what it died of */
	__u16 pad2;
	__u64 skip_until[2];
	__u64 count[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, __u64);
	__type(value, struct dt_socket);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, __u64);
	__type(value, struct dt_policy);
} policies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u32);
} processes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct dt_knobs);
} knobs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DT_LOSSES);
	__type(key, __u32);
	__type(value, __u64);
} losses SEC(".maps");

/* Room to gather the segments of a vectored call. A per-CPU value has at most 32 KiB, and the verifier
 * wants room for one more segment behind the last. */
#define DT_GATHER_MAX (15 * 1024)
struct dt_scratch {
	__u8 call[sizeof(struct dt_call)];
	__u8 payload[2 * DT_GATHER_MAX];
	__u32 done;	/* in memory, so that the verifier need not follow its values */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct dt_scratch);
} scratch SEC(".maps");

/* How far a thread is in the vector of its sendmmsg or recvmmsg. */
struct dt_vector {
	__u64 base;
	__u64 next;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct dt_vector);
} vectors SEC(".maps");

/* Buffers of io_uring requests, by socket and direction. */
struct dt_ring_key {
	__u64 sk;
	__u64 sent;
};

enum { DT_URING_BUFFER, DT_URING_MSGHDR, DT_URING_VECTOR };

struct dt_ring_buffer {
	__u64 address;
	__u32 shape;
	__u32 len;	/* bytes, or segments of a vector */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct dt_ring_key);
	__type(value, struct dt_ring_buffer);
} uring SEC(".maps");

static __always_inline void count_losses(__u32 cause, __u64 count)
{
	__u64 *n = bpf_map_lookup_elem(&losses, &cause);

	if (n)
		*n += count;
}

static __always_inline void count_loss(__u32 cause)
{
	count_losses(cause, 1);
}

static __always_inline struct dt_knobs *get_knobs(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&knobs, &zero);
}

/* One look-up: whether calls of the current process are wanted. */
static __always_inline bool is_watched(const struct dt_knobs *k, __u32 pid)
{
	__u32 *verdict = bpf_map_lookup_elem(&processes, &pid);

	return verdict ? *verdict == DT_WATCH : k->watch_default;
}

#endif
