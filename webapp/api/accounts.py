"""Accounts of other services, and the steps bound to them (rest-api.md §5)."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request

from engine.errors import BadRequest
from engine.ports import Doc
from engine.services.listing import parse_list
from webapp.api.projection import projected
from webapp.current import platform
from webapp.openapi import LIST_PARAMS, OBJECT, TEXT, Param, Schema, operation
from webapp.session import caller

TAG = "Accounts"
MAYBE_TEXT: Schema = {"type": ["string", "null"]}
ACCOUNT: Schema = {
    "type": "object",
    "properties": {
        "accountId": TEXT,
        "name": TEXT,
        "displayName": MAYBE_TEXT,
        "service": TEXT,
        "userId": TEXT,
        "profileInfo": OBJECT,
        "icon": MAYBE_TEXT,
        "label": MAYBE_TEXT,
        "revoked": {"type": "boolean"},
    },
}
NEW_ACCOUNT: Schema = {
    "type": "object",
    "properties": {
        "service": {"type": "string", "description": "vendor:service or vendor:service:module"},
        "token": {"type": ["object", "string"], "description": "The fields the service asks for; never returned."},
        "name": MAYBE_TEXT,
        "displayName": MAYBE_TEXT,
        "profileInfo": {"type": ["object", "string", "null"]},
    },
    "required": ["service", "token"],
}
BINDING: Schema = {"type": "object", "properties": {"accountId": TEXT, "componentId": TEXT}}

routes = Blueprint("accounts", __name__)


@routes.get("/accounts")
@operation("List your accounts", tag=TAG, query=LIST_PARAMS, answers={200: {"type": "array", "items": ACCOUNT}})
def accounts() -> list[Doc]:
    query = parse_list(request.args, pattern_fields=("name", "displayName"), renames={"accountId": "_id"})
    return projected(platform().accounts.find(caller().user_id, query), request.args)


@routes.post("/accounts")
@operation(
    "Connect an account",
    tag=TAG,
    body=NEW_ACCOUNT,
    query=(
        Param("requestProfileInfo", "false: do not ask the service whose account it is."),
        Param("validateScope", "Taken; concerns OAuth 2 only."),
    ),
    answers={200: ACCOUNT},
    description="The service is asked whether the fields are right. Its answer is the message of a 400.",
)
def create(body: dict[str, Any]) -> Doc:
    ask = request.args.get("requestProfileInfo", "true").lower() != "false"
    return platform().accounts.create(caller().user_id, body, request_profile=ask)


@routes.get("/accounts/<account_id>")
@operation("One account", tag=TAG, answers={200: ACCOUNT})
def account(account_id: str) -> Doc:
    return platform().accounts.info(caller().user_id, account_id)


@routes.put("/accounts/<account_id>")
@operation(
    "Name an account",
    tag=TAG,
    body={"type": "object", "properties": {"displayName": MAYBE_TEXT}, "required": ["displayName"]},
    answers={200: OBJECT},
)
def rename(account_id: str, body: dict[str, Any]) -> Doc:
    platform().accounts.rename(caller().user_id, account_id, body["displayName"])
    return {}


@routes.delete("/accounts/<account_id>")
@operation("Delete an account; flows that use it are stopped", tag=TAG, answers={200: OBJECT})
def delete(account_id: str) -> Doc:
    platform().accounts.delete(caller().user_id, account_id)
    return {"accountId": account_id}


@routes.get("/accounts/<account_id>/flows")
@operation("Flows that use an account", tag=TAG, answers={200: {"type": "array", "items": OBJECT}})
def flows(account_id: str) -> list[Doc]:
    return platform().accounts.flows_using(caller().user_id, account_id)


@routes.get("/accounts/flow/<flow_id>")
@operation("The account of each step that needs one", tag=TAG, answers={200: OBJECT})
def of_flow(flow_id: str) -> Doc:
    asking = caller()
    flow = platform().flows.get(flow_id, asking)
    return platform().accounts.of_flow(flow) if flow["userId"] == asking.user_id else {}


@routes.put("/auth/component/<component_id>")
@routes.put("/auth/component/<component_id>/<account_id>")
@operation("Let a saved step use an account", tag=TAG, body=BINDING, answers={200: BINDING})
def bind(component_id: str, body: dict[str, Any], account_id: str | None = None) -> Doc:
    account_id = account_id or body.get("accountId")
    if not account_id:
        raise BadRequest("accountId: must be given, in the address or in the body")
    platform().accounts.bind(caller().user_id, component_id, account_id)
    return {"accountId": account_id, "componentId": component_id}


@routes.delete("/auth/component/<component_id>")
@operation("Take the account from a step; the account stays", tag=TAG, answers={200: BINDING})
def unbind(component_id: str) -> Doc:
    platform().accounts.unbind(caller().user_id, component_id)
    return {"componentId": component_id}
