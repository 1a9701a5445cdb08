/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Who works for whom inside a process: wake-ups between its threads, and the runtime's own unit that runs
 * on a thread. Only of processes that user space follows; for all others one look at a number. */
#ifndef DT_FOLLOW_BPF_H
#define DT_FOLLOW_BPF_H

/* How many processes are followed. Written by user space only. */
struct dt_following following SEC(".data.following");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, DT_FOLLOWED_MAX);
	__type(key, __u32);
	__type(value, struct dt_follow);
} follows SEC(".maps");

/* Words of which nobody wants to hear: mutexes and interpreter locks. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct dt_word);
	__type(value, __u32);
} muted SEC(".maps");

/* Hand-overs that a processor told in this slice of time. */
struct dt_told {
	__u64 slice;
	__u64 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct dt_told);
} told SEC(".maps");

/* Chunks of a stack that are followed back: the first has 16 KiB, and each next one twice as much. */
#define DT_CHUNKS_MAX 8

/* Where a task has its id, at most: behind a header and a pointer to its scheduler. */
#define DT_TOKIO_ID_MAX 512

static __always_inline struct dt_follow *followed(__u32 pid)
{
	return following.processes ? bpf_map_lookup_elem(&follows, &pid) : NULL;
}

static __always_inline __u64 user_word(__u64 at)
{
	__u64 word = 0;

	bpf_probe_read_user(&word, sizeof(word), (void *)at);
	return word;
}

/* Whether it may be an id that counts up from 1, and not an address on a heap. */
static __always_inline bool is_counted(__u64 id)
{
	return id && !(id >> 36);
}

/* The context that CPython runs in on this thread. The thread state is found through the slot of pthreads,
 * because the interpreter lets go of it around system calls; it names its thread, and a context its type:
 * wrong offsets find neither. */
static __always_inline __u64 cpython_unit(struct dt_follow *f, __u64 fs)
{
	__u64 state = user_word(fs + f->slot), context;

	if (!state)
		return 0;
	if (user_word(state + f->at[DT_PY_STATE_THREAD]) != fs)
		goto miss;
	context = user_word(state + f->at[DT_PY_STATE_CONTEXT]);
	/* None was needed until now. */
	if (!context)
		return 0;
	if (user_word(context + 8) != f->at[DT_PY_CONTEXT_TYPE])
		goto miss;
	f->reads++;
	return DT_UNIT_CONTEXT | (context & DT_UNIT_VALUE);
miss:
	f->misses++;
	return 0;
}

/* The greenlet on this thread, by the first chunk of the stack on which it keeps its frames (_PyStackChunk): each
 * greenlet has its own, page by page. The same way there as to a context. */
static __always_inline __u64 greenlet_unit(struct dt_follow *f, __u64 fs)
{
	__u64 state = user_word(fs + f->slot), chunk, before;

	if (!state)
		return 0;
	if (user_word(state + f->at[DT_PY_STATE_THREAD]) != fs)
		goto miss;
	chunk = user_word(state + f->at[DT_PY_STATE_CONTEXT]);
	if (!chunk)
		return 0;
	for (int i = 0; i < DT_CHUNKS_MAX; i++) {
		/* Its size in bytes, and how many words of it are used. */
		__u64 size = user_word(chunk + 8), used = user_word(chunk + 16);

		if ((chunk & 0xfff) || !size || (size & 0xfff) || used > size / 8)
			goto miss;
		before = user_word(chunk);
		if (!before) {
			f->reads++;
			return DT_UNIT_TASK | (chunk & DT_UNIT_VALUE);
		}
		chunk = before;
	}
	return 0;
miss:
	f->misses++;
	return 0;
}

/* The goroutine on this thread, also where the scheduler runs for it: the thread's m knows it. */
static __always_inline __u64 go_unit(struct dt_follow *f, __u64 fs)
{
	__u64 g = user_word(fs + f->slot), m, current, id;

	if (!g)
		return 0;
	m = user_word(g + f->at[DT_GO_G_M]);
	current = m ? user_word(m + f->at[DT_GO_M_G]) : 0;
	if (!current)
		return 0;
	id = user_word(current + f->at[DT_GO_G_ID]);
	/* The m of a goroutine is the one that runs it. */
	if (!is_counted(id) || user_word(current + f->at[DT_GO_G_M]) != m) {
		f->misses++;
		return 0;
	}
	f->reads++;
	return DT_UNIT_TASK | id;
}

/* The virtual thread that is mounted on this thread, by its id as an owner of monitors. HotSpot's thread names
 * its pthread, and while nothing is mounted the thread that runs is its own. The collector may move the two
 * while they are compared: then a thread shows its own id once, and is nobody else. */
static __always_inline __u64 hotspot_unit(struct dt_follow *f, __u64 fs)
{
	__u64 thread = user_word(fs + f->slot), carrier, current, id;

	if (!thread)
		return 0;
	if (user_word(user_word(thread + f->at[DT_VM_THREAD_OS]) + f->at[DT_VM_OS_PTHREAD]) != fs)
		goto miss;
	f->reads++;
	carrier = user_word(thread + f->at[DT_VM_THREAD_CARRIER]);
	current = user_word(thread + f->at[DT_VM_THREAD_CURRENT]);
	/* Threads of the collector have neither. */
	if (!carrier || !current || user_word(carrier) == user_word(current))
		return 0;
	id = user_word(thread + f->at[DT_VM_THREAD_OWNER]);
	if (is_counted(id))
		return DT_UNIT_TASK | id;
miss:
	f->misses++;
	return 0;
}

/* An id of a task of tokio: they count up from 1. */
static __always_inline bool is_tokio_id(struct dt_follow *f, __u64 id)
{
	return is_counted(id) && id < user_word(f->at[DT_TOKIO_NEXT]);
}

/* The task of tokio on this thread; around tasks there is none. */
static __always_inline __u64 tokio_unit(struct dt_follow *f, __u64 fs)
{
	__u64 id = user_word(fs + f->slot);

	if (!id)
		return 0;
	if (!is_tokio_id(f, id)) {
		f->misses++;
		return 0;
	}
	f->reads++;
	return DT_UNIT_TASK | id;
}

/* The runtime's unit that runs on the current thread; 0: none that is known. */
static __always_inline __u64 unit_of(struct dt_follow *f)
{
	__u64 fs = bpf_get_current_task_btf()->thread.fsbase;

	if (f->runtime == DT_CPYTHON)
		return cpython_unit(f, fs);
	if (f->runtime == DT_GO)
		return go_unit(f, fs);
	if (f->runtime == DT_HOTSPOT)
		return hotspot_unit(f, fs);
	if (f->runtime == DT_GREENLET)
		return greenlet_unit(f, fs);
	if (f->runtime == DT_TOKIO)
		return tokio_unit(f, fs);
	return 0;
}

__noinline __u64 deeptrace_current_unit(__u32 pid)
{
	struct dt_follow *f = followed(pid);

	return f && f->runtime ? unit_of(f) : 0;
}

/* Tells a hand-over, unless there are too many of them. */
static __always_inline void hand_over(__u16 kind, __u64 from, __u64 to, __u64 word)
{
	struct dt_handover *r;
	struct dt_told *t;
	__u64 slice = bpf_ktime_get_boot_ns() >> 27;
	__u32 zero = 0;

	t = bpf_map_lookup_elem(&told, &zero);
	if (!t)
		return;
	if (t->slice != slice) {
		t->slice = slice;
		t->count = 0;
	}
	if (++t->count > following.rate_max) {
		count_loss(DT_SHED);
		return;
	}
	r = bpf_ringbuf_reserve(&events, sizeof(*r), 0);
	if (!r) {
		count_loss(DT_RING_FULL);
		return;
	}
	header(&r->h, current_thread(), DT_HANDOVER, 0, 0);
	r->h.errno_ = kind;
	r->from = from;
	r->to = to;
	r->word = word;
	bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
}

/* futex(2): who wakes, and who waits. Operations that lock and unlock for priority inheritance are locks. */
static __always_inline bool is_futex_wake(const struct pt_regs *regs)
{
	__u32 operation = regs->si & 0x7f;

	if (regs->orig_ax == NR_futex_wake)
		return true;
	return regs->orig_ax == NR_futex &&
	       (operation == DT_FUTEX_WAKE || operation == DT_FUTEX_WAKE_BITSET || operation == DT_FUTEX_WAKE_OP ||
		operation == DT_FUTEX_REQUEUE || operation == DT_FUTEX_CMP_REQUEUE);
}

static __always_inline bool is_futex_wait(const struct pt_regs *regs)
{
	__u32 operation = regs->si & 0x7f;

	if (regs->orig_ax == NR_futex_wait)
		return true;
	return regs->orig_ax == NR_futex && (operation == DT_FUTEX_WAIT || operation == DT_FUTEX_WAIT_BITSET);
}

static __always_inline bool is_write(long nr)
{
	return nr == NR_write || nr == NR_writev || nr == NR_sendto || nr == NR_sendmsg;
}

/* Asleep until something can be read. Not poll and read: work for other sockets is done in the context of
 * whoever writes, so who is in these may wait for anything. */
static __always_inline bool is_poll(long nr)
{
	return nr == NR_epoll_wait || nr == NR_epoll_pwait || nr == NR_epoll_pwait2;
}

/* A thread wakes another of its process: by a futex on which that one sleeps, or by a write that ends its
 * poll. */
SEC("tp_btf/sched_waking")
int deeptrace_waking(unsigned long long *ctx)
{
	struct task_struct *wakee = ARG(ctx, 0, struct task_struct *);
	struct task_struct *waker;
	const struct pt_regs *ours, *theirs;
	struct dt_word word = {};
	struct dt_follow *f;
	__u64 ended;
	__u16 kind;

	if (!following.processes)
		return 0;
	waker = bpf_get_current_task_btf();
	if (wakee->tgid != waker->tgid || wakee->pid == waker->pid)
		return 0;
	f = followed(waker->tgid);
	if (!f || !f->wakes)
		return 0;
	ours = (struct pt_regs *)bpf_task_pt_regs(waker);
	theirs = (struct pt_regs *)bpf_task_pt_regs(wakee);
	ended = theirs->orig_ax;
	barrier_var(ended);
	if (is_futex_wake(ours)) {
		if (!is_futex_wait(theirs) || ours->di != theirs->di)
			return 0;
		word.address = ours->di;
		word.pid = waker->tgid;
		if (bpf_map_lookup_elem(&muted, &word))
			return 0;
		kind = DT_BY_FUTEX;
	} else if (is_write(ours->orig_ax) && is_poll(ended)) {
		kind = DT_BY_WRITE;
	} else {
		return 0;
	}
	hand_over(kind, unit_of(f), wakee->pid, word.address);
	return 0;
}

/* CPython's PyContext_CopyCurrent returns: whoever gets the copy works for whom the original did. */
SEC("uprobe")
int deeptrace_py_copied(struct pt_regs *regs)
{
	struct dt_follow *f = followed(current_thread().pid);
	__u64 copy = regs->ax;

	if (!f || f->runtime != DT_CPYTHON || !copy || user_word(copy + 8) != f->at[DT_PY_CONTEXT_TYPE])
		return 0;
	f->hits++;
	hand_over(DT_BY_COPY, unit_of(f), DT_UNIT_CONTEXT | (copy & DT_UNIT_VALUE), 0);
	return 0;
}

/* CPython's queue.SimpleQueue: an item is put (the function takes an array of arguments). */
SEC("uprobe")
int deeptrace_py_put(struct pt_regs *regs)
{
	struct dt_follow *f = followed(current_thread().pid);
	__u64 item;

	if (!f || f->runtime != DT_CPYTHON)
		return 0;
	f->hits++;
	item = user_word(regs->si);
	if (item)
		hand_over(DT_BY_PUT, unit_of(f), DT_UNIT_ITEM | (item & DT_UNIT_VALUE), 0);
	return 0;
}

/* The same: an item was got. None: whoever waited has nothing to do. */
SEC("uprobe")
int deeptrace_py_got(struct pt_regs *regs)
{
	struct dt_thread thread = current_thread();
	struct dt_follow *f = followed(thread.pid);

	if (!f || f->runtime != DT_CPYTHON)
		return 0;
	f->hits++;
	hand_over(DT_BY_GOT, DT_UNIT_ITEM | (regs->ax & DT_UNIT_VALUE), thread.tid, 0);
	return 0;
}

/* The goroutine that this thread runs, and another one, whose g is in rax; with the
 * reason for which that one waited, if it did. */
static __always_inline int go_hand_over(struct pt_regs *regs, __u32 kind, bool waited)
{
	struct dt_follow *f = followed(current_thread().pid);
	__u64 from, to;

	if (!f || f->runtime != DT_GO)
		return 0;
	f->hits++;
	from = unit_of(f);
	to = user_word(regs->ax + f->at[DT_GO_G_ID]);
	if (!from || !is_counted(to))
		return 0;
	hand_over(kind, from, DT_UNIT_TASK | to, waited ? user_word(regs->ax + f->at[DT_GO_G_REASON]) & 0xff : 0);
	return 0;
}

/* Go's runtime.ready(gp, …), on the scheduler's stack: a goroutine makes another one ready. The reason for
 * which that waited says which way the data goes. */
SEC("uprobe")
int deeptrace_go_ready(struct pt_regs *regs)
{
	return go_hand_over(regs, DT_BY_READY, true);
}

/* Go's runtime.newproc1 returns the goroutine that it made. */
SEC("uprobe")
int deeptrace_go_born(struct pt_regs *regs)
{
	return go_hand_over(regs, DT_BY_BIRTH, false);
}

/* The task of tokio that this thread runs, and another one. */
static __always_inline int tokio_hand_over(__u64 task, __u32 kind)
{
	struct dt_follow *f = followed(current_thread().pid);
	__u64 from, place, to;

	if (!f || f->runtime != DT_TOKIO)
		return 0;
	f->hits++;
	from = unit_of(f);
	place = user_word(user_word(task + f->at[DT_TOKIO_TASK_TABLE]) + f->at[DT_TOKIO_TABLE_ID]);
	to = user_word(task + place);
	if (from && place < DT_TOKIO_ID_MAX && is_tokio_id(f, to))
		hand_over(kind, from, DT_UNIT_TASK | to, 0);
	return 0;
}

/* tokio wakes a task: the first argument. */
SEC("uprobe")
int deeptrace_tokio_woken(struct pt_regs *regs)
{
	return tokio_hand_over(regs->di, DT_BY_READY);
}

/* tokio takes a new task in: the second argument. */
SEC("uprobe")
int deeptrace_tokio_born(struct pt_regs *regs)
{
	return tokio_hand_over(regs->si, DT_BY_BIRTH);
}

#endif
