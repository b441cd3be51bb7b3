"""Model files on the Hugging Face hub or a mirror of it, through the hub's own client.

Imported only while `models fetch` runs: nothing else of the appliance may load this client, which would ask the network
even for files it has (TRAPS 10). Downloads go to our own part files, since the client starts over after a break.
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # read when the client is imported, as is the next one
os.environ["HF_HUB_DISABLE_XET"] = "1"  # its other protocol talks to other hosts, past a mirror

import httpx2
import huggingface_hub
from huggingface_hub import HfFileMetadata, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers, disable_progress_bars, logging  # type: ignore[attr-defined]
from huggingface_hub.utils._http import default_client_factory

from appliance.catalogue.model import CatalogueFile, HubEntry
from appliance.catalogue.parts import PartFile, link, reject, require_space
from appliance.catalogue.sources import Fetched, Progress, Workplace
from appliance.errors import FetchFailed

# The client hands over 10 MiB at a time: a break would lose up to that much, and the bar would stand still on a slow line.
huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = 2**18

_SHA256 = re.compile(r"[0-9a-f]{64}")
_GIT_BLOB = re.compile(r"[0-9a-f]{40}")


class HubSource:
    def __init__(self, entry: HubEntry, trust: ssl.SSLContext, endpoint: str | None = None) -> None:
        """`endpoint`: a mirror; HF_ENDPOINT or the public hub when None."""
        self._entry = entry
        self._trust = trust
        self._endpoint = endpoint.rstrip("/") if endpoint else None
        self._revision = entry.revision
        self.origin = f"the hub ({entry.repo})"

    def offers(self, file: CatalogueFile) -> bool:
        return file.name in self._entry.files

    def needed_bytes(self, files: Sequence[CatalogueFile], place: Workplace) -> int:
        sizes = [(file.size_bytes or 0, place.parts / f"{file.sha256}.part") for file in files]
        return sum(size - (part.stat().st_size if part.exists() else 0) for size, part in sizes)

    def fetch(self, files: Sequence[CatalogueFile], place: Workplace, progress: Progress) -> Iterator[Fetched]:
        with _client(self._trust):
            for file in files:
                try:
                    sha256 = self._fetch_one(file, place, progress)
                except (HfHubHTTPError, httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
                    raise self._explain(file, error) from error
                yield Fetched(name=file.name, sha256=sha256, origin=f"{self._entry.repo}@{self._revision}")

    def _fetch_one(self, file: CatalogueFile, place: Workplace, progress: Progress) -> str:
        url = hf_hub_url(self._entry.repo, self._entry.files[file.name], revision=self._revision, endpoint=self._endpoint)
        stated = get_hf_file_metadata(url, endpoint=self._endpoint)
        self._revision = stated.commit_hash or self._revision  # all files from one commit, also of a branch
        wanted = _wanted_checksum(file, stated)
        size_bytes = file.size_bytes or stated.size
        progress.begin(f"downloading {file.name}", size_bytes)
        path = place.parts / f"{wanted}.part"
        if not file.size_bytes and not path.exists():  # otherwise it was reckoned with before
            require_space(place.parts, stated.size or 0)
        with PartFile(path, size_bytes, progress.advance) as part:
            if not part.is_complete:
                http_get(url, part, resume_size=part.size_bytes, headers=build_hf_headers(), expected_size=size_bytes)  # type: ignore[arg-type]
            sha256 = part.finish()
        found = sha256 if _SHA256.fullmatch(wanted) else git_blob_id(path)
        if found != wanted:
            raise reject(path, file.name, self.origin, found, wanted)
        link(path, place.staging / file.name)  # the part stays until the model is installed, lest a later file fails
        return sha256

    def _explain(self, file: CatalogueFile, error: Exception) -> FetchFailed:
        if isinstance(error, GatedRepoError):
            return FetchFailed(
                f"The hub gives {file.name} only to people who accepted the conditions of {self._entry.repo}.",
                "Accept them on the hub's page of that name, and set HF_TOKEN to a token of that account.",
            )
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        return FetchFailed(
            f"{file.name} could not be had from {self.origin}: {reason}",
            "Check the network and HF_ENDPOINT; --mirror URL names another hub, --ca FILE its certificate authority.",
        )


def _wanted_checksum(file: CatalogueFile, stated: HfFileMetadata) -> str:
    """The catalogue's checksum, else the hub's: SHA-256 for large files, git's own for small ones."""
    if file.sha256:
        return file.sha256
    if stated.etag and (_SHA256.fullmatch(stated.etag) or _GIT_BLOB.fullmatch(stated.etag)):
        return stated.etag
    raise FetchFailed(f"The hub states no checksum for {file.name}, and the catalogue has none.", "Pin it in the catalogue.")


def git_blob_id(path: Path) -> str:
    """What git calls a file of this content."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _client(trust: ssl.SSLContext) -> Iterator[None]:
    """The hub's client with our certificates, for as long as a fetch runs.

    Without its own hook: that one refuses to work where the rest of the appliance is told to stay offline.
    """
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    disable_progress_bars()
    huggingface_hub.set_client_factory(lambda: httpx2.Client(verify=trust, follow_redirects=True, timeout=30.0))
    try:
        yield
    finally:
        huggingface_hub.set_client_factory(default_client_factory)
