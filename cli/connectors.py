"""`headrace connectors …`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from engine.adapters.catalogue import read_all


@click.group()
def connectors() -> None:
    """Work with connectors."""


@connectors.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def check(folder: Path) -> None:
    """Load every manifest below FOLDER and print what is wrong with it."""
    ok = failed = 0
    for path, _, error in read_all(folder):
        if error is None:
            ok += 1
            continue
        failed += 1
        for detail in error.details:
            place = f" at {detail['path']}" if detail.get("path") else ""
            click.echo(f"{path.relative_to(folder)}{place}: {detail['message']}")
    click.echo(f"{ok} ok, {failed} failed")
    sys.exit(1 if failed else 0)
