"""Which recordings the arguments mean, and where each text goes. Looks at the file system, opens nothing."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from appliance.domain import Value
from appliance.errors import InvalidRequest

# What is picked out of folders and patterns; a file that is named outright is always tried.
# fmt: off
RECORDING_SUFFIXES = frozenset((
    ".3g2", ".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".asf", ".au", ".avi", ".caf", ".dts",
    ".flac", ".flv", ".gsm", ".m2ts", ".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mov", ".mp2", ".mp3", ".mp4", ".mpeg",
    ".mpg", ".mts", ".oga", ".ogg", ".ogv", ".opus", ".ra", ".spx", ".tta", ".ts", ".voc", ".w64", ".wav", ".webm",
    ".wma", ".wmv", ".wv",
))
# fmt: on


class Task(Value, frozen=True):
    recording: Path
    target: Path | None  # None: stdout


def find_recordings(arguments: Sequence[str]) -> tuple[Path, ...]:
    """Files, folders (with everything below) and patterns such as `calls/**/*.wav`; each recording once, in order.

    Raises InvalidRequest, naming the argument that leads to nothing.
    """
    found: dict[Path, Path] = {}
    for argument in arguments:
        matches = list(_matches(argument))
        if not matches:
            raise InvalidRequest(f"There is no recording at '{argument}'.", "Name a file, a folder or a pattern; quote patterns.")
        for path in matches:
            found.setdefault(path.resolve(), path)
    return tuple(found.values())


def _matches(argument: str) -> Iterator[Path]:
    path = Path(argument)
    if path.is_file():
        yield path
    elif path.is_dir():
        yield from sorted(p for p in path.rglob("*") if _looks_like_recording(p))
    else:
        yield from sorted(p for name in glob.glob(argument, recursive=True) if _looks_like_recording(p := Path(name)))


def _looks_like_recording(path: Path) -> bool:
    return path.suffix.lower() in RECORDING_SUFFIXES and path.is_file()


def plan_tasks(recordings: Sequence[Path], output: Path | None, suffix: str, *, force: bool) -> tuple[Task, ...]:
    """One text per recording. Raises InvalidRequest before any work is done when a text has no place or would be overwritten."""
    if output is None:
        if len(recordings) > 1:
            raise InvalidRequest(f"{len(recordings)} recordings need a folder for their texts.", "Name it: --output texts/")
        return (Task(recording=recordings[0], target=None),)
    targets = _targets(recordings, output, suffix)
    existing = [str(target) for target in targets if target.exists()]
    if existing and not force:
        raise InvalidRequest(f"Already there: {', '.join(existing)}.", "Nothing was done; --force writes over them.")
    return tuple(Task(recording=r, target=t) for r, t in zip(recordings, targets, strict=True))


def _targets(recordings: Sequence[Path], output: Path, suffix: str) -> list[Path]:
    if len(recordings) == 1 and not output.is_dir() and output.suffix:
        return [output]
    if output.exists() and not output.is_dir():
        raise InvalidRequest(f"'{output}' is a file, and {len(recordings)} texts need a folder.", "Name a folder: --output texts/")
    names = _distinct_names(recordings)
    return [output / f"{name}.{suffix}" for name in names]


def _distinct_names(recordings: Sequence[Path]) -> list[str]:
    """`talk` for talk.mp3; `talk.mp3` and `talk.wav` where both are there; refused where even that is not distinct."""
    stems = Counter(recording.stem for recording in recordings)
    names = [recording.name if stems[recording.stem] > 1 else recording.stem for recording in recordings]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise InvalidRequest(
            f"Several recordings are called '{twice[0]}', and their texts would be, too.", "Do one folder at a time."
        )
    return names
