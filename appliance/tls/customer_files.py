"""`tls=files`: the customer's certificate and key, read again whenever they change."""

from __future__ import annotations

import logging
import os
import stat
from datetime import datetime
from pathlib import Path

from appliance.errors import CertificateRefused
from appliance.tls.credentials import Credentials, read_credentials
from appliance.tls.names import Names

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 2**20


class CustomerFiles:
    def __init__(self, certificate_file: Path | None, key_file: Path | None, configured: Names) -> None:
        if certificate_file is None or key_file is None:
            raise CertificateRefused(
                "With tls=files the appliance needs a certificate and its key.",
                "Set APPLIANCE_TLS_CERTIFICATE_FILE and APPLIANCE_TLS_KEY_FILE.",
            )
        self._certificate_file = certificate_file
        self._key_file = key_file
        self._configured = configured
        self._read: tuple[bytes, bytes] | None = None
        self._credentials: Credentials | None = None

    def at_start(self, now: datetime) -> Credentials:
        """Like `credentials`, and says in the log what is allowed but probably not meant."""
        credentials = self.credentials(now)
        if stat.S_IMODE(self._key_file.stat().st_mode) & stat.S_IROTH:
            log.warning("Every user of this machine can read the private key %s; 'chmod 600' it.", self._key_file)
        missing = self._configured.without(credentials.names)
        if missing:
            log.warning("The certificate %s does not name %s; browsers will warn there.", self._certificate_file, missing)
        return credentials

    def credentials(self, now: datetime) -> Credentials:
        """What the files say now. Raises CertificateRefused."""
        present = _read(self._certificate_file), _read(self._key_file)
        if self._credentials is None or present != self._read:
            self._credentials = read_credentials(*present, now, f"The certificate {self._certificate_file}")
            self._read = present
        return self._credentials


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_FILE_BYTES)
    except FileNotFoundError as error:
        raise CertificateRefused(
            f"There is no file {file}.", "Correct APPLIANCE_TLS_CERTIFICATE_FILE and APPLIANCE_TLS_KEY_FILE."
        ) from error
    except PermissionError as error:
        raise CertificateRefused(
            f"The appliance may not read {file}.",
            f"It runs as user id {os.geteuid()}: give the file to that user, or let its group read it.",
        ) from error
    except OSError as error:
        raise CertificateRefused(f"The file {file} cannot be read: {error.strerror}.", "It must be a readable PEM file.") from error
