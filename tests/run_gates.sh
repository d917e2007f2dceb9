#!/bin/bash
# Checks that need no test program: layers, formatting, documentation, size of the product.
# Usage: run_gates.sh RESULTS VIRTBOOT_EFI OBJECT...
#
# Writes one line "NAME ok" or "NAME failed" per gate into RESULTS/gates.txt; report.py counts them.
# OBJECTs: those of core/, transports/, devices/ and boot/, compiled freestanding.
set -u
cd "$(dirname "$0")/.." || exit 1

results=$1
application=$2
shift 2
mkdir -p "$results"
: >"$results/gates.txt"

LIMIT_BYTES=$((100 * 1024))
folders=(core transports devices boot efi tests)
failed=0

gate() { # gate NAME COMMAND...
    local name=$1 verdict=ok
    shift
    "$@" || verdict=failed
    [ "$verdict" = ok ] || failed=1
    echo "$name $verdict" | tee -a "$results/gates.txt"
}

sources() {
    find "${folders[@]}" -name '*.[ch]' | sort
}

formatting() {
    sources | xargs clang-format --dry-run -Werror
}

# -Wdocumentation keeps parameter names in comments true; efi/ is left to gcc, whose headers it needs.
documentation() {
    find core transports devices boot -name '*.[ch]' | sort |
        xargs -n 1 clang -std=c11 -fsyntax-only -x c -Wdocumentation -Werror -I.
}

application_size() {
    local bytes
    bytes=$(stat -c %s "$application") || return 1
    [ "$bytes" -lt "$LIMIT_BYTES" ] && return 0
    echo "$application: $bytes bytes, the limit is $LIMIT_BYTES"
    return 1
}

gate layers bash tests/check_layers.sh "$@"
gate formatting formatting
gate documentation documentation
gate application-size application_size
exit $failed
