"""`appliance models import|releases|activate|rollback|root`: signed model updates from a stick; the appliance may be running.

A running appliance takes a new release into use by itself within seconds. Nothing here uses the network.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from appliance.catalogue.releases import Channel, ReleaseRecord
from appliance.catalogue.sources import Progress
from appliance.cli.configuration import read_settings
from appliance.cli.keys import opened_store
from appliance.cli.licence import explain, site_licence
from appliance.cli.terminal import YELLOW, painted, say
from appliance.licensing import release_notice
from appliance.settings import Settings
from appliance.store.audit import Audit

# What verifies and tries out costs a third of a second to import, which 'models list' need not wait for: hence the imports
# inside the commands.

T = TypeVar("T")
Site = Annotated[bool, typer.Option("--site", help="A release of the site's own models, signed with its own root.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


def add_to(app: typer.Typer, watched: Callable[[], Any]) -> None:
    """Put the commands into `appliance models`; `watched` gives the progress bar of that command."""

    @app.command("import")
    def import_bundle(
        bundle: Annotated[
            Path,
            typer.Argument(
                metavar="BUNDLE",
                help="The .tar, or the folder, that the maker delivered; also by its name in the folder that APPLIANCE_BUNDLE_DIR "
                "names (in the container /bundles, on the server 'bundles' beside compose.yml). '-' reads a tar from stdin.",
            ),
        ],
        site: Site = False,
        activate: Annotated[bool, typer.Option("--activate/--no-activate", help="Use it at once, or only bring it in.")] = True,
        as_json: AsJson = False,
    ) -> None:
        """Verify a bundle of models, bring it in, try it out and use it; the release before is kept.

        Whatever is wrong with it, the models in use stay in use. An import that was broken off goes on where it stopped.
        """
        settings = read_settings()
        warn_of_development(site)
        with watched() as progress:
            record = asyncio.run(_import(settings, bundle, _channel(site), activate, progress))
        if as_json:
            print(msgspec.json.encode(record).decode())
        else:
            print(f"{record.name} is {'in use' if activate else 'here; activate it when you like'}: {_models(record)}")
            explain_support(settings, [record])

    app.command("releases")(list_releases)
    app.command("activate")(activate_release)
    app.command("rollback")(roll_back)
    app.add_typer(root, name="root")


root = typer.Typer(help="The site's own trust root, for models of its own.", no_args_is_help=True)


def list_releases(as_json: AsJson = False) -> None:
    """Show the releases that are kept here, newest first."""
    from appliance.updates.releases import Releases  # noqa: PLC0415

    settings = read_settings()
    kept = Releases(settings.models_dir).kept()
    if as_json:
        print(msgspec.json.encode(kept).decode())
    elif not kept:
        say("No release was imported yet: the models in use are those that were fetched.")
    for one in () if as_json else kept:
        state = "in use" if one.active else "failed" if one.failed else "previous" if one.previous else "kept"
        print(f"{one.record.name:<12} {state:<9} {one.record.imported_at:%Y-%m-%d}  {_models(one.record)}")
    if not as_json:
        explain_support(settings, [one.record for one in kept])


def activate_release(name: Annotated[str, typer.Argument(metavar="RELEASE", help="As 'models releases' shows it.")]) -> None:
    """Use a release that is here."""
    from appliance.updates.operations import activate_release as activate  # noqa: PLC0415
    from appliance.updates.releases import Releases  # noqa: PLC0415

    settings = read_settings()
    record = asyncio.run(_audited(settings, lambda audit: activate(Releases(settings.models_dir), name, audit, "console")))
    print(f"{record.name} is in use: {_models(record)}")


def roll_back(site: Site = False) -> None:
    """Go back to the release before; jobs that run end with the models they began with."""
    from appliance.updates.operations import roll_back as go_back  # noqa: PLC0415
    from appliance.updates.releases import Releases  # noqa: PLC0415

    settings = read_settings()
    record = asyncio.run(_audited(settings, lambda audit: go_back(Releases(settings.models_dir), _channel(site), audit, "console")))
    print(
        f"{record.name} is in use: {_models(record)}" if record else "No release is in use: the models are those that were fetched."
    )


@root.command("create")
def create_root(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder for the key, best on a stick you lock away.")],
    passphrase: Annotated[
        str,
        typer.Option(prompt="Passphrase of the new key", confirmation_prompt=True, hide_input=True, help="Asked for when absent."),
    ],
) -> None:
    """Make a key of your own, and let this appliance trust what it signs: models whose ids begin with 'site/'."""
    from appliance.updates.repository import Repository  # noqa: PLC0415
    from appliance.updates.roots import add_site_root, refuse_inside  # noqa: PLC0415
    from appliance.updates.signing import make_site_key  # noqa: PLC0415

    settings = read_settings()
    refuse_inside(folder, settings.data_dir, settings.models_dir)
    repository = Repository(folder / "repository")
    repository.create(make_site_key(folder, passphrase), threshold=1)
    print_root(add_site_root(settings.models_dir, (repository.metadata / "1.root.json").read_bytes()))
    say(f"Sign a model with: python -m appliance.updates.publish add {folder}/repository --keys {folder} …")


@root.command("add")
def add_root(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="'1.root.json' of the repository that your models come from.")],
    replace: Annotated[bool, typer.Option("--replace", help="Trust this one instead of the present one.")] = False,
) -> None:
    """Let this appliance trust a root that was made elsewhere."""
    from appliance.updates.roots import add_site_root, read_root  # noqa: PLC0415

    print_root(add_site_root(read_settings().models_dir, read_root(file), replace=replace))


def explain_support(settings: Settings, records: Sequence[ReleaseRecord]) -> None:
    """Of releases that the vendor made after the licence's support had ended."""
    site = site_licence(settings)
    licence = site.standing().licence if site else None
    explain(notice for record in records if (notice := release_notice(licence, record)))


def print_root(fingerprint: str) -> None:
    print(f"The site's own root is in place. Its fingerprint: {fingerprint}")


def warn_of_development(site: bool) -> None:
    from appliance.updates.roots import is_development, vendor_root  # noqa: PLC0415

    if not site and is_development(vendor_root()):
        say(painted("This is a development build: it trusts model updates by keys that everybody has.", YELLOW))


async def _import(settings: Settings, path: Path, channel: Channel, activate: bool, progress: Progress) -> ReleaseRecord:
    from appliance.updates.bundle import TarBundle, open_bundle  # noqa: PLC0415
    from appliance.updates.operations import import_release  # noqa: PLC0415

    path = _found(path, settings.bundle_dir)
    with open_bundle(path) if path != Path("-") else nullcontext(TarBundle(sys.stdin.buffer)) as bundle:
        return await _audited(
            settings,
            lambda audit: import_release(
                bundle, channel, settings=settings, audit=audit, actor="console", progress=progress, activate=activate
            ),
        )


def _found(path: Path, bundle_dir: Path | None) -> Path:
    """A bare name may be that of a bundle where sticks are mounted."""
    if bundle_dir is None or path.exists() or len(path.parts) != 1 or not (bundle_dir / path).exists():
        return path
    return bundle_dir / path


async def _audited(settings: Settings, work: Callable[[Audit], Awaitable[T]]) -> T:
    async with opened_store(settings) as store:
        return await work(store.audit)


def _channel(site: bool) -> Channel:
    return Channel.SITE if site else Channel.VENDOR


def _models(record: ReleaseRecord) -> str:
    return ", ".join(released.model.id for released in record.models)
