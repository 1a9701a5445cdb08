#!/bin/sh
# Builds a kernel object: build.sh [OUTPUT [SOURCE]]. The same sources give the same bytes: no paths,
# no debug sections but BTF. Needs clang-19, llvm-19, libbpf-dev and linux-libc-dev.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$(realpath "${1:-$here/deeptrace.bpf.o}")
source=$(realpath "${2:-$here/deeptrace.bpf.c}")
cd "$(dirname "$source")"
clang-19 -O2 -g -target bpf -mcpu=v3 -Wall -Werror -D__TARGET_ARCH_x86 \
    -ffile-prefix-map="$here"=. -ffile-prefix-map="$(pwd)"=. \
    -I"$here" -I"/usr/include/$(uname -m)-linux-gnu" -c "$(basename "$source")" -o "$out.tmp"
llvm-strip-19 -g "$out.tmp"
mv "$out.tmp" "$out"
