"""The named collections, their indexes, and the shape of their documents.

An index is a tuple of dotted paths; a leading "!" makes it unique. An indexed path holds one
plain value or nothing, never an array: adapters compare it directly, which is what lets them
use the index. Adapters create all of them at start. Times in documents are epoch
milliseconds; ids are strings.
"""

from __future__ import annotations

COLLECTIONS: dict[str, tuple[tuple[str, ...], ...]] = {
    # _id, username, email, password (argon2id hash), scope[], vendor, metadata{}, plan, isActive, created
    "users": (("!username",), ("!email",)),
    # the flow record of rest-api.md §3 with _id = flowId, and: revision, run (ms of the last start),
    # stage (stopped|starting|running|stopping), accounts {cid: accountId}, unlinked {}, shared (1 when
    # sharedWith is not empty, else absent), search (name, newline, flowId), changedBy (username),
    # ran (the revision that was last started)
    "flows": (("userId", "mtime"), ("stage",), ("shared",)),
    # _id = "<flowId>:<revision>", flowId, revision, flow, accounts, created: former states that have run; messages
    # may still refer to them, and executions may be played again on them
    "revisions": (("flowId",), ("created",)),
    # _id, userId, service, name, displayName, token (encrypted text), profileInfo{}, created, revoked
    "accounts": (("userId", "service"),),
    # _id, userId, name, created
    "stores": (("userId",),),
    # _id = "<storeId>:<key>", storeId, key, value, userId, createdAt, updatedAt, version (of each change),
    # ops[{id, type, old, new}]: operations of components, so that a repeated one changes nothing
    "store_entries": (("storeId", "key"), ("userId",)),
    # _id, storeId, flowId, componentId, events[]: who is told of changes of a store
    "store_webhooks": (("storeId",), ("componentId",)),
    # _id, due, kind (timeout|tick|retry), flowId, componentId, correlationId, run, revision,
    # message (base64 of message.encode)
    "timers": (("due",), ("flowId",), ("componentId",), ("correlationId",)),
    # _id, messageId, flowId, componentId, userId, correlationId, created, err (JSON text),
    # message (base64), messages{} as shown by the API
    "unprocessed": (("flowId", "created"), ("userId", "created"), ("created",)),
    # _id = message id + attempt, state, by, lease, emissions, response, created
    "ledger": (("created",), ("flowId",)),
    # _id = message id, found (in so many processes that died), deaths (when it was the only one), created
    "suspects": (("created",),),
    # _id = hash, flowId, created, value or file: outputs too large to travel with messages
    "payloads": (("created",), ("flowId",)),
    # _id = message id, emitted (how many of its emissions are durable), flowId, created
    "windows": (("flowId",),),
    # _id = group id + item id, group, value, created, order, taken
    "gather_items": (("group", "taken", "created", "order"), ("created",)),
    # _id = group id, fired (operation id), created
    "gather_groups": (("created",),),
    # _id, event, flowId, componentId, userId, params{}
    "listeners": (("event", "userId"), ("componentId",)),
    # _id = "<flowId>:<correlationId>:<componentId>", flowId, correlationId, scope{}, expires, called (ms of the
    # first call): data a component waits with
    "continuity": (("flowId",), ("expires",), ("correlationId",)),
    # _id = "<flowId>:<correlationId>", flowId, correlationId, by (username), created: no step of them begins
    "cancelled": (("flowId",), ("created",)),
    # _id = flow id, created: flows deleted lately, of which no more log records are to be kept
    "deleted_flows": (("created",),),
    # _id = hash of a call's key, flowId, correlationId, created, expires, open (1 until there is an answer) or
    # reply{status, body, headers}: what a repetition of a webhook call is answered
    "webhook_keys": (("flowId",), ("expires",), ("open",)),
    # _id = correlation id, reply{status, body, headers}, expires: answers given while the Cache was away
    "replies": (("expires",),),
    # _id = key, value: set through the API or kept by the product itself
    "config": (),
    # _id = serviceId "vendor:service", further keys as given by the administrator
    "service_config": (),
    # _id = "modifiers": the whole set as an administrator left it
    "modifiers": (),
}
