#!/bin/sh
# lipsyncd for aarch64, as tools/cross/cargo.sh build --release leaves it, under qemu. One program to hand to the clients:
#
#   tools/cross/lipsyncd.sh infer --unet FILE.onnx ...
#   python .ci/smoke.py tools/cross/lipsyncd.sh models
#   python tests/clients/conformance.py tools/cross/lipsyncd.sh -- --models tests/data/packages
#
# LIPSYNCD_CROSS names the folder if it is not target/cross; QEMU_CPU (such as cortex-a53) picks a processor.
set -eu

here=$(cd "$(dirname "$0")/../.." && pwd)
root=$(cd "${LIPSYNCD_CROSS:-$here/target/cross}/root" && pwd)
program=${CARGO_TARGET_DIR:-$here/target}/aarch64-unknown-linux-gnu/release/lipsyncd
exec "$root/usr/bin/qemu-aarch64-static" -L "$root/usr/aarch64-linux-gnu" "$program" "$@"
