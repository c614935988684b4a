"""Text. Any value is taken as text first, as templates do: nothing as "", lists and objects as JSON."""

from __future__ import annotations

import html
import re
from typing import Any

from engine.values.convert import Unfit, fits, to_text
from engine.values.registry import Argument, Example, modifier

_PART = Argument("text", "string", "the text to look for")
_PATTERN = Argument("pattern", "string", "a JavaScript regular expression, such as \\d+ or /abc/i")
_FLAGS = Argument("flags", "string", "letters such as i (ignore case) or m (lines)", default="")

# Users' expressions run in V8, which can be stopped; one that backtracks forever would hold Python's lock.
_FIRST = "(t, p, f) => { const m = new RegExp(p, f).exec(t); return m && ((m.length > 1 ? m[1] : m[0]) ?? null); }"
_ALL = "(t, p, f) => [...t.matchAll(new RegExp(p, f + 'g'))].map(m => (m.length > 1 ? m[1] : m[0]) ?? null)"
_TEST = "(t, p, f) => new RegExp(p, f).test(t)"
_REPLACE = "(t, p, f, r) => t.replace(new RegExp(p, f + 'g'), r)"


def _expression(source: str, text: str, pattern: str, flags: str, *more: str) -> Any:
    """Pattern may be written `/pattern/flags`. Raises StepError for a bad one, or one that takes too long."""
    from engine.values.javascript import call_helper

    if (written := re.fullmatch(r"/(.+)/([a-z]*)", pattern, re.DOTALL)) is not None:
        pattern, flags = written[1], flags + written[2]
    # g and y would make the answer depend on how often the expression was used.
    flags = "".join(sorted(set(flags) - {"g", "y"}))
    return call_helper(source, [text, pattern, flags, *more], {})


@modifier(
    "g_trim", "Trim", "text", "The text without white space at its ends.", returns="string", input="string",
    examples=[Example("  tea \n", [], "tea"), Example(None, [], "")],
)  # fmt: skip
def trim(value: str) -> str:
    return value.strip()


@modifier(
    "g_uppercase", "Upper case", "text", "The text in capital letters.", returns="string", input="string",
    examples=[Example("Jiří", [], "JIŘÍ"), Example(True, [], "TRUE")],
)  # fmt: skip
def uppercase(value: str) -> str:
    return value.upper()


@modifier(
    "g_lowercase", "Lower case", "text", "The text in small letters.", returns="string", input="string",
    examples=[Example("ABC", [], "abc"), Example("Ž1", [], "ž1")],
)  # fmt: skip
def lowercase(value: str) -> str:
    return value.lower()


@modifier(
    "g_capitalize", "Capitalize", "text", "The text with its first letter as a capital.", returns="string",
    input="string", examples=[Example("tea Time", [], "Tea Time"), Example("", [], "")],
)  # fmt: skip
def capitalize(value: str) -> str:
    return value[:1].upper() + value[1:]


@modifier(
    "g_titleCase", "Title case", "text", "The text with every word beginning with a capital.", returns="string",
    input="string", examples=[Example("green tea", [], "Green Tea"), Example("it's ok", [], "It's Ok")],
)  # fmt: skip
def title_case(value: str) -> str:
    return re.sub(r"\S+", lambda word: capitalize(word[0]), value)


@modifier(
    "g_replace", "Replace", "text", "The text with every occurrence of one text replaced by another.",
    Argument("search", "string", "the text to replace, or a regular expression written /pattern/flags"),
    Argument("replacement", "string", "what to put there", default=""),
    returns="string", input="string",
    examples=[
        Example("a-b-c", ["-", "+"], "a+b+c"),
        Example("a-b", ["-"], "ab"),
        Example("tea 12", ["/[0-9]+/", "#"], "tea #"),
    ],
)  # fmt: skip
def replace(value: str, search: str, replacement: str) -> str:
    if not search:
        return value
    if re.fullmatch(r"/.+/[a-z]*", search, re.DOTALL):
        return to_text(regex_replace(value, search, replacement, ""))
    fits(len(value) + value.count(search) * max(0, len(replacement) - len(search)))
    return value.replace(search, replacement)


@modifier(
    "g_split", "Split", "text", "The text cut at a separator, as a list.",
    Argument("separator", "string", "where to cut; every character when empty", default=","),
    returns="array", input="string", examples=[Example("a-b", ["-"], ["a", "b"]), Example("ab", [""], ["a", "b"])],
)  # fmt: skip
def split(value: str, separator: str) -> list[str]:
    return value.split(separator) if separator else list(value)


@modifier(
    "g_substring", "Part of text", "text", "The characters from one position up to, not including, another.",
    Argument("start", "integer", "position of the first character, from 0; negative counts from the end", default=0),
    Argument("end", "integer", "position after the last one; to the end when left out", default=None),
    returns="string", input="string", examples=[Example("abcdef", [1, 3], "bc"), Example("abcdef", [-2], "ef")],
)  # fmt: skip
def substring(value: str, start: int, end: int | None) -> str:
    return value[start:end]


@modifier(
    "g_truncate", "Shorten", "text", "The text cut to a greatest length, with a mark where it was cut.",
    Argument("length", "integer", "greatest number of characters, the mark included"),
    Argument("mark", "string", "what to put at the end of a cut text", default="…"),
    returns="string", input="string", examples=[Example("abcdef", [4], "abc…"), Example("abc", [4], "abc")],
)  # fmt: skip
def truncate(value: str, length: int, mark: str) -> str:
    if len(value) <= max(0, length):
        return value
    return (value[: max(0, length - len(mark))] + mark)[: max(0, length)]


def _padding(value: str, length: int, fill: str) -> str:
    missing = length - len(value)
    fits(missing)
    return (fill * (missing // len(fill) + 1))[:missing] if missing > 0 and fill else ""


_LENGTH = Argument("length", "integer", "how many characters there should be")
_FILL = Argument("fill", "string", "what to fill with", default=" ")


@modifier(
    "g_padStart", "Fill at start", "text", "The text filled up at its beginning to a length.", _LENGTH, _FILL,
    returns="string", input="string", examples=[Example(7, [3, "0"], "007"), Example("abc", [2], "abc")],
)  # fmt: skip
def pad_start(value: str, length: int, fill: str) -> str:
    return _padding(value, length, fill) + value


@modifier(
    "g_padEnd", "Fill at end", "text", "The text filled up at its end to a length.", _LENGTH, _FILL,
    returns="string", input="string", examples=[Example("a", [3, "."], "a.."), Example("abc", [2], "abc")],
)  # fmt: skip
def pad_end(value: str, length: int, fill: str) -> str:
    return value + _padding(value, length, fill)


@modifier(
    "g_append", "Append", "text", "The text with another one after it.", Argument("text", "string", "the other text"),
    returns="string", input="string", examples=[Example("tea", ["pot"], "teapot"), Example(5, ["%"], "5%")],
)  # fmt: skip
def append(value: str, text: str) -> str:
    fits(len(value) + len(text))
    return value + text


@modifier(
    "g_prepend", "Prepend", "text", "The text with another one before it.",
    Argument("text", "string", "the other text"),
    returns="string", input="string", examples=[Example("pot", ["tea"], "teapot"), Example(5, ["#"], "#5")],
)  # fmt: skip
def prepend(value: str, text: str) -> str:
    fits(len(value) + len(text))
    return text + value


@modifier(
    "g_toText", "To text", "text", "Any value as text; lists and objects as JSON.", returns="string", input="string",
    examples=[Example(3.0, [], "3"), Example({"a": True}, [], '{"a":true}')],
)  # fmt: skip
def to_text_(value: str) -> str:
    return value


@modifier(
    "g_contains", "Contains", "text", "Whether a text contains another one, or a list an item.", _PART,
    returns="boolean", examples=[Example("teapot", ["pot"], True), Example([1, 2], ["2"], True)],
)  # fmt: skip
def contains(value: Any, text: str) -> bool:
    return any(to_text(item) == text for item in value) if isinstance(value, list) else text in to_text(value)


@modifier(
    "g_startsWith", "Starts with", "text", "Whether the text begins with another one.", _PART, returns="boolean",
    input="string", examples=[Example("teapot", ["tea"], True), Example("teapot", ["pot"], False)],
)  # fmt: skip
def starts_with(value: str, text: str) -> bool:
    return value.startswith(text)


@modifier(
    "g_endsWith", "Ends with", "text", "Whether the text ends with another one.", _PART, returns="boolean",
    input="string", examples=[Example("teapot", ["pot"], True), Example("teapot", ["tea"], False)],
)  # fmt: skip
def ends_with(value: str, text: str) -> bool:
    return value.endswith(text)


@modifier(
    "g_indexOf", "Position", "text", "Where a text, or an item of a list, first is, from 0; -1 when it is not there.",
    _PART, returns="number", examples=[Example("teapot", ["pot"], 3), Example(["a", "b"], ["c"], -1)],
)  # fmt: skip
def index_of(value: Any, text: str) -> int:
    if isinstance(value, list):
        return next((i for i, item in enumerate(value) if to_text(item) == text), -1)
    return to_text(value).find(text)


@modifier(
    "g_regex", "Regular expression", "text",
    "What a regular expression first finds: its first group, or all of it; nothing when it finds nothing.",
    _PATTERN, _FLAGS, returns="string", input="string",
    examples=[
        Example("order 42 of 50", ["of (\\d+)"], "50"),
        Example("Tea", ["/t./i"], "Te"),
        Example("a", ["b"], None),
    ],
)  # fmt: skip
def regex(value: str, pattern: str, flags: str) -> Any:
    return _expression(_FIRST, value, pattern, flags)


@modifier(
    "g_regexAll", "All matches", "text", "Everything a regular expression finds, as a list.", _PATTERN, _FLAGS,
    returns="array", input="string", examples=[Example("1 a 22", ["\\d+"], ["1", "22"]), Example("a", ["b"], [])],
)  # fmt: skip
def regex_all(value: str, pattern: str, flags: str) -> Any:
    return _expression(_ALL, value, pattern, flags)


@modifier(
    "g_regexTest", "Matches", "text", "Whether a regular expression finds anything.", _PATTERN, _FLAGS,
    returns="boolean", input="string", examples=[Example("a1", ["\\d"], True), Example("Tea", ["^t"], False)],
)  # fmt: skip
def regex_test(value: str, pattern: str, flags: str) -> Any:
    return _expression(_TEST, value, pattern, flags)


@modifier(
    "g_regexReplace", "Replace matches", "text", "The text with everything a regular expression finds replaced.",
    _PATTERN, Argument("replacement", "string", "what to put there; $1 is the first group", default=""), _FLAGS,
    returns="string", input="string",
    examples=[Example("a1b22", ["\\d+", "#"], "a#b#"), Example("tea pot", ["(\\w+) (\\w+)", "$2 $1"], "pot tea")],
)  # fmt: skip
def regex_replace(value: str, pattern: str, replacement: str, flags: str) -> Any:
    return _expression(_REPLACE, value, pattern, flags, replacement)


@modifier(
    "g_escapeHtml", "Escape HTML", "text", "The text with <, >, &, and quotes written so that HTML shows them.",
    returns="string", input="string",
    examples=[Example("a < b", [], "a &lt; b"), Example('"&"', [], "&quot;&amp;&quot;")],
)  # fmt: skip
def escape_html(value: str) -> str:
    fits(len(value) * 6 if len(value) > 1_000_000 else 0)
    return html.escape(value)


@modifier(
    "g_stripHtml", "Remove HTML", "text", "The text without HTML tags.", returns="string", input="string",
    examples=[Example("<b>tea</b> &amp; pot", [], "tea & pot"), Example("plain", [], "plain")],
)  # fmt: skip
def strip_html(value: str) -> str:
    return html.unescape(re.sub(r"<[^<>]*>", "", value))


@modifier(
    "g_repeat", "Repeat", "text", "The text several times over.",
    Argument("times", "integer", "how often"),
    returns="string", input="string", examples=[Example("ab", [2], "abab"), Example("-", [0], "")],
)  # fmt: skip
def repeat(value: str, times: int) -> str:
    if times < 0:
        raise Unfit('argument "times" must be 0 or more')
    fits(len(value) * times)
    return value * times
