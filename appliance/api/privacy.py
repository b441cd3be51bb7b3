"""`/v1/privacy`: what is kept where, for how long, who sees it, and what is not protected. For everybody who can reach the page."""

from __future__ import annotations

from litestar import get

from appliance.api.auth import PUBLIC
from appliance.api.services import ApiRequest, services_of
from appliance.domain import Value
from appliance.privacy import Section, statements


class PrivacyAnswer(Value, frozen=True):
    sections: tuple[Section, ...]  # each statement with the test that proves it


@get("/v1/privacy", opt=PUBLIC, tags=["Health"], summary="The privacy statement, as this site is configured", sync_to_thread=False)
def read_privacy(request: ApiRequest) -> PrivacyAnswer:
    return PrivacyAnswer(statements(services_of(request).settings))
