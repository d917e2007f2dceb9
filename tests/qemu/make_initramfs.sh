#!/bin/sh
# Make the initramfs of the test machine: busybox, the virtio modules of one kernel, and init.
#
# usage: make_initramfs.sh KERNELDIR OUT
#
# KERNELDIR is what fetch_kernel.sh leaves. The result depends on its inputs only: sorted names,
# one fixed date, owner root (without being root), so that its checksum can be compared.
# /dev/console is not here: every kernel brings it in its built-in initramfs.
set -eu

MODULES="virtio_pci virtio_blk virtio_console"

die() { printf 'make_initramfs: error: %s\n' "$*" >&2; exit 1; }

# modules.dep lists the needs of a module with the deepest last. Prints them deepest first, the
# module itself at the end.
in_load_order() {
    awk -v wanted="$1" '
        { file = name = $1; sub(/:$/, "", file)
          sub(/.*\//, "", name); sub(/\.ko.*/, "", name); gsub(/-/, "_", name) }
        name == wanted { for (i = NF; i > 1; i--) print $i; print file; found = 1 }
        END { exit !found }' "$modules/modules.dep"
}

copy_modules() {
    for module in $MODULES; do
        in_load_order "$module" >>"$work/order" || die "the kernel has no module $module"
    done
    mkdir -p "$root/lib/modules"
    awk '!seen[$0]++' "$work/order" | while read -r file; do
        cp "$modules/$file" "$root/lib/modules/"
        printf '/lib/modules/%s\n' "${file##*/}"
    done >"$root/lib/modules/in-order"
}

[ $# -eq 2 ] || die "usage: make_initramfs.sh KERNELDIR OUT"
kernel=$1
out=$2
here=$(cd "$(dirname "$0")" && pwd)
busybox=/usr/bin/busybox
[ -x "$busybox" ] || busybox=/bin/busybox
[ -x "$busybox" ] || die "busybox is missing (package busybox-static)"
command -v cpio >/dev/null || die "cpio is missing (package cpio)"
[ -s "$kernel/version" ] || die "$kernel holds no kernel; run fetch_kernel.sh first"
modules=$kernel/modules/lib/modules/$(cat "$kernel/version")
[ -s "$modules/modules.dep" ] || die "$modules has no modules.dep"

mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$out.new.XXXXXX") || die "cannot write beside $out"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
root=$work/root

mkdir -p "$root/bin" "$root/dev" "$root/proc" "$root/sys"
cp "$busybox" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
cp "$here/init" "$root/init"
copy_modules

chmod -R u=rwX,go=rX "$root"
chmod 755 "$root/init" "$root/bin/busybox"
find "$root" -exec touch -h -d @0 {} +
(cd "$root" && find . | LC_ALL=C sort |
    cpio --quiet --create --format=newc --reproducible --owner=0:0) >"$work/initramfs"
gzip -9 -n "$work/initramfs"
mv "$work/initramfs.gz" "$out"
