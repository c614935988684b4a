from __future__ import annotations

from typing import Any

import pytest

from connectors.appmixer.utils.ftp.ftp_listing import of_facts, of_listing


def entry(**given: Any) -> dict[str, Any]:
    names = ("name", "type", "size", "rawModifiedAt", "modifiedAt", "permissions", "hardLinkCount", "link", "group",
             "user", "uniqueID")  # fmt: skip
    return {name: given.get(name) for name in names}


def test_facts_of_a_file() -> None:
    line = "Type=file;Size=1024;Modify=20260131081500.123;UNIX.mode=0640;UNIX.owner=7;UNIX.group=8;Unique=fd01; a b.txt"
    when = "2026-01-31T08:15:00.000Z"
    assert of_facts(line) == entry(
        name="a b.txt", type=1, size=1024, rawModifiedAt=when, modifiedAt=when,
        permissions={"user": 6, "group": 4, "world": 0}, user="7", group="8", uniqueID="fd01",
    )  # fmt: skip


@pytest.mark.parametrize("line", ["type=cdir; .", "type=pdir; ..", "type=cdir; /the/folder", "type=dir; ..", ""])
def test_facts_of_the_folder_itself_are_no_entry(line: str) -> None:
    assert of_facts(line) is None


def test_facts_of_the_path_itself() -> None:
    assert of_facts("type=cdir;modify=nonsense; /the/folder", itself=True) == entry(name="folder", type=2)


def test_facts_of_links_and_unknown_things() -> None:
    link = of_facts("type=OS.unix=slink:/target;size=x; l")
    assert link == entry(name="l", type=3, link="/target")
    assert of_facts("type=OS.unix=socket; s") == entry(name="s", type=0)


def test_unix_listing() -> None:
    assert of_listing("drwxr-sr-t+  3 ann staff   4096 Mar  3 2021  led by a blank") == entry(
        name=" led by a blank", type=2, size=4096, rawModifiedAt="Mar  3 2021", modifiedAt="2021-03-03T00:00:00.000Z",
        permissions={"user": 7, "group": 5, "world": 5}, hardLinkCount=3, user="ann", group="staff",
    )  # fmt: skip
    link = of_listing("lrwxrwxrwx 1 0 0 7 Jan 1 2020 here -> /there/it is")
    assert link is not None
    assert (link["name"], link["type"], link["link"]) == ("here", 3, "/there/it is")


def test_unix_listing_of_the_last_year_has_a_time() -> None:
    found = of_listing("-rw------- 1 a b 1 Feb 10 13:45 x")
    assert found is not None
    assert found["modifiedAt"].endswith("-02-10T13:45:00.000Z")
    assert of_listing("-rw------- 1 a b 1 Foo 10 13:45 x") == found | {
        "modifiedAt": None,
        "rawModifiedAt": "Foo 10 13:45",
    }


def test_unix_listing_of_a_path_gives_the_base_name() -> None:
    found = of_listing("-rw-r--r-- 1 a b 1 Jan 1 2020 /dir/file.txt")
    assert found is not None
    assert found["name"] == "file.txt"


@pytest.mark.parametrize(
    "line", ["total 8", "", "drwxr-xr-x 2 a b 4 Jan 1 2020 .", "drwxr-xr-x 2 a b 4 Jan 1 2020 ..", "?"]
)
def test_lines_that_are_no_entry(line: str) -> None:
    assert of_listing(line) is None


def test_dos_listing() -> None:
    assert of_listing("01-31-26  08:15PM       <DIR>          My files") == entry(
        name="My files", type=2, size=0, rawModifiedAt="01-31-26  08:15PM", modifiedAt="2026-01-31T20:15:00.000Z"
    )
    assert of_listing("01-31-2026  20:15             1234 a.txt") == entry(
        name="a.txt", type=1, size=1234, rawModifiedAt="01-31-2026  20:15", modifiedAt="2026-01-31T20:15:00.000Z"
    )
    odd = of_listing("13-31-26  08:15AM 1 x")
    assert odd is not None
    assert odd["modifiedAt"] is None
