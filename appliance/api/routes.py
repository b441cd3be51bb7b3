"""All routes of the HTTP interface, on one screen; who may call each stands at the handler (`opt`)."""

from __future__ import annotations

from litestar.handlers import HTTPRouteHandler

from appliance.api.events import follow_transcript
from appliance.api.exports import export_transcript
from appliance.api.health import health, liveness, readiness
from appliance.api.languages import list_languages
from appliance.api.licence import install_licence, read_licence_state
from appliance.api.metrics import metrics
from appliance.api.models import list_models, read_model
from appliance.api.openai import create_transcription, create_translation
from appliance.api.transcribe import transcribe
from appliance.api.transcripts import (
    cancel_transcript,
    create_transcript,
    edit_segment,
    edit_transcript,
    erase_transcript,
    list_revisions,
    list_transcripts,
    read_transcript,
)
from appliance.api.trust import authority_as_der, authority_as_pem, confirm_trust, read_tls


def routes() -> list[HTTPRouteHandler]:
    return [
        transcribe,
        create_transcript,
        list_transcripts,
        read_transcript,
        follow_transcript,
        export_transcript,
        list_revisions,
        edit_transcript,
        edit_segment,
        cancel_transcript,
        erase_transcript,
        list_models,
        read_model,
        list_languages,
        read_licence_state,
        install_licence,
        create_transcription,
        create_translation,
        health,
        liveness,
        readiness,
        metrics,
        read_tls,
        confirm_trust,
        authority_as_pem,
        authority_as_der,
    ]
