"""`headrace user …`."""

from __future__ import annotations

import click

from cli.client import Api, connect, in_use
from engine import settings, wiring
from engine.errors import NotFound, Unavailable


@click.group()
def user() -> None:
    """Manage users."""


@user.command()
@click.argument("email")
@click.option("--admin", is_flag=True, help="May administer the installation.")
@click.option("--password", prompt=True, hide_input=True, confirmation_prompt=True, help="Asked for when not given.")
def create(email: str, admin: bool, password: str) -> None:
    """Create a user."""
    config = settings.load()
    try:
        with connect(config) as api:
            _create(api, email, password, admin)
    except NotFound:  # nobody can sign in yet: the first user is made directly
        _create_first(config, email, password)
    click.echo(f"{email} created")


def _create(api: Api, email: str, password: str, admin: bool) -> None:
    scope = ["user", "admin"] if admin else ["user"]
    api.call("POST", "/user", {"email": email, "username": email, "password": password, "scope": scope})


def _create_first(config: settings.Settings, email: str, password: str) -> None:
    if in_use(config.data):
        raise Unavailable("a server without users is running: create the first one in the browser")
    platform = wiring.build(config)
    try:
        platform.users.create_first_admin({"email": email, "username": email, "password": password})
        click.echo("It is the first user, so it is an administrator.")
    finally:
        platform.close()
