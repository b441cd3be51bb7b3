#!/usr/bin/env bash
# Installs or upgrades the appliance from the folder this script lies in. Nothing is fetched; everything is verified first.
# It may be run again at any time: what is done already is seen and left alone.
#
# usage: ./install.sh [--to FOLDER] [--fingerprint SHA256:…] [--profile gpu|gpus|cpu] [--name NAME]… [--port 443]
#                     [--redirect-port 80] [--bind ADDRESS] [--memory 12g] [--verify-only] | --roll-back
#
#   --to FOLDER       where compose file and settings go (default /opt/appliance)
#   --fingerprint F   of the vendor's key, as the vendor told you; asked for where it is not given
#   --profile P       gpu (default), gpus (all of them) or cpu (slow, and meant)
#   --name NAME       a name or address people reach this server by, for its certificate; may be given several times
#   --memory SIZE     the appliance's memory limit; docs/operator-guide.md says how much for which recordings
#   --verify-only     verify the files and stop
#   --roll-back       go back to the image that ran before the last upgrade
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

to=/opt/appliance fingerprint="" profile="" port="" redirect_port="" bind="" memory="" verify_only=no roll_back=no
names=()
state="" # what this script remembers, below $to

say() { printf '%s\n' "$*"; }
refuse() { printf 'Stopped: %s\n  → %s\n' "$1" "$2" >&2; exit 1; }
fact() { sed -n "s/^$1=//p" "$here/BUNDLE" | head -1; }

read_options() {
    while [ $# -gt 0 ]; do
        case $1 in
            --verify-only) verify_only=yes; shift; continue ;;
            --roll-back) roll_back=yes; shift; continue ;;
            -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d'; exit 0 ;;
        esac
        [ $# -ge 2 ] || refuse "the option '$1' is unknown or needs a value." "./install.sh --help explains them."
        case $1 in
            --to) to=$2 ;; --fingerprint) fingerprint=$2 ;; --profile) profile=$2 ;; --name) names+=("$2") ;;
            --port) port=$2 ;; --redirect-port) redirect_port=$2 ;; --bind) bind=$2 ;; --memory) memory=$2 ;;
            *) refuse "there is no option '$1'." "./install.sh --help lists them." ;;
        esac
        shift 2
    done
    case $profile in "" | gpu | gpus | cpu) ;; *) refuse "there is no profile '$profile'." "Choose gpu, gpus or cpu." ;; esac
    to=$(realpath -m "$to") state="$to/state"
}

# --- 1. the files ------------------------------------------------------------------------------------------------------------

check_folder() {
    [ ! "$here" -ef "$to" ] || refuse "$to is the installation; a bundle must lie in a folder of its own." \
        "Run the install.sh of the bundle, in the folder of the bundle. The one here is for --roll-back."
}

check_signature() {
    command -v ssh-keygen >/dev/null || refuse "'ssh-keygen' is not installed; the signature cannot be verified." \
        "Install the package openssh-client (openssh-clients)."
    local file
    for file in BUNDLE SHA256SUMS SHA256SUMS.sig vendor.pub; do
        [ -f "$here/$file" ] || refuse "$file is missing." "Copy the whole bundle again, every file of it into one folder."
    done
    check_key_file
    ssh-keygen -q -Y verify -f "$here/vendor.pub" -I appliance-bundle -n appliance-bundle -s "$here/SHA256SUMS.sig" \
        <"$here/SHA256SUMS" >/dev/null 2>&1 ||
        refuse "the signature does not fit: SHA256SUMS was changed, or another key signed it." \
            "Do not install this. Copy the bundle again; if that does not help, ask your vendor."
    check_key
}

# One key and nothing else: of a second line the fingerprint would say nothing, and yet its key could have signed.
check_key_file() {
    local line
    IFS= read -r line <"$here/vendor.pub" || true
    if [[ ! $line =~ ^appliance-bundle\ ssh-ed25519\ [A-Za-z0-9+/]+={0,2}$ ]] || ! printf '%s\n' "$line" | cmp -s - "$here/vendor.pub"; then
        refuse "vendor.pub is not one line with one key." "Do not install this. Ask your vendor for the bundle, by another way."
    fi
}

# A signature proves nothing unless the key is known from elsewhere: from the vendor's word, or from the first installation.
check_key() {
    local shown
    shown=$(cut -d' ' -f2- "$here/vendor.pub" | ssh-keygen -lf - | cut -d' ' -f2)
    if [ -f "$state/vendor.pub" ]; then
        cmp -s "$here/vendor.pub" "$state/vendor.pub" || refuse "this bundle is signed by $shown, not by the key this server trusts." \
            "Ask your vendor whether the key was changed. If so, remove $state/vendor.pub and give --fingerprint."
        return
    fi
    if [ -n "$fingerprint" ]; then
        [ "$fingerprint" = "$shown" ] || refuse "the bundle is signed by $shown, not by $fingerprint." \
            "Compare the fingerprint with the one your vendor told you. If they differ, do not install this."
        return
    fi
    [ -t 0 ] || refuse "nobody has said whose key to trust." "Give --fingerprint, as your vendor told it to you by another way."
    say "The bundle is signed by the key $shown."
    read -r -p "Is that the fingerprint your vendor told you by another way? [yes/no] " answer
    [ "$answer" = yes ] || refuse "the key was not confirmed." "Ask your vendor for the fingerprint."
}

# signed_names PATTERN: of the files that are signed for, in order. What else lies in the folder is never read.
signed_names() { sed 's/^[0-9a-f]*  //' "$here/SHA256SUMS" | grep -Ex "$1"; }
archive_parts() { signed_names "${1//./\\.}(\.part-[0-9]+)?" | sed "s|^|$here/|"; }
archive() { archive_parts "$1" | xargs -d '\n' cat; }

check_files() {
    local line sum name missing=()
    for name in BUNDLE install.sh compose.yml compose.outward.yml settings.env image.tar.zst; do
        [ -n "$(archive_parts "$name")" ] || refuse "$name is not among the signed files." "Ask your vendor for a new bundle."
    done
    while read -r line; do
        name=${line#*  }
        [ -f "$here/$name" ] || missing+=("$name")
    done <"$here/SHA256SUMS"
    [ ${#missing[@]} = 0 ] || refuse "missing: ${missing[*]}." "Copy these from the stick; all parts belong into one folder ($here)."
    say "Verifying $(wc -l <"$here/SHA256SUMS") files ..."
    while read -r line; do
        sum=${line%% *} name=${line#*  }
        [ "$(sha256sum <"$here/$name" | cut -c1-64)" = "$sum" ] ||
            refuse "$name is damaged or was changed." "Copy this file again; if that does not help, the stick or its copy is bad."
    done <"$here/SHA256SUMS"
    say "All files are what the vendor signed."
}

# --- 2. the server -----------------------------------------------------------------------------------------------------------

check_docker() {
    local engine compose
    command -v docker >/dev/null || refuse "Docker is not installed." \
        "Install Docker Engine 24 or newer from your distribution's packages, or Podman with podman-docker."
    engine=$(docker version -f '{{.Server.Version}}' 2>/dev/null) || refuse "no Docker engine answers." \
        "Start it (systemctl start docker), and run this as root or as a member of the group docker."
    is_at_least 23 "$engine" || docker version 2>/dev/null | grep -i podman >/dev/null ||
        refuse "Docker $engine is too old: it cannot read the archive of the image (zstd)." \
            "Install Docker Engine 24 or newer, from your distribution's packages or Docker's own."
    compose=$(docker compose version --short 2>/dev/null) || refuse "'docker compose' is not installed." \
        "Install the package docker-compose-plugin (Docker's own packages), docker-compose-v2 (Ubuntu) or docker-compose (Debian 13)."
    is_at_least 2.17 "${compose#v}" || refuse "Docker Compose $compose is too old." "Install version 2.17 or newer."
}

is_at_least() { printf '%s\n' "$1" "$2" | sort -VC; }

# Another folder would make a second configuration over the same data.
check_place() {
    local there
    there=$(docker container inspect -f '{{index .Config.Labels "com.docker.compose.project.working_dir"}}' appliance 2>/dev/null || true)
    [ -z "$there" ] || [ ! -f "$there/.env" ] || [ "$there" -ef "$to" ] ||
        refuse "the appliance is installed in $there, not in $to." "Give --to $there, or end that one first (docker compose down, there)."
}

check_space() {
    local root free needed=0
    root=$(docker info -f '{{.DockerRootDir}}')
    while [ ! -d "$root" ]; do root=$(dirname "$root"); done # an engine elsewhere: then the nearest folder there is
    free=$(($(df -Pk "$root" | awk 'NR == 2 { print $4 }') * 1024))
    models_noted || needed=$(fact models_bytes)
    is_loaded || needed=$((needed + 2 * $(fact archive_bytes))) # the archive is unpacked beside the layers
    [ "$free" -ge "$needed" ] || refuse "$((free / 1000000000)) GB are free in $root, $((needed / 1000000000 + 1)) GB are needed." \
        "Free some space ('docker image prune' removes images that nothing uses), or move Docker's data to a larger disk."
}

check_gpu() {
    command -v nvidia-smi >/dev/null || refuse "this server has no NVIDIA driver (nvidia-smi is not there)." \
        "Install driver 580 or newer, or choose --profile cpu to work without a GPU, slowly."
    local driver
    driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -1) && [ -n "$driver" ] ||
        refuse "the NVIDIA driver does not answer (nvidia-smi fails)." "Restart the server after installing a driver; see what nvidia-smi says."
    [ "${driver%%.*}" -ge 525 ] || refuse "the NVIDIA driver $driver is too old." "Install 580 or newer."
    [ "${driver%%.*}" -ge 580 ] || say "Note: driver $driver recognises speech; to tell speakers apart it must be 580 or newer."
    command -v nvidia-container-runtime-hook nvidia-ctk >/dev/null || refuse "the NVIDIA Container Toolkit is not installed." \
        "Install it (package nvidia-container-toolkit), run 'nvidia-ctk runtime configure --runtime=docker', and restart Docker."
}

check_swap() {
    [ -z "$(sed 1d /proc/swaps | grep -v zram || true)" ] ||
        say "Note: this server swaps. The container may not, but encrypt the swap or switch it off for everything else."
}

# --- 3. the installation -----------------------------------------------------------------------------------------------------

setting() { [ ! -f "$to/.env" ] || sed -n "s/^$1=//p" "$to/.env" | head -1 | tr -d "'"; }

# write_setting NAME VALUE DEFAULT: what was asked for now, else what stands there, else the default
write_setting() {
    local value=${2:-$(setting "$1")}
    printf "%s='%s'\n" "$1" "${value:-$3}"
}

names_json() {
    [ ${#names[@]} -gt 0 ] || { [ -z "$(setting APPLIANCE_TLS_NAMES)" ] || return 0; own_names; }
    local name list=""
    for name in "${names[@]}"; do list="$list${list:+, }\"$name\""; done
    printf '[%s]' "$list"
}

own_names() { # of this server: its names, and its addresses on the LAN
    local name
    for name in $({ hostname; hostname -f; own_addresses; } 2>/dev/null | sort -u); do
        case $name in localhost*) ;; *) names+=("$name") ;; esac
    done
}

own_addresses() { # but not those of the bridges to containers
    PATH=$PATH:/usr/sbin:/sbin ip -o address show scope global | awk '{ sub("/.*", "", $4); print $2, $4 }' |
        grep -Ev '^(docker[0-9]+|br-[0-9a-f]{12}|veth|virbr|podman|cni-)' | cut -d' ' -f2
}

write_files() {
    local tls_names
    tls_names=$(names_json)
    {
        echo "# Written by install.sh; what you change here stays when it runs again."
        write_setting COMPOSE_PROFILES "$profile" gpu
        write_setting APPLIANCE_IMAGE "$(fact image)" ""
        write_setting APPLIANCE_TLS_NAMES "$tls_names" "[]"
        write_setting APPLIANCE_BIND "$bind" 0.0.0.0
        write_setting APPLIANCE_PUBLIC_PORT "$port" 443
        write_setting APPLIANCE_REDIRECT_PORT "$redirect_port" 80
        write_setting APPLIANCE_MEMORY "$memory" 12g
        [ -z "$(setting COMPOSE_FILE)" ] || write_setting COMPOSE_FILE "" ""
    } >"$to/.env.new"
    mv "$to/.env.new" "$to/.env"
    install -m 0644 "$here/compose.yml" "$here/compose.outward.yml" "$to/"
    [ -f "$to/settings.env" ] || install -m 0644 "$here/settings.env" "$to/"
    write_docs
    install -m 0755 "$here/install.sh" "$to/install.sh"
    install -m 0644 "$here/BUNDLE" "$to/BUNDLE"
    install -m 0600 "$here/vendor.pub" "$state/vendor.pub"
    write_command
}

write_docs() {
    local name
    rm -rf "$to/docs"
    signed_names 'docs/.*' | while read -r name; do install -D -m 0644 "$here/$name" "$to/$name"; done
}

# What the container sees of this server: bundles of models, files that settings name, and backups. A stick may be mounted on the
# first two, so they are made once.
make_folders() {
    mkdir -p "$to" 2>/dev/null || refuse "$to cannot be made." "Run this as root, or choose another folder with --to."
    install -d -m 0700 "$state" "$to/backups"
    [ "$(id -u)" != 0 ] || chown 10001:10001 "$to/backups"
    [ -d "$to/bundles" ] || install -d -m 0755 "$to/bundles"
    [ ! -d "$to/files" ] || return 0
    install -d -m 0750 "$to/files"
    [ "$(id -u)" != 0 ] || chgrp 10001 "$to/files"
}

write_command() {
    cat >"$to/appliance" <<'EOF'
#!/bin/sh
# The appliance's commands, inside its container: ./appliance doctor, ./appliance keys list, ./appliance --help
# Where that does not run, they run in a container of their own; so does ./appliance backup … always, which sees the folder
# backups/ beside this file as /backups.
set -eu
cd "$(dirname "$(readlink -f "$0")")"
in_terminal() { [ -t 0 ] && [ -t 1 ]; }
state=$(docker container inspect -f '{{.State.Status}}{{with .State.Health}} {{.Status}}{{end}}' appliance 2>/dev/null || true)
case ${1-}:$state in
    backup:*) ;;
    *:running | *:"running healthy") exec docker exec "$(in_terminal && echo -it || echo -i)" appliance appliance "$@" ;;
    *) echo "The appliance is not up (${state:-no container}); this runs beside it. What it said last: docker logs appliance" >&2 ;;
esac
case ${1-} in # these look at the GPU and at the settings of the profile
    doctor | support-bundle | settings | bench) service=$(sed -n 's/^COMPOSE_PROFILES=//p' .env | tr -d "'\"") ;;
    *) service=tool ;;
esac
if in_terminal; then set -- "$service" "$@"; else set -- -T "$service" "$@"; fi
exec docker compose run --rm --no-deps "$@"
EOF
    chmod 0755 "$to/appliance"
}

# What an image is, by whatever name or id an engine knows it: its layers, and the state of the code. BUNDLE says it, too.
content() {
    local found
    found=$(docker image inspect "$1" -f \
        '{{range .RootFS.Layers}}{{println .}}{{end}}{{index .Config.Labels "org.opencontainers.image.revision"}}' 2>/dev/null) || return 1
    printf '%s\n' "$found" | sha256sum | cut -c1-64
}
is_loaded() { [ "$(content "$(fact image)")" = "$(fact image_content)" ]; }

# Before another image comes: a backup, and a way back. Loading a newer build takes the name from an older one of the same version,
# so that gets a name of its own.
prepare_upgrade() {
    local present kept
    present=$(setting APPLIANCE_IMAGE)
    [ -n "$present" ] || return 0
    kept=$(content "$present") || { say "Note: the image $present is no longer here, so there is no backup and no way back to it."; return 0; }
    [ "$kept" != "$(fact image_content)" ] || return 0
    back_up
    if [ "$present" = "$(fact image)" ]; then
        docker tag "$present" "$present-${kept:0:12}"
        present="$present-${kept:0:12}"
    fi
    echo "$present" >"$state/previous_image"
}

# By the image that is here and the compose file that comes. Without keys for backups nothing is written in the clear instead.
back_up() {
    if grep -q '^APPLIANCE_BACKUP_RECIPIENTS=' "$to/settings.env" 2>/dev/null; then
        say "Backing up before the upgrade ..."
        compose --project-directory "$to" -f "$here/compose.yml" run --rm --no-deps -T tool backup create /backups ||
            refuse "the backup failed, and nothing was changed." "The message above says why."
    else
        say "Note: no backup is made before this upgrade, because APPLIANCE_BACKUP_RECIPIENTS is not set in $to/settings.env."
    fi
}

check_delta() {
    [ "$(fact kind)" = delta ] && ! is_loaded || return 0
    docker image inspect -f '{{range .RootFS.Layers}}{{println .}}{{end}}' "$(fact needs_image)" 2>/dev/null |
        grep -x "$(fact needs_layer)" >/dev/null || refuse "this bundle holds only what changed since $(fact needs_image), which is not here." \
        "Ask your vendor for the full bundle, or load that version first."
}

load_image() {
    if is_loaded; then say "The image $(fact image) is here already."; return; fi
    say "Loading the image $(fact image) (minutes) ..."
    archive image.tar.zst | docker load --quiet >/dev/null || refuse "the image could not be loaded." \
        "Docker's message stands above; with too little space or a stopped engine, mend that and run this again."
    is_loaded || refuse "the archive did not hold the image $(fact image) that the bundle describes." "Ask your vendor for a new bundle."
}

# A note of what was brought in. It is believed only with a look at what is there: volumes may have been lost since.
models_sum() { grep 'models.tar' "$here/SHA256SUMS" | sha256sum | cut -c1-64; }
models_noted() { [ "$(cat "$state/models" 2>/dev/null)" = "$(models_sum)" ] && docker volume inspect appliance_models >/dev/null 2>&1; }

# with_models PROGRAM ARGUMENT…: in a container that sees the volume and nothing else
with_models() {
    local program=$1
    shift
    docker run --rm -i --network none --read-only --cap-drop ALL --security-opt no-new-privileges \
        --user 10001:10001 -v appliance_models:/models --entrypoint "$program" "$(fact image)" "$@"
}

bring_models() {
    [ "$(fact models)" = folder ] || return 0 # signed ones are imported by the running appliance, which verifies them itself
    if models_noted && [ -n "$(with_models ls /models </dev/null)" ]; then say "The models are here already."; return; fi
    say "Bringing in the models ..."
    docker volume create --label com.docker.compose.project=appliance --label com.docker.compose.volume=models \
        appliance_models >/dev/null # as compose would
    archive models.tar | with_models tar --no-same-owner -xf - -C /models ||
        refuse "the models could not be written." "Docker's message stands above; mend that and run this again."
    models_sum >"$state/models"
}

compose() { (cd "$to" && docker compose "$@"); } # from there, for COMPOSE_FILE in .env names files beside it

start() {
    say "Starting ..."
    end_other_profile
    compose up -d --wait --wait-timeout 900 --pull never --remove-orphans || {
        compose logs --tail 20 >&2 || true
        refuse "the appliance did not start." "Its last words stand above. Mend that and run this again; '$to/appliance doctor' explains more."
    }
}

# All profiles call their container `appliance`. Compose would leave the one of another profile, and then miss the name.
end_other_profile() {
    local service
    service=$(docker container inspect -f '{{index .Config.Labels "com.docker.compose.service"}}' appliance 2>/dev/null) || return 0
    [ -n "$service" ] && [ "$service" != "$(setting COMPOSE_PROFILES)" ] || return 0
    docker stop appliance >/dev/null || true
    docker rm -f appliance >/dev/null
}

ask() { docker exec appliance appliance "$@" --json 2>/dev/null; }
has_licence() { ask licence show | grep '"licence":{' >/dev/null; }
has_release() { ask models releases | grep '"active":true' >/dev/null; }

install_licence() {
    [ -n "$(signed_names licence.json)" ] || return 0
    # Once only: the site may have a newer one since, beside which this would be refused.
    if cmp -s "$here/licence.json" "$state/licence.json" && has_licence; then say "The licence was installed already."; return; fi
    if docker exec -i appliance appliance licence install /dev/stdin <"$here/licence.json"; then
        install -m 0600 "$here/licence.json" "$state/licence.json"
    elif has_licence; then
        say "Note: the licence of this bundle was not installed, for the reason above; the one that was here stays."
    else
        refuse "the licence was not installed." "The message above says why. Everything else is done, but for signed models."
    fi
}

import_models() {
    [ "$(fact models)" = signed ] || return 0
    # Once only: newer models may have come in since, and older ones are refused for good reason.
    if models_noted && has_release; then say "The models were imported already."; return; fi
    say "Importing the models (verified once more by the appliance) ..."
    if archive models.tar | docker exec -i appliance appliance models import - 2>&1 | tee "$state/import"; then
        models_sum >"$state/models"
    elif grep -qE 'of the bundle expired on|is older than what this appliance has already seen' "$state/import" && has_release; then
        say "Note: the models of this bundle were not imported, for the reason above; those that were in use still are."
    else
        refuse "the models were not imported; those that were in use still are." "The message above says why."
    fi
}

conclude() {
    local name
    name=$(setting APPLIANCE_TLS_NAMES | tr -d '[]" ' | cut -d, -f1)
    say ""
    say "The appliance $(fact version) runs at https://${name:-this server}:$(setting APPLIANCE_PUBLIC_PORT)"
    docker logs appliance 2>&1 | grep -E 'https?://[^ ]*setup' | tail -1 || true # until there is an administrator
    say "A new link for the first administrator: $to/appliance people setup-link"
    say "Its commands: $to/appliance --help    Its papers: $to/docs/operator-guide.md"
}

# Said twice it is the same: what lies ahead comes by its bundle only.
go_back() {
    local previous
    previous=$(cat "$state/previous_image" 2>/dev/null) || refuse "there is nothing to go back to." "This server has had one version only."
    docker image inspect "$previous" >/dev/null 2>&1 || refuse "the image $previous is no longer here." "Load it from its bundle, then try again."
    say "Going back to $previous ..."
    sed -i "s|^APPLIANCE_IMAGE=.*|APPLIANCE_IMAGE='$previous'|" "$to/.env"
    start
    say "The appliance runs with $previous again. If it refuses the database, restore the backup made before the upgrade."
}

read_options "$@"
if [ "$roll_back" = yes ]; then check_docker; check_place; go_back; exit 0; fi
check_folder
check_signature
check_files
[ "$verify_only" = no ] || exit 0
check_docker
check_place
check_delta
check_space
wanted=${profile:-$(setting COMPOSE_PROFILES)}
[ "${wanted:-gpu}" = cpu ] || check_gpu
check_swap
make_folders
prepare_upgrade
load_image
write_files
bring_models
start
install_licence
import_models
conclude
