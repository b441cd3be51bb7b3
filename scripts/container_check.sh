#!/usr/bin/env bash
# Builds the image and runs it, for real: a Docker engine from Debian's packages, first on this network (build), then in a
# network namespace that has loopback only (install.sh on an empty folder: once with weights, once with a signed bundle of
# models, which the appliance verifies, tries out and uses). A recording is transcribed each time, over HTTPS.
#
# usage: scripts/container_check.sh      needs root, Debian's package mirrors and the package registry; about 30 GB of disk
#   APPLIANCE_CHECK_CACHE   engine, base image and build cache are kept here (default ~/.cache/appliance/container)
#   APPLIANCE_CHECK_FORGET  set: nothing is kept
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${APPLIANCE_CHECK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/appliance/container}
weights=${APPLIANCE_MODELS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/appliance/models}
suite=bookworm
needed_gb=30
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' appliance/__init__.py)
image="appliance:$version" bundled="appliance:$version-bundled"
work="" # made below

say() { printf '[%4ds] %s\n' "$SECONDS" "$*"; }
skip() { echo "Skipped: $1"; exit 0; }
fail() { printf '[%4ds] FAILED: %s\n' "$SECONDS" "$1"; exit 1; }
expect() { if [ "$2" = "$3" ]; then say "  $1: $2"; else fail "$1 is '$2', not '$3'"; fi; }
ms() { date +%s%3N; }

# --- the engine ----------------------------------------------------------------------------------------------------------------

stop_engine() { # by the id of its process; its containers end with it
    local pid
    pid=$(cat "$cache/$1/pid" 2>/dev/null) || return 0
    kill "$pid" 2>/dev/null || return 0
    for _ in $(seq 80); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.25; done
    kill -9 "$pid" 2>/dev/null || true
}

clean_up() {
    local status=$?
    for engine in build site; do
        [ -S "$cache/$engine/socket" ] && DOCKER_HOST=unix://$cache/$engine/socket docker rm -f appliance appliance-gate appliance-alone >/dev/null 2>&1
        stop_engine "$engine"
    done
    umount "$work/signed-site/bundles" 2>/dev/null
    rm -rf "$cache/site" "$work"
    [ -z "${APPLIANCE_CHECK_FORGET-}" ] || rm -rf "$cache"
    exit "$status"
}

check_machine() {
    [ "$(id -u)" = 0 ] || skip "this starts a Docker engine of its own, which needs root."
    command -v apt-get >/dev/null || skip "the engine is made from Debian's packages, and this is no Debian."
    unshare -n true 2>/dev/null || skip "this machine does not allow network namespaces."
    mkdir -p "$cache"
    local free_gb
    free_gb=$(($(df -Pk "$cache" | awk 'NR == 2 { print $4 }') / 1000000))
    [ "$free_gb" -ge $((needed_gb - $(du -s --block-size=1G "$cache" | cut -f1))) ] || skip "$needed_gb GB of disk are needed in $cache, $free_gb are free."
    [ -d "$weights/whisper-base" ] || skip "there are no weights in $weights: run 'appliance models fetch' first."
}

install_packages() {
    local -a wanted=(mmdebstrap runc iptables iproute2 zstd openssh-client)
    dpkg-query -W "${wanted[@]}" >/dev/null 2>&1 && return
    { apt-get -o DPkg::Lock::Timeout=300 update -qq &&
        apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null; } ||
        skip "Debian's packages for the engine cannot be installed here (${wanted[*]})."
}

make_engine() {
    local parts=$cache/tools/usr
    [ -x "$parts/sbin/dockerd" ] || mmdebstrap --quiet --variant=extract \
        --include=docker.io,docker-cli,docker-buildx,docker-compose,containerd trixie "$cache/tools"
    mkdir -p "$cache/bin" "$cache/config/cli-plugins"
    ln -sf "$parts"/sbin/dockerd "$parts"/sbin/docker-proxy "$parts"/bin/{containerd,containerd-shim-runc-v2,docker-init,docker} "$cache/bin/"
    ln -sf "$parts"/libexec/docker/cli-plugins/docker-{buildx,compose} "$cache/config/cli-plugins/"
    echo '{}' >"$cache/config/config.json"
    # Stands in for NVIDIA's hook, so that the engine accepts `driver: nvidia`; there is no GPU behind it.
    printf '#!/bin/sh\ncat >/dev/null\n' >"$cache/bin/nvidia-container-runtime-hook"
    chmod 0755 "$cache/bin/nvidia-container-runtime-hook"
    export PATH=$cache/bin:$PATH DOCKER_CONFIG=$cache/config
}

# A near twin of debian:bookworm-slim. Where package traffic passes an authority of its own, that comes into it.
make_base() {
    [ -f "$cache/base.tar" ] || {
        mkdir -p "$cache/authorities"
        cp /usr/local/share/ca-certificates/*.crt "$cache/authorities/" 2>/dev/null || true
        # shellcheck disable=SC2016  # mmdebstrap's shell expands it
        mmdebstrap --quiet --variant=minbase --include=ca-certificates,python3,python3-venv \
            --customize-hook="cp $cache/authorities/*.crt \"\$1\"/usr/local/share/ca-certificates/ 2>/dev/null || true" \
            --customize-hook='chroot "$1" update-ca-certificates >/dev/null 2>&1' "$suite" "$cache/base.new.tar"
        mv "$cache/base.new.tar" "$cache/base.tar"
    }
    docker image inspect check-base >/dev/null 2>&1 || docker import "$cache/base.tar" check-base >/dev/null
}

start_engine() { # NAME with|without-iptables [COMMAND that starts it]…
    local name=$1 iptables=()
    [ "$2" = with-iptables ] || iptables=(--iptables=false --ip6tables=false --bridge=none --ip-forward=false)
    shift 2
    mkdir -p "$cache/$name"
    rm -f "$cache/$name/pid"
    nohup setsid "$@" dockerd --data-root "$cache/$name/data" --exec-root "$cache/$name/exec" --pidfile "$cache/$name/pid" \
        -H "unix://$cache/$name/socket" --storage-driver overlay2 "${iptables[@]}" >"$cache/$name/log" 2>&1 &
    export DOCKER_HOST=unix://$cache/$name/socket
    for _ in $(seq 120); do docker version >/dev/null 2>&1 && return; sleep 0.25; done
    tail -5 "$cache/$name/log"
    [ "$name" != build ] || skip "Docker's engine does not start on this machine."
    fail "the engine did not start"
}

# --- what is checked -----------------------------------------------------------------------------------------------------------

inside() { docker exec "$@"; }

wait_ready() { # CONTAINER, milliseconds since its start
    for _ in $(seq 600); do
        inside "$1" /usr/bin/python3 -I -c "
import ssl, urllib.request as r
c = ssl._create_unverified_context()
r.urlopen('https://127.0.0.1:8443/readyz', timeout=5, context=c)" 2>/dev/null && { say "  ready $(($(ms) - $2)) ms after its start"; return; }
        [ "$(docker inspect -f '{{.State.Running}}' "$1")" = true ] || { docker logs "$1" 2>&1 | tail -20; fail "$1 stopped"; }
        sleep 0.2
    done
    docker logs "$1" 2>&1 | tail -20
    fail "$1 is not ready"
}

check_confinement() { # CONTAINER
    expect "user" "$(inside "$1" id -u):$(inside "$1" id -g)" 10001:10001
    expect "capabilities" "$(inside "$1" sed -n 's/^CapBnd:\t//p' /proc/1/status)" 0000000000000000
    expect "no new privileges" "$(inside "$1" sed -n 's/^NoNewPrivs:\t//p' /proc/1/status)" 1
    expect "root file system" "$(inside "$1" sh -c 'touch /opt/x 2>/dev/null && echo writable || echo read-only')" read-only
    expect "core dumps" "$(inside "$1" sh -c 'sed -n "s/^Max core file size *//p" /proc/1/limits' | awk '{ print $1 }')" 0
    expect "ways out of its network" "$(inside "$1" grep -cE '^[^[:space:]]+[[:space:]]+00000000' /proc/net/route)" 0
    expect "swap" "$(docker inspect -f '{{if eq .HostConfig.Memory .HostConfig.MemorySwap}}none{{else}}some{{end}}' "$1")" none
}

sample=/opt/venv/lib/python3.11/site-packages/pyannote/audio/sample/sample.wav # comes with pyannote.audio, in the image

make_key() { key=$(inside "$1" appliance keys create "check $SECONDS" --scope transcribe --scope read --scope write --quiet); }

api() { # CONTAINER METHOD PATH [FILE]: the answer of the API, asked inside
    inside -e "KEY=$key" "$1" /usr/bin/python3 -I -c '
import os, ssl, sys, urllib.request as r
method, path, file = sys.argv[1:]
body = open(file, "rb").read() if file else None
headers = {"Authorization": "Bearer " + os.environ["KEY"], "Content-Type": "application/octet-stream"}
asked = r.Request("https://localhost:8443" + path, data=body, method=method, headers=headers)
print(r.urlopen(asked, timeout=60, context=ssl.create_default_context(cafile="/data/tls/ca.pem")).read().decode())' "$2" "$3" "${4-}"
}

field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

check_stop() { # CONTAINER: a recording that is being worked on ends, or says that it was interrupted
    local slug status started
    slug=$(api "$1" POST /api/v1/transcripts/ "$sample" | field slug)
    started=$(ms)
    docker stop --time 60 "$1" >/dev/null
    say "  stopped in $(($(ms) - started)) ms, while a recording was being transcribed"
    expect "exit status after a stop" "$(docker inspect -f '{{.State.ExitCode}}' "$1")" 0
    started=$(ms)
    docker start "$1" >/dev/null
    wait_ready "$1" "$started"
    status=$(api "$1" GET "/api/v1/transcripts/$slug/" | field status)
    case $status in completed | failed | interrupted) say "  the recording is $status" ;; *) fail "the recording was lost: $status" ;; esac
}

transcribe() { # CONTAINER
    local text
    make_key "$1"
    text=$(inside -e "APPLIANCE_KEY=$key" -e APPLIANCE_CA_FILE=/data/tls/ca.pem "$1" appliance transcribe \
        --server "https://localhost:8443" $diarize --format txt "$sample")
    say "  $(printf '%s' "$text" | tr '\n' ' ' | cut -c1-110) ..."
    printf '%s' "$text" | grep -qi "originally from Chicago" || fail "the words are not those of the recording"
    [ -z "$diarize" ] || [ "$(printf '%s' "$text" | grep -ciE '^\[?.*speaker' || true)" -ge 2 ] || fail "the speakers are missing"
}

# The vendor's two bundles of models, made by the vendor's tool, signed with the keys that a build for development trusts:
# models.tar is whole; deaf.tar is a difference of one small file, and expects words that nobody says.
make_models() {
    mkdir "$work/vendor"
    # shellcheck disable=SC2016  # for the inner shell
    docker run --rm --network none --user 0 -v "$work/vendor:/vendor" -v "$work/weights:/weights:ro" --entrypoint sh "$image" -euc '
        publish() { /opt/venv/bin/python -m appliance.updates.publish "$@"; }
        add() { publish add /vendor/all --development --canary "$sample" --entry "/opt/appliance/models/$1.toml" --from "$2" "$3" "$4" --tolerance 40; }
        sample=$1 words=$(cut -d" " -f6- "${1%.wav}.stm" | tr "\n" " ")
        publish init /vendor/all --development
        [ ! -d /weights/speaker-diarization ] || add speaker-diarization /weights/speaker-diarization --speakers 2
        add whisper-base /weights/whisper-base --words "$words"
        publish bundle /vendor/all /vendor/models.tar
        last=$(ls /vendor/all/metadata/*.targets.json | sed "s/.*\/\([0-9]*\)\.targets.json/\1/" | sort -n | tail -1)
        cp -R /weights/whisper-base /vendor/deaf && echo >>/vendor/deaf/config.json
        add whisper-base /vendor/deaf --words "the quick brown fox jumps over the lazy dog"
        publish bundle /vendor/all /vendor/deaf.tar --since "$last"
        chmod -R a+rX /vendor' sh "$sample" | sed 's/^/         /'
}

check_release() { # CONTAINER FOLDER_OF_ITS_INSTALLATION: what it serves with came in signed, and what does not pass its trial changes nothing
    local in_use refusal
    in_use=$(inside "$1" appliance models releases)
    say "  $in_use"
    [[ $in_use == vendor-*"in use"*whisper-base* ]] || fail "the signed release is not in use"
    [ -z "$(inside "$1" sh -c 'ls /models')" ] || fail "there are other weights than those of the release: $(inside "$1" ls /models)"
    for event in models.imported models.activated; do
        inside "$1" appliance audit export | grep -q "$event" || fail "the audit log does not know $event"
    done
    cp "$work/vendor/deaf.tar" "$2/bundles/"
    refusal=$(inside "$1" appliance models import deaf.tar 2>&1) && fail "a model that hears other words was accepted"
    [[ $refusal == *"of its words were wrong"* ]] || fail "it was refused for another reason: $refusal"
    say "  $(stat -c %s "$work/vendor/deaf.tar" | numfmt --to=si --suffix=B) of changed files: refused, for its canary heard other words"
    [ "$(inside "$1" appliance models releases)" = "$in_use" ] || fail "another release is in use than before"
}

check_look() { # CONTAINER: the licence can be looked at beside it, by somebody who can write nothing at all
    local beside
    beside=$(docker run --rm --network none --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
        -v appliance_data:/data:ro -e APPLIANCE_DEVICE=cpu "$image" licence show 2>/dev/null)
    [ -n "$beside" ] && [ "$(grep 'install id' <<<"$beside")" = "$(inside "$1" appliance licence show 2>/dev/null | grep 'install id')" ] ||
        fail "the licence cannot be looked at where nothing can be written: $beside"
    say "  $(grep '^state' <<<"$beside") (looked at beside it, with data that is read-only)"
}

check_commands() { # FOLDER_OF_ITS_INSTALLATION: they run beside an appliance that is stopped, too
    local public file
    docker stop appliance >/dev/null
    public=$("$1/appliance" backup keygen /backups/secret.key 2>/dev/null) || fail "no pair of keys was made while it was stopped"
    echo "APPLIANCE_BACKUP_RECIPIENTS=[\"$public\"]" >>"$1/settings.env"
    file=$("$1/appliance" backup create /backups 2>/dev/null) || fail "no backup was made while it was stopped"
    "$1/appliance" backup verify "$file" --identity /backups/secret.key 2>/dev/null || fail "the backup is not whole"
    expect "support bundle of a stopped appliance, device" "$("$1/appliance" support-bundle 2>/dev/null |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["settings"]["device"])')" cpu
    say "  backup and support bundle were made while it was stopped"
}

check_machine
work=$(mktemp -d "$cache/run.XXXXXX")
trap clean_up EXIT INT TERM
diarize=""
[ ! -d "$weights/speaker-diarization" ] || diarize=--diarize

say "the engine, from Debian's packages"
install_packages
make_engine
start_engine build without-iptables # it shares this machine's network
make_base

build=(-f docker/Dockerfile.cuda --network host --build-arg BASE_IMAGE=check-base --build-arg "VERSION=$version"
    --secret "id=build_ca,src=/etc/ssl/certs/ca-certificates.crt")
say "docker build --build-arg RELEASE=yes"
started=$(ms)
refusal=$(docker build --progress plain "${build[@]}" --build-arg RELEASE=yes . 2>&1) && fail "a release was built that trusts the keys for development"
grep -o 'RELEASE=yes is refused, because keys for development are built in.*' <<<"$refusal" | head -1 | sed 's/^/         /' | grep . ||
    fail "it was refused for another reason: $(tail -5 <<<"$refusal")"
say "  refused after $(($(ms) - started)) ms"

say "docker build: $image"
build+=(--quiet)
docker build "${build[@]}" -t "$image" . >/dev/null
mkdir "$work/weights"
for model in whisper-base speaker-diarization; do
    [ ! -d "$weights/$model" ] || cp -R "$weights/$model" "$work/weights/"
done
find "$work/weights" -name verified.json -delete
docker build "${build[@]}" --target bundled --build-context weights="$work/weights" -t "$bundled" . >/dev/null
say "  $(docker image inspect -f '{{.Size}}' "$image" | numfmt --to=si --suffix=B) ($(docker image inspect -f '{{.Size}}' "$bundled" | numfmt --to=si --suffix=B) with weights)"
docker run --rm --network none --entrypoint cat "$image" /usr/share/doc/appliance/sbom.cdx.json >"$work/sbom.json"
say "  bill of materials: $(python3 -c 'import json, sys; s = json.load(open(sys.argv[1])); print("CycloneDX", s["specVersion"] + ",", len(s["components"]), "components")' "$work/sbom.json")"

say "without any network, weights in the image"
started=$(ms)
docker run -d --name appliance-alone --network none --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
    --memory 6g --memory-swap 6g --pids-limit 2048 --ulimit core=0 -e APPLIANCE_DEVICE=cpu "$bundled" >/dev/null
wait_ready appliance-alone "$started"
check_confinement appliance-alone
transcribe appliance-alone
check_stop appliance-alone
docker rm -f -v appliance-alone >/dev/null
refusal=$(docker run --rm --network none --read-only --tmpfs /tmp "$image" 2>&1 || true)
printf '%s' "$refusal" | grep -q "no NVIDIA driver that runs" || fail "a missing GPU was not refused: $refusal"
say "  without a GPU and without APPLIANCE_DEVICE=cpu it refuses to start"

say "scripts/airgap_bundle.sh"
scripts/airgap_bundle.sh --no-build --image "$image" --models "$work/weights" --key "$work/key" --to "$work/bundle" --split 2G 2>&1 | sed 's/^/         /'
fingerprint=$(ssh-keygen -lf "$work/key.pub" | cut -d' ' -f2)
say "the same with a signed bundle of models"
make_models
mkdir -p "$work/signed/.made"
ln "$work"/bundle/image.tar.zst* "$work/signed/"
cp "$work/bundle/.made/image.tar.zst" "$work/signed/.made/"
scripts/airgap_bundle.sh --no-build --image "$image" --models "$work/vendor/models.tar" --key "$work/key" --to "$work/signed" --split 2G 2>&1 | sed 's/^/         /'
docker image rm "$bundled" >/dev/null
docker image prune -f >/dev/null # of earlier runs; what a quick build needs stays
docker builder prune -f --keep-storage 8GB >/dev/null
stop_engine build

say "install.sh on an empty folder, in a network that is loopback"
# shellcheck disable=SC2016  # for the inner shell
start_engine site with-iptables unshare -n -- sh -c 'ip link set lo up; exec "$@"' sh
site() { nsenter -n -t "$(cat "$cache/site/pid")" "$@"; }
started=$(ms)
site "$work/bundle/install.sh" --to "$work/site" --profile cpu --fingerprint "$fingerprint" --name localhost --memory 6g | sed 's/^/         /'
say "  installed in $(($(ms) - started)) ms"
wait_ready appliance "$started"
check_confinement appliance
inside appliance cat /data/tls/ca.pem >"$work/ca.pem"
site python3 -c "import ssl, urllib.request as r
r.urlopen('https://localhost/healthz', timeout=10, context=ssl.create_default_context(cafile='$work/ca.pem'))" || fail "the published port does not answer over HTTPS"
say "  https://localhost/healthz answers through the gate, its certificate verified"
transcribe appliance
check_look appliance
check_commands "$work/site"
say "install.sh once more changes nothing"
site "$work/bundle/install.sh" --to "$work/site" | grep -c "already" >/dev/null || fail "the second run did not see the first"
docker compose --project-directory "$work/site" down -v >/dev/null 2>&1

say "install.sh with the signed bundle of models, on another empty folder"
started=$(ms)
site "$work/signed/install.sh" --to "$work/signed-site" --profile cpu --fingerprint "$fingerprint" --name localhost --memory 6g 2>&1 |
    while read -r line; do say "  $line"; done
say "  installed in $(($(ms) - started)) ms"
wait_ready appliance "$started"
check_release appliance "$work/signed-site"
mount --bind "$work/vendor" "$work/signed-site/bundles" # as a stick is
started=$(ms)
docker restart appliance >/dev/null
wait_ready appliance "$started"
inside appliance test -r /bundles/models.tar || fail "a stick that was mounted on bundles/ is not seen after a restart"
transcribe appliance
site "$work/signed/install.sh" --to "$work/signed-site" | grep "The models were imported already" || fail "the second run imported the models again"

say "the profile gpu, unmodified, on a server whose GPU does not answer"
cd "$work/signed-site"
docker compose down >/dev/null 2>&1
COMPOSE_PROFILES=gpu docker compose up -d --pull never >/dev/null 2>&1 || fail "compose does not accept the reservation of a GPU"
for _ in $(seq 100); do docker logs appliance 2>&1 | grep -q "no NVIDIA driver" && break; sleep 0.2; done
docker logs appliance 2>&1 | grep -q "no NVIDIA driver" || fail "it did not refuse to start: $(docker logs appliance 2>&1 | tail -3)"
say "  it refuses to start, and does not turn to the CPU"
started=$(ms)
site "$work/signed/install.sh" --to "$work/signed-site" >/dev/null 2>&1 || fail "install.sh does not put another profile in its place"
wait_ready appliance "$started"
say "  install.sh puts the profile cpu in its place"
docker compose --profile '*' down -v >/dev/null 2>&1
say "all is well"
