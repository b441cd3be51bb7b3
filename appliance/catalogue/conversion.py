"""Turns raw model files into safe ones, in a process of its own: the libraries for that are heavy, and the files untrusted.

Run as a program it is that process: `python -m appliance.catalogue.conversion KIND SOURCE FOLDER`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from appliance.errors import ApplianceError, FetchFailed

TIMEOUT_S = 600.0


def convert(kind: str, source: Path, folder: Path) -> None:
    """Write the converted files into `folder`. Raises FetchFailed with the reason of the conversion."""
    command = [sys.executable, "-m", __name__, kind, str(source), str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL)  # noqa: S603 - our own program
    except subprocess.TimeoutExpired as error:
        raise FetchFailed(f"{source.name} could not be converted within {TIMEOUT_S:.0f} s.", "Try again.") from error
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().rpartition("\n")[2] or f"the conversion ended with {error.returncode}"
        raise FetchFailed(f"{source.name} could not be converted: {reason}", "Nothing of it was installed.") from error


def main(kind: str, source: str, folder: str) -> None:
    from appliance.catalogue.convert import (  # noqa: PLC0415 - its libraries must not load in the process that calls `convert`
        convert_embedding,
        convert_segmentation,
        write_pipeline,
    )

    {"segmentation": convert_segmentation, "embedding": convert_embedding}[kind](Path(source), Path(folder))
    write_pipeline(Path(folder))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ApplianceError as problem:
        sys.exit(str(problem))
