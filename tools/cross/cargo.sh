#!/bin/sh
# cargo for aarch64 Linux, with what setup.sh unpacked; programs and tests run under qemu.
#
#   tools/cross/cargo.sh build --release
#   tools/cross/cargo.sh test --release kernels
#
# LIPSYNCD_CROSS names the folder if it is not target/cross.
set -eu

here=$(cd "$(dirname "$0")/../.." && pwd)
root=$(cd "${LIPSYNCD_CROSS:-$here/target/cross}/root" && pwd)
gcc=$root/usr/bin/aarch64-linux-gnu-gcc
export LD_LIBRARY_PATH="$root/usr/lib/x86_64-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export RUSTC="$root/usr/bin/rustc"
export CC_aarch64_unknown_linux_gnu="$gcc" AR_aarch64_unknown_linux_gnu="$root/usr/bin/aarch64-linux-gnu-ar"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER="$gcc"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$root/usr/bin/qemu-aarch64-static -L $root/usr/aarch64-linux-gnu"
command=$1
shift
exec cargo "$command" --target aarch64-unknown-linux-gnu "$@"
