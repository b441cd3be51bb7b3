"""What is written to the terminal: results on stdout, everything a person reads beside them on stderr."""

from __future__ import annotations

import sys

from appliance.errors import ApplianceError

BOLD_RED, YELLOW, GREEN, DIM, PLAIN = "\033[1;31m", "\033[33m", "\033[32m", "\033[2m", "\033[0m"


def painted(text: str, colour: str) -> str:
    """The text in a colour, where stderr is a terminal."""
    return f"{colour}{text}{PLAIN}" if sys.stderr.isatty() else text


def say(text: str = "") -> None:
    print(text, file=sys.stderr)


def complain(error: ApplianceError, subject: str = "") -> None:
    """The sentence of an error, and below it what to do."""
    about = f"{subject}: " if subject else ""
    say(f"{painted('Error:', BOLD_RED)} {about}{error.message}")
    if error.hint:
        say(f"       {error.hint}")


def duration_words(seconds: float) -> str:
    """63.2 → "1 min 3 s"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def size_words(n_bytes: float) -> str:
    """Memory and disks: 5368709120 → "5.0 GiB"."""
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.0f} MiB"
