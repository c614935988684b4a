"""A whole platform in a folder of its own, and users who call its API through Flask's test client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from json import dumps
from pathlib import Path
from typing import Any

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.datastructures import Headers

from engine import wiring
from engine.settings import Settings
from webapp.factory import create_app

PASSWORD = "correct horse"


@dataclass
class Answer:
    status_code: int
    headers: Headers
    data: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.data)

    @property
    def text(self) -> str:
        return self.data.decode()


@dataclass
class User:
    """Calls the API with a token; `id` and `name` are the user's own."""

    client: FlaskClient
    id: str = ""
    name: str = ""
    token: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, path: str, json: Any = None, **kwargs: Any) -> Answer:
        headers = {**self.headers, **kwargs.pop("headers", {})}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        if json is not None:
            kwargs |= {"data": dumps(json), "content_type": "application/json"}
        answer = self.client.open(path, method=method, headers=headers, **kwargs)
        return Answer(answer.status_code, answer.headers, answer.get_data())

    def get(self, path: str, **kwargs: Any) -> Answer:
        return self.call("GET", path, **kwargs)

    def post(self, path: str, json: Any = None, **kwargs: Any) -> Answer:
        return self.call("POST", path, json, **kwargs)

    def put(self, path: str, json: Any = None, **kwargs: Any) -> Answer:
        return self.call("PUT", path, json, **kwargs)

    def patch(self, path: str, json: Any = None, **kwargs: Any) -> Answer:
        return self.call("PATCH", path, json, **kwargs)

    def delete(self, path: str, json: Any = None, **kwargs: Any) -> Answer:
        return self.call("DELETE", path, json, **kwargs)


CONNECTORS: dict[str, str] = {
    "acme/service.json": '{"name": "acme"}',
    "acme/shop/service.json": '{"name": "acme.shop", "label": "Shop", "category": "applications"}',
    "acme/shop/core/Begin/component.json": '{"name": "acme.shop.core.Begin", "version": "2.1.0", "outPorts": ["out"]}',
    "acme/shop/core/Begin/component.py": "from engine.sdk import Component\n\n\nclass Begin(Component):\n    pass\n",
    "acme/shop/core/Secret/component.json": '{"name": "acme.shop.core.Secret", "private": true, "outPorts": ["out"]}',
}
"""Components of the tests, so that these do not depend on the built-in ones."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Overridden by tests that need other settings."""
    for name, text in CONNECTORS.items():
        path = tmp_path / "connectors" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Settings(
        data=tmp_path / "data",
        secret="a secret of the tests, long enough",
        http_allow=("127.0.0.1",),
        connectors=tmp_path / "connectors",
    )


@pytest.fixture
def platform(settings: Settings) -> Iterator[wiring.Platform]:
    built = wiring.build(settings)
    yield built
    built.close()


@pytest.fixture
def app(platform: wiring.Platform) -> Flask:
    return create_app(platform)


@pytest.fixture
def nobody(app: Flask) -> User:
    return User(app.test_client(use_cookies=False))


@pytest.fixture
def new_user(app: Flask, platform: wiring.Platform) -> Callable[..., User]:
    """Make a user by name (an e-mail address or not) and scopes, straight in the service."""

    def make(name: str, *scope: str) -> User:
        record = platform.users.add({"username": name, "password": PASSWORD, "scope": ["user", *scope]})
        token = platform.users.issue_token(record)
        return User(app.test_client(use_cookies=False), record["_id"], record["username"], token)

    return make


@pytest.fixture
def ann(new_user: Callable[..., User]) -> User:
    return new_user("ann@acme.test")


@pytest.fixture
def bob(new_user: Callable[..., User]) -> User:
    return new_user("bob@acme.test")


@pytest.fixture
def stranger(new_user: Callable[..., User]) -> User:
    return new_user("mallory@elsewhere.test")


@pytest.fixture
def admin(new_user: Callable[..., User]) -> User:
    return new_user("root@acme.test", "admin")
