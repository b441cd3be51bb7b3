"""Writes what the image carries and under which licences: `sbom.cdx.json` (CycloneDX) and `licences.txt`.

usage: papers.py PYTHON_SBOM FOLDER. The Python packages come from cyclonedx-py; Debian's are added from dpkg.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

FIELDS = "${Package}\t${Version}\t${Architecture}\t${source:Package}\n"
LICENCE_FILES = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT", "EULA")


def debian_packages() -> list[list[str]]:
    """Rows of package, version, architecture, source package."""
    listing = subprocess.run(["/usr/bin/dpkg-query", "-W", "-f", FIELDS], check=True, capture_output=True, text=True)  # noqa: S603
    return [line.split("\t") for line in listing.stdout.splitlines()]


def debian_component(package: str, version: str, architecture: str, source: str) -> dict[str, Any]:
    purl = f"pkg:deb/debian/{package}@{version}?arch={architecture}&distro=debian-12"
    properties = [{"name": "debian:source", "value": source}]
    return {"type": "library", "bom-ref": purl, "name": package, "version": version, "purl": purl, "properties": properties}


def with_debian(sbom: dict[str, Any]) -> dict[str, Any]:
    components = [*sbom.get("components", []), *(debian_component(*row) for row in debian_packages())]
    return {**sbom, "components": components}


def stated_licence(package: Distribution) -> str:
    """What its metadata says, in the order in which the fields of the standard replaced each other."""
    facts = package.metadata
    classified = [line.rsplit(" :: ", 1)[-1] for line in facts.get_all("Classifier", []) if line.startswith("License ::")]
    expressions: list[str] = facts.get_all("License-Expression", [])
    in_one_line = [text.strip() for text in facts.get_all("License", []) if "\n" not in text.strip()]
    stated = expressions or classified or in_one_line
    return ", ".join(stated) or "not stated; see its texts below"


def licence_texts(package: Distribution) -> Iterator[tuple[str, str]]:
    for file in package.files or ():
        if ".dist-info" in str(file) and file.name.upper().startswith(LICENCE_FILES):
            path = Path(str(file.locate()))
            if path.is_file():
                yield file.name, path.read_text(errors="replace").strip()


def licences() -> Iterator[str]:
    packages = sorted(distributions(), key=lambda package: package.name.lower())
    yield "Python packages and their licences. Debian's stand in /usr/share/doc/PACKAGE/copyright.\n"
    for package in packages:
        yield f"{package.name} {package.version}: {stated_licence(package)}"
    for package in packages:
        for name, text in licence_texts(package):
            yield f"\n{'=' * 80}\n{package.name} {package.version}: {name}\n{'=' * 80}\n{text}"


def main(python_sbom: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    sbom = with_debian(json.loads(python_sbom.read_text()))
    (folder / "sbom.cdx.json").write_text(json.dumps(sbom, indent=1) + "\n")
    (folder / "licences.txt").write_text("\n".join(licences()) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
