"""`python -m appliance.updates.publish`: makes a repository, signs releases and cuts bundles. For the vendor, and for sites.

Keys lie outside of the checkout, under a passphrase (APPLIANCE_SIGNING_PASSPHRASE, or asked for). With --development the
keys are those that everybody has, which only development builds trust.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from appliance.errors import ApplianceError, InvalidRequest
from appliance.updates.release import Canary
from appliance.updates.repository import Repository, plan_model
from appliance.updates.roots import check_root, is_development, vendor_root
from appliance.updates.signing import Keys, development_keys, load_keys, make_vendor_keys

THRESHOLD = 2  # of the three root keys

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

Folder = Annotated[Path, typer.Argument(metavar="REPOSITORY", help="Folder of lists and contents; keep it, and back it up.")]
KeyFolders = Annotated[
    list[Path] | None, typer.Option("--keys", metavar="FOLDER", help="Where keys are; may be given several times.")
]
Development = Annotated[bool, typer.Option("--development", help="Sign with the keys that everybody has.")]
Passphrase = Annotated[str, typer.Option(envvar="APPLIANCE_SIGNING_PASSPHRASE", help="Of the keys; asked for when absent.")]


@app.command()
def init(folder: Folder, keys: KeyFolders = None, development: Development = False, passphrase: Passphrase = "") -> None:
    """Make a repository with new keys in the one folder of --keys; spread the three root keys over three places afterwards."""
    if not development and len(keys or []) != 1:
        raise InvalidRequest("Name one folder for the new keys.", "--keys FOLDER, outside of the checkout.")
    made = development_keys() if development else make_vendor_keys((keys or [])[0], passphrase or _ask())
    Repository(folder).create(made, threshold=THRESHOLD, development=development)
    print(f"{folder}/metadata/1.root.json is the root to build into the appliance.")


@app.command()
def add(  # noqa: PLR0917 - one per option
    folder: Folder,
    entry: Annotated[Path, typer.Option(help="The model's catalogue entry (TOML).")],
    source: Annotated[Path, typer.Option("--from", help="Folder of its files, as installed.")],
    canary: Annotated[Path, typer.Option(help="Reference recording: WAV, 16 kHz, mono, 16 bit.")],
    words: Annotated[str, typer.Option(help="What is said in it.")] = "",
    speakers: Annotated[int, typer.Option(help="How many people speak in it, for diarization; 0: does not matter.")] = 0,
    tolerance: Annotated[int, typer.Option(min=0, max=50, help="Percent of the words that may be wrong.")] = 25,
    minimum_version: Annotated[str, typer.Option(help="Oldest appliance that can use it.")] = "0",
    note: Annotated[str, typer.Option(help="What is new, for administrators.")] = "",
    keys: KeyFolders = None,
    development: Development = False,
    passphrase: Passphrase = "",
) -> None:
    """Release a model, new or in the place of its earlier version, beside the others of the newest release."""
    repository = Repository(folder)
    clip = repository.store(canary)
    trial = Canary(clip, words, tolerance, speakers or None)
    plan = plan_model(repository, entry, source, trial, minimum_version)
    version = repository.put(plan, _keys(keys, development, passphrase), note=note)
    print(f"release {version}: {', '.join(model.model for model in repository.plan().models)}")


@app.command()
def bundle(
    folder: Folder,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A new .tar, or a new folder.")],
    since: Annotated[int, typer.Option(help="Only what is new since this release; 0: everything.")] = 0,
) -> None:
    """Cut a bundle of the newest release, whole or as the difference to an earlier one."""
    n_bytes = Repository(folder).write_bundle(target, since or None)
    print(f"{target}: {n_bytes} bytes")


@app.command()
def renew(folder: Folder, keys: KeyFolders = None, development: Development = False, passphrase: Passphrase = "") -> None:
    """Sign the newest release and the root again, so that they expire later; needs two of the three root keys."""
    repository, signing = Repository(folder), _keys(keys, development, passphrase)
    root = repository.renew_root(signing)
    print(f"root {root}, release {repository.release(repository.plan(), signing)}")


@app.command("check-release")
def check_release() -> None:
    """Fail while the root built into the appliance is the one for development."""
    if is_development(vendor_root()):
        hint = "Put the vendor's 1.root.json in the place of appliance/updates/roots/vendor.json (docs/model-updates.md)."
        raise InvalidRequest("The root for development is built in: anybody could sign models for this release.", hint)
    print(f"Built in: {check_root(vendor_root())}.")


def _keys(folders: list[Path] | None, development: bool, passphrase: str) -> Keys:
    return development_keys() if development else load_keys(folders or [], passphrase or _ask())


def _ask() -> str:
    return str(typer.prompt("Passphrase of the keys", hide_input=True, err=True))


if __name__ == "__main__":
    try:
        app()
    except ApplianceError as problem:
        print(f"Error: {problem.message}\n       {problem.hint}", file=sys.stderr)
        sys.exit(1)
