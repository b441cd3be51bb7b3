"""`/v1/licence`: how the site stands, for everybody who signs in; the details and a new licence, for administrators."""

from __future__ import annotations

import math
from datetime import datetime

from litestar import get, post

from appliance.api.auth import ADMIN, READ, caller
from appliance.api.services import ApiRequest, Services, services_of
from appliance.api.whole_body import read_body
from appliance.domain import Value
from licence import Licence, Limits, Notice, Standing, State


class NoticeAnswer(Value, frozen=True):
    sentence: str
    hint: str


class UseAnswer(Value, frozen=True):
    """What is counted against the limits, in this calendar month (UTC)."""

    hours: float
    hours_renew_at: datetime


class SiteAnswer(Value, frozen=True):
    """What the vendor needs for a licence that is bound to this machine."""

    install_id: str
    gpu_uuids: tuple[str, ...]


class LicenceDetails(Value, frozen=True):
    id: str
    serial: int
    customer: str
    edition: str
    not_before: datetime
    expires_at: datetime | None
    perpetual: bool
    grace_days: int
    support_until: datetime | None
    features: tuple[str, ...]
    bound: bool


class LicenceAnswer(Value, frozen=True):
    """`site`, `licence`, `limits` and `use` are null for everybody but administrators."""

    state: State
    restricted: bool  # no new recordings and no new people
    notices: tuple[NoticeAnswer, ...]  # for a banner, the most pressing first; empty: nothing to show
    judged_at: datetime  # the time it is judged by, which is not this machine's clock where that was set back
    until: datetime | None  # new recordings are refused from then on
    days_left: int | None  # to the end of the term or the evaluation, the day that has begun included; 0 or below after it
    supported: bool | None  # whether the licence covers this version
    site: SiteAnswer | None = None
    licence: LicenceDetails | None = None
    limits: Limits | None = None
    use: UseAnswer | None = None


@get("/v1/licence", opt=READ, tags=["Licence"], summary="The state of the licence; its details for administrators")
async def read_licence_state(request: ApiRequest) -> LicenceAnswer:
    services = services_of(request)
    return _answer(services, services.licensing.standing(), whole=caller(request).is_admin)


@post("/v1/licence", opt=ADMIN, status_code=200, tags=["Licence"], summary="Install a licence: the file is the body")
async def install_licence(request: ApiRequest) -> LicenceAnswer:
    """Kept only when it verifies and is no older than the one that is there; otherwise everything is as it was."""
    services = services_of(request)
    standing = await services.licensing.install(await read_body(request), caller(request).owner_id)
    return _answer(services, standing, whole=True)


def _answer(services: Services, standing: Standing, *, whole: bool) -> LicenceAnswer:
    licensing = services.licensing
    return LicenceAnswer(
        state=standing.state,
        restricted=standing.is_restricted,
        notices=tuple(map(_notice, standing.notices)),
        judged_at=standing.judged_at,
        until=standing.until,
        days_left=None if standing.days_left is None else math.ceil(standing.days_left),
        supported=standing.is_supported,
        site=SiteAnswer(licensing.install_id, licensing.gpu_uuids) if whole else None,
        licence=_details(standing.licence) if whole and standing.licence else None,
        limits=standing.limits if whole else None,
        use=UseAnswer(round(licensing.hours_used, 3), licensing.hours_renew_at) if whole else None,
    )


def _notice(notice: Notice) -> NoticeAnswer:
    return NoticeAnswer(notice.sentence, notice.hint)


def _details(licence: Licence) -> LicenceDetails:
    return LicenceDetails(
        id=licence.id,
        serial=licence.serial,
        customer=licence.customer,
        edition=licence.edition,
        not_before=licence.not_before,
        expires_at=licence.expires_at,
        perpetual=licence.perpetual,
        grace_days=licence.grace_days,
        support_until=licence.support_until,
        features=licence.features,
        bound=licence.bind is not None,
    )
