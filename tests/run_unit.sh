#!/bin/bash
# Run cmocka test programs one after another.
# Usage: run_unit.sh RESULTS PROGRAM...
#
# RESULTS gets unit-NAME.xml, unit-NAME.status and unit-NAME.stderr of each program; report.py
# judges them, here for a short line and at the end of a whole run for the total. Exit status 1 if
# anything failed. UNIT_LIMIT_S: seconds that one program may take.
set -u

if [ $# -lt 2 ]; then
    echo "usage: $0 RESULTS PROGRAM..." >&2
    exit 2
fi
tools=$(cd "$(dirname "$0")" && pwd)
results=$1
shift
mkdir -p "$results" || exit 1

# cmocka writes to standard error when the file is there already, so all old ones go first. The
# path has no %g in it: the groups of one program then follow each other in the same file.
for program in "$@"; do
    name=$(basename "$program")
    rm -f "$results/unit-$name.xml" "$results/unit-$name.status" "$results/unit-$name.stderr"
done

# What somebody's environment says must not choose or hide tests.
unset CMOCKA_TEST_FILTER CMOCKA_SKIP_FILTER CMOCKA_TEST_ABORT
export CMOCKA_MESSAGE_OUTPUT=xml
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1:strict_string_checks=1}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-halt_on_error=1:print_stacktrace=1}"

failed=0
for program in "$@"; do
    name=$(basename "$program")
    base=$results/unit-$name
    if [ -e "$base.status" ]; then
        echo "$0: two programs are named $name" >&2
        exit 1
    fi
    CMOCKA_XML_FILE=$base.xml timeout -k 5 "${UNIT_LIMIT_S:-120}" "$(realpath "$program")" \
        </dev/null >/dev/null 2>"$base.stderr"
    echo $? >"$base.status"
    "${PYTHON:-/usr/bin/python3}" "$tools/report.py" --program "$name" "$results" || failed=1
done
exit $failed
