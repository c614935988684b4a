"""Directory listings of FTP servers, line by line: machine-readable facts (RFC 3659) and two kinds of LIST.

An entry is {name, type (0 unknown, 1 file, 2 directory, 3 link), size, rawModifiedAt, modifiedAt (ISO),
permissions {user, group, world: 0–7}, hardLinkCount, link, group, user, uniqueID}; what the server
does not tell is null.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

from connectors.appmixer.utils._kit.dates import iso

UNKNOWN, FILE, DIRECTORY, LINK = range(4)

_UNIX = re.compile(
    r"(?P<kind>[-bcdlps])(?P<rights>[-rwxsStTl]{9})\S?\s+(?P<links>\d+)\s+(?P<user>\S+)\s+(?P<group>\S+)\s+"
    r"(?P<size>\d+)\s+(?P<date>\w{3}\s+\d{1,2}\s+[\d:]{4,5})\s(?P<name>.+)"
)
_DOS = re.compile(r"(?P<date>\d\d-\d\d-\d{2,4}\s+\d\d:\d\d(?:\s*[AP]M)?)\s+(?P<size><DIR>|\d+)\s+(?P<name>.+)")
_DOS_DATES = ("%m-%d-%y %I:%M%p", "%m-%d-%Y %I:%M%p", "%m-%d-%y %H:%M", "%m-%d-%Y %H:%M")


def of_facts(line: str, *, itself: bool = False) -> dict[str, Any] | None:
    """One line of MLSD or, with `itself`, of MLST. None for the folder's own entry and its parent's."""
    text, _, name = line.partition(" ")
    facts = dict(fact.partition("=")[::2] for fact in text.rstrip(";").split(";") if fact)
    facts = {key.lower(): value for key, value in facts.items()}
    kind = facts.get("type", "").lower()
    name = PurePosixPath(name).name or name
    if not name or (kind in ("cdir", "pdir") and not itself) or name in (".", ".."):
        return None
    modified = _modified(facts.get("modify"))
    link = kind.partition("slink:")[2] or None
    return _entry(
        name,
        LINK if "slink" in kind else DIRECTORY if kind.endswith("dir") else FILE if kind == "file" else UNKNOWN,
        int(facts["size"]) if facts.get("size", "").isdecimal() else None,
        modified,
        raw=iso(modified) if modified else None,
        permissions=_octal(facts.get("unix.mode", "")),
        link=link,
        group=facts.get("unix.groupname") or facts.get("unix.group") or facts.get("unix.gid"),
        user=facts.get("unix.ownername") or facts.get("unix.owner") or facts.get("unix.uid"),
        unique_id=facts.get("unique"),
    )


def of_listing(line: str) -> dict[str, Any] | None:
    """One line of LIST as Unix or DOS systems write it; None for what is no entry."""
    if found := _UNIX.fullmatch(line):
        name, _, target = found["name"].partition(" -> ") if found["kind"] == "l" else (found["name"], "", "")
        entry = _entry(
            PurePosixPath(name).name or name,
            {"-": FILE, "d": DIRECTORY, "l": LINK}.get(found["kind"], UNKNOWN),
            int(found["size"]),
            _unix_date(found["date"]),
            raw=found["date"],
            permissions=_rights(found["rights"]),
            links=int(found["links"]),
            link=target or None,
            group=found["group"],
            user=found["user"],
        )
    elif found := _DOS.fullmatch(line):
        folder = found["size"] == "<DIR>"
        size = 0 if folder else int(found["size"])
        kind = DIRECTORY if folder else FILE
        entry = _entry(found["name"], kind, size, _dos_date(found["date"]), raw=found["date"])
    else:
        return None
    return None if entry["name"] in (".", "..") else entry


def _entry(
    name: str,
    kind: int,
    size: int | None,
    modified: datetime | None,
    *,
    raw: str | None,
    permissions: dict[str, int] | None = None,
    links: int | None = None,
    link: str | None = None,
    group: str | None = None,
    user: str | None = None,
    unique_id: str | None = None,
) -> dict[str, Any]:
    return {
        "name": name,
        "type": kind,
        "size": size,
        "rawModifiedAt": raw,
        "modifiedAt": iso(modified) if modified else None,
        "permissions": permissions,
        "hardLinkCount": links,
        "link": link,
        "group": group,
        "user": user,
        "uniqueID": unique_id,
    }


def _modified(text: str | None) -> datetime | None:
    """`YYYYMMDDHHMMSS`, perhaps with a fraction, in UTC."""
    try:
        return datetime.strptime((text or "")[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _unix_date(text: str) -> datetime | None:
    """`Nov 24 2025`, or `Nov 24 20:26` for one within the last year; the server's zone is unknown, so UTC."""
    month, day, rest = text.split()
    now = datetime.now(UTC)
    try:
        if ":" not in rest:
            return datetime.strptime(f"{month} {day} {rest}", "%b %d %Y").replace(tzinfo=UTC)
        found = datetime.strptime(f"{month} {day} {now.year} {rest}", "%b %d %Y %H:%M").replace(tzinfo=UTC)
        return found if found <= now + timedelta(days=1) else found.replace(year=now.year - 1)
    except ValueError:
        return None


def _dos_date(text: str) -> datetime | None:
    plain = " ".join(text.split()).replace(" AM", "AM").replace(" PM", "PM")
    for form in _DOS_DATES:
        try:
            return datetime.strptime(plain, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None


def _octal(mode: str) -> dict[str, int] | None:
    if not re.fullmatch("[0-7]{3,}", mode):
        return None
    return dict(zip(("user", "group", "world"), map(int, mode[-3:]), strict=True))


def _rights(text: str) -> dict[str, int]:
    values = [
        sum(bit for bit, mark in zip((4, 2, 1), text[at : at + 3], strict=True) if mark not in "-ST")
        for at in (0, 3, 6)
    ]
    return dict(zip(("user", "group", "world"), values, strict=True))
