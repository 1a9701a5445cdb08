/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Sockets: which one this is, and its description, sent once and right before its first call. */
#ifndef DT_SOCKET_BPF_H
#define DT_SOCKET_BPF_H

/* Reads a field directly where the verifier knows the pointer (`typed`), else by a helper. Typed are the
 * sockets of the first choice of hook, and what goes with them: kernels that have it also have socket
 * storage and cookies. `typed` is always a constant, so only one of the two is compiled. */
#define READ(typed, pointer, field) \
	((typed) ? (pointer)->field : BPF_CORE_READ(pointer, field))

/* The address as a number: the verifier allows no arithmetic on pointers that it knows. */
static __always_inline __u64 number(struct sock *sk)
{
	__u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), &sk);
	return value;
}

/* Whether the verifier knows the current task (since 5.11): libbpf makes a constant of it when it loads. */
static __always_inline bool has_typed_task(void)
{
	return bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf);
}

/* The thread that runs now. */
struct dt_thread {
	__u32 pid;
	__u32 tid;
};

/* A load is cheaper than a call, where the kernel lets us have the task (since 5.11). */
static __always_inline struct dt_thread current_thread(void)
{
	struct dt_thread thread;
	__u64 id;

	if (has_typed_task()) {
		struct task_struct *task = bpf_get_current_task_btf();

		thread.pid = task->tgid;
		thread.tid = task->pid;
		return thread;
	}
	id = bpf_get_current_pid_tgid();
	thread.pid = id >> 32;
	thread.tid = (__u32)id;
	return thread;
}

/* The file behind a file descriptor of the current task. */
static __always_inline struct file *file_of(__u32 fd)
{
	struct fdtable *table;
	struct file **files, *file = NULL;
	__u32 count;

	if (has_typed_task()) {
		table = bpf_get_current_task_btf()->files->fdt;
		files = table->fd;
		count = table->max_fds;
	} else {
		struct task_struct *task = (struct task_struct *)bpf_get_current_task();

		table = BPF_CORE_READ(task, files, fdt);
		files = BPF_CORE_READ(table, fd);
		count = BPF_CORE_READ(table, max_fds);
	}
	if (fd < count)
		bpf_probe_read_kernel(&file, sizeof(file), files + fd);
	return file;
}

/* The socket behind a file descriptor of the current task. */
static __always_inline struct sock *socket_of(__u32 fd)
{
	struct file *file = file_of(fd);
	struct socket *socket;

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

/* A cookie where the kernel's cannot be asked for: the one that somebody else asked for, else a number
 * made of address and inode; the highest bit keeps these apart. */
static __always_inline __u64 guessed_cookie(struct sock *sk, __u32 ino)
{
	__u64 cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);

	return cookie ? cookie : 1ULL << 63 | hide(sk) << 32 | ino;
}

/* The first sight of a socket that the kernel keeps our memory of. Apart, as is the next, because the
 * frames of all functions that are in one another share 512 bytes of stack. */
static __noinline struct dt_socket *store_state(struct sock *sk)
{
	int transport = socket_transport(sk, true);
	struct dt_socket *s, fresh = {};

	if (transport < 0)
		return NULL;
	fresh.cookie = bpf_get_socket_cookie(sk);
	fresh.transport = transport;
	s = bpf_sk_storage_get(&sockets, sk, &fresh, BPF_SK_STORAGE_GET_F_CREATE);
	/* Where two threads are the first at once, one of them comes too late to make it. */
	if (!s)
		s = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	if (!s)
		count_loss(DT_MAP_FULL);
	return s;
}

/* The same by address, which `ino` holds now. */
static __noinline struct dt_socket *note_address(struct sock *sk, __u32 ino)
{
	int transport = socket_transport(sk, false);
	__u64 key = (unsigned long)sk;
	struct dt_socket fresh = {};

	if (transport < 0)
		return NULL;
	fresh.cookie = guessed_cookie(sk, ino);
	fresh.ino = ino;
	fresh.transport = transport;
	if (bpf_map_update_elem(&addresses, &key, &fresh, BPF_ANY)) {
		count_loss(DT_MAP_FULL);
		return NULL;
	}
	return bpf_map_lookup_elem(&addresses, &key);
}

static __always_inline struct dt_socket *state_by_address(struct sock *sk)
{
	__u64 key = (unsigned long)sk;
	struct dt_socket *s = bpf_map_lookup_elem(&addresses, &key);
	__u32 ino = BPF_CORE_READ(sk, sk_socket, file, f_inode, i_ino);

	return s && s->ino == ino ? s : note_address(sk, ino);
}

/* What is remembered of `sk`, made on first sight. NULL: not one of ours. */
static __always_inline struct dt_socket *socket_state(struct sock *sk, const bool typed)
{
	struct dt_socket *s;

	if (!typed)
		return state_by_address(sk);
	s = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	return s ? s : store_state(sk);
}

/* What is remembered of `sk`, if anything is. */
static __always_inline struct dt_socket *known_socket(struct sock *sk, const bool typed)
{
	__u64 key;

	if (typed)
		return bpf_sk_storage_get(&sockets, sk, NULL, 0);
	key = (unsigned long)sk;
	return bpf_map_lookup_elem(&addresses, &key);
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

static __always_inline bool is_own_port(__u16 local, __u16 remote)
{
	for (int i = 0; i < DT_PORTS_MAX; i++) {
		__u16 port = knobs.ports[i];

		if (i < knobs.ports_count && port && (port == local || port == remote))
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
static __noinline int describe(struct sock *sk, struct dt_socket *s, __u64 moved_and_direction)
{
	__u32 moved = (__u32)moved_and_direction;
	bool sent = moved_and_direction >> 32;
	struct dt_thread thread = current_thread();
	struct dt_open *o;

	if (!s)
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
	o->h.pid = s->connected ? s->pid : thread.pid;
	o->h.tid = s->connected ? s->tid : thread.tid;
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
	s->ignored = s->transport < DT_UNIX_STREAM && is_own_port(o->local_port, o->remote_port);
	s->described = 1;
	if (s->ignored)
		bpf_ringbuf_discard(o, BPF_RB_NO_WAKEUP);
	else
		bpf_ringbuf_submit(o, BPF_RB_NO_WAKEUP);
	return 1;
}

#endif
