"""The ports and services a component's context reaches, built once by wiring."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any

from engine.ports import Cache, Children, Clock, Documents, Files, Http, LogIndex, State
from engine.services.accounts import Accounts
from engine.services.components import Components
from engine.services.own_api import ApiCall
from engine.services.payloads import Payloads
from engine.services.stores import StoreService
from engine.services.webhook_keys import WebhookKeys


@dataclass(slots=True)
class Toolbox:
    documents: Documents
    state: State
    cache: Cache
    files: Files
    http: Http
    clock: Clock
    log_index: LogIndex
    accounts: Accounts
    stores: StoreService
    components: Components
    payloads: Payloads
    service_config: Callable[[str], Mapping[str, Any]]
    children: Children
    keys: WebhookKeys
    call_api: ApiCall
    api_url: str
    min_timeout_ms: int = 0
    output_bytes: int = 32 * 1024 * 1024
    cancelled: Container[tuple[str, str]] = frozenset()
