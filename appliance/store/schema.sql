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

CREATE VIRTUAL TABLE search USING fts5(tokens, tokenize = 'ascii');

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
, person_id TEXT REFERENCES people (id) ON DELETE CASCADE) STRICT;

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

CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY,  -- from 1, without gaps
    at TEXT NOT NULL,
    event TEXT NOT NULL,
    actor TEXT NOT NULL,
    subject TEXT NOT NULL,
    facts TEXT NOT NULL,  -- JSON
    previous BLOB NOT NULL,  -- SHA-256 of the entry before
    hash BLOB NOT NULL
) STRICT;

CREATE INDEX audit_by_time ON audit (at);

CREATE TRIGGER audit_keeps_what_it_has BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'this journal is append-only'); END;

CREATE TRIGGER audit_loses_nothing BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'this journal is append-only'); END;

CREATE TRIGGER audit_grows_at_its_end BEFORE INSERT ON audit
    WHEN NEW.sequence IS NOT (SELECT coalesce(max(sequence), 0) + 1 FROM audit)
    BEGIN SELECT RAISE(ABORT, 'this journal grows at its end only'); END;

CREATE TABLE usage (
    sequence INTEGER PRIMARY KEY,  -- from 1, without gaps
    at TEXT NOT NULL,
    event TEXT NOT NULL,
    actor TEXT NOT NULL,
    subject TEXT NOT NULL,
    facts TEXT NOT NULL,  -- JSON
    previous BLOB NOT NULL,  -- SHA-256 of the entry before
    hash BLOB NOT NULL
) STRICT;

CREATE INDEX usage_by_time ON usage (at);

CREATE TRIGGER usage_keeps_what_it_has BEFORE UPDATE ON usage
    BEGIN SELECT RAISE(ABORT, 'this journal is append-only'); END;

CREATE TRIGGER usage_loses_nothing BEFORE DELETE ON usage
    BEGIN SELECT RAISE(ABORT, 'this journal is append-only'); END;

CREATE TRIGGER usage_grows_at_its_end BEFORE INSERT ON usage
    WHEN NEW.sequence IS NOT (SELECT coalesce(max(sequence), 0) + 1 FROM usage)
    BEGIN SELECT RAISE(ABORT, 'this journal grows at its end only'); END;

CREATE TABLE private_transcripts (
    transcript_id INTEGER PRIMARY KEY REFERENCES transcripts (id) ON DELETE CASCADE,
    language TEXT,  -- known when it is completed
    acknowledged_at TEXT,  -- the result was fetched, and is in no memory any more
    version INTEGER NOT NULL DEFAULT 0,  -- of the envelope; 0: none is stored
    stored_at TEXT,
    envelope BLOB
) STRICT;

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

CREATE INDEX keys_by_person ON keys (person_id);

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

CREATE TABLE licence_mark (
    id INTEGER PRIMARY KEY CHECK (id = 1),  -- there is one
    sealed BLOB NOT NULL  -- what licensing/mark.py knows of time, with its HMAC
) STRICT;

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

CREATE TRIGGER shares_stay_revoked AFTER UPDATE OF revoked_at ON shares WHEN NEW.revoked_at IS NOT NULL
    BEGIN INSERT OR IGNORE INTO tombstones VALUES (NEW.id, strftime('%Y-%m-%dT%H:%M:%f000+00:00')); END;

CREATE TRIGGER shares_stay_erased AFTER DELETE ON shares
    BEGIN INSERT OR IGNORE INTO tombstones VALUES (OLD.id, strftime('%Y-%m-%dT%H:%M:%f000+00:00')); END;

