"""The languages that the installed models know."""

from __future__ import annotations

import asyncio

from litestar import get

from appliance.api.auth import TRANSCRIBE
from appliance.api.language_names import language_name
from appliance.api.services import ApiRequest, services_of
from appliance.domain import Value


class LanguageAnswer(Value, frozen=True):
    code: str
    name: str


class LanguageListing(Value, frozen=True):
    languages: tuple[LanguageAnswer, ...]


@get("/v1/languages", opt=TRANSCRIBE, tags=["Models"], summary="Languages of the installed models, by name")
async def list_languages(request: ApiRequest) -> LanguageListing:
    installed = await asyncio.to_thread(services_of(request).shelf.installed)
    codes = {code for model in installed if model.kind == "recognition" for code in model.languages}
    return LanguageListing(tuple(LanguageAnswer(code, language_name(code)) for code in sorted(codes, key=language_name)))
