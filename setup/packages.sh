#!/bin/sh
# Sees to the system's tools that a build needs: C and C++ compilers, cmake and nasm (for libjpeg-turbo), meson and ninja (for
# dav1d), and pip; where FEATURES has heic also libde265 with its headers.
# With BROWSER=1 also to the browser of `make browser-test`, and with NGINX=1 to nginx, for the test that puts `serve` behind it: not
# on everybody's machine, since Debian's package starts it. With NFS=1 to what `make nfs-test` needs, and with
# CLUSTER=1 to the Slurm of `make cluster-test`, of which the same is true, and with S3=1 to the rclone of `make s3-test`.
# Installs what is missing where it may (Debian, as root or with sudo without a password), else says what to do.
set -eu

missing=""
need() { # need PROGRAM PACKAGE
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
case ",${FEATURES:-}," in
*,pure-rust,*) ;;
*)
    need cmake cmake
    need nasm nasm
    need meson meson
    need ninja ninja-build
    ;;
esac
case ",${FEATURES:-}," in
*,heic,*) pkg-config --exists libde265 2>/dev/null || missing="$missing pkg-config libde265-dev" ;;
esac
need cc gcc
need c++ g++
need python3 python3
if [ -n "${BROWSER:-}" ]; then
    need chromium chromium
fi
if [ -n "${NGINX:-}" ]; then
    [ -x /usr/sbin/nginx ] || need nginx nginx-light
fi
if [ -n "${NFS:-}" ]; then
    need linux.uml user-mode-linux
    [ -x /usr/sbin/rpc.nfsd ] || need rpc.nfsd nfs-kernel-server
    [ -x /usr/sbin/rpc.statd ] || need rpc.statd nfs-common
    [ -x /usr/sbin/rpcbind ] || need rpcbind rpcbind
    [ -x /usr/sbin/mkfs.ext4 ] || need mkfs.ext4 e2fsprogs
    [ -x /usr/sbin/modprobe ] || need modprobe kmod
    [ -x /usr/sbin/ip ] || need ip iproute2
    [ -x /usr/lib/openssh/sftp-server ] || need sftp-server openssh-sftp-server
    need sshfs sshfs
fi
if [ -n "${CLUSTER:-}" ]; then
    [ -x /usr/sbin/slurmctld ] || need slurmctld slurmctld
    [ -x /usr/sbin/slurmd ] || need slurmd slurmd
    [ -x /usr/sbin/munged ] || need munged munge
    [ -x /usr/sbin/ip ] || need ip iproute2
    need sbatch slurm-client
    python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
fi
if [ -n "${S3:-}" ]; then
    [ -x /usr/sbin/ip ] || need ip iproute2
    need rclone rclone
    python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
fi
python3 -m pip --version >/dev/null 2>&1 || missing="$missing python3-pip"
missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
command -v cargo >/dev/null 2>&1 || {
    echo "setup: cargo is missing; install Rust 1.92 or newer" >&2
    exit 1
}
[ -n "${missing% }" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=""
elif sudo -n true 2>/dev/null; then
    as_root="sudo"
else
    as_root=none
fi
if [ "$as_root" != none ] && command -v apt-get >/dev/null 2>&1; then
    echo "setup: installing $missing"
    # What is known of the packages may do where it cannot be brought up to date.
    $as_root apt-get update -qq || true
    # shellcheck disable=SC2086  # the list is meant to be split
    if $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing >/dev/null; then
        exit 0
    fi
fi
echo "setup: missing: $missing" >&2
echo "setup: install them (Debian: apt-get install $missing)" >&2
echo "setup: without cmake, nasm, meson and ninja, FEATURES=pure-rust builds a slower program whose JPEG pixels are not exact," >&2
echo "setup: and which reads no AVIF" >&2
exit 1
