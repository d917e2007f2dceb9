#!/bin/sh
# Installs those of the named Debian packages that are missing; says so in one line when there are
# any, and nothing otherwise.
set -eu

missing=""
for package in "$@"; do
    case "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" in
    installed) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "error: missing packages, and neither root nor sudo to install them:$missing" >&2
        echo "       as root: apt-get install$missing" >&2
        exit 1
    fi
    as_root="sudo"
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "error: no apt-get here; virtboot is built on Debian 12. Missing packages:$missing" >&2
    exit 1
fi

echo "installing missing Debian packages:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # the lists are meant to be split
if ! { $as_root apt-get update &&
       $as_root env DEBIAN_FRONTEND=noninteractive \
           apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    echo "error: the packages could not be installed:$missing" >&2
    exit 1
fi
