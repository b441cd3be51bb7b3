#!/bin/sh
# How every command of the appliance begins inside the container: `serve` at its start, others by `docker exec`.
set -eu

# 1. What is written is for this account alone, and no memory is dumped into a file.
umask 077
# shellcheck disable=SC3045  # dash knows it
ulimit -c 0

# 2. Weights that came with the image take their place on the shelf, unless a model of that name is there already.
if [ "${1-}" = serve ] && [ -d /opt/models ] && [ -w "${APPLIANCE_MODELS_DIR:-/models}" ]; then
    for model in /opt/models/*/installed.json; do
        [ -f "$model" ] || continue
        folder=${model%/installed.json}
        place="${APPLIANCE_MODELS_DIR:-/models}/${folder##*/}"
        if [ -L "$place" ] || [ ! -e "$place" ]; then ln -sfn "$folder" "$place"; fi
    done
fi

# 3. The command itself; it becomes this process, so that a stop reaches it.
exec /opt/venv/bin/python -m appliance.cli "$@"
