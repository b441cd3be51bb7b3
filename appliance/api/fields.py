"""Reading the text fields of a request strictly: each is understood or refused by name, none is ignored.

An empty value counts as a field that was not sent, as HTML forms send it. Array names come with and without brackets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from math import isfinite

from appliance.api.language_names import language_code
from appliance.errors import InvalidField, UnknownField

MAX_TITLE_CHARS = 300
MAX_PROMPT_CHARS = 4000
MAX_HOTWORDS = 500
MAX_HOTWORD_CHARS = 100
MAX_HOTWORDS_CHARS = 10_000  # together; the model reads the first few hundred tokens

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


class Fields:
    """The fields of one request; raises `UnknownField` at once for a name that is not in `known`."""

    def __init__(self, pairs: Iterable[tuple[str, str]], known: Collection[str]) -> None:
        self._values: dict[str, list[str]] = defaultdict(list)
        for raw_name, value in pairs:
            name = raw_name.removesuffix("[]")
            if name not in known:
                raise UnknownField(raw_name, list(known))
            if value.strip():
                self._values[name].append(value)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str) -> str | None:
        values = self._values.get(name, [])
        if len(set(values)) > 1:
            raise InvalidField(name, "was sent more than once, with different values")
        return values[0].strip() if values else None

    def many(self, name: str, *, separators: str = "") -> tuple[str, ...]:
        """All values of an array field; each is also split at any of `separators`."""
        values = self._values.get(name, [])
        for separator in separators:
            values = [part for value in values for part in value.split(separator)]
        return tuple(value.strip() for value in values if value.strip())

    def boolean(self, name: str) -> bool | None:
        value = self.text(name)
        if value is None:
            return None
        if value.lower() in _TRUE:
            return True
        if value.lower() in _FALSE:
            return False
        raise InvalidField(name, f"must be 'true' or 'false', not '{value}'")

    def integer(self, name: str, lowest: int, highest: int) -> int | None:
        value = self.text(name)
        if value is None:
            return None
        digits = value.removeprefix("-")
        if not (digits.isascii() and digits.isdecimal() and len(digits) < 12 and lowest <= int(value) <= highest):
            raise InvalidField(name, f"must be a whole number from {lowest} to {highest}, not '{value}'")
        return int(value)

    def number(self, name: str, lowest: float, highest: float) -> float | None:
        value = self.text(name)
        if value is None:
            return None
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not (isfinite(number) and lowest <= number <= highest):
            raise InvalidField(name, f"must be a number from {lowest:g} to {highest:g}, not '{value}'")
        return number

    def limited(self, name: str, limit_chars: int) -> str | None:
        text = self.text(name)
        if text is not None and len(text) > limit_chars:
            raise InvalidField(name, f"is longer than {limit_chars} characters")
        return text

    def language(self, name: str) -> str | None:
        """A language's code; None for `auto`. Raises `InvalidField` for a language nobody here has heard of."""
        text = self.text(name)
        return None if text is None or text.lower() == "auto" else _known_language(name, text)

    def languages(self, name: str, *, separators: str = "") -> tuple[str, ...]:
        return tuple(dict.fromkeys(_known_language(name, text) for text in self.many(name, separators=separators)))

    def hotwords(self, name: str, *, separators: str = "") -> tuple[str, ...]:
        words = self.many(name, separators=separators)
        if len(words) > MAX_HOTWORDS:
            raise InvalidField(name, f"may hold {MAX_HOTWORDS} entries at most")
        if any(len(word) > MAX_HOTWORD_CHARS for word in words):
            raise InvalidField(name, f"has an entry of more than {MAX_HOTWORD_CHARS} characters")
        if sum(map(len, words)) > MAX_HOTWORDS_CHARS:
            raise InvalidField(name, f"is longer than {MAX_HOTWORDS_CHARS} characters in all")
        return words

    def choice(self, name: str, allowed: Collection[str]) -> str | None:
        value = self.text(name)
        if value is not None and value not in allowed:
            raise InvalidField(name, f"must be one of {', '.join(allowed)}, not '{value}'")
        return value


def _known_language(field: str, text: str) -> str:
    code = language_code(text)
    if code is None:
        raise InvalidField(field, f"names no language known here: '{text}'", "GET /v1/languages lists codes and names.")
    return code
