#!/bin/sh
# Stands in for the docker command where the engine is not the subject; the real one runs in scripts/container_check.sh.
# It writes down what it is asked, keeps "loaded" images as files in $ENGINE, and fails once where $ENGINE/fail-CALL exists.
echo "$*" >>"$ENGINE/calls"
call=$1
if [ "$1" = compose ]; then for word in "$@"; do case $word in up | down | logs | version) call=compose-$word ;; esac; done; fi
if [ -e "$ENGINE/fail-$call" ]; then rm "$ENGINE/fail-$call"; echo "the engine says: no" >&2; exit 1; fi
for last in "$@"; do :; done
case "$*" in
    info*) echo "$ENGINE" ;;
    "image inspect"*RootFS*) [ -e "$ENGINE/$last" ] && cat "$ENGINE/$last.layers" ;;
    "image inspect"*Size*) cat "$ENGINE/size" ;;
    "image inspect"*) [ -e "$ENGINE/$last" ] && echo "sha256:$last" ;;
    save*) cat "$ENGINE/archive.tar" ;;
    load*) zstd -dq | cat >"$ENGINE/loaded.tar" && touch "$ENGINE/appliance:0.1.0" && cp "$ENGINE/new.layers" "$ENGINE/appliance:0.1.0.layers" ;;
    run*--entrypoint\ tar*) cat >"$ENGINE/models.tar" ;;
    exec*"models import -") cat >"$ENGINE/imported.tar" ;;
    exec*) cat >/dev/null ;;
esac
