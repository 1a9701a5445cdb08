/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The few kernel types that are read, with only the fields that are read: libbpf relocates them to
 * the running kernel (CO-RE). Types of the user's ABI stand outside, they never move. */
#ifndef DT_KERNEL_H
#define DT_KERNEL_H

struct sockaddr_un {
	__u16 sun_family;
	char sun_path[108];
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
};

typedef struct {
	__s64 counter;
} atomic64_t;

struct sock_common {
	union {
		struct {
			__be32 skc_daddr;
			__be32 skc_rcv_saddr;
		};
	};
	union {
		struct {
			__be16 skc_dport;
			__u16 skc_num;
		};
	};
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
	unsigned long skc_flags;
};

struct sk_buff_head {
	__u32 qlen;
};

struct inode {
	__u16 i_mode;
	unsigned long i_ino;
};

struct file {
	struct inode *f_inode;
	void *private_data;
};

struct socket {
	struct file *file;
	struct sock *sk;
};

struct sock {
	struct sock_common __sk_common;
	struct sk_buff_head sk_receive_queue;
	struct socket *sk_socket;
	__u16 sk_type;
	__u16 sk_protocol;
	int sk_err;
};

struct tcp_sock {
	__u32 write_seq;
	__u32 copied_seq;
	__u32 rcv_nxt;
	__u64 bytes_received;
	__u64 bytes_sent;
};

struct unix_address {
	int len;
	struct sockaddr_un name[0];
};

struct unix_sock {
	struct unix_address *addr;
	struct sock *peer;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct thread_struct {
	unsigned long fsbase;
};

struct task_struct {
	int pid;
	int tgid;
	struct files_struct *files;
	struct thread_struct thread;
};

struct io_cqe {
	int fd;
};

struct io_kiocb {
	__u8 opcode;
	__u32 flags;
	struct io_cqe cqe;
};

struct io_sr_msg {
	void *buf;
	int len;
};

struct io_rw {
	__u64 addr;
	__u32 len;
};

#pragma clang attribute pop

/* The user's ABI on x86-64. */

struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
	unsigned long orig_ax, ip, cs, flags, sp, ss;
};

struct user_iovec {
	__u64 base;
	__u64 len;
};

/* The beginning of struct msghdr: what is not read takes no stack. */
struct user_msghdr {
	__u64 name;
	__u32 name_len;
	__u32 pad;
	__u64 iov;
	__u64 iov_len;
};

#define DT_MSGHDR_SIZE 56	/* all of it: control, control_len and flags follow */
#define DT_MMSGHDR_SIZE 64	/* struct mmsghdr: a msghdr, msg_len, padding */

#define DT_AF_UNIX 1
#define DT_AF_INET 2
#define DT_AF_INET6 10
#define DT_S_IFMT 0170000
#define DT_S_IFSOCK 0140000

/* Bits of skc_flags (enum sock_flags). */
enum { DT_SOCK_DEAD = 1, DT_SOCK_DONE = 2 };

enum { DT_MSG_PEEK = 2, DT_MSG_TRUNC = 0x20, DT_MSG_ERRQUEUE = 0x2000 };

enum { DT_TCP_SYN_SENT = 2, DT_TCP_CLOSE = 7, DT_TCP_LISTEN = 10 };

/* Numbers of system calls on x86-64. */
enum {
	NR_read = 0,
	NR_write = 1,
	NR_readv = 19,
	NR_writev = 20,
	NR_sendfile = 40,
	NR_sendto = 44,
	NR_recvfrom = 45,
	NR_sendmsg = 46,
	NR_recvmsg = 47,
	NR_futex = 202,
	NR_epoll_wait = 232,
	NR_splice = 275,
	NR_epoll_pwait = 281,
	NR_recvmmsg = 299,
	NR_sendmmsg = 307,
	NR_io_uring_enter = 426,
	NR_epoll_pwait2 = 441,
	NR_futex_wake = 454,
	NR_futex_wait = 455,
};

/* Operations of futex (linux/futex.h). */
enum {
	DT_FUTEX_WAIT = 0,
	DT_FUTEX_WAKE = 1,
	DT_FUTEX_REQUEUE = 3,
	DT_FUTEX_CMP_REQUEUE = 4,
	DT_FUTEX_WAKE_OP = 5,
	DT_FUTEX_WAIT_BITSET = 9,
	DT_FUTEX_WAKE_BITSET = 10,
};

#define DT_FIXED_FILE 1	/* REQ_F_FIXED_FILE */

/* Operations of io_uring (linux/io_uring.h; not all headers know the newest). */
enum {
	URING_READV = 1,
	URING_WRITEV = 2,
	URING_READ_FIXED = 4,
	URING_WRITE_FIXED = 5,
	URING_SENDMSG = 9,
	URING_RECVMSG = 10,
	URING_READ = 22,
	URING_WRITE = 23,
	URING_SEND = 26,
	URING_RECV = 27,
	URING_SEND_ZC = 47,
	URING_SENDMSG_ZC = 48,
};

#endif
