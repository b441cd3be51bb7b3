"""Why a file is not a licence that can be trusted: a class per cause, each with a sentence and what to do next."""

from __future__ import annotations

from collections.abc import Sequence

ASK_AGAIN = "Ask the vendor for the file again, and copy it as it is; the licence in use is not affected."


class LicenceError(Exception):
    """Base: `str(error)` is the sentence."""

    code = "licence_invalid"

    def __init__(self, message: str, hint: str = ASK_AGAIN) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UnreadableLicence(LicenceError):
    code = "licence_unreadable"

    def __init__(self, problem: str) -> None:
        super().__init__(f"The file is not a licence: {problem}.")


class WrongKind(LicenceError):
    """Signed, perhaps, but as something else."""

    code = "licence_wrong_kind"

    def __init__(self, payload_type: str) -> None:
        super().__init__(f"The file is no licence; it calls itself '{payload_type[:80]}'.", "Choose the licence file itself.")


class UnknownSigner(LicenceError):
    code = "licence_unknown_signer"

    def __init__(self, key_ids: Sequence[str]) -> None:
        signers = ", ".join(key_id[:16] for key_id in key_ids[:4]) or "nobody"
        super().__init__(
            f"The licence is signed by {signers}, which this version of the appliance does not know.",
            "Check that the file is for this product. A licence newer than the appliance may need a newer version of it.",
        )


class BadSignature(LicenceError):
    code = "licence_bad_signature"

    def __init__(self) -> None:
        super().__init__("The licence was changed after it was signed, or did not arrive whole.")


class InvalidLicence(LicenceError):
    """Rightly signed, and yet it makes no sense: a mistake of the vendor."""

    code = "licence_invalid"

    def __init__(self, problem: str) -> None:
        super().__init__(f"The licence is rightly signed, but cannot be used: {problem}.", "Send the vendor this sentence.")
