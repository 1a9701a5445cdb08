/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The first choice of hook: the kernel tells the end of every socket operation. */
#ifndef DT_OPERATION_BPF_H
#define DT_OPERATION_BPF_H

/* Finds the buffer of an io_uring request: its own call has other arguments. */
static __always_inline void uring_buffers(struct dt_user *u, struct sock *sk, bool sent)
{
	struct dt_ring_key key = { .sk = (unsigned long)sk, .sent = sent };
	struct dt_ring_buffer *b = bpf_map_lookup_elem(&uring, &key);

	/* No address: the kernel chose one of the buffers that it was given before. */
	if (!b || !b->address) {
		u->flags = DT_NO_BUFFER;
		return;
	}
	if (b->shape == DT_URING_MSGHDR) {
		user_msghdr(u, b->address);
	} else if (b->shape == DT_URING_VECTOR) {
		u->iov = b->address;
		u->segments = b->len;
	} else {
		u->buffer = b->address;
		u->len = b->len;
	}
	user_flatten(u);
}

static __always_inline int on_socket(struct sock *sk, int ret, int flags, bool sent)
{
	struct dt_moved m = { .thread = current_thread(), .kind = DT_CALL };
	struct dt_user u = { .len = ~0ULL };
	const struct pt_regs *regs;
	struct dt_socket *s;
	__u32 index = 0;
	long nr;

	if (!is_watched(m.thread.pid) || (flags & DT_MSG_ERRQUEUE) || (!sent && (flags & DT_MSG_PEEK)))
		return 0;
	regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	nr = regs->orig_ax;
	if (nr == NR_sendmmsg || nr == NR_recvmmsg)
		index = vector_index(m.thread.tid, regs->si, regs->dx, ret);
	if (ret < 0 && !is_fatal(-ret))
		return 0;
	if (knobs.paused) {
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
		s->ending = 0;
		return 0;
	}
	/* Zero bytes are the end of a stream, or an empty datagram: nothing to parse. */
	if (ret == 0 && (sent || (s->transport & 1)))
		return 0;
	m.unit = deeptrace_current_unit(m.thread.pid);
	m.len = ret;
	m.flags = sent ? DT_SENT : 0;
	if (nr == NR_io_uring_enter || nr < 0)
		uring_buffers(&u, sk, sent);
	else
		user_buffers(&u, regs, nr, index);
	if (ret == 0 && u.len == 0)
		return 0;
	/* A stream's bytes are thrown away by request, not copied. */
	if (!sent && s->transport == DT_TCP && (flags & DT_MSG_TRUNC))
		u.flags = DT_NO_BUFFER;
	return finish(sk, s, &m, &u, 0, true);
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
	struct dt_ring_key key = {};
	struct dt_ring_buffer b = {};
	__u8 opcode;

	if (!is_watched(current_thread().pid))
		return 0;
	opcode = req->opcode;
	switch (opcode) {
	case URING_WRITEV:
	case URING_WRITE_FIXED:
	case URING_SENDMSG:
	case URING_WRITE:
	case URING_SEND:
	case URING_SEND_ZC:
	case URING_SENDMSG_ZC:
		key.sent = 1;
		break;
	case URING_READV:
	case URING_READ_FIXED:
	case URING_RECVMSG:
	case URING_READ:
	case URING_RECV:
		break;
	default:
		return 0;
	}
	/* The file is not looked up yet. Those of the ring's own table cannot be found here. */
	if (req->flags & DT_FIXED_FILE)
		return 0;
	key.sk = (unsigned long)socket_of(req->cqe.fd);
	if (!key.sk)
		return 0;
	if (opcode == URING_SENDMSG || opcode == URING_SENDMSG_ZC || opcode == URING_RECVMSG)
		b.shape = DT_URING_MSGHDR;
	else if (opcode == URING_WRITEV || opcode == URING_READV)
		b.shape = DT_URING_VECTOR;
	if (opcode == URING_SEND || opcode == URING_SEND_ZC || opcode == URING_RECV ||
	    b.shape == DT_URING_MSGHDR) {
		b.address = (unsigned long)BPF_CORE_READ((struct io_sr_msg *)req, buf);
		b.len = BPF_CORE_READ((struct io_sr_msg *)req, len);
	} else {
		b.address = BPF_CORE_READ((struct io_rw *)req, addr);
		b.len = BPF_CORE_READ((struct io_rw *)req, len);
	}
	bpf_map_update_elem(&uring, &key, &b, BPF_ANY);
	return 0;
}

#endif
