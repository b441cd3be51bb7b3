"""Every error the appliance can show: a stable code, a sentence, a hint that says what to do, and an HTTP status.

One class per cause; `__init__` takes typed facts and writes the sentence. `api/errors.py` is the only place that turns
these into responses. Third-party errors are wrapped in one of these where they are touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class ApplianceError(Exception):
    """Base: `str(error)` is the sentence."""

    code = "internal_error"
    status = 500

    def __init__(self, message: str, hint: str = "", *, param: str | None = None, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.param = param  # the request field at fault
        self.retry_after_s = retry_after_s  # whole seconds


# --- the request ------------------------------------------------------------------------------------------------------


class InvalidRequest(ApplianceError):
    code = "invalid_request"
    status = 422


class UnknownField(InvalidRequest):
    code = "unknown_field"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(
            f"The field '{name}' is not one this call understands.",
            f"It understands: {', '.join(sorted(known))}.",
            param=name,
        )


class InvalidField(InvalidRequest):
    code = "invalid_field"

    def __init__(self, name: str, problem: str, hint: str = "") -> None:
        super().__init__(f"The field '{name}' {problem}.", hint, param=name)


class NotAvailable(InvalidRequest):
    """A documented option that this appliance cannot honour."""

    code = "not_available"

    def __init__(self, name: str, reason: str, hint: str = "") -> None:
        super().__init__(f"'{name}' is not available here: {reason}.", hint, param=name)


class MissingFile(InvalidRequest):
    code = "missing_file"

    def __init__(self) -> None:
        super().__init__(
            "The request carries no recording.", "Send it as the form field 'file', or as the whole body.", param="file"
        )


class UploadBroken(ApplianceError):
    code = "upload_broken"
    status = 400

    def __init__(self, detail: str) -> None:
        super().__init__(f"The upload could not be read: {detail}.", "Send it again; nothing was kept.")


class ClientGone(ApplianceError):
    """The client closed the connection before its upload was complete; nobody reads this but the log."""

    code = "client_gone"
    status = 400

    def __init__(self) -> None:
        super().__init__("The client left before the upload was complete.", "Send it again; nothing was kept.")


class Unauthorized(ApplianceError):
    code = "unauthorized"
    status = 401

    def __init__(self, message: str = "No valid API key was sent.") -> None:
        super().__init__(message, "Send 'Authorization: Bearer <key>'. An administrator makes keys with 'appliance keys create'.")


class Forbidden(ApplianceError):
    code = "forbidden"
    status = 403

    def __init__(self, scope: str) -> None:
        super().__init__(f"This API key may not do that: it lacks the scope '{scope}'.", "Use a key that has it.")


class ReadOnly(ApplianceError):
    code = "read_only"
    status = 403

    def __init__(self) -> None:
        super().__init__(
            "You may read this transcript, but not change, move or erase it.",
            "Ask an owner of its workspace to make you an editor there.",
        )


class NotFound(ApplianceError):
    code = "not_found"
    status = 404

    def __init__(self, what: str) -> None:
        super().__init__(f"There is no {what}.", "Check the address; it may have been deleted.")


class MethodNotAllowed(ApplianceError):
    code = "method_not_allowed"
    status = 405

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(f"This address does not take {method}.", f"It takes: {allowed}.")


class BodyTooLarge(ApplianceError):
    """Of a request that is not an upload."""

    code = "body_too_large"
    status = 413

    def __init__(self) -> None:
        super().__init__("The request body is larger than this call needs.", "Only the upload routes take recordings.")


class UnsupportedBody(ApplianceError):
    code = "unsupported_body"
    status = 415

    def __init__(self, content_type: str, hint: str) -> None:
        super().__init__(f"A body of type '{content_type}' is not taken here.", hint)


class AlreadyEnded(ApplianceError):
    code = "already_ended"
    status = 409

    def __init__(self, state: str) -> None:
        super().__init__(f"There is nothing to cancel: the transcript is '{state}'.", "Delete it if it is not wanted.")


class UnknownModel(ApplianceError):
    code = "model_not_found"
    status = 404

    def __init__(self, name: str, usable: Sequence[str], fetchable: str = "") -> None:
        """`fetchable`: id of the model of that name, where the catalogue has it but it is not installed."""
        names = ", ".join(usable)
        install = f" An administrator can install it with 'appliance models fetch {fetchable}'." if fetchable else ""
        super().__init__(
            f"There is no model '{name}' here; these work: {names}." if usable else f"There is no model '{name}' here.",
            ("GET /v1/models lists them." if usable else "No model is installed yet: run 'appliance models fetch'.") + install,
            param="model",
        )


class StaleRevision(ApplianceError):
    code = "stale_revision"
    status = 409

    def __init__(self, sent: int, current: int) -> None:
        super().__init__(
            f"The transcript has changed since: your edit was made on revision {sent}, it is now at {current}.",
            "Load it again and repeat the edit.",
            param="revision",
        )


class Reason(Protocol):
    """`domain.Failure`."""

    @property
    def message(self) -> str: ...

    @property
    def hint(self) -> str: ...


class NotReady(ApplianceError):
    code = "not_ready"
    status = 409

    def __init__(self, what: str, state: str, failure: Reason | None = None) -> None:
        """`failure`: why there will never be one, where the job has ended without a text."""
        if failure is not None:
            super().__init__(f"There is no {what}: the transcript is '{state}'. {failure.message}", failure.hint)
        else:
            super().__init__(f"The {what} is not there yet: the transcript is '{state}'.", "Wait until its status is 'completed'.")


class IdempotencyMismatch(ApplianceError):
    code = "idempotency_mismatch"
    status = 409

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key was used before for a different recording or different options.",
            "Use a new key for a new request.",
        )


# --- room -------------------------------------------------------------------------------------------------------------


class UploadTooLarge(ApplianceError):
    code = "upload_too_large"
    status = 413

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"The recording is larger than this appliance accepts ({limit_bytes / 2**20:.0f} MiB).",
            "Compress it (Opus or MP3 lose nothing that matters for speech), cut it, or ask the administrator to raise the limit.",
        )


class AudioTooLong(ApplianceError):
    code = "audio_too_long"
    status = 413

    def __init__(self, limit_s: float) -> None:
        super().__init__(
            f"The recording is longer than this appliance accepts ({limit_s / 3600:.1f} hours).",
            "Cut it into parts, or ask the administrator to raise the limit.",
        )


class MemoryFull(ApplianceError):
    code = "memory_full"
    status = 503

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(
            "The memory for recordings is full with other people's jobs.",
            f"Nothing was kept; send it again in {retry_after_s} seconds.",
            retry_after_s=retry_after_s,
        )


class QueueFull(ApplianceError):
    code = "queue_full"
    status = 503

    def __init__(self, waiting: int, retry_after_s: int) -> None:
        super().__init__(
            f"{waiting} recordings are already waiting.",
            f"Nothing was kept; send it again in {retry_after_s} seconds.",
            retry_after_s=retry_after_s,
        )


class Draining(ApplianceError):
    code = "draining"
    status = 503

    def __init__(self) -> None:
        super().__init__("The appliance is shutting down.", "Nothing was kept; send it again in a minute.", retry_after_s=60)


class DiskFull(ApplianceError):
    code = "disk_full"
    status = 507

    def __init__(self) -> None:
        super().__init__(
            "There is no room left on the appliance's disk to save the text.",
            "An administrator must free space on the data volume; then send the recording again.",
        )


class StoreBusy(ApplianceError):
    code = "store_busy"
    status = 503

    def __init__(self) -> None:
        super().__init__(
            "The appliance's database is held by another program.",
            "Try again in a few seconds; if it goes on, an administrator should see what else has the file open.",
            retry_after_s=5,
        )


# --- the recording ----------------------------------------------------------------------------------------------------


class EmptyFile(ApplianceError):
    code = "empty_file"
    status = 422

    def __init__(self) -> None:
        super().__init__("The file is empty.", "Check that the recorder finished writing it, then send it again.", param="file")


class NotMedia(ApplianceError):
    code = "unsupported_media"
    status = 415

    def __init__(self, detail: str = "") -> None:
        super().__init__(
            "The file is not a recording in any format known here." + (f" ({detail})" if detail else ""),
            "Common audio and video formats work: MP3, WAV, M4A, FLAC, OGG, WebM, MP4, MKV, MOV, WMA, AMR and more.",
            param="file",
        )


class NoAudioTrack(ApplianceError):
    code = "no_audio_track"
    status = 422

    def __init__(self, track: int | None = None, tracks: int = 0) -> None:
        if track is None:
            super().__init__("The file has no audio track.", "Check that the recording was made with sound.", param="file")
        else:
            super().__init__(f"The file has no audio track {track}.", f"It has {tracks}, counted from 0.", param="audio_track")


class BrokenMedia(ApplianceError):
    code = "broken_media"
    status = 422

    def __init__(self) -> None:
        super().__init__(
            "The recording is damaged or cut off, and nothing in it could be read.",
            "Copy it from its source again; an MP4 whose recording was not finished has no index and cannot be read.",
            param="file",
        )


class DecodeRefused(ApplianceError):
    """The decoder hit a limit of its sandbox, or died in it."""

    code = "decode_refused"
    status = 422

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The recording could not be decoded safely: {reason}.", "Convert it to WAV, FLAC or MP3 and send that.", param="file"
        )


# --- the engine -------------------------------------------------------------------------------------------------------


class ModelDamaged(ApplianceError):
    code = "model_damaged"
    status = 503

    def __init__(self, model: str, file: str, problem: str = "does not match its checksum") -> None:
        super().__init__(
            f"The model '{model}' is damaged: {file} {problem}.",
            f"An administrator should run 'appliance models fetch {model}'.",
            retry_after_s=60,
        )


class ModelNotInstalled(ApplianceError):
    code = "model_not_installed"
    status = 503

    def __init__(self, model: str) -> None:
        super().__init__(
            f"The model '{model}' is not installed.",
            f"An administrator should run 'appliance models fetch {model}'.",
            retry_after_s=60,
        )


class LanguageUnsupported(ApplianceError):
    code = "language_unsupported"
    status = 422

    def __init__(self, language: str, model: str) -> None:
        super().__init__(
            f"The model '{model}' does not know the language '{language}'.", "GET /v1/languages lists the codes.", param="language"
        )


class WorkerCrashed(ApplianceError):
    code = "worker_crashed"
    status = 500

    def __init__(self, attempts: int) -> None:
        super().__init__(
            f"The speech engine stopped {attempts} times while it worked on this recording.",
            "Other recordings are not affected. Try again; if it happens again, send the administrator this message.",
        )


class DeviceOutOfMemory(ApplianceError):
    code = "device_out_of_memory"
    status = 503

    def __init__(self) -> None:
        super().__init__(
            "The accelerator has too little free memory for this recording, even with the smallest batch.",
            "Use a smaller model, or try again when it is less busy.",
            retry_after_s=60,
        )


class DeviceUnavailable(ApplianceError):
    code = "device_unavailable"
    status = 503

    def __init__(self, detail: str, hint: str) -> None:
        super().__init__(detail, hint, retry_after_s=60)


class Cancelled(ApplianceError):
    code = "cancelled"
    status = 409

    def __init__(self) -> None:
        super().__init__("The transcription was cancelled.", "Send the recording again to start over.")


class Interrupted(ApplianceError):
    code = "interrupted"
    status = 503

    def __init__(self) -> None:
        super().__init__(
            "The appliance stopped while it worked on this recording, and recordings are never kept on disk.",
            "Send it again; with the same Idempotency-Key this is safe.",
            retry_after_s=60,
        )


# --- accounts of elsewhere --------------------------------------------------------------------------------------------


class SignInSourceDown(ApplianceError):
    """The OpenID Connect provider or the directory cannot be asked, or is not set up in a way that can be trusted."""

    code = "sign_in_source_down"
    status = 503

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(
            f"'{label}' cannot be asked at the moment: {reason}.",
            "Accounts of this appliance itself still work; an administrator should see whether it can reach the server.",
            retry_after_s=30,
        )


class SignInNotTrusted(ApplianceError):
    """What came back of a sign-in elsewhere does not hold."""

    code = "sign_in_not_trusted"
    status = 401

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(
            f"The sign-in with '{label}' was not accepted: {reason}.",
            "Start again from the sign-in page; if it happens again, show an administrator this message.",
        )


class SignInRefusedElsewhere(ApplianceError):
    """The provider or the directory said no; a directory does not say whether the name or the password was wrong."""

    code = "sign_in_refused"
    status = 401

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(f"'{label}' did not let you in: {reason}.", "Try again, or sign in with an account of this appliance.")


class NotInAllowedGroup(ApplianceError):
    code = "not_in_allowed_group"
    status = 403

    def __init__(self, label: str) -> None:
        super().__init__(
            f"Your account at '{label}' is in none of the groups that may use this appliance.",
            "Ask the people who manage your accounts to add you.",
        )


class SignInNotOffered(ApplianceError):
    code = "sign_in_not_offered"
    status = 404

    def __init__(self) -> None:
        super().__init__("This way of signing in is not set up here.", "GET /api/v1/session/providers lists those that are.")


# --- start-up and commands --------------------------------------------------------------------------------------------


class StartRefused(ApplianceError):
    """The appliance will not start like this; the sentence and the hint go to the operator's terminal."""

    code = "start_refused"


class ChainBroken(ApplianceError):
    """An audit log or usage journal is not what was written once."""

    code = "chain_broken"
    status = 500

    def __init__(self, chain: str, sequence: int, problem: str) -> None:
        super().__init__(
            f"The {chain} journal is not whole: entry {sequence}: {problem}.",
            "Keep this file and the database as they are, and compare with earlier exports and heads that were noted elsewhere.",
        )
        self.sequence = sequence


class CatalogueError(ApplianceError):
    """A model entry or its files are wrong."""

    code = "catalogue_error"


class FetchFailed(ApplianceError):
    code = "fetch_failed"
    status = 502


class NoSpace(ApplianceError):
    code = "no_space"
    status = 507

    def __init__(self, needed_bytes: int, free_bytes: int, where: str) -> None:
        super().__init__(
            f"{where} has {free_bytes / 2**20:.0f} MiB free; {needed_bytes / 2**20:.0f} MiB are needed.",
            "Free some space, or set APPLIANCE_MODELS_DIR to a larger volume.",
        )
