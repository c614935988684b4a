"""`headrace flow …`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from cli.client import connect
from engine import settings
from engine.errors import BadRequest

EXPORTED = ("name", "description", "flow", "customFields", "wizard", "thumbnail", "notes", "type", "unlinked")


@click.group()
def flow() -> None:
    """List, import, export, start, stop and remove flows."""


@flow.command("ls")
@click.argument("flow_id", required=False)
def list_flows(flow_id: str | None) -> None:
    """All flows, or one as JSON."""
    with connect(settings.load()) as api:
        if flow_id:
            click.echo(_pretty(api.call("GET", f"/flows/{flow_id}")))
            return
        flows = api.call("GET", "/flows?limit=1000&projection=name,stage,mtime")
    table = Table("Flow", "Name", "State", "Changed", box=None)
    for item in flows:
        table.add_row(item["flowId"], item.get("name", ""), item.get("stage", ""), str(item.get("mtime", "")))
    Console(width=None if Console().is_terminal else 200).print(table if flows else "There are no flows yet.")


@flow.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def import_flows(files: tuple[Path, ...]) -> None:
    """Create a flow from each exported JSON file."""
    with connect(settings.load()) as api:
        for path in files:
            created = api.call("POST", "/flows", _read(path))
            click.echo(f"{created['flowId']}  {path.name}")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = orjson.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"{path}: not JSON: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("flow"), dict):
        raise BadRequest(f'{path}: not an exported flow: it needs an object under "flow"')
    return {"name": path.stem, **{key: content[key] for key in EXPORTED if key in content}}


@flow.command("export")
@click.argument("flow_id")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A file; default: standard output."
)
def export_flow(flow_id: str, output: Path | None) -> None:
    """A flow as JSON, ready to be imported anywhere."""
    with connect(settings.load()) as api:
        record = api.call("GET", f"/flows/{flow_id}")
    text = _pretty({key: record[key] for key in EXPORTED if record.get(key) is not None})
    if output is None:
        click.echo(text)
    else:
        output.write_text(text + "\n")


@flow.command()
@click.argument("flow_id")
def start(flow_id: str) -> None:
    """Start a flow. It runs while a server (`headrace up`) or a worker does."""
    _command(flow_id, "start")
    click.echo(f"{flow_id} started")


@flow.command()
@click.argument("flow_id")
def stop(flow_id: str) -> None:
    """Stop a flow."""
    _command(flow_id, "stop")
    click.echo(f"{flow_id} stopped")


def _command(flow_id: str, command: str) -> None:
    with connect(settings.load()) as api:
        api.call("POST", f"/flows/{flow_id}/coordinator", {"command": command})


@flow.command("rm")
@click.argument("flow_id")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def remove(flow_id: str, yes: bool) -> None:
    """Stop and delete a flow."""
    if not yes:
        click.confirm(f"Delete flow {flow_id}? This cannot be undone", abort=True)
    with connect(settings.load()) as api:
        api.call("DELETE", f"/flows/{flow_id}")
    click.echo(f"{flow_id} deleted")


def _pretty(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
