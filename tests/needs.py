"""What tests need that is no part of the project.

A program or a right that is missing skips a test with the reason; with CI=true the test fails. The corpus of
real flows and manifests lies beside some checkouts only: without it, tests of it are skipped everywhere.
"""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path
from typing import Any, NoReturn

import orjson
import pytest

CORPUS = Path(__file__).parents[2] / "shared" / "corpus"


def missing(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def program(name: str, why: str, path: str | None = None) -> str:
    """Where a program is; `path` as the environment variable, which it replaces."""
    return shutil.which(name, path=path) or missing(f"{name} is not installed: {why}")


def corpus(name: str) -> list[dict[str, Any]]:
    """Rows of a file of the corpus, such as `flows` or `manifests`; skips the test where there is none."""
    if not CORPUS.exists():
        pytest.skip("the corpus of real flows and manifests is not beside this checkout")
    with gzip.open(CORPUS / f"{name}.jsonl.gz", "rb") as lines:
        return [orjson.loads(line) for line in lines]
