#!/bin/bash
# The rules between the folders, checked on the sources and on compiled objects.
# Usage: check_layers.sh [--root DIR] [OBJECT...]
#
# Prints each breach as "file:line: reason"; exit status 1 if there is one. OBJECTs are those of
# core/, transports/, devices/ and boot/, compiled without sanitizers (which add variables).
#
#   folder        may include from     may use
#   core/         core                 freestanding headers, <string.h>
#   transports/   core transports      the same
#   devices/      core devices         the same
#   boot/         boot                 the same
#   efi/          all but tests        anything, UEFI headers among it
#   tests/        all                  anything
#
# In the first four the word volatile belongs to core/mem.h, and no variable of file scope may
# change. Inline assembly belongs to files named after an architecture. No function is longer than
# 60 lines, no .c file longer than 600; tests/ is free of this, for its tables of cases are long.
set -u
export LC_ALL=C

root=$(dirname "$0")/..
if [ "${1-}" = --root ]; then
    root=${2?--root needs a folder}
    shift 2
fi

# Prints the breaches of the source files given to it.
check_sources() {
    awk '
    function breach(line, reason) { print FILENAME ":" line ": " reason }

    function starts(text, prefix) { return index(text, prefix) == 1 }

    # The line without comments and without the content of strings; a comment may go on.
    function code_of(line,    code, rest) {
        code = ""
        while (line != "") {
            if (in_comment) {
                if (!match(line, /\*\//)) return code
                in_comment = 0
            } else if (match(line, /\/\*|\/\/|"|\047/)) {
                code = code substr(line, 1, RSTART - 1)
                rest = substr(line, RSTART)
                if (starts(rest, "//")) return code
                if (starts(rest, "/*")) in_comment = 1
                else if (match(rest, /^"([^"\\]|\\.)*"|^\047([^\047\\]|\\.)*\047/))
                    code = code "\"\""
                else return code
                line = substr(rest, in_comment ? 3 : RLENGTH + 1)
                continue
            } else {
                return code line
            }
            line = substr(line, RSTART + RLENGTH)
            if (!in_comment) code = code " "
        }
        return code
    }

    function check_folder_include(name,    from) {
        from = name
        if (!sub(/\/.*/, "", from) || name ~ /(^|\/)\.\.?\//)
            breach(FNR, "\"" name "\": an include names its folder")
        else if (index(" " allowed[folder] " ", " " from " ") == 0)
            breach(FNR, folder "/ does not include from " from "/")
    }

    function check_include(line,    name) {
        sub(/^[ \t]*#[ \t]*include[ \t]*/, "", line)
        name = substr(line, 2)
        sub(/[">].*/, "", name)
        if (starts(line, "\""))
            check_folder_include(name)
        else if (!starts(line, "<"))
            breach(FNR, "an include through a macro cannot be checked")
        else if (strict && index(freestanding, " " name " ") == 0)
            breach(FNR, "<" name "> is not for " folder "/")
    }

    function check_words(code) {
        if (code ~ /(^|[^A-Za-z0-9_])(asm|__asm|__asm__)([^A-Za-z0-9_]|$)/ && !by_architecture)
            breach(FNR, "inline assembly outside a file named after an architecture")
        if (by_architecture)
            gsub(/(asm|__asm|__asm__)[ \t]+(volatile|__volatile|__volatile__)/, "", code)
        if (strict && path != "core/mem.h" &&
            code ~ /(^|[^A-Za-z0-9_])(volatile|__volatile|__volatile__)([^A-Za-z0-9_]|$)/)
            breach(FNR, "the word volatile outside core/mem.h")
    }

    # A function: an unindented head, its "{" at the end of the head or alone, a "}" alone.
    function measure_function(code) {
        if (code ~ /^}/) {
            if (body && FNR - head + 1 > 60)
                breach(head, "a function of " FNR - head + 1 " lines, more than 60")
            head = body = 0
        } else if (!body) {
            if (code ~ /^[ \t]*$|^#|;[ \t]*$/) head = 0
            else if (!head && code ~ /^[A-Za-z_]/) { head = FNR; arguments = 0 }
            if (code ~ /\)/) arguments = 1
            if (head && arguments && (code ~ /^{/ || code ~ /\)[ \t]*{[ \t]*$/)) body = 1
        }
    }

    function end_file() {
        if (lines > 600 && file ~ /\.c$/ && file !~ /^tests\//)
            print file ":" lines ": " lines " lines, more than 600"
    }

    BEGIN {
        allowed["core"] = "core"
        allowed["transports"] = "core transports"
        allowed["devices"] = "core devices"
        allowed["boot"] = "boot"
        allowed["efi"] = "core transports devices boot efi"
        freestanding = " float.h iso646.h limits.h stdalign.h stdarg.h stdatomic.h stdbool.h" \
                       " stddef.h stdint.h stdnoreturn.h string.h "
    }

    FNR == 1 {
        end_file()
        file = FILENAME
        path = FILENAME
        sub(/^\.\//, "", path)
        folder = path
        sub(/\/.*/, "", folder)
        strict = folder != "efi" && folder != "tests"
        by_architecture = path ~ /_(x86_64|aarch64)\.[ch]$/
        in_comment = head = body = 0
    }

    {
        lines = FNR
        was_in_comment = in_comment
        code = code_of($0)
        if (folder != "tests") {
            if (!was_in_comment && $0 ~ /^[ \t]*#[ \t]*include/) check_include($0)
            check_words(code)
            measure_function(code)
        }
    }

    END { end_file() }
    ' "$@"
}

# Prints the variables in an object that can change. What is constant but for addresses that a
# loader fills in lies in .data.rel.ro.
check_object() {
    nm -l -f sysv "$1" | awk -F'|' -v object="$1" -v here="$PWD/" '
        $3 ~ /[bBdDC]/ && $7 !~ /^\.data\.rel\.ro/ && $1 !~ /^(__odr_asan|__asan)/ {
            where = object
            if (split($7, part, "\t") > 1) where = part[2]
            if (index(where, here) == 1) where = substr(where, length(here) + 1)
            gsub(/ /, "", $1)
            print where ": " $1 ": a variable of file scope that can change"
        }'
}

breaches=$(
    for object in "$@"; do
        [ -r "$object" ] && check_object "$object" || echo "$object: cannot be read"
    done
    cd "$root" || exit 1
    mapfile -t files < <(
        find core transports devices boot efi tests -name '*.[chS]' 2>/dev/null | sort
    )
    [ ${#files[@]} -gt 0 ] || { echo "$root: no sources here" && exit; }
    check_sources "${files[@]}"
    printf '%s\n' "${files[@]}" | grep '\.S$' | grep -Ev '_(x86_64|aarch64)\.S$' |
        sed 's/$/:1: assembly in a file not named after an architecture/'
)
if [ -n "$breaches" ]; then
    printf '%s\n' "$breaches"
    exit 1
fi
