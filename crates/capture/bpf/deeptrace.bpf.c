// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Watches socket calls: filter, bound, copy, stamp. Nothing here waits, nothing is written to a process.
 *
 * deeptrace_send and deeptrace_recv are the first choice: the kernel calls them at the end of every
 * socket operation. deeptrace_exit is for kernels without these tracepoints (before 6.3): it looks at the
 * exit of every system call. User space loads one of the two. */
#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>
#include <linux/bpf.h>
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_core_read.h>
#include "event.h"
#include "maps.bpf.h"
#include "socket.bpf.h"

#define READ_REG(regs, name)                                                          \
	({                                                                            \
		unsigned long value_ = 0;                                             \
		bpf_probe_read_kernel(&value_, sizeof(value_), &(regs)->name);        \
		value_;                                                               \
	})

#include "payload.bpf.h"

/* Keeps the type in the object's BTF, for the test that compares layouts. */
struct dt_open *emit_dt_open __attribute__((unused));

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define ARG(ctx, n, type) ((type)((unsigned long long *)(ctx))[n])

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

/* Positions and flags of a call. */
static __always_inline void place(struct dt_call *c, struct sock *sk, struct dt_socket *s, const bool typed)
{
	bool sent = c->flags & DT_SENT;

	if (s->transport == DT_TCP) {
		struct tcp_sock *tcp = typed ? bpf_skc_to_tcp_sock(sk) : (struct tcp_sock *)sk;
		__u32 end = 0;

		if (tcp)
			end = sent ? READ(typed, tcp, write_seq) : READ(typed, tcp, copied_seq);
		/* Receiving nothing is the end of the stream, which has a number of its own. */
		c->start = end - (c->h.len ? c->h.len : 1);
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

static __always_inline int finish(struct sock *sk, struct dt_socket *s, struct dt_knobs *k, struct dt_call *c,
				  struct dt_user *u, const bool typed)
{
	__u32 bytes;

	place(c, sk, s, typed);
	if (!s->described && !describe(sk, s, k, c->h.len | (__u64)(c->flags & DT_SENT) << 32)) {
		count_loss(DT_RING_FULL);
		return 0;
	}
	if (s->ignored)
		return 0;
	header(&c->h, DT_CALL, s->cookie);
	if ((s->transport & 1) && u->name)
		user_peer(c, u->name);
	if (u->flags & DT_NO_BUFFER)
		c->flags |= DT_NO_BUFFER;
	bytes = c->flags & DT_NO_BUFFER ? 0 : wanted_bytes(s, k, c);
	if (u->segments)
		return submit_gathered(c, u->iov, u->segments, bytes);
	return submit_flat(c, u->buffer, bytes);
}

/* Finds the buffer of an io_uring request: its own call has other arguments. */
static __always_inline void uring_buffers(struct dt_user *u, struct sock *sk, bool sent)
{
	struct dt_ring_key key = { .sk = (unsigned long)sk, .sent = sent };
	struct dt_ring_buffer *b = bpf_map_lookup_elem(&uring, &key);

	if (!b) {
		u->flags = DT_NO_BUFFER;
		return;
	}
	if (b->is_msghdr)
		user_msghdr(u, b->address);
	else
		u->buffer = b->address;
	user_flatten(u);
}

static __always_inline int on_socket(struct sock *sk, int ret, int flags, bool sent)
{
	struct dt_knobs *k = get_knobs();
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct dt_call c = {};
	struct dt_user u = {};
	struct dt_socket *s;
	struct pt_regs *regs;
	long nr;

	if (!k || !is_watched(k, pid) || (!sent && (flags & 2)))
		return 0;
	regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	nr = (long)READ_REG(regs, orig_ax);
	__u32 index = 0;

	if (nr == NR_sendmmsg || nr == NR_recvmmsg)
		index = vector_index(READ_REG(regs, si), READ_REG(regs, dx), ret);
	if (ret < 0 && !is_fatal(-ret))
		return 0;
	if (k->paused) {
		count_loss(DT_PAUSED);
		return 0;
	}
	s = socket_state(sk, true);
	if (!s)
		return 0;
	if (ret < 0) {
		if (s->described && !s->ignored && !s->failed)
			submit_header(DT_CLOSE, s->cookie, 0, -ret, 0);
		s->failed = 1;
		return 0;
	}
	/* Zero bytes are the end of a stream, or an empty datagram: nothing to parse. */
	if (ret == 0 && (sent || (s->transport & 1)))
		return 0;
	c.h.len = ret;
	c.flags = sent ? DT_SENT : 0;
	if (nr == NR_io_uring_enter || nr < 0)
		uring_buffers(&u, sk, sent);
	else
		user_buffers(&u, regs, nr, index);
	return finish(sk, s, k, &c, &u, true);
}

SEC("tp_btf/sock_send_length")
int deeptrace_send(unsigned long long *ctx)
{
	return on_socket(ARG(ctx, 0, struct sock *), ARG(ctx, 1, int), ARG(ctx, 2, int), true);
}

SEC("tp_btf/sock_recv_length")
int deeptrace_recv(unsigned long long *ctx)
{
	return on_socket(ARG(ctx, 0, struct sock *), ARG(ctx, 1, int), ARG(ctx, 2, int), false);
}

/* Remembers where the bytes of an io_uring request are. */
SEC("tp_btf/io_uring_submit_req")
int deeptrace_uring(unsigned long long *ctx)
{
	struct io_kiocb *req = ARG(ctx, 0, struct io_kiocb *);
	struct dt_knobs *k = get_knobs();
	struct dt_ring_key key = {};
	struct dt_ring_buffer b = {};
	struct socket *socket;
	struct file *file;
	__u8 opcode;

	if (!k || !is_watched(k, bpf_get_current_pid_tgid() >> 32))
		return 0;
	opcode = BPF_CORE_READ(req, opcode);
	/* WRITE 23, SEND 26, SENDMSG 9; READ 22, RECV 27, RECVMSG 10. */
	key.sent = opcode == 23 || opcode == 26 || opcode == 9;
	b.is_msghdr = opcode == 9 || opcode == 10;
	if (!key.sent && opcode != 22 && opcode != 27 && opcode != 10)
		return 0;
	file = BPF_CORE_READ(req, file);
	if ((BPF_CORE_READ(file, f_inode, i_mode) & DT_S_IFMT) != DT_S_IFSOCK)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	key.sk = (unsigned long)BPF_CORE_READ(socket, sk);
	if (opcode == 22 || opcode == 23)
		b.address = BPF_CORE_READ((struct io_rw *)req, addr);
	else
		b.address = (unsigned long)BPF_CORE_READ((struct io_sr_msg *)req, buf);
	bpf_map_update_elem(&uring, &key, &b, BPF_ANY);
	return 0;
}

/* The socket behind a file descriptor of the current task. */
static __always_inline struct sock *socket_of(__u32 fd)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files = BPF_CORE_READ(table, fd), *file = NULL;
	struct socket *socket;

	if (fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), files + fd);
	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & DT_S_IFMT) != DT_S_IFSOCK)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

/* The call in hand, for deeptrace_message: a global function takes numbers only. */
struct dt_exit {
	__u64 sk;
	__u64 regs;
	__u64 nr;
	__u64 flags;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct dt_exit);
} exits SEC(".maps");

/* One message of the call in hand. Global, so that the verifier looks at it once and not once for each
 * message of a vector. */
__noinline int deeptrace_message(__u32 index, __u32 len)
{
	__u32 zero = 0;
	struct dt_exit *e = bpf_map_lookup_elem(&exits, &zero);
	struct dt_knobs *k = get_knobs();
	struct dt_call c = {};
	struct dt_user u = {};
	struct dt_socket *s;

	if (!k || !e)
		return 0;
	s = bpf_map_lookup_elem(&sockets, &e->sk);
	if (!s)
		return 0;
	c.h.len = len;
	c.flags = e->flags;
	user_buffers(&u, (struct pt_regs *)e->regs, e->nr, index);
	return finish((struct sock *)e->sk, s, k, &c, &u, false);
}

SEC("tp_btf/sys_exit")
int deeptrace_exit(unsigned long long *ctx)
{
	struct pt_regs *regs = ARG(ctx, 0, struct pt_regs *);
	long ret = ARG(ctx, 1, long), nr = (long)READ_REG(regs, orig_ax);
	struct dt_knobs *k;
	struct dt_socket *s;
	struct dt_exit *e;
	struct sock *sk;
	__u32 fd, zero = 0, flags = 0;

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
	k = get_knobs();
	if (!k || !is_watched(k, bpf_get_current_pid_tgid() >> 32))
		return 0;
	if (ret < 0 && !is_fatal(-ret))
		return 0;
	/* Peeks: the flags are the fourth argument of recvfrom, the third of recvmsg. */
	if ((nr == NR_recvfrom && (READ_REG(regs, r10) & 2)) || (nr == NR_recvmsg && (READ_REG(regs, dx) & 2)))
		return 0;
	fd = nr == NR_splice ? READ_REG(regs, dx) : READ_REG(regs, di);
	sk = socket_of(fd);
	if (!sk)
		return 0;
	if (k->paused) {
		count_loss(DT_PAUSED);
		return 0;
	}
	s = socket_state(sk, false);
	e = bpf_map_lookup_elem(&exits, &zero);
	if (!s || !e)
		return 0;
	if (ret < 0) {
		if (s->described && !s->ignored && !s->failed)
			submit_header(DT_CLOSE, s->cookie, 0, -ret, 0);
		s->failed = 1;
		return 0;
	}
	if (ret == 0 && (flags || (s->transport & 1)))
		return 0;
	e->sk = (unsigned long)sk;
	bpf_probe_read_kernel(&e->regs, sizeof(e->regs), &regs);
	e->nr = nr;
	e->flags = flags;
	if (nr != NR_sendmmsg && nr != NR_recvmmsg)
		return deeptrace_message(0, ret);
	for (__u32 i = 0; i < 32 && i < ret; i++) {
		__u32 len = 0;
		__u64 vector = READ_REG(regs, si) + (__u64)i * DT_MMSGHDR_SIZE;

		bpf_probe_read_user(&len, sizeof(len), (void *)(vector + sizeof(struct user_msghdr64)));
		if (len)
			deeptrace_message(i, len);
	}
	return 0;
}

/* Opens and ends of TCP connections. Only the first of these runs in the owner's context for sure. */
SEC("tp_btf/inet_sock_set_state")
int deeptrace_state(unsigned long long *ctx)
{
	struct sock *sk = ARG(ctx, 0, struct sock *);
	int old = ARG(ctx, 1, int), new = ARG(ctx, 2, int);
	struct dt_knobs *k = get_knobs();
	__u64 key = (unsigned long)sk, id = bpf_get_current_pid_tgid();
	struct dt_socket *s;

	if (!k)
		return 0;
	if (new == DT_TCP_LISTEN) {
		submit_header(DT_LISTEN, sk->__sk_common.skc_net.net->ns.inum, 0, 0, sk->__sk_common.skc_num);
	} else if (new == DT_TCP_SYN_SENT) {
		if (k->paused || !is_watched(k, id >> 32))
			return 0;
		s = socket_state(sk, true);
		if (!s)
			return 0;
		s->connected = 1;
		s->pid = id >> 32;
		s->tid = (__u32)id;
	} else if (new == DT_TCP_CLOSE) {
		int errno_ = sk->sk_err;

		s = bpf_map_lookup_elem(&sockets, &key);
		if (!s)
			return 0;
		if (!s->described && s->connected && old == DT_TCP_SYN_SENT && errno_)
			describe(sk, s, k, 0);
		if (s->described && !s->ignored && !s->failed)
			submit_header(DT_CLOSE, s->cookie, 0, errno_ > 0 ? errno_ : 0, 0);
		bpf_map_delete_elem(&sockets, &key);
	}
	return 0;
}

/* Children of a process with a verdict inherit it. */
SEC("tp_btf/sched_process_fork")
int deeptrace_fork(unsigned long long *ctx)
{
	struct task_struct *parent = ARG(ctx, 0, struct task_struct *);
	struct task_struct *child = ARG(ctx, 1, struct task_struct *);
	__u32 from = parent->tgid, to = child->tgid;
	__u32 *verdict;

	if (from == to)
		return 0;
	verdict = bpf_map_lookup_elem(&processes, &from);
	if (verdict) {
		__u32 copy = *verdict;

		bpf_map_update_elem(&processes, &to, &copy, BPF_ANY);
		submit_header(DT_FORK, from, to, 0, 0);
	}
	return 0;
}

SEC("tp_btf/sched_process_exec")
int deeptrace_exec(unsigned long long *ctx)
{
	submit_header(DT_EXEC, 0, 0, 0, 0);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int deeptrace_end(unsigned long long *ctx)
{
	struct task_struct *task = ARG(ctx, 0, struct task_struct *);
	__u32 pid = task->tgid;

	if (task->pid != task->tgid)
		return 0;
	bpf_map_delete_elem(&processes, &pid);
	submit_header(DT_EXIT, 0, pid, 0, 0);
	return 0;
}
