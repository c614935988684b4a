"""The list parameters of the REST API (rest-api.md §1) as a `ports.Query`.

    limit       how many, 100 unless given; more than MAX_LIMIT counts as MAX_LIMIT
    offset      how many to leave out at the start
    sort        `name:1` or `mtime:-1`; repeatable or by comma; without a direction, 1
    pattern     regular expression (RE2), letter case ignored, on the resource's own text fields
    projection  `name,flowId` (only these) or `-flow,-thumbnail` (all but these)
    filter      `path:value`, split at the first colon; repeatable, all must hold

A filter's value may begin with an operator:

    !x not x        ^x begins with    $x ends with    ~x contains
    >x >=x <x <=x   numbers; times as ISO text or epoch milliseconds; otherwise text
    $in:a,b         one of these
    >0              there is a value (hosts ask so whether a text is present)

A value that reads as a number, `true` or `false` also matches the JSON number or boolean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import re2

from engine.errors import BadRequest
from engine.model.times import from_iso
from engine.ports import Op, Query, Where

DEFAULT_LIMIT = 100
MAX_LIMIT = 10_000
MAX_OFFSET = 1_000_000_000
MAX_FILTERS = 50
MAX_PATTERN = 500

TIMES = frozenset(("btime", "mtime", "started", "stopped", "created", "createdAt", "updatedAt"))
"""Fields stored as epoch milliseconds, whatever the record."""

_QUIET = re2.Options()
_QUIET.log_errors = False
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d+)?", re.ASCII)
_PREFIXES: tuple[tuple[str, Op], ...] = (
    (">=", "gte"),
    ("<=", "lte"),
    (">", "gt"),
    ("<", "lt"),
    ("!", "nin"),
    ("^", "starts"),
    ("$", "ends"),
    ("~", "contains"),
)


def parse_list(args: Mapping[str, Any], *, pattern_fields: tuple[str, ...], renames: Mapping[str, str]) -> Query:
    """`args`: names to texts, lists of texts, or a werkzeug MultiDict.

    `renames` maps the API's names to those of the stored document, such as flowId to _id.
    Raises BadRequest naming the parameter.
    """
    include, exclude = _projection(_texts(args, "projection"), renames)
    filters = _texts(args, "filter")
    if len(filters) > MAX_FILTERS:
        raise BadRequest(f"filter: at most {MAX_FILTERS} may be given, not {len(filters)}")
    return Query(
        where=tuple(_filter(text, renames) for text in filters),
        any_of=_pattern(_texts(args, "pattern"), pattern_fields),
        sort=tuple(_sort(text, renames) for text in _parts(_texts(args, "sort"))),
        include=include,
        exclude=exclude,
        limit=min(_number(args, "limit", DEFAULT_LIMIT), MAX_LIMIT),
        offset=min(_number(args, "offset", 0), MAX_OFFSET),
    )


def _texts(args: Mapping[str, Any], name: str) -> list[str]:
    getlist = getattr(args, "getlist", None)
    if getlist is not None:
        return [str(text) for text in getlist(name)]
    given = args.get(name)
    if given is None:
        return []
    return [str(text) for text in given] if isinstance(given, list | tuple) else [str(given)]


def _parts(texts: Sequence[str]) -> list[str]:
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]


def _number(args: Mapping[str, Any], name: str, default: int) -> int:
    given = [text.strip() for text in _texts(args, name) if text.strip()]
    if not given:
        return default
    if not re.fullmatch(r"\+?\d{1,18}", given[-1], re.ASCII):
        raise BadRequest(f"{name}: must be a whole number of 0 or more, not {given[-1]!r}")
    return int(given[-1])


def _renamed(path: str, renames: Mapping[str, str]) -> str:
    head, dot, rest = path.partition(".")
    return renames.get(head, head) + dot + rest


def _path(parameter: str, path: str, renames: Mapping[str, str]) -> str:
    path = path.strip()
    if not all(path.split(".")):
        raise BadRequest(f"{parameter}: {path!r} is not the name of a field")
    return _renamed(path, renames)


def _sort(text: str, renames: Mapping[str, str]) -> tuple[str, int]:
    path, colon, direction = text.rpartition(":")
    if not colon:
        path, direction = text, "1"
    if direction.strip() not in ("1", "-1"):
        raise BadRequest(f"sort: {text!r} must be a field and 1 or -1, such as name:1")
    return _path("sort", path, renames), int(direction)


def _pattern(texts: Sequence[str], fields: tuple[str, ...]) -> tuple[Where, ...]:
    given = [text for text in texts if text]
    if not given:
        return ()
    pattern = given[-1]
    if len(pattern) > MAX_PATTERN:
        raise BadRequest(f"pattern: {len(pattern)} characters are too many; the limit is {MAX_PATTERN}")
    try:
        re2.compile(pattern, _QUIET)
    except (re2.error, UnicodeError) as error:
        raise BadRequest(f"pattern: {pattern!r} is not a regular expression ({error})") from error
    return tuple(Where(field, "regex", pattern) for field in fields)


def _projection(texts: Sequence[str], renames: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Top-level names: of a dotted path the whole field is kept, or left out."""
    names = _parts(texts)
    without = [name for name in names if name.startswith("-")]
    if without and len(without) != len(names):
        raise BadRequest("projection: names to keep and names to leave out (with -) cannot be mixed")
    heads = dict.fromkeys(_path("projection", name.removeprefix("-"), renames).split(".")[0] for name in names)
    if not without:
        return tuple(heads), ()
    return (), tuple(name for name in heads if name != "_id")


def _filter(text: str, renames: Mapping[str, str]) -> Where:
    name, colon, value = text.partition(":")
    if not colon:
        raise BadRequest(f"filter: {text!r} must be a field, a colon and a value, such as stage:running")
    path = _path("filter", name, renames)
    is_time = path.rpartition(".")[2] in TIMES
    if value.startswith("$in:"):
        return _one_of(path, "in", value.removeprefix("$in:").split(","), is_time)
    for prefix, op in _PREFIXES:
        if value.startswith(prefix):
            return _compared(path, op, value.removeprefix(prefix), is_time)
    return _one_of(path, "in", [value], is_time)


def _compared(path: str, op: Op, value: str, is_time: bool) -> Where:
    if op == "nin":
        return _one_of(path, op, [value], is_time)
    if op not in ("gt", "gte", "lt", "lte"):
        return Where(path, op, value)
    if (op, value.strip()) == ("gt", "0"):
        return Where(path, "exists", True)
    # The last meaning is the most specific: a number where the text reads as one.
    return Where(path, op, _meanings(value, is_time)[-1])


def _one_of(path: str, op: Op, values: Sequence[str], is_time: bool) -> Where:
    wanted = [meaning for value in values for meaning in _meanings(value, is_time)]
    if len(wanted) == 1:
        return Where(path, "eq" if op == "in" else "ne", wanted[0])
    return Where(path, op, wanted)


def _meanings(text: str, is_time: bool) -> list[Any]:
    """The JSON values a text may stand for, the text itself first."""
    if is_time and not _NUMBER.fullmatch(text.strip()):
        try:
            return [text, from_iso(text.strip())]
        except (ValueError, OverflowError):
            return [text]
    if _NUMBER.fullmatch(text.strip()):
        return [text, float(text) if "." in text else int(text)]
    if text in ("true", "false"):
        return [text, text == "true"]
    return [text]
