#!/bin/sh
# Makes .venv from requirements.lock and installs this folder into it. First argument: the python to use.
set -eu
python=${1:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "make: $python is older than Python 3.11; name another one: make PYTHON=python3.12 …" >&2
    exit 1
fi
echo "making the environment in .venv (about a minute the first time)" >&2
if ! "$python" -m venv --clear .venv >/dev/null 2>&1; then
    # Debian keeps venv in a package of its own
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "installing python3-venv, which $python lacks" >&2
        { apt-get install -y -qq --no-install-recommends python3-venv || {
            apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv; }; } >/dev/null
        "$python" -m venv --clear .venv
    else
        echo "make: '$python -m venv' does not work; install it first (Debian: apt-get install python3-venv)" >&2
        exit 1
    fi
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
