"""The licence format and its judge: pure. Bytes in, a trusted licence or a typed error out; facts in, a standing out.

Files, clocks, the machine and what follows from a standing are left to `appliance/licensing`. Imports nothing of appliance/.
"""

from licence.choice import EndedLicence, SupersededLicence, check_newer, choose
from licence.document import PAYLOAD_TYPE, Binding, Licence, Limits, read_licence, write_payload
from licence.envelope import sign, verify
from licence.errors import (
    BadSignature,
    InvalidLicence,
    LicenceError,
    UnknownSigner,
    UnreadableLicence,
    WrongKind,
)
from licence.keys import EMBEDDED, PublicKey, TrustedKeys
from licence.standing import EVALUATION_DAYS, EXPIRING_DAYS, Facts, Held, Notice, Standing, State, judge, support_notice

__all__ = [
    "EMBEDDED",
    "EVALUATION_DAYS",
    "EXPIRING_DAYS",
    "PAYLOAD_TYPE",
    "BadSignature",
    "Binding",
    "EndedLicence",
    "Facts",
    "Held",
    "InvalidLicence",
    "Licence",
    "LicenceError",
    "Limits",
    "Notice",
    "PublicKey",
    "Standing",
    "State",
    "SupersededLicence",
    "TrustedKeys",
    "UnknownSigner",
    "UnreadableLicence",
    "WrongKind",
    "check_newer",
    "choose",
    "judge",
    "read_licence",
    "sign",
    "support_notice",
    "verify",
    "write_payload",
]
