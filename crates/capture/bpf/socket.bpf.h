/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Sockets: which one this is, and its description, sent once and right before its first call. */
#ifndef DT_SOCKET_BPF_H
#define DT_SOCKET_BPF_H

/* Reads a field directly where the verifier knows the pointer (`typed`), else by a helper. `typed`
 * is always a constant, so only one of the two is compiled. */
#define READ(typed, pointer, field) \
	((typed) ? (pointer)->field : BPF_CORE_READ(pointer, field))

/* The address as a number: the verifier allows no arithmetic on pointers that it knows. */
static __always_inline __u64 number(struct sock *sk)
{
	__u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), &sk);
	return value;
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

/* Names the socket without telling where the kernel keeps it. */
static __always_inline __u64 hide(struct sock *sk)
{
	return (number(sk) * 0x9e3779b97f4a7c15ULL) >> 6;
}

static __always_inline __u32 socket_ino(struct sock *sk, const bool typed)
{
	if (typed) {
		struct socket *socket = sk->sk_socket;

		return socket ? (__u32)socket->file->f_inode->i_ino : 0;
	}
	return (__u32)BPF_CORE_READ(sk, sk_socket, file, f_inode, i_ino);
}

/* The kind of socket, or -1: not one of ours. */
static __always_inline int socket_transport(struct sock *sk, const bool typed)
{
	__u16 family = READ(typed, sk, __sk_common.skc_family);
	__u16 type = READ(typed, sk, sk_type);

	if (family == DT_AF_INET || family == DT_AF_INET6) {
		__u16 protocol = READ(typed, sk, sk_protocol);

		if (type == 1 && (protocol == 6 || protocol == 262))
			return protocol == 6 ? DT_TCP : -1;
		return type == 2 && protocol == 17 ? DT_UDP : -1;
	}
	if (family != DT_AF_UNIX)
		return -1;
	return type == 1 ? DT_UNIX_STREAM : DT_UNIX_DATAGRAM;
}

/* The kernel's socket cookie. Where it cannot be asked for, the one that somebody else asked for, else a
 * number made of address and inode; the highest bit keeps these apart. */
static __always_inline __u64 socket_cookie(struct sock *sk, __u32 ino, const bool typed)
{
	__u64 cookie;

	if (typed && dt_has_cookies)
		return bpf_get_socket_cookie(sk);
	cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	return cookie ? cookie : 1ULL << 63 | hide(sk) << 32 | ino;
}

/* What is remembered of `sk`, made on first sight. */
static __always_inline struct dt_socket *socket_state(struct sock *sk, const bool typed)
{
	__u64 key = (unsigned long)sk;
	struct dt_socket *s = bpf_map_lookup_elem(&sockets, &key);
	__u32 ino = socket_ino(sk, typed);
	int transport;

	if (s && s->ino == ino)
		return s;
	transport = socket_transport(sk, typed);
	if (transport < 0)
		return NULL;

	struct dt_socket fresh = {
		.cookie = socket_cookie(sk, ino, typed),
		.ino = ino,
		.transport = transport,
		.policy_generation = 0,
	};

	if (bpf_map_update_elem(&sockets, &key, &fresh, BPF_ANY)) {
		count_loss(DT_MAP_FULL);
		return NULL;
	}
	return bpf_map_lookup_elem(&sockets, &key);
}

static __always_inline void map_ipv4(__u8 *to, __be32 address)
{
	to[10] = 0xff;
	to[11] = 0xff;
	__builtin_memcpy(to + 12, &address, 4);
}

static __always_inline void describe_inet(struct dt_open *o, struct sock *sk)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	o->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	o->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	o->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	if (family == DT_AF_INET6 && bpf_core_field_exists(sk->__sk_common.skc_v6_daddr)) {
		BPF_CORE_READ_INTO(&o->local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&o->remote, sk, __sk_common.skc_v6_daddr);
	} else {
		map_ipv4(o->local, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
		map_ipv4(o->remote, BPF_CORE_READ(sk, __sk_common.skc_daddr));
	}
}

static __always_inline void unix_path(char *to, struct sock *sk)
{
	struct unix_address *address = BPF_CORE_READ((struct unix_sock *)sk, addr);

	/* After the family; an abstract name starts with a zero byte. */
	if (address)
		bpf_probe_read_kernel(to, 108, (char *)address->name + 2);
}

/* The inode of the end that connected, which both ends see: addresses alone name one pair after another,
 * because the kernel makes sockets where others were. The end that was accepted has its listener's name,
 * and the one that connected has none; a pair made at once has none at all. 0: both are named. */
static __always_inline __u64 unix_instance(struct sock *sk, struct sock *peer)
{
	bool named = BPF_CORE_READ((struct unix_sock *)sk, addr) != NULL;
	bool peer_named = BPF_CORE_READ((struct unix_sock *)peer, addr) != NULL;

	if (named && peer_named)
		return 0;
	if (named || (!peer_named && hide(peer) < hide(sk)))
		sk = peer;
	return BPF_CORE_READ(sk, sk_socket, file, f_inode, i_ino);
}

static __always_inline void describe_unix(struct dt_open *o, struct sock *sk)
{
	struct sock *peer = BPF_CORE_READ((struct unix_sock *)sk, peer);

	o->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	o->unix_self = hide(sk);
	o->unix_peer = hide(peer);
	if (peer) {
		__u64 instance = unix_instance(sk, peer) << 40;

		o->unix_self ^= instance;
		o->unix_peer ^= instance;
	}
	unix_path(o->local_path, sk);
	if (peer)
		unix_path(o->remote_path, peer);
}

static __always_inline bool is_own_port(const struct dt_knobs *k, __u16 local, __u16 remote)
{
	for (int i = 0; i < DT_PORTS_MAX; i++) {
		if (i < k->ports_count && k->ports[i] && (k->ports[i] == local || k->ports[i] == remote))
			return true;
	}
	return false;
}

/* Position of the next byte to be read. The end of the stream has a number of its own: where it was read
 * together with the last bytes, it does not count. */
static __always_inline __u32 received_end(struct sock *sk, struct tcp_sock *tcp, const bool typed)
{
	__u32 end = READ(typed, tcp, copied_seq);

	if ((READ(typed, sk, __sk_common.skc_flags) & DT_SOCK_DONE) && READ(typed, tcp, rcv_nxt) == end)
		end--;
	return end;
}

/* Sends the description of a socket. `moved` bytes of the call in hand, going `sent`, are not part of
 * the positions. False: the ring is full, to be tried again at the next call. */
static __noinline int describe(struct sock *sk, struct dt_socket *s, const struct dt_knobs *k,
			       __u64 moved_and_direction)
{
	__u32 moved = (__u32)moved_and_direction;
	bool sent = moved_and_direction >> 32;
	struct dt_open *o;

	if (!s || !k)
		return 0;
	o = bpf_ringbuf_reserve(&events, sizeof(*o), 0);
	if (!o) {
		count_loss(DT_RING_FULL);
		return 0;
	}
	__builtin_memset(o, 0, sizeof(*o));
	o->h.kind = DT_OPEN;
	o->h.time = bpf_ktime_get_boot_ns();
	o->h.cookie = s->cookie;
	o->transport = s->transport;
	o->connected = s->connected;
	o->h.pid = s->connected ? s->pid : bpf_get_current_pid_tgid() >> 32;
	o->h.tid = s->connected ? s->tid : (__u32)bpf_get_current_pid_tgid();
	o->cgroup = bpf_get_current_cgroup_id();
	bpf_get_current_comm(o->comm, sizeof(o->comm));
	if (s->transport >= DT_UNIX_STREAM) {
		describe_unix(o, sk);
		o->fresh = s->connected;
	} else {
		describe_inet(o, sk);
	}
	if (s->transport == DT_TCP) {
		struct tcp_sock *tcp = (struct tcp_sock *)sk;
		__u32 write_seq = BPF_CORE_READ(tcp, write_seq);
		__u32 copied_seq = received_end(sk, tcp, false);
		__u32 unread = BPF_CORE_READ(tcp, rcv_nxt) - copied_seq;
		__u64 received = BPF_CORE_READ(tcp, bytes_received);

		o->sent = write_seq - (sent ? moved : 0);
		o->received = copied_seq - (sent ? 0 : moved);
		/* Where nothing was read before this call and nothing was sent, the socket is new. */
		o->fresh = received <= unread + (sent ? 0 : moved) &&
			   BPF_CORE_READ(tcp, bytes_sent) <= (sent ? moved : 0);
	}
	s->ignored = s->transport < DT_UNIX_STREAM && is_own_port(k, o->local_port, o->remote_port);
	s->described = 1;
	if (s->ignored)
		bpf_ringbuf_discard(o, BPF_RB_NO_WAKEUP);
	else
		bpf_ringbuf_submit(o, BPF_RB_NO_WAKEUP);
	return 1;
}

#endif
