#!/usr/bin/env bash
# On a connected machine: one folder with everything a site without internet needs, signed, ready for a USB stick.
#
# usage: scripts/airgap_bundle.sh [--dry-run] [--to FOLDER] [--image NAME:TAG] [--delta-from NAME:TAG] [--models FOLDER|FILE]
#                                 [--licence FILE] [--key FILE] [--split SIZE] [--no-build] [-- docker build options]
#
#   --to FOLDER           where it goes (default dist/appliance-VERSION); run again after an interruption, it goes on from there
#   --delta-from IMAGE    carry only the layers that this older image, installed at the site, does not have
#   --models X            a folder of installed weights (default: this user's), a signed model bundle (a file), or "none"
#   --licence FILE        the customer's licence file, when it is known already
#   --key FILE            the Ed25519 key (OpenSSH) that signs; made in ~/.config/appliance when there is none
#   --split SIZE          parts that fit a FAT32 stick: --split 4G
#   --dry-run             say what would be carried and how large it is, write nothing
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' appliance/__init__.py)
to="dist/appliance-$version" image="appliance:$version" delta_from="" licence="" split="" dry=no build=yes
models="${APPLIANCE_MODELS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/appliance/models}"
key="${XDG_CONFIG_HOME:-$HOME/.config}/appliance/bundle_key"
build_options=()

say() { printf '%s\n' "$*" >&2; }
refuse() { say "Stopped: $1"; say "  → $2"; exit 1; }
size_words() { numfmt --to=si --suffix=B --format=%.1f "$1"; }

read_options() {
    while [ $# -gt 0 ]; do
        case $1 in
            --to) to=$2 ;; --image) image=$2 ;; --delta-from) delta_from=$2 ;; --models) models=$2 ;;
            --licence) licence=$2 ;; --key) key=$2 ;; --split) split=$2 ;;
            --dry-run) dry=yes; shift; continue ;;
            --no-build) build=no; shift; continue ;;
            --) shift; build_options=("$@"); return ;;
            -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
            *) refuse "there is no option '$1'." "scripts/airgap_bundle.sh --help lists them." ;;
        esac
        [ $# -ge 2 ] || refuse "the option '$1' needs a value." "scripts/airgap_bundle.sh --help explains it."
        shift 2
    done
}

check_tools() {
    local tool
    for tool in docker zstd sha256sum ssh-keygen numfmt split python3; do
        command -v "$tool" >/dev/null || refuse "'$tool' is not installed." "Install it with this system's package manager."
    done
    docker version >/dev/null 2>&1 || refuse "no Docker engine answers." "Start it, or let DOCKER_HOST say where it is."
    [ -z "$delta_from" ] || has_image "$delta_from" || refuse "there is no image $delta_from here to compare with." \
        "Load the archive that the site was installed from, build on top of it, and try again."
    [ "$delta_from" != "$image" ] || refuse "$image is what is to be carried; it cannot be compared with itself." \
        "Give the image that the site has a name of its own before building: docker tag."
    [ "$models" = none ] || [ -e "$models" ] ||
        refuse "there are no models in $models." "Run 'appliance models fetch', or name another place with --models."
    [ ! -e "$models/metadata/timestamp.json" ] || refuse "$models is an unpacked model bundle or a vendor's repository." \
        "Give its .tar: python -m appliance.updates.publish bundle REPOSITORY models.tar."
    [ ! -f "$models" ] || tar -tf "$models" 2>/dev/null | grep -x metadata/timestamp.json >/dev/null ||
        refuse "$models is no signed model bundle." "Give the .tar that 'python -m appliance.updates.publish bundle' wrote."
    [ -z "$licence" ] || [ -f "$licence" ] || refuse "there is no licence file $licence." "Correct --licence, or leave it out."
    [ -z "$split" ] || numfmt --from=iec "$split" >/dev/null 2>&1 || refuse "'$split' is not a size." "Write --split 4G."
}

has_image() { docker image inspect "$1" >/dev/null 2>&1; }
image_fact() { docker image inspect -f "$2" "$1"; }
layers_of() { image_fact "$1" '{{range .RootFS.Layers}}{{println .}}{{end}}' | sed '/^$/d'; }
# By what install.sh knows the image again; its id is another one in each of Docker's stores.
image_content() {
    local found
    found=$(image_fact "$image" '{{range .RootFS.Layers}}{{println .}}{{end}}{{index .Config.Labels "org.opencontainers.image.revision"}}')
    printf '%s\n' "$found" | sha256sum | cut -c1-64
}

build_image() {
    [ "$build" = yes ] || { has_image "$image" || refuse "there is no image $image." "Leave --no-build out."; return 0; }
    say "Building $image (what has not changed is taken from the cache) ..."
    docker build -f docker/Dockerfile.cuda -t "$image" --build-arg VERSION="$version" \
        --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || echo unknown)" "${build_options[@]}" . >&2
}

check_delta() {
    [ -z "$delta_from" ] || [ -n "$(shared_layers)" ] || refuse "$image shares no layer with $delta_from." \
        "Build it on top of that image (its build cache), or leave --delta-from out."
}

# The leading layers that both images have, one per line
shared_layers() {
    [ -n "$delta_from" ] || return 0
    paste <(layers_of "$delta_from") <(layers_of "$image") | awk '$1 != $2 { exit } { print $1 }'
}

# The archive on stdout, uncompressed
write_archive() {
    local -a shared
    mapfile -t shared < <(shared_layers)
    if [ ${#shared[@]} = 0 ]; then docker save "$image"; else docker save "$image" | python3 scripts/delta_archive.py "${shared[@]}"; fi
}

progress() { if [ -t 2 ]; then dd bs=1M status=progress; else cat; fi; }
models_archive() { # weights do not get smaller by compression
    if [ -d "$models" ]; then tar -C "$models" --exclude='./.*' --exclude=verified.json --owner=0 --group=0 --mtime=@0 --sort=name -cf - .; else cat "$models"; fi
}
models_kind() { if [ "$models" = none ]; then echo none; elif [ -d "$models" ]; then echo folder; else echo signed; fi; }
models_bytes() { if [ "$models" = none ]; then echo 0; else models_archive | wc -c; fi; }

dry_run() {
    local archive_bytes weights_bytes
    archive_bytes=$(write_archive | wc -c) weights_bytes=$(models_bytes)
    printf '%-34s %10s\n' \
        "image.tar.zst (${delta_from:+delta, }before zstd)" "$(size_words "$archive_bytes")" \
        "  about, after zstd" "$(size_words $((archive_bytes / 2)))" \
        "models.tar" "$(size_words "$weights_bytes")" \
        "compose files, install.sh, docs" "$(size_words "$(du -scb docker/*.yml docker/settings.env docs scripts/install.sh | tail -1 | cut -f1)")" \
        "licence" "${licence:-none; the site starts with its evaluation}"
    echo "To: $to${split:+, in parts of $split}. Nothing was written."
}

# make NAME MADE_FROM COMMAND: the command's output as NAME, whole or in parts; kept when a run before made it of the same
make_file() {
    local name=$1 made_from=$2 command=$3 work="$to/.making"
    if [ "$(cat "$to/.made/$name" 2>/dev/null)" = "$made_from ${split:-whole}" ] && compgen -G "$to/$name*" >/dev/null; then
        say "$name is there already."
        return
    fi
    say "Writing $name ..."
    rm -rf "$work" && mkdir -p "$work" "$to/.made" && rm -f "$to/$name" "$to/$name".part-*
    if [ -n "$split" ]; then # FAT32 holds files up to one byte less than 4 GiB
        $command | progress | split -b "$(($(numfmt --from=iec "$split") - 1))" -d -a 3 - "$work/$name.part-"
    else
        $command | progress >"$work/$name"
    fi
    mv "$work"/* "$to/"
    rmdir "$work"
    echo "$made_from ${split:-whole}" >"$to/.made/$name"
}

image_file() { write_archive | zstd -q -3 -T0; }

carry_papers() {
    install -m 0755 scripts/install.sh "$to/install.sh"
    install -m 0644 docker/compose.yml docker/compose.outward.yml docker/settings.env "$to/"
    rm -rf "$to/docs" && cp -R docs "$to/docs"
    rm -f "$to/licence.json"
    [ -z "$licence" ] || install -m 0644 "$licence" "$to/licence.json"
    licence_request >"$to/licence-request.txt"
}

licence_request() {
    cat <<EOF
To order a licence send this to your vendor, filled in. 'appliance licence show' prints the installation id.
No licence is needed to begin: the first 30 days are an evaluation with everything on.

customer:
installation id:
GPU ids (nvidia-smi -L), only if the licence is to be bound to them:
seats, GPUs, hours of recordings a month:
until:
EOF
}

describe() {
    local last_shared
    last_shared=$(shared_layers | tail -1)
    cat >"$to/BUNDLE" <<EOF
format=1
version=$version
image=$image
image_content=$(image_content)
archive_bytes=$(cat "$to"/image.tar.zst* | zstd -dc | wc -c)
kind=$([ -n "$last_shared" ] && echo delta || echo full)
needs_image=$delta_from
needs_layer=$last_shared
models=$(models_kind)
models_bytes=$(models_bytes)
EOF
}

make_key() {
    [ -f "$key" ] && return
    say "Making a key that signs bundles: $key. Keep it; sites trust it from their first installation on."
    mkdir -p "$(dirname "$key")" && chmod 0700 "$(dirname "$key")"
    ssh-keygen -q -t ed25519 -N "" -C "appliance bundles" -f "$key"
}

sign() {
    (cd "$to" && find . -type f ! -path '*/.*' ! -name 'SHA256SUMS*' ! -name vendor.pub -printf '%P\n' | LC_ALL=C sort | tr '\n' '\0' |
        xargs -0 sha256sum) >"$to/.SHA256SUMS"
    mv "$to/.SHA256SUMS" "$to/SHA256SUMS"
    awk '{ print "appliance-bundle", $1, $2 }' "$key.pub" >"$to/vendor.pub"
    rm -f "$to/SHA256SUMS.sig"
    ssh-keygen -q -Y sign -f "$key" -n appliance-bundle "$to/SHA256SUMS" 2>/dev/null
}

conclude() {
    say ""
    say "The bundle is in $to:"
    (cd "$to" && find . -maxdepth 1 -type f ! -name '.*' -printf '%s %P\n' | sort -k2 | while read -r bytes name; do
        printf '  %10s  %s\n' "$(size_words "$bytes")" "$name" >&2
    done)
    say "Signed by $(ssh-keygen -lf "$key.pub" | cut -d' ' -f2). Tell the site this fingerprint by another way than the stick."
    say "At the site, with all files in one folder: ./install.sh"
}

read_options "$@"
check_tools
build_image
check_delta
if [ "$dry" = yes ]; then dry_run; exit 0; fi
mkdir -p "$to"
make_file image.tar.zst "$(image_fact "$image" '{{.Id}}') ${delta_from:+$(image_fact "$delta_from" '{{.Id}}')}" image_file
if [ "$models" = none ]; then rm -f "$to"/models.tar*; else make_file models.tar "$(models_archive | sha256sum | cut -c1-64)" models_archive; fi
carry_papers
describe
make_key
sign
conclude
