from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.connectors.recorder import Recorder, run
from tests.connectors.world import World

Step = Callable[..., list[tuple[str, Any]]]


class Csv:
    """One CSV file and the steps that work on it."""

    def __init__(self) -> None:
        self.world = World()

    def write(self, content: str | bytes) -> None:
        self.world.files.put("f1", "a.csv", content.encode() if isinstance(content, str) else content, "text/csv")

    @property
    def content(self) -> bytes:
        return self.world.files.blobs["f1"]

    @property
    def text(self) -> str:
        return self.content.decode()

    def run(self, type: str, properties: Mapping[str, Any] | None = None, **fields: Any) -> Recorder:
        """Steps with names in the first line, unless `properties` says otherwise."""
        given = {"withHeaders": True} if properties is None else properties
        content = {"fileId": "f1", "delimiter": ","} | fields
        return run(f"appmixer.utils.csv.{type}", {"in": content}, properties=given, world=self.world)


@pytest.fixture
def csv() -> Csv:
    made = Csv()
    made.write("Name,Points\nJiří,43\nAbby,10\nBen,20\n")
    return made
