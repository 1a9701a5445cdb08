/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Maps, settings, what is counted, and who is watched. Together at most 32 MiB with the ring at 16. */
#ifndef DT_MAPS_BPF_H
#define DT_MAPS_BPF_H

/* Settings that change while programs run, in a section of their own: read without a look-up, written as
 * a whole by user space only. */
struct dt_knobs knobs SEC(".data.knobs");

/* What is remembered of a socket's TLS, by direction: where the next record begins, or what of its header
 * was seen. */
struct dt_tls_state {
	__u32 record_at[2];
	__u8 header_seen[2];
	__u8 is_tls;	/* 1: the above holds for received bytes, 2: for sent ones */
	__u8 misses;	/* calls that began with no record */
	__u8 header[2][5];
	__u8 pad[2];
};

/* What is remembered of a socket. */
struct dt_socket {
	__u64 cookie;
	__u32 ino;	/* by address only */
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
	struct dt_tls_state tls;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} events SEC(".maps");

/* With the socket tracepoints: kept by the kernel at the socket itself, and gone with it. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct dt_socket);
} sockets SEC(".maps");

/* With the exit of system calls: by address in the kernel, where `ino` tells a reused address. The socket
 * not used for longest makes room; when it speaks again it is described again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, __u64);
	__type(value, struct dt_socket);
} addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, __u64);
	__type(value, struct dt_policy);
} policies SEC(".maps");

/* The verdict on each process: a byte at the place of its pid, in pages because an array takes no less
 * than eight bytes for an entry. User space maps it and lowers the number of pages to what pid_max asks.
 *
 * Three write: fork (the child's byte), exit (its own) and user space (any). Each stores one whole byte, so
 * nobody ever undoes a neighbour's verdict. Two stores to one byte race only around the birth or death of
 * its process: a verdict that comes after the exit lies there until the pid is born again, and then fork
 * overwrites it, whatever the parent's verdict is. One that comes between birth and the fork program is
 * overwritten by the parent's, which user space, looking at the same parent, had just copied. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DT_PIDS_MAX / DT_PIDS_PER_PAGE);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u8[DT_PIDS_PER_PAGE]);
} processes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DT_LOSSES);
	__type(key, __u32);
	__type(value, __u64);
} losses SEC(".maps");

/* Room to gather the segments of a vectored call. A per-CPU value has at most 32 KiB, and the verifier
 * wants room for one more segment behind the last. */
#define DT_GATHER_MAX (15 * 1024)
#define DT_SEGMENTS_MAX 64
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

/* What a thread, or a goroutine, is doing in a TLS library. The one not seen for longest makes room. */
struct dt_tls_call {
	__u64 session;	/* 0: nothing */
	__u64 buffer;
	__u64 len;
	__u64 count_at;
	__u64 cookie;	/* the socket that was used meanwhile */
	__u32 sockets;
	__u32 shape;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct dt_tls_call);
} tls_calls SEC(".maps");

/* Bytes of plaintext to copy of a call, where that is not the default. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, struct dt_session);
	__type(value, __u32);
} tls_policies SEC(".maps");

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

/* Where the verdict on a process is. NULL: pid_max was raised after we were loaded. */
static __always_inline __u8 *verdict_on(__u32 pid)
{
	__u32 page = pid / DT_PIDS_PER_PAGE;
	__u8 *verdicts = bpf_map_lookup_elem(&processes, &page);

	return verdicts ? verdicts + pid % DT_PIDS_PER_PAGE : NULL;
}

/* Whether calls of a process are wanted. */
static __always_inline bool is_watched(__u32 pid)
{
	__u8 *verdict = verdict_on(pid);

	return verdict && *verdict ? *verdict == DT_WATCH : knobs.watch_default;
}

#endif
