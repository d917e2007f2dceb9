#!/bin/sh
# Fetch Debian's stock cloud kernel for the QEMU tests, without installing it.
#
# usage: fetch_kernel.sh DESTDIR
#
# Leaves in DESTDIR:
#   vmlinuz   the kernel, an EFI application too (it has the EFI stub)
#   version   its release, one line, as in `uname -r`
#   modules/  a tree with lib/modules/RELEASE and the index files of depmod
#
# The work is done in a folder beside DESTDIR and DESTDIR appears by one rename: an interrupted run
# never looks finished. A DESTDIR that is complete already is left alone.
set -eu

META_PACKAGE=linux-image-cloud-amd64

say() { printf 'fetch_kernel: %s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# The last dependency wins: apt-cache lists the concrete kernel as the only one.
concrete_package() {
    apt-cache depends --important "$META_PACKAGE" 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | tail -n 1
}

# Without package lists apt knows no kernel at all. Only this step needs root.
update_lists() {
    if [ "$(id -u)" -eq 0 ]; then
        say "refreshing the package lists: apt-get update"
        apt-get update -q >&2 || die "apt-get update failed"
    elif command -v sudo >/dev/null; then
        say "refreshing the package lists: sudo apt-get update"
        sudo apt-get update -q >&2 || die "sudo apt-get update failed"
    else
        die "the package lists are missing or old, and neither root nor sudo can refresh them"
    fi
}

# apt as root warns that its sandbox user cannot write here; there is nothing to protect.
download() {
    (cd "$work" && apt-get -q -o APT::Sandbox::User="$(id -un)" download "$1" >&2)
}

# Lists that are old name a kernel that the mirror has dropped: refresh once, then give up.
find_and_download() {
    package=$(concrete_package)
    if [ -z "$package" ]; then
        update_lists
        package=$(concrete_package)
        [ -n "$package" ] || die "apt knows no package that $META_PACKAGE depends on"
    fi
    say "downloading $package"
    if ! download "$package"; then
        update_lists
        package=$(concrete_package)
        download "$package" || die "cannot download $package"
    fi
}

is_complete() {
    [ -s "$1/vmlinuz" ] && [ -s "$1/version" ] && [ -d "$1/modules/lib/modules" ]
}

unpack() {
    set -- "$work"/*.deb
    [ $# -eq 1 ] && [ -f "$1" ] || die "expected one package in $work"
    dpkg-deb -x "$1" "$work/tree" || die "cannot unpack $(basename "$1")"

    set -- "$work"/tree/boot/vmlinuz-*
    [ $# -eq 1 ] && [ -f "$1" ] || die "no kernel in the package"
    release=${1##*/vmlinuz-}

    mkdir -p "$work/new/modules/lib"
    cp "$1" "$work/new/vmlinuz"
    mv "$work/tree/lib/modules" "$work/new/modules/lib/modules"
    "$depmod" -b "$work/new/modules" "$release" || die "depmod failed"
    printf '%s\n' "$release" >"$work/new/version"
}

[ $# -eq 1 ] || die "usage: fetch_kernel.sh DESTDIR"
destination=${1%/}
if is_complete "$destination"; then
    exit 0
fi

# An ordinary user's PATH on Debian has no /usr/sbin.
depmod=$(PATH=$PATH:/usr/sbin:/sbin command -v depmod) || die "depmod is missing (package kmod)"
for tool in apt-cache apt-get dpkg-deb; do
    command -v "$tool" >/dev/null || die "$tool is missing: this needs Debian"
done

mkdir -p "$(dirname "$destination")"
work=$(mktemp -d "$destination.new.XXXXXX") || die "cannot write beside $destination"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

find_and_download
unpack
chmod 755 "$work/new"
rm -rf "$destination"
mv "$work/new" "$destination"
say "$(cat "$destination/version") is in $destination"
