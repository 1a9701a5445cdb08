/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Probes at the functions of TLS libraries that encrypt and decrypt. What a function's arguments mean is
 * told by the probe's cookie, so these few programs serve all libraries. Needs Linux 5.15 for cookies. */
#ifndef DT_TLS_PROBES_BPF_H
#define DT_TLS_PROBES_BPF_H

#define DT_TLS_DATA 23	/* type of records that carry data */

extern bool bpf_session_is_return(void) __ksym __weak;

/* Begins a call. False: its end is of no interest. */
static __always_inline bool tls_enter(struct pt_regs *ctx)
{
	struct dt_tls_call fresh = {}, *old;
	struct dt_thread thread = current_thread();
	__u64 shape, key = thread.tid;

	if (!is_watched(thread.pid) || knobs.paused)
		return false;
	shape = bpf_get_attach_cookie(ctx);
	fresh.shape = shape;
	if (shape & DT_TLS_GO) {
		key = goroutine(thread.pid, ctx->r14);
		fresh.session = ctx->ax;
		fresh.buffer = ctx->bx;
		fresh.len = ctx->cx;
	} else {
		fresh.session = ctx->di;
		fresh.buffer = ctx->si;
		fresh.len = ctx->dx;
		/* The 4th argument is the count, or flags that are zero and the 5th is. */
		if (shape & DT_TLS_TYPED) {
			if ((__u32)ctx->si != DT_TLS_DATA)
				return false;
			fresh.buffer = ctx->dx;
			fresh.len = ctx->cx;
		} else if (shape & DT_TLS_COUNTED)
			fresh.count_at = ctx->cx > 4096 ? ctx->cx : ctx->r8;
		else
			fresh.len = (__u32)ctx->dx;
	}
	old = bpf_map_lookup_elem(&tls_calls, &key);
	if (old)
		*old = fresh;
	else if (bpf_map_update_elem(&tls_calls, &key, &fresh, BPF_ANY))
		count_loss(DT_MAP_FULL);
	return true;
}

/* By the socket, where the library uses it: the address of a session soon names another one. */
static __always_inline __u32 plaintext_bytes(__u64 cookie, __u64 session, __u32 pid, __u32 len)
{
	struct dt_session key = { .session = cookie ?: session, .pid = cookie ? 0 : pid };
	__u32 *policy = bpf_map_lookup_elem(&tls_policies, &key);
	/* Until the protocol is known, all: a record is often read as a whole, with several messages. */
	__u32 bytes = policy ? *policy : knobs.bytes_max;

	if (bytes > knobs.bytes_max)
		bytes = knobs.bytes_max;
	return bytes < len ? bytes : len;
}

/* Ends a call that returned `ret`. */
static __always_inline void tls_leave(struct dt_tls_call *call, struct dt_thread thread, __s64 ret)
{
	struct dt_moved m = { .thread = thread, .kind = DT_PLAINTEXT };
	__u64 session = call->session, count = 0;

	call->session = 0;
	if (ret <= 0)
		return;
	if (call->shape & DT_TLS_COUNTED) {
		if (bpf_probe_read_user(&count, sizeof(count), (void *)call->count_at)) {
			count_loss(DT_COPY_FAILED);
			return;
		}
	} else {
		count = ret;
	}
	/* More than there was room for cannot be. */
	if (!count || count > call->len || count > 0x7fffffff)
		return;
	m.unit = deeptrace_current_unit(thread.pid);
	m.cookie = call->cookie;
	m.start = session;
	m.len = count;
	m.flags = call->shape & DT_TLS_SENT;
	m.sockets = call->sockets;
	m.asked = call->len;
	submit_flat(&m, call->buffer, plaintext_bytes(m.cookie, session, thread.pid, count));
}

static __always_inline int tls_return(struct pt_regs *ctx)
{
	struct dt_thread thread = current_thread();
	__u64 key = thread.tid;
	struct dt_tls_call *call = bpf_map_lookup_elem(&tls_calls, &key);

	if (call && call->session)
		tls_leave(call, thread, (__s32)ctx->ax);
	return 0;
}

SEC("uprobe")
int deeptrace_tls_enter(struct pt_regs *ctx)
{
	tls_enter(ctx);
	return 0;
}

SEC("uretprobe")
int deeptrace_tls_return(struct pt_regs *ctx)
{
	return tls_return(ctx);
}

/* Both in one (Linux 6.13): whoever is not watched does not pay for the return. */
SEC("uprobe.session")
int deeptrace_tls_both(struct pt_regs *ctx)
{
	if (bpf_session_is_return())
		return tls_return(ctx);
	return !tls_enter(ctx);
}

/* The socket of a crypto/tls.Conn: its first field is an interface, whose value is a pointer to
 * net.TCPConn; that begins with a pointer to netFD, in which 16 bytes of lock go before the number of the
 * file (Go 1.9 and newer). Anything else is no TCP socket. */
static __always_inline __u64 go_socket(__u64 conn)
{
	__u64 at = 0;
	__u32 fd = 0;
	struct sock *sk;
	__u64 cookie;

	if (bpf_probe_read_user(&at, sizeof(at), (void *)(conn + 8)) ||
	    bpf_probe_read_user(&at, sizeof(at), (void *)at) ||
	    bpf_probe_read_user(&fd, sizeof(fd), (void *)(at + 16)))
		return 0;
	sk = socket_of(fd);
	if (!sk || socket_transport(sk, false) != DT_TCP)
		return 0;
	cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	return cookie ?: guessed_cookie(sk, BPF_CORE_READ(sk, sk_socket, file, f_inode, i_ino));
}

/* crypto/tls.(*Conn).Read begins. Goroutines change threads and stacks, so nothing is put where they
 * return to. */
SEC("uprobe")
int deeptrace_tls_go_read(struct pt_regs *ctx)
{
	tls_enter(ctx);
	return 0;
}

/* A call that began before it was probed. Go saves arguments that came in registers behind the address of
 * return, in the order of the registers. Such a call waited for its socket. */
static __always_inline bool go_waited(struct pt_regs *ctx, struct dt_tls_call *call)
{
	__u64 saved[3];	/* receiver, buffer, length */

	if (bpf_probe_read_user(saved, sizeof(saved), (void *)(ctx->bp + 16)))
		return false;
	call->session = saved[0];
	call->buffer = saved[1];
	call->len = saved[2];
	call->cookie = go_socket(call->session);
	call->sockets = 1;
	return call->cookie != 0;
}

/* It copies plaintext to where its caller wants it. */
SEC("uprobe")
int deeptrace_tls_go_copy(struct pt_regs *ctx)
{
	struct dt_tls_call waited = {};
	struct dt_thread thread = current_thread();
	__u64 key = goroutine(thread.pid, ctx->r14);
	struct dt_tls_call *call = bpf_map_lookup_elem(&tls_calls, &key);
	__u64 shape = bpf_get_attach_cookie(ctx);

	if (!call || !call->session) {
		if (!(shape & DT_TLS_SPILLED) || !is_watched(thread.pid) || knobs.paused ||
		    !go_waited(ctx, &waited))
			return 0;
		call = &waited;
	}
	if (!call->cookie)
		call->cookie = go_socket(call->session);
	if (shape & DT_TLS_RESULT) {
		tls_leave(call, thread, (__s32)ctx->ax);
		return 0;
	}
	call->buffer = ctx->bx;
	tls_leave(call, thread, (__s32)ctx->cx);
	return 0;
}

/* crypto/tls.(*Conn).Write begins: its records are yet to be sent. */
SEC("uprobe")
int deeptrace_tls_go_write(struct pt_regs *ctx)
{
	struct dt_tls_call call = {};
	struct dt_thread thread = current_thread();

	if (!is_watched(thread.pid) || knobs.paused)
		return 0;
	call.session = ctx->ax;
	call.buffer = ctx->bx;
	call.len = ctx->cx;
	call.cookie = go_socket(call.session);
	call.shape = DT_TLS_SENT;
	tls_leave(&call, thread, call.len > 0x7fffffff ? 0 : call.len);
	return 0;
}

/* A session is freed: its address may name another one from now on. */
SEC("uprobe")
int deeptrace_tls_free(struct pt_regs *ctx)
{
	struct dt_thread thread = current_thread();
	struct dt_session key = { .session = ctx->di, .pid = thread.pid };

	if (!is_watched(thread.pid) || !key.session)
		return 0;
	bpf_map_delete_elem(&tls_policies, &key);
	submit_header(DT_TLS_FREE, key.session, 0, 0, 0);
	return 0;
}

#endif
