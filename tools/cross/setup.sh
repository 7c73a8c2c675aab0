#!/bin/sh
# Sets up a cross build for aarch64 Linux without rustup: a Rust compiler of Debian's with its arm64 standard library,
# a cross gcc, and qemu to run the result. Everything is unpacked into one folder; nothing is installed.
#
#   tools/cross/setup.sh [FOLDER]        default: target/cross
#
# Needs Debian 12 (amd64) with network access, and dpkg and apt as they come. Afterwards: tools/cross/cargo.sh.
set -eu

folder=$(mkdir -p "${1:-target/cross}" && cd "${1:-target/cross}" && pwd)
root=$folder/root
apt=$folder/apt
mkdir -p "$root" "$folder/packages" "$apt/state/lists/partial" "$apt/cache/archives/partial"

# An apt with a state of its own, so that the foreign architecture never reaches the system's.
cp /var/lib/dpkg/status "$apt/state/status"
cat > "$apt/apt.conf" <<CONF
Dir::State "$apt/state";
Dir::State::status "$apt/state/status";
Dir::Cache "$apt/cache";
APT::Architecture "amd64";
APT::Architectures { "amd64"; "arm64"; };
CONF
export APT_CONFIG="$apt/apt.conf"
apt-get -qq update

# rustc-web is the recent compiler that Debian keeps for its browsers.
version=$(apt-cache policy rustc-web | awk '$1 == "Candidate:" { print $2 }')
series=$(echo "$version" | sed 's/^\([0-9]*\.[0-9]*\)\..*/\1/')
llvm=$(apt-cache depends "libstd-rust-web-$series" | awk '/Depends: libllvm/ { print $2 }')

cd "$folder/packages"
apt-get -qq download \
  "rustc-web:amd64=$version" "libstd-rust-web-$series:amd64=$version" "$llvm:amd64" \
  "libstd-rust-web-dev:amd64=$version" "libstd-rust-web-dev:arm64=$version" \
  gcc-aarch64-linux-gnu gcc-12-aarch64-linux-gnu cpp-12-aarch64-linux-gnu binutils-aarch64-linux-gnu \
  g++-aarch64-linux-gnu g++-12-aarch64-linux-gnu libstdc++-12-dev-arm64-cross \
  libgcc-12-dev-arm64-cross libgcc-s1-arm64-cross libgomp1-arm64-cross libatomic1-arm64-cross libstdc++6-arm64-cross \
  libc6-arm64-cross libc6-dev-arm64-cross linux-libc-dev-arm64-cross qemu-user-static
for package in *.deb; do
  dpkg -x "$package" "$root"
done

# The C library's linker scripts name absolute paths of an installed system.
for script in "$root"/usr/aarch64-linux-gnu/lib/*.so; do
  if head -c 200 "$script" | grep -q 'GNU ld script'; then
    sed -i 's#/usr/aarch64-linux-gnu/lib/##g' "$script"
  fi
done
echo "ready: rustc $version in $folder"
