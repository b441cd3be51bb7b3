#!/bin/sh
# `make run`: fetch the small default models, start the appliance, transcribe a sample recording through the real API,
# show the text, and go on serving until Ctrl-C.
set -eu
cd "$(dirname "$0")/.."
appliance=.venv/bin/appliance
url="https://127.0.0.1:${APPLIANCE_PORT:-8443}"
# Half a minute of a telephone call that comes with pyannote.audio; APPLIANCE_SAMPLE names another recording.
sample=${APPLIANCE_SAMPLE:-$(find .venv/lib -path '*pyannote/audio/sample/sample.wav' | head -n 1)}

ready() { # the same check a load balancer makes
    .venv/bin/python - "$url/readyz" 2>/dev/null <<'EOF'
import ssl, sys, httpx
from appliance.settings import Settings
trust = ssl.create_default_context(cafile=Settings().own_authority_path)  # made by the appliance itself at its first start
sys.exit(httpx.get(sys.argv[1], timeout=2, verify=trust, trust_env=False).status_code != 200)
EOF
}

$appliance models fetch
$appliance serve &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server"; exit 0' INT TERM

echo "Waiting for the speech engine to load its models ..."
until ready; do
    kill -0 "$server" 2>/dev/null || { wait "$server"; exit $?; }
    sleep 0.5
done

$appliance keys revoke "make run" >/dev/null 2>&1 || true # each run has its own key
key=$($appliance keys create "make run" --scope transcribe --scope read --scope write --quiet)

echo
echo "Transcribing $(basename "$sample") through $url:"
echo
APPLIANCE_KEY=$key $appliance transcribe --server "$url" --diarize --format txt "$sample"
echo
echo "The appliance goes on serving. Open this link in a browser on this machine:"
echo "  $url/#key=$key"
echo "The browser warns until it trusts the appliance's own authority; $url/trust shows how. Its fingerprint:"
$appliance trust show 2>/dev/null | sed -n 's/^SHA-256: */  /p' | head -n 1
echo "Ctrl-C stops it."
wait "$server"
