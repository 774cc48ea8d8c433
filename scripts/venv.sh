#!/bin/sh
# Makes a Python environment at $1 with the packages that the file $2 lists, and with the others named after it,
# which come without what they depend on; quick when it is there.
# What goes wrong stands in the last line of its output.
set -eu
dir=$1
wanted=$2
shift 2
list() { cat "$wanted"; printf '%s\n' "$@"; }
if [ -f "$dir/packages" ] && list "$@" | cmp -s - "$dir/packages"; then exit 0; fi
command -v python3 >/dev/null || { echo "python3 is missing"; exit 1; }
[ -x "$dir/bin/pip" ] || python3 -m venv "$dir" || { echo "python3 cannot make environments (python3-venv?)"; exit 1; }
pip() { "$dir/bin/pip" install --quiet --disable-pip-version-check --retries 1 --timeout 15 "$@"; }
pip -r "$wanted"
[ $# = 0 ] || pip --no-deps "$@"
list "$@" >"$dir/packages"
