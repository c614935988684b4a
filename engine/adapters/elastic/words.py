"""The words of a text, as the index keeps them and as a query asks for them.

The same rules as those of the embedded run log's text index: letters and digits make words, case and accents
do not matter, everything else separates. They are applied here, on both ways, and the server only splits at
blanks: its own analysers differ (they keep "acme.shop" and "sure_thing" as one word), and some servers lack them.
"""

from __future__ import annotations

import re
import unicodedata

_SPLIT = "".join(chr(code) if chr(code).isalnum() else " " for code in range(128))
_WORD = re.compile(r"[^\W_]+")
_ACCENTS = re.compile("[\u0300-\u036f]")
_COMMON = frozenset("{}[]\":,.-_/\\'")
"""In nearly every text, or between the words of addresses and times: not worth an entry in the index each."""

_UNMARKED = {code: None for code in range(128) if chr(code).isalnum() or chr(code).isspace() or chr(code) in _COMMON}


def words_of(text: str) -> str:
    """With one blank between them."""
    if text.isascii():
        return " ".join(text.lower().translate(_SPLIT).split())
    plain = _ACCENTS.sub("", unicodedata.normalize("NFD", text.lower()))
    return " ".join(_WORD.findall(plain))


def marks_of(text: str) -> str:
    """Signs that are neither words nor common ones, each once, with one blank between them."""
    if text.isascii():
        return " ".join(sorted(set(text.translate(_UNMARKED))))
    return " ".join(sorted(char for char in set(text) if _is_mark(char)))


def _is_mark(char: str) -> bool:
    return not (char.isalnum() or char.isspace() or char in _COMMON or unicodedata.category(char)[0] in "MC")
