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
    state="$to/state"
}

# --- 1. the files ------------------------------------------------------------------------------------------------------------

check_signature() {
    command -v ssh-keygen >/dev/null || refuse "'ssh-keygen' is not installed; the signature cannot be verified." \
        "Install the package openssh-client (openssh-clients)."
    local file
    for file in BUNDLE SHA256SUMS SHA256SUMS.sig vendor.pub; do
        [ -f "$here/$file" ] || refuse "$file is missing." "Copy the whole bundle again, every file of it into one folder."
    done
    ssh-keygen -q -Y verify -f "$here/vendor.pub" -I appliance-bundle -n appliance-bundle -s "$here/SHA256SUMS.sig" \
        <"$here/SHA256SUMS" >/dev/null 2>&1 ||
        refuse "the signature does not fit: SHA256SUMS was changed, or another key signed it." \
            "Do not install this. Copy the bundle again; if that does not help, ask your vendor."
    check_key
}

# A signature proves nothing unless the key is known from elsewhere: from the vendor's word, or from the first installation.
check_key() {
    local shown
    shown=$(awk '{ print $2, $3 }' "$here/vendor.pub" | ssh-keygen -lf - | cut -d' ' -f2)
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

check_files() {
    local line sum name missing=()
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
    command -v docker >/dev/null || refuse "Docker is not installed." \
        "Install Docker Engine 24 or newer from your distribution's packages, or Podman with podman-docker."
    docker version >/dev/null 2>&1 || refuse "no Docker engine answers." \
        "Start it (systemctl start docker), and run this as root or as a member of the group docker."
    docker compose version >/dev/null 2>&1 || refuse "'docker compose' is not installed." \
        "Install the package docker-compose-plugin (Debian: docker-compose)."
}

check_space() {
    local root free needed
    root=$(docker info -f '{{.DockerRootDir}}')
    while [ ! -d "$root" ]; do root=$(dirname "$root"); done # an engine elsewhere: then the nearest folder there is
    free=$(($(df -Pk "$root" | awk 'NR == 2 { print $4 }') * 1024))
    needed=$(fact models_bytes)
    is_loaded || needed=$((needed + 2 * $(fact image_bytes))) # the archive is unpacked beside the layers
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
    for name in $({ hostname; hostname -f; hostname -I; } 2>/dev/null | tr ' ' '\n' | sort -u); do
        case $name in "" | localhost* | 172.1[6-9].* | 172.2?.* | 172.3[01].* | fe80:*) ;; *) names+=("$name") ;; esac
    done
}

write_files() {
    local tls_names
    mkdir -p "$state" && chmod 0700 "$state"
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
    remember_image
    mv "$to/.env.new" "$to/.env"
    install -m 0644 "$here/compose.yml" "$here/compose.outward.yml" "$to/"
    [ -f "$to/settings.env" ] || install -m 0644 "$here/settings.env" "$to/"
    rm -rf "$to/docs" && cp -R "$here/docs" "$to/docs"
    install -m 0755 "$here/install.sh" "$to/install.sh"
    install -m 0644 "$here/BUNDLE" "$to/BUNDLE"
    install -m 0600 "$here/vendor.pub" "$state/vendor.pub"
    make_folders
    write_command
}

# What the container sees of this server: bundles of models, and files that settings name. Made once; a stick may be mounted there.
make_folders() {
    [ -d "$to/bundles" ] || install -d -m 0755 "$to/bundles"
    [ ! -d "$to/files" ] || return 0
    install -d -m 0750 "$to/files"
    [ "$(id -u)" != 0 ] || chgrp 10001 "$to/files"
}

remember_image() { # to roll back to
    local before
    before=$(setting APPLIANCE_IMAGE)
    [ -z "$before" ] || [ "$before" = "$(fact image)" ] || echo "$before" >"$state/previous_image"
}

# `backup` runs in a container of its own: it also works while the appliance is stopped, and sees the folder for backups.
write_command() {
    install -d -m 0700 "$to/backups"
    [ "$(id -u)" != 0 ] || chown 10001:10001 "$to/backups"
    cat >"$to/appliance" <<'EOF'
#!/bin/sh
# The appliance's commands, inside its container: ./appliance doctor, ./appliance keys list, ./appliance --help
# The folder backups/ beside this file is /backups for ./appliance backup …
here=$(cd "$(dirname "$0")" && pwd)
terminal=-i
if [ -t 0 ] && [ -t 1 ]; then terminal=-it; fi
[ "${1-}" = backup ] || exec docker exec "$terminal" appliance appliance "$@"
image=$(sed -n "s/^APPLIANCE_IMAGE='\(.*\)'/\1/p" "$here/.env")
exec docker run --rm "$terminal" --network none --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
    --user 10001:10001 --env-file "$here/settings.env" -e APPLIANCE_DEVICE=cpu \
    -v appliance_data:/data -v "$here/backups:/backups" -v "$here/files:/files:ro" "$image" "$@"
EOF
    chmod 0755 "$to/appliance"
}

# Before another version touches the database. Without keys for backups nothing is written in the clear instead.
back_up() {
    local before
    before=$(setting APPLIANCE_IMAGE)
    if [ -z "$before" ] || [ "$before" = "$(fact image)" ]; then return; fi
    if grep -q '^APPLIANCE_BACKUP_RECIPIENTS=' "$to/settings.env" 2>/dev/null; then
        say "Backing up before the upgrade ..."
        "$to/appliance" backup create /backups || refuse "the backup failed, and nothing was changed." "The message above says why."
    else
        say "Note: no backup is made before this upgrade, because APPLIANCE_BACKUP_RECIPIENTS is not set in $to/settings.env."
    fi
}

is_loaded() { [ "$(docker image inspect -f '{{.Id}}' "$(fact image)" 2>/dev/null)" = "$(fact image_id)" ]; }

load_image() {
    if is_loaded; then say "The image $(fact image) is here already."; return; fi
    check_delta
    say "Loading the image $(fact image) (minutes) ..."
    cat "$here"/image.tar.zst* | docker load --quiet >/dev/null || refuse "the image could not be loaded." \
        "Docker's message stands above; with too little space or a stopped engine, mend that and run this again."
    docker image inspect "$(fact image)" >/dev/null 2>&1 || refuse "the archive did not hold $(fact image)." "Ask your vendor for a new bundle."
}

check_delta() {
    [ "$(fact kind)" = delta ] || return 0
    docker image inspect -f '{{range .RootFS.Layers}}{{println .}}{{end}}' "$(fact needs_image)" 2>/dev/null |
        grep -qx "$(fact needs_layer)" || refuse "this bundle holds only what changed since $(fact needs_image), which is not here." \
        "Ask your vendor for the full bundle, or load that version first."
}

models_sum() { grep 'models.tar' "$here/SHA256SUMS" | sha256sum | cut -c1-64; }
has_models() { [ "$(cat "$state/models" 2>/dev/null)" = "$(models_sum)" ]; }

bring_models() {
    case $(fact models) in
        none) return 0 ;;
        signed) return 0 ;; # imported by the running appliance, which verifies them itself
        folder) ;;
    esac
    if has_models; then say "The models are here already."; return; fi
    say "Bringing in the models ..."
    cat "$here"/models.tar* | docker run --rm -i --network none --read-only --cap-drop ALL --security-opt no-new-privileges \
        --user 10001:10001 -v appliance_models:/models --entrypoint tar "$(fact image)" --no-same-owner -xf - -C /models ||
        refuse "the models could not be written." "Docker's message stands above; mend that and run this again."
    models_sum >"$state/models"
}

compose() { docker compose --project-directory "$to" "$@"; }

start() {
    say "Starting ..."
    compose up -d --wait --wait-timeout 900 --pull never --remove-orphans || {
        compose logs --tail 20 >&2 || true
        refuse "the appliance did not start." "Its last words stand above. Mend that and run this again; '$to/appliance doctor' explains more."
    }
}

import_models() {
    [ "$(fact models)" = signed ] || return 0
    # Once only: newer models may have come in since, and older ones are refused for good reason.
    if has_models; then say "The models were imported already."; return; fi
    say "Importing the models (verified once more by the appliance) ..."
    cat "$here"/models.tar* | docker exec -i appliance appliance models import - ||
        refuse "the models were not imported; those that were in use still are." "The message above says why."
    models_sum >"$state/models"
}

install_licence() {
    [ -f "$here/licence.json" ] || return 0
    if cmp -s "$here/licence.json" "$state/licence.json"; then say "The licence was installed already."; return; fi # and perhaps a newer one
    docker exec -i appliance appliance licence install /dev/stdin <"$here/licence.json" ||
        refuse "the licence was not installed." "The message above says why; everything else is done."
    install -m 0600 "$here/licence.json" "$state/licence.json"
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

go_back() {
    local previous
    previous=$(cat "$state/previous_image" 2>/dev/null) || refuse "there is nothing to go back to." "This server has had one version only."
    docker image inspect "$previous" >/dev/null 2>&1 || refuse "the image $previous is no longer here." "Load it from its bundle, then try again."
    setting APPLIANCE_IMAGE >"$state/next_image"
    sed -i "s|^APPLIANCE_IMAGE=.*|APPLIANCE_IMAGE='$previous'|" "$to/.env"
    mv "$state/next_image" "$state/previous_image"
    start
    say "The appliance runs with $previous again. If it refuses the database, restore the backup made before the upgrade."
}

read_options "$@"
if [ "$roll_back" = yes ]; then check_docker; go_back; exit 0; fi
check_signature
check_files
[ "$verify_only" = no ] || exit 0
check_docker
check_space
mkdir -p "$to" 2>/dev/null || refuse "$to cannot be made." "Run this as root, or choose another folder with --to."
wanted=${profile:-$(setting COMPOSE_PROFILES)}
[ "${wanted:-gpu}" = cpu ] || check_gpu
check_swap
load_image
back_up
write_files
bring_models
start
import_models
install_licence
conclude
