"""The `headrace` command."""

from __future__ import annotations

import sys
from typing import Any

import click

from cli.connectors import connectors
from cli.flows import flow
from cli.users import user
from engine import json_log, settings, wiring
from engine.errors import HeadraceError


class Commands(click.Group):
    """Shows what we raise on purpose as one line, without a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except HeadraceError as error:
            click.secho(f"headrace: {error.message}", fg="red", err=True)
            for detail in error.details if len(error.details) > 1 else ():
                click.echo(f"  {_line(detail)}", err=True)
            sys.exit(1)


def _line(detail: Any) -> str:
    """One of several things that are wrong: mostly {path?, message}."""
    if not isinstance(detail, dict):
        return str(detail)
    return ": ".join(str(detail[key]) for key in ("path", "message") if detail.get(key))


@click.group(cls=Commands)
@click.version_option(package_name="headrace")
def main() -> None:
    """Headrace runs flows. Settings are environment variables, see docs/settings.md."""


@main.command()
def up() -> None:
    """Serve everything from this machine: web, API and workers."""
    from cli.serve import serve

    serve(settings.load())


@main.command()
@click.option(
    "--role", "roles", multiple=True, type=click.Choice(["steps", "timers", "indexer"]), help="Repeatable; default all."
)
def worker(roles: tuple[str, ...]) -> None:
    """Only work: execute steps, fire timers, index the run log."""
    from workers.loop import ROLES, Workers, run_until_signal

    config = settings.load()
    json_log.configure(config.log_level, config.masked_fields)
    platform = wiring.build(config)
    try:
        run_until_signal(Workers(platform, roles or ROLES))
    finally:
        platform.close()


for group in (flow, user, connectors):
    main.add_command(group)
