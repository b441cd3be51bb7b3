#!/bin/sh
# Stands in for the docker command where the engine is not the subject; the real one runs in scripts/container_check.sh.
# It writes down what it is asked, keeps images, volumes and the container as files in $ENGINE, and fails once where
# $ENGINE/fail-CALL exists. $ENGINE/inside, where a test puts one, answers what is asked in the container.
echo "$*" >>"$ENGINE/calls"
call=$1
if [ "$1" = compose ]; then
    for word in "$@"; do case $word in up | down | logs | version | run) call=compose-$word; break ;; esac; done
    echo "$call $PWD" >>"$ENGINE/folders"
fi
if [ -e "$ENGINE/fail-$call" ]; then rm "$ENGINE/fail-$call"; echo "the engine says: no" >&2; exit 1; fi
for last in "$@"; do :; done
image() { [ -e "$ENGINE/$1" ] && cat "$ENGINE/$1.layers"; }
label() { [ -e "$ENGINE/container" ] && sed -n "s/^$1=//p" "$ENGINE/container"; }
case "$*" in
    "version -f"*) cat "$ENGINE/version" 2>/dev/null || echo 28.2.2 ;;
    "compose version"*) cat "$ENGINE/compose-version" 2>/dev/null || echo 2.26.1 ;;
    info*) echo "$ENGINE" ;;
    "image inspect "*" -f"*) image "$3" ;;
    "image inspect"*RootFS*) image "$last" ;;
    "image inspect"*) [ -e "$ENGINE/$last" ] && echo "sha256:$(cat "$ENGINE/store" 2>/dev/null)$last" ;;
    tag*) cp "$ENGINE/$2" "$ENGINE/$3" && cp "$ENGINE/$2.layers" "$ENGINE/$3.layers" ;;
    save*) cat "$ENGINE/archive.tar" ;;
    load*) zstd -dq | cat >"$ENGINE/loaded.tar" && touch "$ENGINE/appliance:0.1.0" && cp "$ENGINE/new.layers" "$ENGINE/appliance:0.1.0.layers" ;;
    "volume create"*) touch "$ENGINE/volume" ;;
    "volume inspect"*) [ -e "$ENGINE/volume" ] ;;
    run*--entrypoint\ tar*) touch "$ENGINE/volume" && cat >"$ENGINE/models.tar" ;;
    run*--entrypoint\ ls*) [ ! -e "$ENGINE/models.tar" ] || echo whisper-base ;;
    "container inspect"*working_dir*) label folder ;;
    "container inspect"*service*) label service ;;
    "container inspect"*State*) label status ;;
    "rm -f appliance") rm -f "$ENGINE/container" ;;
    compose*" up "*) # the name is taken where a container of another profile has it
        profile=$(sed -n "s/^COMPOSE_PROFILES='\(.*\)'/\1/p" .env)
        [ "$(label service || echo "$profile")" = "$profile" ] || { echo "The container name /appliance is already in use" >&2; exit 1; }
        touch "$ENGINE/volume"
        printf 'service=%s\nfolder=%s\nstatus=running healthy\n' "$profile" "$PWD" >"$ENGINE/container"
        ;;
    exec*) if [ -e "$ENGINE/inside" ]; then "$ENGINE/inside" "$@"; else "$(dirname "$(readlink -f "$0")")/inside.sh" "$@"; fi ;;
esac
