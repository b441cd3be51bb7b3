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
        super().__init__(
            f"You may not do that: it needs the scope '{scope}'.",
            "Use an API key that has it; 'admin' is for administrators and their keys.",
        )


class RoleTooLow(ApplianceError):
    code = "role_too_low"
    status = 403

    def __init__(self) -> None:
        super().__init__(
            "Your role in this workspace does not allow that: viewers read, editors also send and change, owners also erase, "
            "move, and choose the members.",
            "Ask an owner of the workspace.",
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


class BodyTooSlow(ApplianceError):
    code = "body_too_slow"
    status = 408

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The request did not arrive whole within {seconds:.0f} seconds.",
            "Nothing was changed; send it again. If that does not help, the network on the way here is too slow or interrupted.",
        )


class NotConfirmed(ApplianceError):
    """Erasing everything wants the number of what is erased, so that nothing goes that its owner did not know of."""

    code = "not_confirmed"
    status = 409

    def __init__(self, count: int) -> None:
        super().__init__(f"That would erase {count} transcripts for good.", f"Add '?confirm={count}' to do it.", param="confirm")


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


# --- private transcripts ----------------------------------------------------------------------------------------------


class PrivateTranscript(ApplianceError):
    """Something was asked of a private transcript that would need its text."""

    code = "private_transcript"
    status = 409

    def __init__(self, what: str, instead: str = "It is done in the browser, after unlocking it there.") -> None:
        super().__init__(f"This transcript is private: its text is not on the appliance, so {what}.", instead)


class NotPrivate(ApplianceError):
    code = "not_private"
    status = 409

    def __init__(self) -> None:
        super().__init__("This transcript is not private.", "Its text is read at …/transcripts/{id}/.")


class NoPrivateHere(InvalidRequest):
    """`private` on a call whose answer is the text."""

    code = "private_transcript"

    def __init__(self) -> None:
        super().__init__(
            "A private transcript cannot be the answer to this call: its text would be in the answer, in the clear.",
            "Send it to POST /api/v1/transcripts/ with 'private=true', and fetch …/result/ when it is completed.",
            param="private",
        )


class ResultGone(ApplianceError):
    code = "result_gone"
    status = 410

    def __init__(self) -> None:
        super().__init__(
            "The result of this private transcript is not in the appliance's memory any more.",
            "It was acknowledged, or its time was over; what the browser stored is at …/envelope/.",
        )


class ResultNotFetched(ApplianceError):
    """How a private transcript ends that nobody came for."""

    code = "result_not_fetched"
    status = 410

    def __init__(self) -> None:
        super().__init__(
            "The result of this private transcript was not fetched and acknowledged in time, and nothing of it was kept.",
            "Send the recording again, and leave the page open until it is encrypted.",
        )


class EnvelopeInvalid(InvalidRequest):
    code = "invalid_envelope"

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"This is not the envelope of a private transcript: {problem}.",
            "docs/private-transcripts.md describes what it must look like.",
        )


class EnvelopeLocked(ApplianceError):
    code = "wrong_password"
    status = 422

    def __init__(self) -> None:
        super().__init__(
            "The envelope does not open: the password is wrong, or the envelope was altered.",
            "Check the password: capitals, the layout of the keyboard. Without it nobody can read the text.",
        )


class StaleEnvelope(ApplianceError):
    code = "stale_envelope"
    status = 409

    def __init__(self, sent: int, stored: int) -> None:
        super().__init__(
            f"The envelope has changed since: yours has version {sent}, and version {stored} is stored; "
            f"the next one must have version {stored + 1}.",
            "Fetch it again and repeat the edit.",
            param="version",
        )


class SealKeyInvalid(InvalidField):
    def __init__(self, problem: str) -> None:
        super().__init__("seal_to", problem, "Send an uncompressed P-256 public key, 65 bytes, in base64url.")


class ResultSealBroken(ApplianceError):
    """Between two processes of the appliance, or to a reader with another key."""

    code = "result_seal_broken"

    def __init__(self) -> None:
        super().__init__("The sealed text does not open: it was altered, or sealed to another key.", "Send the recording again.")


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


# --- the licence ------------------------------------------------------------------------------------------------------


class LicenceRefusal(ApplianceError):
    """The licence does not allow something new. What is there is never touched by it."""

    code = "licence_restricted"
    status = 402


class HoursUsedUp(LicenceRefusal):
    code = "licence_hours_used_up"

    def __init__(self, limit_h: float, renews_on: str) -> None:
        super().__init__(
            f"The {limit_h:g} hours of audio that the licence gives for a month are used up.",
            f"There are new ones from {renews_on} (UTC); until then, only a larger licence helps. Nothing was kept.",
        )


class SeatsTaken(LicenceRefusal):
    code = "licence_seats_taken"

    def __init__(self, seats: int) -> None:
        super().__init__(
            f"All {seats} seats of the licence are taken.",
            "Remove somebody who has left, or ask the vendor for a licence with more seats.",
        )


class LicenceNotKept(ApplianceError):
    code = "licence_not_kept"
    status = 507

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(
            f"The file '{file}' in the data folder could not be written: {problem}.",
            "See that the data folder has room and belongs to the appliance's user; then try again.",
        )


class LicenceNotAccepted(ApplianceError):
    """A file that was to be installed; the licence in use stays."""

    code = "licence_not_accepted"
    status = 422


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


class DiarizationFailed(ApplianceError):
    """Of a job that is of no use without speakers; every other one keeps its text, with a warning of the same code."""

    code = "diarization_failed"
    status = 500

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The speakers could not be told apart: {reason}", "Try again, or ask for a result that does not name the speakers."
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


# --- people -----------------------------------------------------------------------------------------------------------


class SignedOut(ApplianceError):
    code = "signed_out"
    status = 401

    def __init__(self) -> None:
        super().__init__("You are not signed in any more.", "Sign in again.")


class WrongCredentials(ApplianceError):
    """Does not say which of the three was wrong, nor whether there is such a person."""

    code = "wrong_credentials"
    status = 401

    def __init__(self) -> None:
        super().__init__(
            "E-mail address, password or code is wrong.", "Try again; an administrator can make you a link for a new password."
        )


class SecondFactorNeeded(ApplianceError):
    code = "second_factor_needed"
    status = 401

    def __init__(self) -> None:
        super().__init__(
            "This account asks for a second factor.", "Send 'code' too: the six digits of your authenticator, or a recovery code."
        )


class TooManyAttempts(ApplianceError):
    code = "too_many_attempts"
    status = 429

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(
            f"Too many attempts to sign in failed; wait {retry_after_s} seconds.",
            "Nobody is locked out: the right password works again after that, and from another machine now.",
            retry_after_s=retry_after_s,
        )


class AccountDisabled(ApplianceError):
    """Said to people of a directory only, who proved who they are."""

    code = "account_disabled"
    status = 403

    def __init__(self) -> None:
        super().__init__("Your account on this appliance is disabled.", "Ask an administrator of the appliance.")


class SessionNeeded(ApplianceError):
    code = "session_needed"
    status = 403

    def __init__(self) -> None:
        super().__init__("Only somebody who is signed in may do that, not an API key.", "Sign in on the page.")


class SecondFactorElsewhere(ApplianceError):
    code = "second_factor_elsewhere"
    status = 409

    def __init__(self) -> None:
        super().__init__(
            "You sign in with your organisation, which asks for a second factor itself; one of here would never be asked for.",
            "Add it where your organisation keeps your account.",
        )


class RecentSignInNeeded(ApplianceError):
    code = "recent_sign_in_needed"
    status = 403

    def __init__(self, minutes: int) -> None:
        super().__init__(
            f"For this the password must have been entered within {minutes} minutes.",
            "Send it to POST /api/v1/session/confirm, then try again. People of a directory sign in again.",
        )


class CsrfTokenWrong(ApplianceError):
    code = "csrf_token_wrong"
    status = 403

    def __init__(self) -> None:
        super().__init__(
            "A change with a session cookie needs the header 'X-CSRF-Token'.", "GET /api/v1/session says which value it has."
        )


class CrossSite(ApplianceError):
    code = "cross_site"
    status = 403

    def __init__(self) -> None:
        super().__init__("This request was sent by the page of another site.", "Open the appliance's own page and try there.")


class LinkSpent(ApplianceError):
    code = "link_spent"
    status = 410

    def __init__(self) -> None:
        super().__init__("This link was used already, has expired, or was replaced.", "Ask for a new one.")


class EmailTaken(ApplianceError):
    code = "email_taken"
    status = 409

    def __init__(self) -> None:
        super().__init__(
            "Somebody with this e-mail address has an account already.", "Choose another address, or use that account."
        )


class LastAdministrator(ApplianceError):
    code = "last_administrator"
    status = 409

    def __init__(self) -> None:
        super().__init__(
            "This is the last administrator who can sign in with a password here.", "Make somebody else an administrator first."
        )


class LastOwner(ApplianceError):
    code = "last_owner"
    status = 409

    def __init__(self) -> None:
        super().__init__("This is the last owner of the workspace.", "Make another member an owner first, or delete the workspace.")


class AlreadyAccepted(ApplianceError):
    code = "already_accepted"
    status = 409

    def __init__(self) -> None:
        super().__init__("This person has an account already; there is nothing to accept.", "Reset the password instead.")


class SealBroken(ApplianceError):
    """The key file beside the database is not the one a value was sealed with."""

    code = "seal_broken"
    status = 500

    def __init__(self, file: str) -> None:
        super().__init__(
            f"A sealed value does not open with the key in '{file}'.",
            "Restore that file from the same backup as the database; or an administrator takes the second factor off the account.",
        )


# --- share links ------------------------------------------------------------------------------------------------------


class ShareEnded(ApplianceError):
    """The link was good once; whoever holds it may know why it is not any more."""

    status = 410


class ShareExpired(ShareEnded):
    code = "share_expired"

    def __init__(self) -> None:
        super().__init__("This link has expired.", "Ask whoever sent it for a new one.")


class ShareRevoked(ShareEnded):
    code = "share_revoked"

    def __init__(self) -> None:
        super().__init__("This link was withdrawn.", "Ask whoever sent it.")


class ShareUsedUp(ShareEnded):
    code = "share_used_up"

    def __init__(self) -> None:
        super().__init__("This link has been opened as often as it may be.", "Ask whoever sent it for a new one.")


class SharePasswordWrong(ApplianceError):
    code = "share_password_wrong"
    status = 401

    def __init__(self, *, was_sent: bool) -> None:
        super().__init__(
            "That is not the password of this link." if was_sent else "This link has a password.",
            "Whoever sent the link knows the password.",
            param="password",
        )


class SharePasswordPaused(ApplianceError):
    code = "too_many_attempts"
    status = 429

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(
            f"The password of this link was wrong too often; wait {retry_after_s} seconds.",
            "The right one works again after that.",
            retry_after_s=retry_after_s,
        )


class ShareNotOpened(ApplianceError):
    code = "share_not_opened"
    status = 401

    def __init__(self) -> None:
        super().__init__("The transcript was not opened here, or more than half an hour ago.", "Open the link again.")


class ShareBusy(ApplianceError):
    code = "share_busy"
    status = 429

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(
            "Too many people have this link open at the moment.", "Try again a little later.", retry_after_s=retry_after_s
        )


class TooManyShares(ApplianceError):
    code = "too_many_shares"
    status = 409

    def __init__(self, limit: int) -> None:
        super().__init__(f"This transcript has {limit} links already.", "Withdraw one that is not needed any more.")


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


# --- model updates ----------------------------------------------------------------------------------------------------


class UpdateRefused(ApplianceError):
    """Base of every reason not to take a model bundle. The release in use stays as it is."""

    code = "update_refused"
    status = 422


class BundleUnreadable(UpdateRefused):
    code = "update_unreadable"

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"This is not a model bundle: {problem}.", "Give the folder or the .tar that the vendor delivered, unpacked nowhere."
        )


class BundleTruncated(UpdateRefused):
    code = "update_truncated"

    def __init__(self, where: str) -> None:
        super().__init__(
            f"The bundle ends in the middle of {where}.", "Copy it again from its source; what arrived whole is kept for that."
        )


class UnsafeName(UpdateRefused):
    """TRAPS 14: a path that leads elsewhere, or any name that a bundle has no use for."""

    code = "update_unsafe_name"

    def __init__(self, name: str) -> None:
        super().__init__(f"The bundle has a member with a forbidden name: {name[:80]!r}.", "Do not use it; ask who made it.")


class NotPlainFile(UpdateRefused):
    """TRAPS 14: a link, a device, a folder or a pipe where only plain files belong."""

    code = "update_not_a_file"

    def __init__(self, name: str, kind: str) -> None:
        super().__init__(f"{name[:80]!r} in the bundle is a {kind}, not a plain file.", "Do not use it; ask who made it.")


class MemberTwice(UpdateRefused):
    code = "update_member_twice"

    def __init__(self, name: str) -> None:
        super().__init__(f"The bundle has {name!r} twice.", "Do not use it; ask who made it.")


class MemberTooLarge(UpdateRefused):
    code = "update_member_too_large"

    def __init__(self, name: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"{name!r} in the bundle has {size_bytes} bytes; {limit_bytes} are allowed.", "Do not use it; ask who made it."
        )


class StrangeMember(UpdateRefused):
    code = "update_strange_member"

    def __init__(self, name: str) -> None:
        super().__init__(f"The bundle has {name!r}, which its signed list does not name.", "Do not use it; ask who made it.")


class MetadataMissing(UpdateRefused):
    code = "update_metadata_missing"

    def __init__(self, name: str) -> None:
        super().__init__(f"The bundle lacks its signed list '{name}'.", "Copy it again from its source, with all its files.")


class MetadataTampered(UpdateRefused):
    code = "update_metadata_tampered"

    def __init__(self, role: str) -> None:
        super().__init__(
            f"The signed list '{role}' was changed after it was signed, or is damaged.",
            "Copy the bundle again; if it happens again, do not use it and ask who made it.",
        )


class WrongRoot(UpdateRefused):
    code = "update_wrong_root"

    def __init__(self, role: str) -> None:
        super().__init__(
            f"The list '{role}' is signed by nobody whom this appliance trusts.",
            "A model of your own needs your own root: 'appliance models root create' or 'root add', then import with --site.",
        )


class TooFewSignatures(UpdateRefused):
    code = "update_too_few_signatures"

    def __init__(self, role: str, valid: int, needed: int) -> None:
        super().__init__(
            f"The list '{role}' has {valid} valid signature{'s' * (valid != 1)}; {needed} are needed.",
            "Do not use it; ask who made it.",
        )


class UpdateExpired(UpdateRefused):
    """A freeze: an old bundle that hides that there are newer ones. Or the clock of this machine is wrong."""

    code = "update_expired"

    def __init__(self, role: str, expired_on: str, today: str) -> None:
        super().__init__(
            f"The list '{role}' of the bundle expired on {expired_on}; this machine's clock says {today}.",
            "Ask for a current bundle. If the date of this machine is wrong, set its clock first.",
        )


class UpdateOlder(UpdateRefused):
    code = "update_older"

    def __init__(self, role: str) -> None:
        super().__init__(
            f"The bundle is older than what this appliance has already seen (its list '{role}').",
            "To use an earlier release again: 'appliance models rollback'.",
        )


class UpdateMixed(UpdateRefused):
    code = "update_mixed"

    def __init__(self, role: str) -> None:
        super().__init__(
            f"The bundle is put together from parts of different releases (its list '{role}').",
            "Copy it again from its source, with all its files.",
        )


class ReleaseInvalid(UpdateRefused):
    """Well signed, and still not a release that can be installed."""

    code = "update_invalid"

    def __init__(self, problem: str) -> None:
        super().__init__(f"The release cannot be installed: {problem}.", "Ask who made it for a corrected one.")


class ApplianceTooOld(UpdateRefused):
    code = "update_needs_newer_appliance"

    def __init__(self, model: str, needed: str, present: str) -> None:
        super().__init__(f"'{model}' needs version {needed} of the appliance; this is {present}.", "Update the appliance first.")


class BlobMissing(UpdateRefused):
    code = "update_blob_missing"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The bundle lacks {name}, and it is not on this machine.",
            "It is the difference to a release that was never installed here, or was not copied whole: import the full bundle.",
        )


class BlobTampered(UpdateRefused):
    code = "update_blob_tampered"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} in the bundle does not match its checksum.", "Copy it again; if it happens again, ask who made it."
        )


class UnsafeWeights(UpdateRefused):
    """TRAPS 13: validly signed or not, a format that can carry code is not installed."""

    code = "update_unsafe_weights"

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"The release holds a file that could carry code. {problem}",
            "Ask who made it for safetensors, ONNX, CTranslate2, JSON or text.",
        )


class CanaryFailed(UpdateRefused):
    code = "update_canary_failed"

    def __init__(self, model: str, problem: str) -> None:
        super().__init__(
            f"The new '{model}' failed its trial on the reference recording: {problem}.",
            "Nothing was switched. Ask who made the bundle; the log says more.",
        )


class UpdateNotWritten(UpdateRefused):
    code = "update_not_written"
    status = 507

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"{path} cannot be written: {reason}.",
            "Releases are kept below the models' folder (APPLIANCE_MODELS_DIR), which must be writable for an import.",
        )


class UpdateRunning(ApplianceError):
    code = "update_running"
    status = 409

    def __init__(self) -> None:
        super().__init__("Another import of models is running.", "Wait until it has ended.", retry_after_s=30)


class NoSuchRelease(ApplianceError):
    code = "release_not_found"
    status = 404

    def __init__(self, release: str, kept: Sequence[str]) -> None:
        have = f"Kept are: {', '.join(kept)}." if kept else "None was imported yet."
        super().__init__(f"There is no release '{release}' on this machine.", have, param="release")


class NothingToRollBack(ApplianceError):
    code = "nothing_to_roll_back"
    status = 409

    def __init__(self, channel: str) -> None:
        super().__init__(
            f"There is no previous release of the {channel} to go back to.",
            "'appliance models releases' lists those that are kept; 'appliance models activate' takes any of them.",
        )


class SiteRootRefused(ApplianceError):
    code = "site_root_refused"
    status = 409


class ModelReleased(ApplianceError):
    code = "model_released"
    status = 409

    def __init__(self, model: str, release: str) -> None:
        super().__init__(
            f"'{model}' is part of the imported release '{release}'.",
            "Activate another release, or roll back; 'appliance models releases' lists them.",
        )


# --- TLS --------------------------------------------------------------------------------------------------------------


class CertificateRefused(StartRefused):
    """A certificate, its key or its authority cannot be used; at the start that ends it, later the old one stays."""

    code = "certificate_refused"


class CertificateNotObtained(ApplianceError):
    """The ACME server gave none; the old one stays."""

    code = "certificate_not_obtained"
    status = 502


class WrongHost(ApplianceError):
    """DNS rebinding: a page from elsewhere whose name was made to point here."""

    code = "wrong_host"
    status = 421

    def __init__(self) -> None:
        super().__init__(
            "This appliance is not known by the name in that address.",
            "Use its own name or its IP address; an administrator adds more names with APPLIANCE_TLS_NAMES.",
        )


class TlsIsOff(ApplianceError):
    code = "tls_is_off"
    status = 409

    def __init__(self) -> None:
        super().__init__(
            "This appliance does not speak TLS itself, so there is nothing to confirm.",
            "A proxy in front of it says for how long browsers insist on HTTPS.",
        )


class NoAuthority(ApplianceError):
    code = "no_authority"
    status = 404

    def __init__(self) -> None:
        super().__init__(
            "There is no authority to trust here: this appliance's certificate does not come from itself.",
            "Ask the administrator who made its certificate.",
        )


# --- backups ----------------------------------------------------------------------------------------------------------


class BackupRefused(ApplianceError):
    """A backup was not made or not restored; nothing was changed."""

    code = "backup_refused"
    status = 422


class BackupDamaged(BackupRefused):
    code = "backup_damaged"

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"The backup is damaged: {problem}.", "It was cut off or changed. Nothing of it was used; take another one."
        )


class BackupWrongKey(BackupRefused):
    code = "backup_wrong_key"

    def __init__(self) -> None:
        super().__init__(
            "The backup was not encrypted for this key.",
            "Give the file with the secret key that belongs to the public one of that time.",
        )


class BackupNewer(BackupRefused):
    code = "backup_newer"

    def __init__(self, detail: str) -> None:
        super().__init__(f"The backup was made by a newer version of the appliance ({detail}).", "Restore it with that version.")


class BackupWouldReplace(BackupRefused):
    code = "backup_would_replace"

    def __init__(self, folder: str) -> None:
        super().__init__(f"There is a database in {folder} already, which would be replaced.", "Give --force if that is meant.")
