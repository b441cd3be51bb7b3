"""The schema, as the list of steps that led to it. `schema.sql` shows the result and is checked against it.

A step that was released is never changed; a new one is added at the end.
"""

from __future__ import annotations

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from appliance.errors import StartRefused
from appliance.store.database import transaction

migrations = Migrations("appliance")

TRANSCRIPTS = """
CREATE TABLE transcripts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice
    slug TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    title TEXT NOT NULL,
    recording TEXT NOT NULL,  -- JSON, like options, models and failure
    options TEXT NOT NULL,
    models TEXT NOT NULL,
    priority TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at TEXT NOT NULL,  -- UTC, ISO 8601 with microseconds: sorts as text
    started_at TEXT,
    finished_at TEXT,
    failure TEXT,
    revision INTEGER NOT NULL DEFAULT 0,
    callback_url TEXT,
    erased_at TEXT  -- out of sight; the rows go chunk by chunk
) STRICT;
CREATE INDEX transcripts_by_owner ON transcripts (owner, id);
CREATE INDEX transcripts_by_state ON transcripts (state, id);
CREATE INDEX transcripts_to_erase ON transcripts (erased_at) WHERE erased_at IS NOT NULL;
"""

RESULTS = """
CREATE TABLE results (
    transcript_id INTEGER NOT NULL REFERENCES transcripts (id) ON DELETE CASCADE,
    variant INTEGER NOT NULL,  -- 0: the transcript; from 1: the other compared models
    model TEXT NOT NULL,
    task TEXT NOT NULL,
    text TEXT NOT NULL,
    language TEXT NOT NULL,
    language_probability REAL NOT NULL,
    languages TEXT NOT NULL,  -- JSON, like speakers and warnings
    duration REAL NOT NULL,
    speakers TEXT NOT NULL,
    warnings TEXT NOT NULL,
    PRIMARY KEY (transcript_id, variant)
) STRICT;
"""

SEGMENTS = """
CREATE TABLE segments (
    transcript_id INTEGER NOT NULL,
    variant INTEGER NOT NULL,
    n INTEGER NOT NULL,
    start REAL NOT NULL,
    "end" REAL NOT NULL,
    text TEXT NOT NULL,
    speaker TEXT,
    language TEXT,
    channel INTEGER,
    words BLOB NOT NULL,  -- msgpack
    evidence BLOB NOT NULL,  -- msgpack
    PRIMARY KEY (transcript_id, variant, n),
    FOREIGN KEY (transcript_id, variant) REFERENCES results (transcript_id, variant) ON DELETE CASCADE
) STRICT;
"""

# Rows are cut into tokens by `search.py`, which knows scripts without spaces; SQLite only splits at the spaces.
# The table keeps the tokens it indexed, so a row can be deleted exactly even when that cutting changes.
SEARCH = """
CREATE VIRTUAL TABLE search USING fts5(tokens, tokenize = 'ascii');
INSERT INTO search (search, rank) VALUES ('secure-delete', 1);
"""

REVISIONS = """
CREATE TABLE revisions (
    transcript_id INTEGER NOT NULL REFERENCES transcripts (id) ON DELETE CASCADE,
    revision INTEGER NOT NULL,
    edited_at TEXT NOT NULL,
    edited_by TEXT,
    title TEXT,
    speakers TEXT,  -- JSON
    segment BLOB,  -- msgpack
    PRIMARY KEY (transcript_id, revision)
) STRICT;
"""

KEYS = """
CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    sha256 BLOB NOT NULL UNIQUE,
    scopes TEXT NOT NULL,  -- JSON
    created_at TEXT NOT NULL,
    expires_at TEXT,
    last_used_at TEXT,
    revoked_at TEXT
) STRICT;
"""

IDEMPOTENCY = """
CREATE TABLE idempotency (
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    transcript_id INTEGER NOT NULL REFERENCES transcripts (id) ON DELETE CASCADE,
    expires_at TEXT NOT NULL,
    PRIMARY KEY (owner, key)
) STRICT;
CREATE INDEX idempotency_by_transcript ON idempotency (transcript_id);
CREATE INDEX idempotency_by_expiry ON idempotency (expires_at);
"""

DELIVERIES = """
CREATE TABLE deliveries (
    id TEXT PRIMARY KEY,
    transcript_id INTEGER NOT NULL REFERENCES transcripts (id) ON DELETE CASCADE,
    url TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_at TEXT NOT NULL
) STRICT;
CREATE INDEX deliveries_by_transcript ON deliveries (transcript_id);
CREATE INDEX deliveries_by_time ON deliveries (next_attempt_at);
CREATE TABLE switched_off_hooks (
    url TEXT PRIMARY KEY,
    switched_off_at TEXT NOT NULL
) STRICT;
"""


JOURNAL = """
CREATE TABLE {name} (
    sequence INTEGER PRIMARY KEY,  -- from 1, without gaps
    at TEXT NOT NULL,
    event TEXT NOT NULL,
    actor TEXT NOT NULL,
    subject TEXT NOT NULL,
    facts TEXT NOT NULL,  -- JSON
    previous BLOB NOT NULL,  -- SHA-256 of the entry before
    hash BLOB NOT NULL
) STRICT;
CREATE INDEX {name}_by_time ON {name} (at);
CREATE TRIGGER {name}_keeps_what_it_has BEFORE UPDATE ON {name}
    BEGIN SELECT RAISE(ABORT, 'this journal is append-only'); END;
CREATE TRIGGER {name}_loses_nothing BEFORE DELETE ON {name}
    BEGIN SELECT RAISE(ABORT, 'this journal is append-only'); END;
CREATE TRIGGER {name}_grows_at_its_end BEFORE INSERT ON {name}
    WHEN NEW.sequence IS NOT (SELECT coalesce(max(sequence), 0) + 1 FROM {name})
    BEGIN SELECT RAISE(ABORT, 'this journal grows at its end only'); END;
"""

PRIVATE_TRANSCRIPTS = """
CREATE TABLE private_transcripts (
    transcript_id INTEGER PRIMARY KEY REFERENCES transcripts (id) ON DELETE CASCADE,
    language TEXT,  -- known when it is completed
    acknowledged_at TEXT,  -- the result was fetched, and is in no memory any more
    version INTEGER NOT NULL DEFAULT 0,  -- of the envelope; 0: none is stored
    stored_at TEXT,
    envelope BLOB
) STRICT;
"""

PEOPLE = """
CREATE TABLE people (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    login TEXT UNIQUE,  -- the e-mail address as it is compared; none for people of a directory
    role TEXT NOT NULL,
    state TEXT NOT NULL,
    password TEXT,  -- argon2id in the PHC format
    created_at TEXT NOT NULL,
    last_sign_in_at TEXT,
    second_factor BLOB,  -- the TOTP secret, sealed with the key file beside the database
    second_factor_at TEXT,  -- since when it is asked for; a secret without this was never confirmed
    second_factor_step INTEGER NOT NULL DEFAULT 0,  -- the newest time step that a code was taken for
    recovery_codes TEXT NOT NULL DEFAULT '[]'  -- JSON: SHA-256 of those not used yet
) STRICT;
CREATE TABLE identities (
    provider TEXT NOT NULL,
    subject TEXT NOT NULL,
    person_id TEXT NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    PRIMARY KEY (provider, subject)
) STRICT;
CREATE INDEX identities_by_person ON identities (person_id);
CREATE TABLE links (
    sha256 BLOB PRIMARY KEY,
    purpose TEXT NOT NULL,  -- setup, invitation, password
    person_id TEXT REFERENCES people (id) ON DELETE CASCADE,  -- none for setup
    expires_at TEXT NOT NULL
) STRICT;
CREATE INDEX links_by_person ON links (person_id);
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    sha256 BLOB NOT NULL UNIQUE,
    person_id TEXT NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    created_at TEXT NOT NULL,
    authenticated_at TEXT NOT NULL,  -- when a password or a provider last vouched for the person
    last_seen_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    address TEXT NOT NULL
) STRICT;
CREATE INDEX sessions_by_person ON sessions (person_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE TABLE workspaces (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE TABLE members (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    person_id TEXT NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    role TEXT NOT NULL,
    added_at TEXT NOT NULL,
    PRIMARY KEY (workspace_id, person_id)
) STRICT;
CREATE INDEX members_by_person ON members (person_id);
ALTER TABLE keys ADD COLUMN person_id TEXT REFERENCES people (id) ON DELETE CASCADE;
CREATE INDEX keys_by_person ON keys (person_id);
"""

TOMBSTONES = """
CREATE TABLE tombstones (
    subject TEXT PRIMARY KEY,
    erased_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE retention (
    owner TEXT PRIMARY KEY,
    days INTEGER NOT NULL  -- 0: keep
) STRICT;
CREATE TRIGGER keys_stay_revoked AFTER UPDATE OF revoked_at ON keys WHEN NEW.revoked_at IS NOT NULL
    BEGIN INSERT OR IGNORE INTO tombstones VALUES (NEW.id, strftime('%Y-%m-%dT%H:%M:%f000+00:00')); END;
CREATE TRIGGER keys_stay_erased AFTER DELETE ON keys
    BEGIN INSERT OR IGNORE INTO tombstones VALUES (OLD.id, strftime('%Y-%m-%dT%H:%M:%f000+00:00')); END;
CREATE TRIGGER people_stay_erased AFTER DELETE ON people
    BEGIN INSERT OR IGNORE INTO tombstones VALUES (OLD.id, strftime('%Y-%m-%dT%H:%M:%f000+00:00')); END;
CREATE TRIGGER workspaces_stay_erased AFTER DELETE ON workspaces
    BEGIN INSERT OR IGNORE INTO tombstones VALUES (OLD.id, strftime('%Y-%m-%dT%H:%M:%f000+00:00')); END;
"""

LICENCE_MARK = """
CREATE TABLE licence_mark (
    id INTEGER PRIMARY KEY CHECK (id = 1),  -- there is one
    sealed BLOB NOT NULL  -- what licensing/mark.py knows of time, with its HMAC
) STRICT;
"""

SHARES = """
CREATE TABLE shares (
    id TEXT PRIMARY KEY,
    sha256 BLOB NOT NULL UNIQUE,  -- of the token in the link
    transcript_id INTEGER NOT NULL REFERENCES transcripts (id) ON DELETE CASCADE,
    made_by TEXT NOT NULL,
    created_at TEXT NOT NULL,
    expires_at TEXT,
    revoked_at TEXT,
    max_views INTEGER,
    views INTEGER NOT NULL DEFAULT 0,
    last_viewed_at TEXT,
    password TEXT,  -- argon2id in the PHC format
    attempts INTEGER NOT NULL DEFAULT 0,  -- at the password since the last that was right
    next_attempt_at TEXT
) STRICT;
CREATE INDEX shares_by_transcript ON shares (transcript_id);
CREATE TABLE share_views (
    sha256 BLOB PRIMARY KEY,
    share_id TEXT NOT NULL REFERENCES shares (id) ON DELETE CASCADE,
    expires_at TEXT NOT NULL
) STRICT;
CREATE INDEX share_views_by_share ON share_views (share_id);
CREATE INDEX share_views_by_expiry ON share_views (expires_at);
"""

SHARES_STAY_REVOKED = """
CREATE TRIGGER shares_stay_revoked AFTER UPDATE OF revoked_at ON shares WHEN NEW.revoked_at IS NOT NULL
    BEGIN INSERT OR IGNORE INTO tombstones VALUES (NEW.id, strftime('%Y-%m-%dT%H:%M:%f000+00:00')); END;
CREATE TRIGGER shares_stay_erased AFTER DELETE ON shares
    BEGIN INSERT OR IGNORE INTO tombstones VALUES (OLD.id, strftime('%Y-%m-%dT%H:%M:%f000+00:00')); END;
"""


@migrations()  # type: ignore[untyped-decorator]
def m001_recording_in_transcript_out(db: Database) -> None:
    for script in (TRANSCRIPTS, RESULTS, SEGMENTS, SEARCH, REVISIONS, KEYS, IDEMPOTENCY, DELIVERIES):
        db.executescript(script)


@migrations()  # type: ignore[untyped-decorator]
def m002_audit_log_and_usage_journal(db: Database) -> None:
    for name in ("audit", "usage"):
        db.executescript(JOURNAL.format(name=name))


@migrations()  # type: ignore[untyped-decorator]
def m003_private_transcripts(db: Database) -> None:
    db.executescript(PRIVATE_TRANSCRIPTS)


@migrations()  # type: ignore[untyped-decorator]
def m004_people_sessions_and_workspaces(db: Database) -> None:
    db.executescript(PEOPLE)


@migrations()  # type: ignore[untyped-decorator]
def m005_tombstones_and_retention(db: Database) -> None:
    db.executescript(TOMBSTONES)


@migrations()  # type: ignore[untyped-decorator]
def m006_mark_of_the_licence_s_clock(db: Database) -> None:
    db.executescript(LICENCE_MARK)


@migrations()  # type: ignore[untyped-decorator]
def m007_links_to_transcripts(db: Database) -> None:
    db.executescript(SHARES)


@migrations()  # type: ignore[untyped-decorator]
def m008_links_stay_revoked_in_backups(db: Database) -> None:
    db.executescript(SHARES_STAY_REVOKED)


def migrate(db: Database) -> None:
    """Bring the schema up to date. Raises `StartRefused` when a newer version of the appliance made it.

    One transaction over all: two processes that start together do not both migrate, and a failed step leaves nothing.
    """
    with transaction(db):
        refuse_newer(db)
        migrations.apply(db)


def refuse_newer(db: Database) -> None:
    """Raises `StartRefused`."""
    applied = {migration.name for migration in migrations.applied(db)}
    unknown = applied - applied_when_current()
    if unknown:
        raise StartRefused(
            f"The database was made by a newer version of the appliance ({', '.join(sorted(unknown))}).",
            "Start that version, or restore a backup from before the update.",
        )


def applied_when_current() -> set[str]:
    scratch = Database(memory=True)
    try:
        return {migration.name for migration in migrations.pending(scratch)}
    finally:
        scratch.close()
