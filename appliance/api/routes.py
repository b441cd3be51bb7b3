"""All routes of the HTTP interface, on one screen; who may call each stands at the handler (`opt`)."""

from __future__ import annotations

from litestar.handlers import HTTPRouteHandler

from appliance.api.audit import export_audit, export_usage, read_audit_head, read_usage_head
from appliance.api.events import follow_transcript
from appliance.api.exports import export_transcript
from appliance.api.health import health, liveness, readiness
from appliance.api.joining import accept_invitation, look_at_link, reset_password, set_up
from appliance.api.languages import list_languages
from appliance.api.licence import install_licence, read_licence_state
from appliance.api.me import (
    change_me,
    change_password,
    close_other_sessions,
    close_session,
    confirm_second_factor,
    enrol_second_factor,
    erase_me,
    list_sessions,
    read_me,
    remove_second_factor,
    renew_recovery_codes,
)
from appliance.api.metrics import metrics
from appliance.api.models import list_models, read_model
from appliance.api.openai import create_transcription, create_translation
from appliance.api.orphans import list_orphans
from appliance.api.own_keys import list_keys, make_key, revoke_key
from appliance.api.people import (
    change_person,
    erase_person,
    invite_person,
    list_people,
    offer_password,
    read_person,
    remove_second_factor_of,
    withdraw_invitation,
)
from appliance.api.privacy import read_privacy
from appliance.api.private import (
    acknowledge_result,
    read_private_envelope,
    read_private_result,
    read_private_state,
    store_private_envelope,
)
from appliance.api.releases import activate, go_back, import_release, list_releases, read_import
from appliance.api.retention import change_retention, read_retention
from appliance.api.session import confirm_session, read_session, sign_in, sign_out
from appliance.api.shared import export_shared, open_shared, read_shared
from appliance.api.shares import create_share, list_shares, revoke_share
from appliance.api.single_sign_on import finish_oidc, list_providers, sign_in_ldap, start_oidc
from appliance.api.transcribe import transcribe
from appliance.api.transcripts import (
    cancel_transcript,
    create_transcript,
    edit_segment,
    edit_transcript,
    erase_own_transcripts,
    erase_transcript,
    list_revisions,
    list_transcripts,
    read_transcript,
)
from appliance.api.trust import authority_as_der, authority_as_pem, confirm_trust, read_tls
from appliance.api.workspaces import (
    add_member,
    change_member,
    create_workspace,
    erase_workspace,
    list_members,
    list_workspaces,
    read_workspace,
    remove_member,
    rename_workspace,
)


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
        erase_own_transcripts,
        read_retention,
        change_retention,
        export_audit,
        read_audit_head,
        export_usage,
        read_usage_head,
        create_share,
        list_shares,
        revoke_share,
        read_shared,
        open_shared,
        export_shared,
        read_private_state,
        read_private_result,
        acknowledge_result,
        read_private_envelope,
        store_private_envelope,
        list_models,
        read_model,
        list_languages,
        list_releases,
        read_import,
        import_release,
        activate,
        go_back,
        read_licence_state,
        install_licence,
        create_transcription,
        create_translation,
        read_privacy,
        health,
        liveness,
        readiness,
        metrics,
        read_tls,
        confirm_trust,
        authority_as_pem,
        authority_as_der,
        read_session,
        sign_in,
        confirm_session,
        sign_out,
        list_providers,
        start_oidc,
        finish_oidc,
        sign_in_ldap,
        look_at_link,
        set_up,
        accept_invitation,
        reset_password,
        read_me,
        change_me,
        erase_me,
        change_password,
        enrol_second_factor,
        confirm_second_factor,
        renew_recovery_codes,
        remove_second_factor,
        list_sessions,
        close_other_sessions,
        close_session,
        list_keys,
        make_key,
        revoke_key,
        list_people,
        read_person,
        change_person,
        erase_person,
        offer_password,
        remove_second_factor_of,
        invite_person,
        withdraw_invitation,
        list_orphans,
        list_workspaces,
        create_workspace,
        read_workspace,
        rename_workspace,
        erase_workspace,
        list_members,
        add_member,
        change_member,
        remove_member,
    ]
