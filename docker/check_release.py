"""Refuses a release while keys for development are built in, in a second and before anything large is fetched.

usage: check_release.py KEYS ROOT (licence/keys.json, appliance/updates/roots/vendor.json). Standard library only: it runs on the
bare base. Whether what is there instead is sound, `check-release` of both tools says later in the build.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path

DEVELOPMENT_KEY_IDS = frozenset({"805c0cdb1ab160f1", "92df5bea775f1ba0"})  # as licence/keys.py has them
OF_LICENCES = "those of licences, for which nobody can sign: put the vendor's into licence/keys.json (docs/licence.md)"
OF_MODELS = (
    "those of model updates, for which everybody can sign: put the vendor's 1.root.json in the place of "
    "appliance/updates/roots/vendor.json (docs/model-updates.md)"
)


def signs_licences(keys: bytes) -> bool:
    parts = json.loads(keys)
    every = [parts["current"], parts["next"], *parts.get("former", [])]
    ids = {hashlib.sha256(base64.b64decode(key["ed25519"])).hexdigest()[:16] for key in every}
    return not DEVELOPMENT_KEY_IDS.isdisjoint(ids)


def signs_models(root: bytes) -> bool:
    return bool(json.loads(root)["signed"].get("development"))


def main(keys: Path, root: Path) -> int:
    found = [OF_LICENCES] * signs_licences(keys.read_bytes()) + [OF_MODELS] * signs_models(root.read_bytes())
    if found:
        print(f"RELEASE=yes is refused, because keys for development are built in: {'; and '.join(found)}.", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
