#!/bin/sh
# Builds the kernel object: build.sh [OUTPUT]. The same sources give the same bytes: no paths, no
# debug sections but BTF. Needs clang-19, llvm-19, libbpf-dev and linux-libc-dev.
set -eu
cd "$(dirname "$0")"
out=${1:-deeptrace.bpf.o}
clang-19 -O2 -g -target bpf -mcpu=v3 -Wall -Werror -D__TARGET_ARCH_x86 \
    -fdebug-prefix-map="$(pwd)"=. -ffile-prefix-map="$(pwd)"=. \
    -I"/usr/include/$(uname -m)-linux-gnu" -c deeptrace.bpf.c -o "$out.tmp"
llvm-strip-19 -g "$out.tmp"
mv "$out.tmp" "$out"
