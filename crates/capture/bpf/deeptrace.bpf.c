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

#define ARG(ctx, n, type) ((type)((unsigned long long *)(ctx))[n])

#include "record.bpf.h"
#include "follow.bpf.h"
#include "payload.bpf.h"
#include "tls_calls.bpf.h"
#include "tls_records.bpf.h"
#include "call.bpf.h"
#include "operation.bpf.h"
#include "syscall.bpf.h"
#include "lifecycle.bpf.h"
#include "tls_probes.bpf.h"

/* Keep the types in the object's BTF, for the test that compares layouts. */
struct dt_open *emit_dt_open __attribute__((unused));
struct dt_call *emit_dt_call __attribute__((unused));
struct dt_plaintext *emit_dt_plaintext __attribute__((unused));
struct dt_handover *emit_dt_handover __attribute__((unused));

char LICENSE[] SEC("license") = "Dual BSD/GPL";
