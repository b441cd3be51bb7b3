"""Every setting of the appliance, read once at start from the environment and an optional TOML file.

`APPLIANCE_PORT=9000` in the environment wins over `port = 9000` in the file that `APPLIANCE_CONFIG` names
(default: `/etc/appliance.toml`, when it exists). A setting that is not listed here is refused.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from appliance.domain import Priority

MIB = 2**20
GIB = 2**30


def _xdg(variable: str, fallback: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / fallback) / "appliance"


def _available_memory_bytes() -> int:
    """Half of what this machine, or the container's limit, leaves for recordings."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # cgroups of version 2, and of version 1
        limit = Path("/sys/fs/cgroup") / name
        if limit.exists() and (text := limit.read_text().strip()).isdigit():
            total = min(total, int(text))
    return total // 2


class Settings(BaseSettings):
    """See each field's description; `docs/settings.md` is made from them."""

    model_config = SettingsConfigDict(env_prefix="APPLIANCE_", extra="forbid", frozen=True)

    # Where
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8443, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    data_dir: Path = Field(
        default_factory=lambda: _xdg("XDG_DATA_HOME", ".local/share"),
        description="The database lives here: text only, never audio.",
    )
    licence_file: Path | None = Field(
        None, description="A licence that is mounted here, such as `/licence/licence.json`; beside the one in the data folder."
    )
    models_dir: Path = Field(
        default_factory=lambda: _xdg("XDG_CACHE_HOME", ".cache") / "models", description="Installed model weights."
    )
    catalogue_dir: Path = Field(
        Path(__file__).resolve().parent.parent / "models", description="The model catalogue: one TOML file per model."
    )
    bundle_dir: Path | None = Field(
        None, description="Where sticks with model updates are mounted: administrators may import the bundles found there."
    )

    # TLS: 1.3 and nothing older
    tls: Literal["builtin", "files", "acme", "off"] = Field(
        "builtin",
        description="Whose certificate: `builtin` (the appliance's own authority), `files` (yours), `acme` (an ACME server of "
        "yours) or `off` (plain HTTP, for this machine alone).",
    )
    tls_names: tuple[str, ...] = Field(
        (),
        description="More names and addresses that people reach the appliance by, beside its host name and the addresses of its "
        "interfaces: for the certificate, and for the Host header.",
    )
    tls_certificate_file: Path | None = Field(
        None, description="With `tls=files`: the certificate and its chain (PEM), its own first."
    )
    tls_key_file: Path | None = Field(None, description="With `tls=files`: its private key (PEM, without a passphrase).")
    tls_off_confirmed: bool = Field(
        False, description="Allow `tls=off` beyond this machine: only behind a proxy of yours that speaks TLS to everybody."
    )
    acme_directory: str = Field("", description="With `tls=acme`: the directory URL of the ACME server.")
    acme_ca_file: Path | None = Field(None, description="The authority (PEM) that the ACME server's own HTTPS is checked with.")
    acme_contact: str = Field("", description="E-mail address given to the ACME server, which warns it of trouble.")
    http_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port of plain HTTP, where browsers are sent on to HTTPS, ACME servers get their answers, and nothing else "
        "happens; 0: none.",
    )
    public_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port that people use, where a container or a firewall maps another one to `port`; 0: the same.",
    )

    # Models
    default_model: str = Field("whisper-base", description="Model for requests that name none.")
    model_aliases: dict[str, str] = Field(
        default_factory=dict,
        description='More names for models, e.g. {"whisper-1": "large-v3"}; the usual OpenAI and STT.ai names '
        "point at the default model, or at the model of that name when it is installed.",
    )
    diarization_model: str = Field("speaker-diarization", description="Catalogue id of the diarization pipeline.")

    # Fetching models
    hub_endpoint: str = Field(
        "", description="Mirror of the Hugging Face hub for `models fetch`; empty: HF_ENDPOINT, or the hub itself."
    )
    ca_file: Path | None = Field(
        None,
        description="Certificates (PEM) of your own authority, trusted beside the usual ones: by `models fetch`, "
        "`transcribe --server` and sign-in.",
    )

    # Device
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+(,\d+)*)?)$")] = Field(
        "auto",
        description="`auto`, `cpu`, `cuda` or `cuda:0,1`. With `cuda` the appliance refuses to start when no usable GPU is found.",
    )
    compute_type: str = Field(
        "auto",
        description="CTranslate2 compute type; `auto` is int8 on a CPU, float16 on a GPU (int8_float16 on one without it).",
    )
    cpu_threads: int = Field(0, ge=0, description="Threads of the speech engine on a CPU; 0: all cores.")
    batch_size: int = Field(
        0, ge=0, description="Windows of 30 s decoded together; 0: by device memory, at most 24 on a GPU and 8 on a CPU."
    )
    jobs_per_worker: int = Field(4, ge=1, description="Recordings that share one worker's batches at a time.")
    worker_start_timeout_s: float = Field(
        180.0, gt=0, description="How long a worker may take to load its model (first CUDA start compiles kernels)."
    )
    worker_silence_timeout_s: float = Field(
        600.0, gt=0, description="A busy worker that reports nothing for this long is taken for hung and restarted."
    )

    # Room
    memory_budget_bytes: int = Field(
        default_factory=_available_memory_bytes,
        gt=0,
        description="Memory for uploads and decoded audio together; half of the machine's when not set.",
    )
    max_upload_bytes: int = Field(4 * GIB, gt=0, description="Largest recording accepted.")
    max_audio_hours: float = Field(24.0, gt=0, description="Longest recording accepted.")
    max_waiting_jobs: int = Field(200, ge=1, description="Recordings that may wait; beyond it: 503.")
    decode_children: int = Field(2, ge=1, description="Recordings decoded at the same time.")
    decode_memory_bytes: int = Field(1 * GIB, gt=0, description="Address space one decode child may use.")
    decode_cpu_s: float = Field(900.0, gt=0, description="Processor time one decode child may use.")
    upload_stall_timeout_s: float = Field(
        60.0, gt=0, description="An upload that sends nothing for this long, or less than 256 bytes a second, is dropped."
    )
    default_priority: Priority = Field(Priority.NORMAL, description="Priority of jobs that name none.")

    # Webhooks
    webhook_targets: tuple[str, ...] = Field(
        (), description="URL prefixes that `callback_url` may point to; empty: webhooks are off."
    )
    webhook_secret: str = Field("", description="Signing secret, `whsec_…`; needed when webhooks are on.")

    # Single sign-on with OpenID Connect
    oidc_issuer: str = Field("", description="Address of your OpenID Connect provider, exactly as it names itself; empty: off.")
    oidc_client_id: str = Field("", description="The appliance's client id at the provider.")
    oidc_client_secret: str = Field("", description="Its secret; empty for a public client, which PKCE alone protects.")
    oidc_redirect_url: str = Field(
        "",
        description="The callback as registered at the provider: `https://<name of the appliance>/api/v1/session/oidc/callback`.",
    )
    oidc_label: str = Field("Single sign-on", description="What the button of the sign-in page says.")
    oidc_scopes: str = Field("openid profile email", description="Scopes asked for; `openid` must be among them.")
    oidc_groups_claim: str = Field("groups", description="Claim of the ID token or of userinfo that lists a person's groups.")
    oidc_allowed_groups: tuple[str, ...] = Field(
        (), description="Only members of one of these groups may sign in; empty: everybody the provider knows."
    )
    oidc_admin_groups: tuple[str, ...] = Field((), description="Members of these groups are administrators here.")

    # Sign-in with the directory (LDAP, Active Directory)
    ldap_url: str = Field(
        "",
        description="`ldaps://directory.example.org`, or `ldap://…`, which is then encrypted with StartTLS; empty: off.",
    )
    ldap_start_tls: bool = Field(True, description="May be off only where the directory is on this very machine.")
    ldap_label: str = Field("Directory account", description="What the sign-in page calls these accounts.")
    ldap_base_dn: str = Field("", description="Where people are looked for, e.g. `ou=people,dc=example,dc=org`.")
    ldap_user_filter: str = Field(
        "(&(objectClass=person)(uid={name}))",
        description="How a person is found by the name typed; Active Directory: `(&(objectClass=user)(sAMAccountName={name}))`.",
    )
    ldap_user_dn: str = Field(
        "",
        description="Sign in directly as this, e.g. `uid={name},ou=people,dc=example,dc=org` or `{name}@example.org`; "
        "empty: look the person up first.",
    )
    ldap_bind_dn: str = Field("", description="Account that looks people up; empty: anonymously.")
    ldap_bind_password: str = Field("", description="Its password.")
    ldap_subject_attribute: str = Field(
        "entryUUID", description="Attribute that never changes for a person; Active Directory: `objectGUID`."
    )
    ldap_name_attribute: str = Field("cn", description="Attribute with the person's name.")
    ldap_email_attribute: str = Field("mail", description="Attribute with the person's e-mail address.")
    ldap_groups_base_dn: str = Field("", description="Where groups are looked for; empty: below `ldap_base_dn`.")
    ldap_group_filter: str = Field(
        "(|(member={dn})(uniqueMember={dn}))", description="How the groups of a person are found; `memberOf` is read too."
    )
    ldap_nested_groups: bool = Field(False, description="Also the groups that a person's groups are members of.")
    ldap_allowed_groups: tuple[str, ...] = Field(
        (), description="Only members of one of these groups (DN or common name) may sign in; empty: everybody found."
    )
    ldap_admin_groups: tuple[str, ...] = Field((), description="Members of these groups are administrators here.")
    identity_timeout_s: float = Field(10.0, gt=0, description="How long a provider or directory may take to answer.")

    # Keeping
    retention_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="Days after which transcripts are erased; 0: never. A person or a workspace may have a rule of its own.",
    )
    backup_recipients: tuple[str, ...] = Field(
        (), description="Public keys (`age1…`) that backups are encrypted for; 'appliance backup keygen' makes a pair."
    )

    # Operation
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="debug, info, warning or error.")
    drain_timeout_s: float = Field(30.0, ge=0, description="How long a stop waits for running jobs.")
    metrics_public: bool = Field(
        False, description="Serve /metrics without a key; it holds counts and times only, no text, name or address."
    )
    session_idle_hours: float = Field(12.0, gt=0, description="Somebody who did nothing for this long signs in again.")
    session_max_hours: float = Field(168.0, gt=0, description="Everybody signs in again after this long.")
    idempotency_hours: float = Field(24.0, gt=0, description="How long an Idempotency-Key is remembered.")
    private_result_minutes: float = Field(
        15.0, gt=0, le=60, description="How long the result of a private transcript waits in memory to be fetched."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        config = Path(os.environ.get("APPLIANCE_CONFIG", "/etc/appliance.toml"))
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=config)

    @property
    def database_path(self) -> Path:
        return self.data_dir / "appliance.db"

    @property
    def tls_path(self) -> Path:
        """Certificates and their keys."""
        return self.data_dir / "tls"

    @property
    def own_authority_path(self) -> Path:
        """The built-in authority's certificate, without its key: what commands on this machine trust."""
        return self.tls_path / "ca.pem"
