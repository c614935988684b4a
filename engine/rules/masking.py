"""Keeps secrets out of logs: which fields are masked, and how. Pure (issue 4 "Retention and privacy").

What is masked is the value of a field or header whose name is known to hold a secret: the names of the
setting `masked_fields`, and those that a manifest or an auth form declares as passwords. It is masked
wherever it stands in a content: as a key, in a pair {key or name, value}, and within text
("Authorization: Bearer …", "?api-key=…").
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import orjson

MASK = "[masked]"

DEFAULT_FIELDS = (
    "authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "api-key", "x-auth-token",
    "x-access-token", "x-amz-security-token",
)  # fmt: skip

PayloadMode = Literal["always", "errors", "never"]

SHORTEST_SECRET = 4
"""A shorter value is not looked for in the texts of errors: it would be found everywhere."""

_LABELS = ("key", "name", "header", "field")
_VALUES = ("value", "text")


@dataclass(frozen=True, slots=True)
class Masker:
    """`names` are in lower case; use `masker_of`, which shares equal ones."""

    names: frozenset[str]
    needles: tuple[str, ...]
    pattern: re.Pattern[str] | None

    def text(self, text: str) -> str:
        """A content as JSON text, or plain text, with its secrets masked; the same object when it has none."""
        low = text.lower()
        for needle in self.needles:  # a loop of `in` is four times as fast as one regular expression
            if needle in low:
                return self._masked_text(text)
        return text

    def _masked_text(self, text: str) -> str:
        try:
            value = orjson.loads(text)
            masked = self.value(value)
            return text if masked == value else orjson.dumps(masked).decode()
        except (ValueError, TypeError, RecursionError):  # plain text, or nested too deeply
            return self._within(text)

    def value(self, value: Any) -> Any:
        """A copy of JSON data with its secrets masked."""
        if isinstance(value, Mapping):
            pair = any(str(value.get(label, "")).lower() in self.names for label in _LABELS)
            return {
                key: MASK
                if (str(key).lower() in self.names or (pair and key in _VALUES)) and item not in (None, "")
                else self.value(item)
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self.value(item) for item in value]
        return self._within(value) if isinstance(value, str) else value

    def _within(self, text: str) -> str:
        if self.pattern is None or not any(needle in text.lower() for needle in self.needles):
            return text
        return self.pattern.sub(_masked_match, text)

    def secrets(self, value: Any) -> set[str]:
        """The values in JSON data that `value` would mask, as far as they are texts and long enough to look for."""
        found: set[str] = set()
        waiting = [value]
        while waiting:
            item = waiting.pop()
            if isinstance(item, Mapping):
                found |= {v for k, v in item.items() if str(k).lower() in self.names and isinstance(v, str)}
                waiting.extend(item.values())
            elif isinstance(item, list | tuple):
                waiting.extend(item)
        return {secret for secret in found if len(secret) >= SHORTEST_SECRET}


def _masked_match(found: re.Match[str]) -> str:
    quote = found["quote"] or ""
    return f"{found['head']}{quote}{MASK}{quote}"


def hide(text: str, secrets: Iterable[str]) -> str:
    """`text` without the given values."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


@lru_cache(maxsize=4096)
def masker_of(names: frozenset[str]) -> Masker:
    """Names in any case."""
    low = frozenset(name.lower() for name in names if name)
    if not low:
        return Masker(low, (), None)
    needles = _needles(low)
    words = "|".join(re.escape(name) for name in sorted(low, key=len, reverse=True))
    pattern = re.compile(
        rf"(?P<head>(?<![\w-])(?:{words})[\"']?\s*(?::\s*|=))"
        r"(?:(?P<quote>[\"'])(?:(?!(?P=quote))[^\\]|\\.)*(?P=quote)|(?<==)[^\s&;,\"']+|(?<!=)[^\r\n\"'{}]+)",
        re.IGNORECASE | re.DOTALL,
    )
    return Masker(low, needles, pattern)


def _needles(names: frozenset[str]) -> tuple[str, ...]:
    """Few short texts one of which is in every name: a text without any of them holds no secret."""
    endings = Counter(name[name.rfind("-") :] for name in names if "-" in name)
    short = {ending if endings[ending := name[name.rfind("-") :]] > 2 else name for name in names}
    return tuple(sorted(name for name in short if not any(other != name and other in name for other in short)))


@dataclass(frozen=True, slots=True)
class Logging:
    """What the run log may hold of one step: `keep` the contents that came and went, `keep_failed` those of failed
    tries; both masked."""

    masker: Masker
    keep: bool = True
    keep_failed: bool = True
    secrets: frozenset[str] = frozenset()
    """Values of its properties that are passwords."""

    def text(self, text: str) -> str:
        """Masked; the same object when nothing in it is secret."""
        text = self.masker.text(text)
        return hide(text, self.secrets) if self.secrets else text


@lru_cache(maxsize=4096)
def logging_of(
    names: frozenset[str], payloads: PayloadMode = "always", secrets: frozenset[str] = frozenset()
) -> Logging:
    return Logging(masker_of(names), payloads == "always", payloads != "never", secrets)
