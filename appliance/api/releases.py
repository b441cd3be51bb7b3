"""`/api/v1/releases`: which model releases are here, importing one from a stick or an upload, switching and going back.

For administrators. Always available, whatever the licence says: going back to a working model must never depend on it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime

from litestar import Response, get, post
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from msgspec.structs import replace

from appliance.api.auth import ADMIN, caller
from appliance.api.fields import Fields
from appliance.api.json_body import read_json
from appliance.api.json_schema import json_body
from appliance.api.services import ApiRequest, Services, services_of
from appliance.audio.upload import body_chunks
from appliance.catalogue.releases import Channel, ReleaseRecord
from appliance.domain import Value
from appliance.errors import InvalidField, NotFound, UnsupportedBody
from appliance.licensing import release_notice
from appliance.updates.incoming import FoundBundle, ImportStatus, Incoming
from appliance.updates.operations import activate_release, roll_back
from appliance.updates.releases import KeptRelease
from appliance.updates.roots import is_development, site_root_path, vendor_root
from licence import Licence, Notice

TAR_TYPES = ("application/x-tar", "application/octet-stream")


class ReleasedModelAnswer(Value, frozen=True):
    id: str
    name: str
    kind: str
    size: int  # bytes


class ReleaseAnswer(Value, frozen=True):
    name: str  # "vendor-7", "site-2"
    channel: Channel
    version: int
    imported_at: datetime
    made_at: datetime | None
    note: str  # the maker's words
    notice: Notice | None  # that the licence's support ended before it was made; it works all the same
    models: tuple[ReleasedModelAnswer, ...]
    active: bool
    previous: bool  # what a roll-back leads to
    failed: bool  # did not load, and was rolled back by itself


class ReleasesAnswer(Value, frozen=True):
    releases: tuple[ReleaseAnswer, ...]  # newest first, the vendor's before the site's
    importing: ImportStatus
    bundles: tuple[FoundBundle, ...]  # that lie where sticks are mounted
    bundle_dir: str | None  # which is here, as the appliance sees it; null: nowhere
    site_root: bool  # whether models of the site's own can be imported
    development: bool  # this build trusts keys that everybody has


class BundleChoice(Value, frozen=True, forbid_unknown_fields=True):
    bundle: str  # one of `bundles`
    channel: Channel = Channel.VENDOR
    activate: bool = True


class RollbackAnswer(Value, frozen=True):
    active: str | None  # null: only models that were fetched, as before the first release


@dataclass
class ImportBody(Operation):
    def __post_init__(self) -> None:
        tar = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING, description="The bundle, a .tar."))
        choice = json_body(BundleChoice)().request_body
        assert isinstance(choice, RequestBody)
        self.request_body = RequestBody(content={TAR_TYPES[0]: tar, **choice.content}, required=True)


@get("/api/v1/releases", opt=ADMIN, tags=["Models"], summary="Releases on this machine, the running import, bundles found")
async def list_releases(request: ApiRequest) -> ReleasesAnswer:
    services = services_of(request)
    return await asyncio.to_thread(_answer, services, services.licensing.standing().licence)


@get("/api/v1/releases/import", opt=ADMIN, tags=["Models"], summary="How the import goes; ask every second")
async def read_import(request: ApiRequest) -> ImportStatus:
    return await _status(services_of(request))


@post(
    "/api/v1/releases",
    opt=ADMIN,
    tags=["Models"],
    summary="Import a bundle: the tar as the body (?channel=, ?activate=, ?wait=), or JSON naming one that was found",
    operation_class=ImportBody,
)
async def import_release(request: ApiRequest) -> Response[ImportStatus]:
    """202 once everything has arrived and the trial runs; with `wait=true` 201 when the release is in use."""
    services, actor = services_of(request), caller(request).owner_id
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    fields = Fields(list(request.query_params.multi_items()), ("channel", "activate", "wait"))
    if kind == "application/json":
        choice = await read_json(request, BundleChoice)
        task = services.incoming.begin_found(choice.bundle, choice.channel, actor, activate=choice.activate)
    elif kind in TAR_TYPES:
        activate = fields.boolean("activate") is not False
        task = await services.incoming.receive(body_chunks(request.receive), _channel(fields), actor, activate=activate)
    else:
        raise UnsupportedBody(
            kind or "unknown", f"Send the bundle as '{TAR_TYPES[0]}', or JSON with the name of one that was found."
        )
    if fields.boolean("wait"):
        await asyncio.shield(task)
    return Response(await _status(services), status_code=201 if task.done() else 202)


@post("/api/v1/releases/{name:str}/activate", opt=ADMIN, tags=["Models"], summary="Use a release that is here", status_code=200)
async def activate(request: ApiRequest, name: str) -> ReleaseAnswer:
    services = services_of(request)
    incoming = services.incoming
    record = await activate_release(incoming.releases, name, incoming.audit, caller(request).owner_id)
    kept = await asyncio.to_thread(incoming.releases.kept)
    licence = services.licensing.standing().licence
    return next(_release(one, licence) for one in kept if one.record.name == record.name)


@post(
    "/api/v1/releases/{channel:str}/rollback", opt=ADMIN, tags=["Models"], summary="Go back to the release before", status_code=200
)
async def go_back(request: ApiRequest, channel: str) -> RollbackAnswer:
    if channel not in list(Channel):
        raise NotFound(f"channel '{channel}'")
    incoming = services_of(request).incoming
    record = await roll_back(incoming.releases, Channel(channel), incoming.audit, caller(request).owner_id)
    return RollbackAnswer(record.name if record else None)


def _channel(fields: Fields) -> Channel:
    name = fields.text("channel") or Channel.VENDOR
    if name not in list(Channel):
        raise InvalidField("channel", f"cannot be '{name}'", f"It is one of: {', '.join(Channel)}.")
    return Channel(name)


async def _status(services: Services) -> ImportStatus:
    status = services.incoming.status
    if status.release is None:
        return status
    return await asyncio.to_thread(_noticed, status, services.incoming, services.licensing.standing().licence)


def _noticed(status: ImportStatus, incoming: Incoming, licence: Licence | None) -> ImportStatus:
    """With what is to be said of the release that came of it, while it is kept."""
    kept = (one.record for one in incoming.releases.kept() if one.record.name == status.release)
    return replace(status, notice=next((release_notice(licence, record) for record in kept), None))


def _answer(services: Services, licence: Licence | None) -> ReleasesAnswer:
    incoming = services.incoming
    return ReleasesAnswer(
        releases=tuple(_release(kept, licence) for kept in incoming.releases.kept()),
        importing=_noticed(incoming.status, incoming, licence),
        bundles=incoming.found(),
        bundle_dir=None if services.settings.bundle_dir is None else str(services.settings.bundle_dir),
        site_root=site_root_path(services.settings.models_dir).exists(),
        development=is_development(vendor_root()),
    )


def _release(kept: KeptRelease, licence: Licence | None) -> ReleaseAnswer:
    record = kept.record
    return ReleaseAnswer(
        name=record.name,
        channel=record.channel,
        version=record.version,
        imported_at=record.imported_at,
        made_at=record.made_at,
        note=record.note,
        notice=release_notice(licence, record),
        models=_models(record),
        active=kept.active,
        previous=kept.previous,
        failed=kept.failed,
    )


def _models(record: ReleaseRecord) -> tuple[ReleasedModelAnswer, ...]:
    models = [released.model for released in record.models]
    return tuple(ReleasedModelAnswer(model.id, model.name, model.kind, model.download_bytes) for model in models)
