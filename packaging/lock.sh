#!/bin/sh
# Writes the lock files anew from pyproject.toml. Called by `make lock`; --upgrade takes newer releases.
#
# requirements.lock is what a node needs (with the `speed` extra); requirements-dev.lock is that, what simulations
# need and the tools of `dev`, at the very same versions. Both hold for every platform and every Python from 3.11 on, name
# every file's hash, and no place to fetch from: pip's own configuration says that.
set -eu
cd "$(dirname -- "$0")/.."
tools=.make/lock-tools
[ -x $tools/bin/uv ] || {
    .venv/bin/python -m venv $tools
    $tools/bin/python -m pip install --quiet uv
}
compile() {
    $tools/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
        --no-annotate --no-emit-index-url --no-emit-find-links "$@"
}
compile pyproject.toml --extra speed --extra simulate --extra dev -o requirements-dev.lock "$@"
compile pyproject.toml --extra speed --constraint requirements-dev.lock -o requirements.lock "$@"
