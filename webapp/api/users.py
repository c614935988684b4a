"""Users and signing in (rest-api.md §1, §2)."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request

from engine.services.listing import parse_list
from engine.services.users import public_user
from webapp.current import platform
from webapp.openapi import COUNT, LIST_PARAMS, OBJECT, TEXT, operation
from webapp.session import authenticate, caller, caller_or_none, new_password, sign_up

routes = Blueprint("users", __name__)

USER = {
    "type": "object",
    "properties": {
        "id": TEXT,
        "userId": TEXT,
        "username": TEXT,
        "email": TEXT,
        "isActive": {"type": "boolean"},
        "scope": {"type": "array", "items": TEXT},
        "plan": {},
        "vendor": {},
        "metadata": OBJECT,
        "created": {"type": "string", "format": "date-time"},
    },
}
TOKEN = {"type": "object", "properties": {"token": TEXT, "user": USER}, "required": ["token", "user"]}
_NAMES = {"username": {"type": ["string", "null"]}, "email": {"type": ["string", "null"]}}
_RIGHTS = {
    "scope": {"type": "array", "items": {"type": "string", "minLength": 1}},
    "vendor": {"type": ["string", "array", "null"], "items": TEXT},
    "metadata": {"type": "object"},
    "plan": {"type": ["string", "null"]},
}
_RENAMES = {"id": "_id", "userId": "_id"}


@routes.post("/user")
@operation(
    "Create a user",
    tag="Users",
    auth="none",
    description="Open to anybody while sign-up is. One of username and email suffices. "
    "An administrator's token may also choose scope, vendor and plan.",
    body={"type": "object", "properties": {**_NAMES, **_RIGHTS, "password": TEXT}, "required": ["password"]},
    answers={201: TOKEN},
)
def create(body: dict[str, Any]) -> tuple[dict[str, Any], int]:
    user = sign_up(body, by=caller_or_none())
    return {"token": platform().users.issue_token(user), "user": public_user(user)}, 201


@routes.post("/user/auth")
@operation(
    "Sign in",
    tag="Users",
    auth="none",
    description="403 for an unknown user and for a wrong password. `expiresIn` is the token's life in seconds.",
    body={
        "type": "object",
        "properties": {**_NAMES, "password": TEXT, "expiresIn": {"type": "integer", "minimum": 1}},
        "required": ["password"],
        "anyOf": [{"required": ["username"]}, {"required": ["email"]}],
    },
    answers={200: TOKEN},
)
def auth(body: dict[str, Any]) -> dict[str, Any]:
    user = authenticate(body.get("username") or body.get("email") or "", body["password"])
    return {"user": public_user(user), "token": platform().users.issue_token(user, body.get("expiresIn"))}


@routes.get("/user")
@operation("The signed-in user", tag="Users", answers={200: USER})
def me() -> dict[str, Any]:
    return public_user(platform().users.get(caller().user_id))


@routes.post("/user/change-password")
@operation(
    "Change one's own password",
    tag="Users",
    body={
        "type": "object",
        "properties": {"oldPassword": TEXT, "newPassword": TEXT},
        "required": ["oldPassword", "newPassword"],
    },
    answers={200: OBJECT},
)
def change_password(body: dict[str, Any]) -> dict[str, Any]:
    new_password(body["oldPassword"], body["newPassword"])
    return {}


@routes.get("/users")
@operation("List users", tag="Users", auth="admin", query=LIST_PARAMS, answers={200: {"type": "array", "items": USER}})
def find() -> list[dict[str, Any]]:
    query = parse_list(request.args, pattern_fields=("username", "email"), renames=_RENAMES)
    return [public_user(user) for user in platform().users.list(query)]


@routes.get("/users/count")
@operation("Count users", tag="Users", auth="admin", query=LIST_PARAMS[3:], answers={200: COUNT})
def count() -> dict[str, int]:
    query = parse_list(request.args, pattern_fields=("username", "email"), renames=_RENAMES)
    return {"count": platform().users.count(query)}


@routes.get("/users/<user_id>")
@operation("One user", tag="Users", auth="admin", answers={200: USER})
def get(user_id: str) -> dict[str, Any]:
    return public_user(platform().users.get(user_id))


@routes.put("/users/<user_id>")
@operation(
    "Change a user",
    tag="Users",
    auth="admin",
    body={
        "type": "object",
        "properties": {
            **_RIGHTS,
            "username": TEXT,
            "email": TEXT,
            "isActive": {"type": "boolean"},
            "password": TEXT,
        },
    },
    answers={200: USER},
)
def update(user_id: str, body: dict[str, Any]) -> dict[str, Any]:
    return public_user(platform().users.update(user_id, body, caller()))


@routes.delete("/users/<user_id>")
@operation(
    "Delete a user, their flows and all their data",
    tag="Users",
    auth="admin",
    answers={200: {"type": "object", "properties": {"ticket": TEXT}}},
)
def delete(user_id: str) -> dict[str, str]:
    return {"ticket": platform().erasure.erase(user_id, caller())}


@routes.get("/users/<user_id>/delete-status/<ticket>")
@operation(
    "How far the deletion of a user is",
    tag="Users",
    auth="admin",
    answers={
        200: {
            "type": "object",
            "properties": {"status": TEXT, "stepsDone": {"type": "integer"}, "stepsTotal": {"type": "integer"}},
        }
    },
)
def delete_status(user_id: str, ticket: str) -> dict[str, Any]:
    return platform().erasure.status(ticket)
