"""What is kept where, for how long, who sees it and what is not protected: one list for `GET /v1/privacy`, the page and docs/.

Each sentence names the test that proves it; `python -m appliance.privacy` writes `docs/privacy.md`. What no test can show, because
it lies outside of the appliance, is said with an empty proof and stands under "Not protected".
"""

from __future__ import annotations

from appliance.domain import Value
from appliance.settings import Settings


class Statement(Value, frozen=True):
    says: str
    proof: str = ""  # "tests/store/test_erasure.py::test_…"


class Section(Value, frozen=True):
    title: str
    statements: tuple[Statement, ...]


AUDIO = Section(
    "Recordings",
    (
        Statement(
            "A recording is held in memory only, from its first byte until its transcript is made or has failed.",
            "tests/privacy/test_uploads_stay_in_memory.py::test_no_file_but_the_database_is_opened_for_writing_or_written",
        ),
        Statement(
            "No part of it is in any file afterwards.",
            "tests/privacy/test_uploads_stay_in_memory.py::test_the_canary_in_the_audio_is_in_no_file",
        ),
        Statement(
            "It is decoded by a process without files, network and rights, which ends with it.",
            "tests/audio/test_sandbox.py::test_nothing_but_computing_is_left",
        ),
        Statement(
            "The speech engines cannot reach the network, hold no secret and leave no memory dump.",
            "tests/engine/test_worker.py::test_a_worker_holds_no_secret_dumps_no_core_and_has_no_network",
        ),
    ),
)

NETWORK = Section(
    "The network",
    (
        Statement(
            "Nothing is sent anywhere while recordings are worked on: no telemetry, no update check, no name is looked up.",
            "tests/privacy/test_uploads_stay_in_memory.py::test_no_packet_leaves_loopback",
        ),
        Statement(
            "Libraries that would report home are told not to before they are loaded.",
            "tests/privacy/test_no_telemetry.py::test_nothing_is_left_in_the_home_directory",
        ),
        Statement(
            "Browsers and programs are served over TLS 1.3 and nothing older.",
            "tests/tls/test_scan.py::test_tls_1_3_only_and_a_valid_chain",
        ),
        Statement(
            "The page loads nothing from elsewhere, and its policy forbids it to.",
            "tests/web/test_routes.py::test_nothing_is_inline_and_nothing_comes_from_elsewhere",
        ),
    ),
)

KEPT = Section(
    "What is kept, and how long",
    (
        Statement(
            "A transcript, its edits, the recording's file name and technical facts are kept in one database in the "
            "data folder until they "
            "are erased, or a retention rule says so.",
            "tests/api/test_retention.py::test_a_rule_shows_in_every_answer_when_its_transcripts_go",
        ),
        Statement(
            "What is erased is erased at once and for good, from the database, its log and the search index.",
            "tests/store/test_erasure.py::test_no_word_of_an_erased_transcript_is_left_in_any_file",
        ),
        Statement(
            "A restored backup forgets what was erased after it was made.",
            "tests/backup/test_archive.py::test_what_was_erased_after_the_backup_stays_erased",
        ),
        Statement(
            "Backups are encrypted to a key that need not be on the server.",
            "tests/backup/test_archive.py::test_nothing_readable_is_in_it_or_left_beside_it",
        ),
        Statement(
            "Results of the OpenAI dialect are not kept at all.",
            "tests/api/test_openai.py::test_nothing_of_it_is_kept",
        ),
        Statement(
            "The audit log and the usage journal hold events, ids and numbers: no text, no file name, no e-mail address. "
            "They are kept, and cannot be changed unnoticed.",
            "tests/store/test_audit.py::test_nothing_that_could_be_text_a_name_or_an_address_is_taken",
        ),
        Statement(
            "The access log holds method, route, status, size and time: no address of a transcript, no query, no header.",
            "tests/api/test_operation.py::test_the_access_log_holds_no_secret_no_body_and_no_query",
        ),
        Statement(
            "Of API keys, sessions and links only a SHA-256 is kept, of passwords only an argon2id hash.",
            "tests/store/test_keys.py::test_secrets_have_256_bits_and_are_nowhere_on_the_disk",
        ),
    ),
)

ROLES = Section(
    "Who sees what",
    (
        Statement(
            "A person sees their own transcripts and those of their teams; a viewer reads, an editor changes, an "
            "owner erases and chooses "
            "the members.",
            "tests/api/test_authorisation.py::test_whose_transcripts_one_reaches",
        ),
        Statement(
            "An administrator looks after people, licence and models, and does not see other people's transcripts.",
            "tests/api/test_authorisation.py::test_lists_and_searches_hold_what_one_may_read_and_nothing_else",
        ),
        Statement(
            "Each address says who may use it; one that says nothing is closed to everybody.",
            "tests/api/test_authorisation.py::test_every_route_is_in_the_table_and_none_is_made_up",
        ),
        Statement(
            "Whoever has a share link, and its password where there is one, reads that transcript until the link "
            "expires, is used up or is "
            "withdrawn.",
            "tests/api/test_shares.py::test_a_withdrawn_link_is_closed_at_once",
        ),
        Statement(
            "An API key reads nothing without the scope for it: one that may only write gets no word of a transcript.",
            "tests/api/test_transcripts.py::test_who_may_write_and_not_read_learns_nothing_of_what_was_sent",
        ),
        Statement(
            "A second factor is taken off with a code of it or a recovery code, or by an administrator for somebody else.",
            "tests/api/test_session.py::test_the_second_factor_from_enrolment_to_removal",
        ),
    ),
)

PRIVATE = Section(
    "Private transcripts",
    (
        Statement(
            "The text of a private transcript exists on the server in memory only, for a quarter of an hour or until "
            "the browser has it.",
            "tests/api/test_private.py::test_nothing_of_the_text_is_stored",
        ),
        Statement(
            "The browser encrypts it with a password that the server never sees; without it nobody can read it, and "
            "nobody can help.",
            "tests/crypto/test_envelope.py::test_a_wrong_password_and_an_alteration_are_told_alike",
        ),
        Statement(
            "The server sees its file name (unless that is hidden), size, duration, language, model and time.",
            "tests/api/test_private.py::test_the_name_is_hidden_on_request",
        ),
        Statement(
            "Searching, sharing by link and teams need the text, and are refused for it.",
            "tests/api/test_private.py::test_what_needs_the_text_is_refused_with_a_reason",
        ),
    ),
)

OPEN = Section(
    "Not protected",
    (
        Statement(
            "The database is as well protected as its disk: encrypt the disk, or whoever takes it reads the transcripts on it."
        ),
        Statement(
            "A solid-state disk may keep remnants of what was overwritten, and snapshots and backups of the machine "
            "keep what they saw."
        ),
        Statement(
            "An administrator can make a link for somebody's new password, take their second factor off, and sign in as them; "
            "the audit log shows each of these, and such a password ends the person's API keys. Their private transcripts stay "
            "closed."
        ),
        Statement(
            "A restored backup brings back the accounts, roles and memberships of its time: suspend and remove again whoever has "
            "left since."
        ),
        Statement("Whoever is root on the server can read the memory of its processes, and what is worked on at that moment."),
        Statement(
            "A server that was taken over could serve an altered page, which would see the passwords typed into it, "
            "of private transcripts, too."
        ),
        Statement(
            "Swap that is not encrypted can hold parts of memory; the appliance warns of it at its start, and the "
            "container has none."
        ),
        Statement("Who holds an exported document, or may read a transcript, can copy it."),
    ),
)

FIXED = (AUDIO, NETWORK, KEPT, ROLES, PRIVATE, OPEN)


def statements(settings: Settings) -> tuple[Section, ...]:
    """All of them, with what this site has configured first."""
    return (Section("At this site", tuple(map(Statement, _configured(settings)))), *FIXED)


def _configured(settings: Settings) -> list[str]:
    days = settings.retention_days
    return [
        f"Transcripts are erased {days} days after they were made, unless an owner's own rule says otherwise."
        if days
        else "Transcripts are kept until somebody erases them, unless an owner's own rule says otherwise.",
        f"At the end of a job a message without text may be sent to: {', '.join(settings.webhook_targets)}."
        if settings.webhook_targets
        else "No messages are sent to other programs (webhooks are off).",
        "Plain HTTP is in use, without encryption on the way." if settings.tls == "off" else "Connections are encrypted (TLS 1.3).",
    ]


def as_markdown() -> str:
    lines = ["# Privacy", "", *_INTRODUCTION]
    for section in FIXED:
        lines += ["", f"## {section.title}", ""]
        lines += [f"- {each.says}" + (f"\n  Proof: `{each.proof}`" if each.proof else "") for each in section.statements]
    return "\n".join(lines) + "\n"


_INTRODUCTION = (
    "What the appliance keeps where and for how long, who can see it, and what is not protected. Each sentence names the test that",
    "proves it. The running appliance says the same, with its own settings, on the page (Privacy) and as `GET /v1/privacy`.",
    "",
    "This file is made by `python -m appliance.privacy > docs/privacy.md`.",
)


if __name__ == "__main__":
    print(as_markdown(), end="")
