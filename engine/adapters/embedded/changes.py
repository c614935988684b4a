"""Dotted-path changes of one JSON document, as `Documents.update` promises them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import BadRequest


def apply_changes(doc: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Set each path in place; None removes the field. Missing objects on the way are made.

    In an array a number is a position: an existing item, or the one after the last; removing
    leaves null there, so that the others keep their places. Raises BadRequest naming the path.
    """
    for path, value in changes.items():
        segments = path.split(".")
        if not all(segments):
            raise BadRequest(f"{path!r} is not a path: write names joined by dots")
        if segments[0] == "_id":
            raise BadRequest("_id cannot be changed: delete the document and insert another")
        place = _container(doc, segments, path, create=value is not None)
        if place is None:
            continue
        if isinstance(place, list):
            _set_item(place, _position(segments[-1], path), value, path)
        elif value is None:
            place.pop(segments[-1], None)
        else:
            place[segments[-1]] = value


def _container(
    doc: dict[str, Any], segments: list[str], path: str, *, create: bool
) -> dict[str, Any] | list[Any] | None:
    """The object or array that holds the last segment; None when there is nothing to remove from."""
    place: dict[str, Any] | list[Any] = doc
    for segment in segments[:-1]:
        if isinstance(place, list):
            position = _position(segment, path)
            if position >= len(place) and not create:
                return None
            if position >= len(place) or place[position] is None:
                _set_item(place, position, {}, path)
            inner = place[position]
        else:
            if place.get(segment) is None:
                if not create:
                    return None
                place[segment] = {}
            inner = place[segment]
        if not isinstance(inner, dict | list):
            raise BadRequest(f"{path!r}: {segment!r} holds a plain value, nothing can be set inside it")
        place = inner
    return place


def _set_item(items: list[Any], position: int, value: Any, path: str) -> None:
    if position < len(items):
        items[position] = value
    elif value is None:
        return
    elif position == len(items):
        items.append(value)
    else:
        raise BadRequest(f"{path!r}: the list has only {len(items)} items")


def _position(segment: str, path: str) -> int:
    if not (segment.isascii() and segment.isdecimal()):
        raise BadRequest(f"{path!r}: {segment!r} must be a number, since a list stands there")
    return int(segment)
