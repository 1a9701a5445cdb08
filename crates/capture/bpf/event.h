/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Records of the ring buffer and values of the maps, shared with user space (src/live/record.rs).
 * Sizes are asserted here; a test holds the Rust side to the offsets in the object's BTF. */
#ifndef DT_EVENT_H
#define DT_EVENT_H

#define DT_PAYLOAD_MAX 16384
#define DT_PORTS_MAX 8
#define DT_PIDS_MAX 4194304	/* the kernel's own limit */
#define DT_PIDS_PER_PAGE 4096

enum dt_kind {
	DT_OPEN = 1,
	DT_CALL = 2,
	DT_CLOSE = 3,
	DT_LISTEN = 4,
	DT_EXEC = 5,
	DT_EXIT = 6,
	DT_FORK = 7,
	DT_RECORDS = 8,
	DT_PLAINTEXT = 9,
	DT_TLS_FREE = 10,
	DT_HANDOVER = 20,
};

enum dt_transport { DT_TCP = 0, DT_UDP = 1, DT_UNIX_STREAM = 2, DT_UNIX_DATAGRAM = 3 };

enum dt_loss { DT_RING_FULL = 0, DT_COPY_FAILED = 1, DT_MAP_FULL = 2, DT_PAUSED = 3, DT_SHED = 4, DT_LOSSES = 5 };

/* dt_call.flags */
#define DT_SENT 1	/* else received */
#define DT_DRAINED 2	/* received, and the queue is empty now */
#define DT_NO_BUFFER 4	/* the bytes cannot be seen: sendfile, splice */
#define DT_PEER 8	/* dt_call.peer is set */
#define DT_UNIT 16	/* the first eight bytes of dt_call.peer are the unit that ran */

/* Every record starts with this. */
struct dt_header {
	__u64 time;	/* ns since boot, at the end of the call */
	__u64 cookie;	/* names the socket; 0 where there is none */
	__u32 pid;
	__u32 tid;
	__u16 kind;
	__u16 errno_;	/* DT_CLOSE */
	__u32 len;	/* DT_CALL: bytes moved */
};
_Static_assert(sizeof(struct dt_header) == 32, "dt_header");

struct dt_call {
	struct dt_header h;
	__u64 start;	/* TCP: sequence number of the first byte; else a count */
	__u32 copied;	/* bytes of payload that follow */
	__u8 flags;
	__u8 pad;
	__u16 peer_port;	/* undefined without DT_PEER, as is the next without DT_UNIT */
	__u8 peer[16];	/* IPv6, or IPv4 mapped */
	__u8 payload[];
};
_Static_assert(sizeof(struct dt_call) == 64, "dt_call");

/* Where a TLS record begins in a stream (RFC 8446 section 5.1). */
struct dt_tls_record {
	__u32 position;	/* sequence number of its header */
	__u16 len;	/* bytes after the header */
	__u8 type;
	__u8 pad;
};

#define DT_RECORDS_MAX 64

/* The records whose headers are in the call that is told next. */
struct dt_records {
	struct dt_header h;	/* len: how many follow */
	__u32 flags;	/* DT_SENT */
	__u32 missed;	/* headers beyond DT_RECORDS_MAX */
	struct dt_tls_record records[DT_RECORDS_MAX];
};
_Static_assert(sizeof(struct dt_records) == 552, "dt_records");

/* Plaintext that a TLS library encrypted or decrypted. It lies as a dt_call does. */
struct dt_plaintext {
	struct dt_header h;	/* cookie: the socket that was used meanwhile; len: bytes of plaintext */
	__u64 session;	/* names the library's session within its process */
	__u32 copied;	/* bytes of plaintext that follow */
	__u8 flags;	/* DT_SENT */
	__u8 sockets;	/* calls on sockets meanwhile; 255: on more than one socket */
	__u16 pad;
	__u64 asked;	/* received: bytes that there was room for */
	__u64 unit;	/* that ran; 0: not known */
	__u8 payload[];
};
_Static_assert(sizeof(struct dt_plaintext) == sizeof(struct dt_call), "dt_plaintext");

/* How a function of a TLS library is to be understood: its probe's cookie. */
#define DT_TLS_SENT 1
#define DT_TLS_COUNTED 2	/* it returns 1, and the bytes at its 4th or 5th argument; else the bytes */
#define DT_TLS_GO 4	/* arguments as in Go: receiver, buffer, length, capacity in ax, bx, cx, di */
#define DT_TLS_TYPED 8	/* the 2nd argument is the type of record, and the buffer is behind it */
#define DT_TLS_RESULT 16	/* Go: the bytes are in ax, else they are cx bytes at bx */
#define DT_TLS_SPILLED 32	/* Go: the arguments are above the frame as well */

/* Whose plaintext: that of a session in a process, or, where pid is 0, of a socket. */
struct dt_session {
	__u64 session;
	__u64 pid;
};

struct dt_open {
	struct dt_header h;
	__u8 local[16];
	__u8 remote[16];
	__u16 local_port;
	__u16 remote_port;
	__u8 transport;
	__u8 connected;	/* connect() was seen */
	__u8 fresh;	/* nothing was sent or received before */
	__u8 pad;
	__u64 sent;	/* position of the next byte */
	__u64 received;
	__u64 netns;
	__u64 cgroup;
	__u64 unix_self;	/* hash of the socket's own address in the kernel */
	__u64 unix_peer;
	char comm[16];
	char local_path[108];
	char remote_path[108];
};
_Static_assert(sizeof(struct dt_open) == 352, "dt_open");

/* Settings that change while programs run. */
struct dt_knobs {
	__u32 watch_default;	/* whether a process without a verdict is watched */
	__u32 bytes_default;	/* copied of a call until the protocol is known */
	__u32 bytes_max;	/* never more than this, whatever a policy says */
	__u32 paused;
	__u32 policy_generation;	/* counts up when a policy is written */
	__u32 ports_count;
	__u16 ports[DT_PORTS_MAX];	/* our own listeners: their connections are left out */
	__u32 tls;	/* whether a TLS library is probed */
	__u32 pad;
};
_Static_assert(sizeof(struct dt_knobs) == 48, "dt_knobs");

/* What the parsers ask for one socket, by cookie. */
struct dt_policy {
	__u32 bytes_per_call;
	__u32 skip_directions;	/* bit 0: received, bit 1: sent */
	__u64 skip_until[2];
};
_Static_assert(sizeof(struct dt_policy) == 24, "dt_policy");

/* What runs on a thread, as the language's runtime names it. The highest byte says what it is: zero, the
 * thread itself. */
#define DT_UNIT_TASK (1ULL << 56)	/* a goroutine, virtual thread, greenlet or task of tokio: it receives and sends */
#define DT_UNIT_CONTEXT (2ULL << 56)	/* a context of CPython: it sends; what receives may run in another */
#define DT_UNIT_ITEM (3ULL << 56)	/* an object in a queue: it carries work */
#define DT_UNIT_VALUE ((1ULL << 56) - 1)

/* dt_header.errno_ of a hand-over: by what. */
enum dt_by {
	DT_BY_FUTEX = 1,
	DT_BY_WRITE = 2,
	DT_BY_COPY = 3,
	DT_BY_READY = 4,
	DT_BY_BIRTH = 5,
	DT_BY_PUT = 6,
	DT_BY_GOT = 7,
};

/* One unit hands work, or its result, over to another of its process. */
struct dt_handover {
	struct dt_header h;	/* of the thread that does it */
	__u64 from;	/* 0: the thread */
	__u64 to;
	__u64 word;	/* address of the futex; reason for which a goroutine waited */
};
_Static_assert(sizeof(struct dt_handover) == 56, "dt_handover");

#define DT_FOLLOWED_MAX 1024

enum dt_runtime { DT_CPYTHON = 1, DT_GO = 2, DT_HOTSPOT = 3, DT_GREENLET = 4, DT_TOKIO = 5 };

/* What user space finds out of a runtime: places in bytes from the beginning of what is named, or addresses.
 * dt_follow.at has it in this order. */
enum {
	DT_PY_STATE_THREAD,	/* in a thread's state: the thread's name */
	DT_PY_STATE_CONTEXT,	/* in a thread's state: its context; with greenlets: the last chunk of its stack */
	DT_PY_CONTEXT_TYPE,	/* address of the contexts' type */
};
enum {
	DT_GO_G_M,	/* in g: the m that runs it */
	DT_GO_G_ID,	/* in g: its id */
	DT_GO_M_G,	/* in m: the g that it runs */
	DT_GO_G_REASON,	/* in g: why it waits */
};
enum {
	DT_VM_THREAD_OS,	/* in a JavaThread: its OSThread */
	DT_VM_OS_PTHREAD,	/* in an OSThread: pthread's name of it */
	DT_VM_THREAD_CARRIER,	/* in a JavaThread: handle of its java.lang.Thread */
	DT_VM_THREAD_CURRENT,	/* in a JavaThread: handle of the java.lang.Thread that runs */
	DT_VM_THREAD_OWNER,	/* in a JavaThread: id of that one, as an owner of monitors */
};
enum {
	DT_TOKIO_NEXT,	/* address of the id that the next task gets */
	DT_TOKIO_TASK_TABLE,	/* in a task: its table of functions and places */
	DT_TOKIO_TABLE_ID,	/* in that: the place of the id in the task */
};
#define DT_PLACES 6

/* A process that is followed. */
struct dt_follow {
	__u32 wakes;	/* whether to tell wake-ups */
	__u32 runtime;
	__s64 slot;	/* from the thread's fs base: what the runtime keeps of it */
	__u64 at[DT_PLACES];
	/* Counted by the programs, roughly. */
	__u64 reads;
	__u64 misses;	/* what was read was no unit */
	__u64 hits;	/* of probes */
};
_Static_assert(sizeof(struct dt_follow) == 88, "dt_follow");

struct dt_following {
	__u32 processes;	/* how many */
	__u32 rate_max;	/* hand-overs that a processor tells in 134 ms */
};
_Static_assert(sizeof(struct dt_following) == 8, "dt_following");

/* A futex. */
struct dt_word {
	__u64 address;
	__u64 pid;
};

/* Verdict on a process; 0: none, the default applies. */
#define DT_IGNORE 1
#define DT_WATCH 2

#endif
