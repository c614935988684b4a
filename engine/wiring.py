"""Builds the platform from settings: the only module that knows which adapters there are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from engine.adapters.catalogue import BUILT_IN, Catalogue
from engine.adapters.children import ProcessChildren
from engine.adapters.clock import SystemClock
from engine.adapters.embedded.bus import SqliteBus
from engine.adapters.embedded.cache import MemoryCache
from engine.adapters.embedded.database import Database
from engine.adapters.embedded.documents import SqliteDocuments
from engine.adapters.embedded.files import SqliteFiles
from engine.adapters.embedded.folder_lock import lock_folder
from engine.adapters.embedded.logindex import SqliteLogIndex
from engine.adapters.embedded.query_sql import register_functions
from engine.adapters.embedded.running import RunningFile
from engine.adapters.embedded.state import SqliteState
from engine.adapters.http import OutboundHttp
from engine.errors import NotFound
from engine.model.message import Message
from engine.ports import (
    Bus,
    Cache,
    Claims,
    Clock,
    Doc,
    Documents,
    Files,
    Http,
    LogIndex,
    Query,
    Settlement,
    State,
    Where,
)
from engine.rules.retry import RetryPolicy
from engine.services.accounts import Accounts
from engine.services.aftermath import Aftermath
from engine.services.cancelled import Cancelled
from engine.services.components import Components
from engine.services.erasure import Erasure
from engine.services.execution import Execution
from engine.services.executions import Executions
from engine.services.failing import Failing
from engine.services.files import FileService
from engine.services.fire_patterns import Assembler
from engine.services.flows import Flows
from engine.services.health import Health, Metrics
from engine.services.ledger import Ledger
from engine.services.lifecycle import Lifecycle
from engine.services.logs import Logs
from engine.services.modifiers import Modifiers
from engine.services.own_api import api_caller
from engine.services.payloads import Payloads
from engine.services.plans import Plans
from engine.services.publishing import publish
from engine.services.quotas import Quotas
from engine.services.repetitions import Repetitions
from engine.services.replays import Replays
from engine.services.replies import Replies
from engine.services.retention import Retention
from engine.services.secrecy import Secrecy
from engine.services.stores import StoreService
from engine.services.suspects import Suspects
from engine.services.timers import Timers
from engine.services.toolbox import Toolbox
from engine.services.unprocessed import Unprocessed
from engine.services.users import Users
from engine.services.vault import Vault
from engine.services.webhook_keys import WebhookKeys
from engine.services.webhooks import Webhooks, notification
from engine.settings import Settings, secret_of

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Platform:
    """Ports, services and what workers need; made by `build`, ended by `close`."""

    settings: Settings
    clock: Clock
    documents: Documents
    state: State
    bus: Bus
    cache: Cache
    log_index: LogIndex
    files: Files
    http: Http
    catalogue: Catalogue
    vault: Vault
    users: Users
    flows: Flows
    accounts: Accounts
    stores: StoreService
    file_service: FileService
    logs: Logs
    executions: Executions
    unprocessed: Unprocessed
    modifiers: Modifiers
    components: Components
    plans: Plans
    execution: Execution
    lifecycle: Lifecycle
    timers: Timers
    webhooks: Webhooks
    aftermath: Aftermath
    erasure: Erasure
    health: Health
    metrics: Metrics
    housekeeping: Retention
    claims: Claims
    suspects: Suspects
    _closing: list[Callable[[], None]] = field(default_factory=list)

    def close(self) -> None:
        """Close in the reverse order of opening; call after the workers have stopped."""
        while self._closing:
            self._closing.pop()()


def build(settings: Settings, *, clock: Clock | None = None) -> Platform:
    """Open the data folder and put everything together.

    Raises Unavailable when another process uses the folder, SettingsError when a setting is wrong.
    """
    clock = clock or SystemClock()
    settings.data.mkdir(parents=True, exist_ok=True)
    closing: list[Callable[[], None]] = []
    lock = lock_folder(settings.data)
    closing.append(lock.close)
    url = settings.public_url
    database = Database(settings.data / "headrace.db", on_connect=[register_functions])
    closing.append(database.close)
    documents = SqliteDocuments(database)
    state = SqliteState(database, clock)
    files = SqliteFiles(database, settings.data / "files", clock, settings.file_bytes)
    cache = MemoryCache()
    log_index = SqliteLogIndex(settings.data).checked()
    closing.append(log_index.close)
    claims = RunningFile(settings.data / "running")
    closing.append(claims.close)
    bus = SqliteBus(database)
    closing.append(bus.close)
    http = OutboundHttp(settings.http_allow, settings.http_max_bytes)
    children = ProcessChildren(settings.children)
    closing.append(children.close)
    roots = [BUILT_IN] if settings.connectors == Path() else [BUILT_IN, settings.connectors]
    catalogue = Catalogue(*roots)
    background = ThreadPoolExecutor(4, thread_name_prefix="background")
    closing.append(background.shutdown)

    def spawn(work: Callable[[], None]) -> None:
        background.submit(_logged, work)

    vault = Vault(secret_of(settings))
    users = Users(
        documents=documents,
        clock=clock,
        secret=secret_of(settings),
        token_days=settings.token_days,
        signup=settings.signup,
    )
    modifiers = Modifiers(documents=documents, cache=cache)
    plans = Plans(documents, cache, catalogue.get, modifiers.registry, url, settings.masked_fields)
    secrecy = Secrecy(catalogue.get, settings.masked_fields)
    metrics = Metrics()

    def service_config(service: str) -> Mapping[str, Any]:
        found = documents.get("service_config", service) or {}
        return {key: value for key, value in found.items() if key not in ("_id", "serviceId")}

    accounts = Accounts(
        documents=documents,
        vault=vault,
        catalogue=catalogue,
        http=http,
        cache=cache,
        clock=clock,
        service_config=service_config,
        stop_flow=lambda flow_id: lifecycle.stop(flow_id),
    )

    def notify(notices: list[dict[str, Any]]) -> None:
        messages = [notification(plans, clock, n) for n in notices]
        publish(bus, clock, [m for m in messages if m is not None])

    stores = StoreService(documents=documents, clock=clock, notify=notify)
    components = Components(catalogue, documents, clock)
    own_host = OutboundHttp((settings.local_host,), settings.http_max_bytes)

    payloads = Payloads(documents, files, clock)
    cancelled = Cancelled(documents, cache, clock)
    keys = WebhookKeys(documents, cache, clock)
    keys.recall()
    tools = Toolbox(
        documents=documents,
        state=state,
        cache=cache,
        files=files,
        http=http,
        clock=clock,
        log_index=log_index,
        accounts=accounts,
        stores=stores,
        components=components,
        service_config=service_config,
        children=children,
        keys=keys,
        call_api=api_caller(own_host, settings.local_url, users),
        payloads=payloads,
        api_url=url,
        min_timeout_ms=round(settings.min_timeout * 1000),
        output_bytes=settings.output_bytes,
        cancelled=cancelled,
    )
    components.tools = tools
    policy = RetryPolicy(settings.retry_first, settings.retry_longest, settings.retry_attempts, settings.retry_classify)
    execution = Execution(
        tools,
        plans,
        bus,
        Ledger(
            documents,
            payloads,
            clock,
            metrics.repeats,
            lease_ms=round(settings.receive_timeout * 1000) + 60_000,
            once=True,
            enabled=settings.ledger,
        ),
        Quotas(cache, catalogue.quota_rules, settings.receive_timeout),
        Assembler(documents, clock),
        Failing(documents, clock, policy, payloads, log_contents=settings.log_data_messages),
        payloads,
        log_contents=settings.log_data_messages,
        most_messages=settings.execution_messages,
    )

    def wanted(flow_id: str, run: int) -> bool:
        running = plans.running(flow_id)
        return running is not None and running.run == run

    timers = Timers(documents, bus, clock, wanted)
    lifecycle = Lifecycle(
        documents=documents,
        bus=bus,
        cache=cache,
        clock=clock,
        plans=plans,
        timers=timers,
        tools=tools,
        lookup=catalogue.get,
        execution=execution,
        spawn=spawn,
        polling_ms=round(settings.polling_interval * 1000),
    )

    def tell(message: Message, record: Doc) -> None:
        ids = {"flowId": message.flow_id, "correlationId": message.correlation_id}
        bus.settle(None, Settlement(logs=[{"created": clock.now(), **ids, **record}]))

    def over(flow_id: str, correlation_id: str) -> bool:
        rows = [row for row in log_index.execution(correlation_id) if row.flow_id == flow_id]
        return bool(rows) and not any(row.is_open for row in rows)

    replies = Replies(cache, settings.webhook_timeout, tell)
    file_service = FileService(files=files, cache=cache)
    aftermath = Aftermath(
        replies=replies,
        lifecycle=lifecycle,
        metrics=metrics,
        http=http,
        error_webhooks=[u.strip() for u in settings.error_webhook.split(",") if u.strip()],
        spawn=spawn,
    )
    webhooks = Webhooks(
        documents=documents,
        bus=bus,
        clock=clock,
        plans=plans,
        execution=execution,
        replies=replies,
        keys=keys,
        repetitions=Repetitions(cache=cache, keys=keys, replies=replies, ended=over),
        files=file_service,
        after=aftermath,
        timeout=settings.webhook_timeout,
        inline=settings.workers,
    )
    flows = Flows(
        documents=documents,
        state=state,
        cache=cache,
        log_index=log_index,
        clock=clock,
        lookup=catalogue.get,
        lifecycle=lifecycle,
        secrecy=secrecy,
        limit=settings.flow_bytes,
    )
    metrics.gauge("headrace_queue_messages", "Messages waiting or in flight.", lambda: bus.depth())
    metrics.gauge("headrace_timer_lag_seconds", "How late the earliest timer is.", lambda: timers.lag_ms() / 1000)
    further = (partial(payloads.expire, bus), cancelled.load)
    replays = Replays(documents=documents, bus=bus, clock=clock, plans=plans, log_index=log_index, payloads=payloads)
    platform = Platform(
        settings=settings,
        clock=clock,
        documents=documents,
        state=state,
        bus=bus,
        cache=cache,
        log_index=log_index,
        files=files,
        http=http,
        catalogue=catalogue,
        vault=vault,
        users=users,
        flows=flows,
        accounts=accounts,
        stores=stores,
        file_service=file_service,
        logs=Logs(log_index=log_index, flows=flows),
        executions=Executions(
            documents=documents,
            bus=bus,
            cache=cache,
            clock=clock,
            log_index=log_index,
            flows=flows,
            cancelled=cancelled,
            replays=replays,
        ),
        unprocessed=Unprocessed(
            documents=documents,
            bus=bus,
            clock=clock,
            plans=plans,
            log_index=log_index,
            payloads=payloads,
            cancelled=cancelled,
            secrecy=secrecy,
        ),
        modifiers=modifiers,
        components=components,
        plans=plans,
        execution=execution,
        lifecycle=lifecycle,
        timers=timers,
        webhooks=webhooks,
        aftermath=aftermath,
        erasure=Erasure(documents=documents, files=files, cache=cache, flows=flows),
        health=Health(metrics, [lambda: database.condition.word]),
        metrics=metrics,
        housekeeping=Retention(documents, log_index, files, bus, clock, settings.keeps, further),
        claims=claims,
        suspects=Suspects(documents, bus, clock, claims),
        _closing=closing,
    )
    if settings.admin_email:
        users.ensure_admin(settings.admin_email, settings.admin_password)
    return platform


def _logged(work: Callable[[], None]) -> None:
    try:
        work()
    except Exception:
        log.exception("background work failed", extra={"action": "background_failed"})


def local_token(settings: Settings) -> str:
    """A token of an administrator, for commands on the machine that holds the data folder.

    Only reads, so a running server is not disturbed. Raises NotFound when there is no administrator yet.
    """
    database = Database(settings.data / "headrace.db", on_connect=[register_functions])
    try:
        users = Users(
            documents=SqliteDocuments(database),
            clock=SystemClock(),
            secret=secret_of(settings),
            token_days=settings.token_days,
            signup=settings.signup,
        )
        admins = users.list(Query(where=(Where("scope", "eq", "admin"),), sort=(("created", 1),), limit=1))
        if not admins:
            raise NotFound("there is no administrator yet: run `headrace user create EMAIL --admin`")
        return users.token(admins[0]["_id"])
    finally:
        database.close()
