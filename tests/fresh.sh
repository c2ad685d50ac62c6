#!/usr/bin/env bash
# A stranger's machine: an empty clone, an empty environment, and the two commands of the README, each timed; then the
# wheel, installed where the checkout cannot be imported, runs the quickstart from an empty folder.
#
# PYTHON="python3.11 python3.13" tests/fresh.sh [quickstart] [wheel] [test]     [default: 3.11 and the newest one, all steps]
#
# An environment with everything takes some 9 GB; it is removed at the end.
set -euo pipefail

checkout=$(cd "$(dirname "$0")/.." && pwd)
steps=${*:-quickstart wheel test}
export PIP_DISABLE_PIP_VERSION_CHECK=1
unset VIRTUAL_ENV VBENCH_HOME

# Print those of Python 3.11 and later that run here: the first and the last.
pythons() {
    local found=()
    for minor in $(seq 11 30); do
        "python3.$minor" -c "import ssl" 2>/dev/null && found+=("python3.$minor")
    done
    echo "found ${found[*]:-no Python 3.11 or later}; PYTHON= may name others, by their paths" >&2
    [ ${#found[@]} -gt 0 ] && printf '%s\n' "${found[0]}" "${found[-1]}" | uniq
}

timed() {
    local began=$SECONDS status=0
    set +e
    (set -e; "$1") >"$place/$1.log" 2>&1
    status=$?
    set -e
    echo "$("$python" --version), $1: $((SECONDS - began)) s"
    [ $status = 0 ] || { tail -n 30 "$place/$1.log"; echo "FAILED"; exit 1; }
}

clone() { git clone --quiet "$checkout" "$place/clone"; }

quickstart() { make -C "$place/clone" quickstart PYTHON="$python"; }

# The same environment serves: the packages need not come twice, and the checkout leaves it.
wheel() {
    local bin=$place/clone/.venv/bin
    "$bin/python" -m pip wheel --quiet --no-deps --wheel-dir "$place/dist" "$place/clone"
    "$bin/python" -m pip uninstall --quiet --yes vbench-ctl
    "$bin/python" -m pip install --quiet "$place"/dist/*.whl
    mkdir "$place/elsewhere" && cd "$place/elsewhere"
    "$bin/python" -c "import pathlib, vbench_ctl; assert 'site-packages' in pathlib.Path(vbench_ctl.__file__).parts"
    "$bin/vbench-ctl" quickstart
}

test() { rm -f "$place"/clone/.venv/.made-from-*; make -C "$place/clone" test PYTHON="$python"; }

versions=${PYTHON:-$(pythons)}
for python in $versions; do
    place=$(mktemp -d)
    trap 'rm -rf "$place"' EXIT
    trap 'exit 1' INT TERM
    for step in clone $steps; do
        timed "$step"
    done
    rm -rf "$place"
done
