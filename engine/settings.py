"""All settings, in one frozen object; nothing else reads the environment.

Every field has a `HEADRACE_<NAME>` variable. A secret may be given as `HEADRACE_<NAME>_FILE`,
the path of a file that holds it. A bad value stops the start with a message that names it.
`docs/settings.md` lists all of them; a test compares.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from engine.errors import HeadraceError
from engine.rules.masking import DEFAULT_FIELDS
from engine.rules.retention import Keep

PREFIX = "HEADRACE_"
GIB = 1024**3


class SettingsError(HeadraceError):
    code = "BAD_SETTING"


def _setting(default: Any, help: str, **extra: Any) -> Any:
    return field(default=default, metadata={"help": help, **extra})


@dataclass(frozen=True, slots=True)
class Settings:
    host: str = _setting("127.0.0.1", "Address to listen on.")
    port: int = _setting(2200, "Port to listen on.")
    data: Path = _setting(Path("data"), "Folder for the database, the run log and files.")
    url: str = _setting("", "Public address of this installation, used in webhook URLs; empty: http://host:port.")
    own_url: str = _setting(
        "", "Where processes of this installation reach its API, unless it is at host and port, as for other hosts."
    )
    admin_email: str = _setting("", "E-mail address of an administrator, created or updated at start.")
    admin_password: str = _setting("", "Password of that administrator.", secret=True)
    secret: str = _setting(
        "", "Key of tokens, sessions and encryption; empty: made once, kept in the data folder.", secret=True
    )
    signup: bool = _setting(True, "Whether anybody may create a user (POST /user and the sign-up page).")
    signup_rate: int = _setting(60, "Users that may be created an hour from one address; 0: any number.")
    token_days: int = _setting(30, "Life of an API token, in days.")
    log_level: str = _setting("INFO", "Level of the process log: DEBUG, INFO, WARNING or ERROR.")
    http_allow: tuple[str, ...] = _setting(
        (), "Hosts and networks outbound calls may reach although private, by comma."
    )
    http_max_bytes: int = _setting(100 * 1024 * 1024, "Largest answer an outbound call may read, in bytes.")
    webhook_bytes: int = _setting(1024 * 1024, "Largest webhook body, in bytes (LIMIT_WEBHOOK_BYTES).")
    webhook_upload_bytes: int = _setting(
        10 * 1024 * 1024, "Largest webhook body that is kept as files: multipart forms, images and the like, in bytes."
    )
    webhook_rate: float = _setting(1000.0, "Webhook calls a second one flow takes; 0: any number.")
    webhook_address_rate: float = _setting(
        0.0, "Webhook calls a second taken from one address, over all flows; 0: any number."
    )
    webhook_burst: float = _setting(10.0, "Of both, how many seconds' worth may come at once.")
    proxies: int = _setting(0, "Reverse proxies in front, whose X-Forwarded-For tells the caller's address.")
    output_bytes: int = _setting(32 * 1024 * 1024, "Largest output of a step, in bytes of JSON.")
    flow_bytes: int = _setting(2 * 1024 * 1024, "Largest flow descriptor, in bytes (LIMIT_FLOW_UPDATE_BYTES).")
    file_bytes: int = _setting(1024 * 1024 * 1024, "Largest stored file, in bytes.")
    webhook_timeout: float = _setting(10.0, "Seconds a webhook call waits for an answer (WEBHOOK_REQUEST_TIMEOUT).")
    receive_timeout: float = _setting(
        1380.0, "Seconds a component may work on one message (COMPONENT_RECEIVE_TIMEOUT)."
    )
    polling_interval: float = _setting(60.0, "Seconds between two ticks of a component (COMPONENT_POLLING_INTERVAL).")
    min_timeout: float = _setting(0.0, "Shortest time-out a component may set, in seconds.")
    retry_first: float = _setting(1.0, "Seconds before the first retry; doubles with each (RETRY_INIT_EXP).")
    retry_longest: float = _setting(600.0, "Longest pause between two retries, in seconds.")
    retry_attempts: int = _setting(30, "Attempts in all before a message becomes unprocessed.")
    retry_classify: bool = _setting(True, "False: retry every error (RETRY_ERROR_CLASSIFICATION_ENABLED).")
    execution_messages: int = _setting(10_000_000, "Messages one execution may cause; it is ended beyond that.")
    step_threads: int = _setting(64, "Threads for steps that call the outside world, 1 to 1000.")
    children: int = _setting(2, "Child processes for heavy work, such as converting files, 1 to 64.")
    web_threads: int = _setting(64, "Threads answering HTTP requests, 1 to 1000.")
    ledger: bool = _setting(
        True, "Record external calls, so that a crash repeats only those under way. False is for tests of the ledger."
    )
    one_core: bool = _setting(
        True, "Keep the serving process on one core at a time, the least busy: hand-overs between threads cost less."
    )
    streams: int = _setting(200, "Live browser streams per process; beyond it pages poll.")
    masked_fields: tuple[str, ...] = _setting(
        DEFAULT_FIELDS, "Names of headers and fields whose values no log keeps, by comma."
    )
    log_data_messages: bool = _setting(
        True, "False: the run log keeps no message contents (LOG_COMPONENT_DATA_MESSAGE)."
    )
    log_days: int = _setting(30, "Days the run log and executions are kept; 0: for ever.")
    log_bytes: int = _setting(10 * GIB, "Size of the run log beyond which its oldest records go; 0: any.")
    unprocessed_days: int = _setting(30, "Days unprocessed messages are kept; 0: for ever.")
    unprocessed_bytes: int = _setting(10 * GIB, "Size of all unprocessed messages beyond which the oldest go; 0: any.")
    flow_file_days: int = _setting(30, "Days a file made by a flow is kept after its last use; 0: for ever.")
    flow_file_bytes: int = _setting(10 * GIB, "Size of all such files beyond which the longest unused go; 0: any.")
    upload_days: int = _setting(0, "Days a file uploaded by a user is kept after its last use; 0: for ever.")
    version_days: int = _setting(30, "Days former versions of flows are kept; 0: for ever.")
    version_bytes: int = _setting(10 * GIB, "Size of all former versions beyond which the oldest go; 0: any.")
    ledger_days: int = _setting(7, "Days the record of an external call is kept; 0: for ever.")
    ledger_bytes: int = _setting(10 * GIB, "Size of these records beyond which the oldest go; 0: any.")
    error_webhook: str = _setting("", "Addresses told of component errors, by comma (WEBHOOK_FLOW_COMPONENT_ERROR).")
    mongo_url: str = _setting(
        "", "Address of the MongoDB replica set that holds a cluster's documents and files.", secret=True
    )
    amqp_url: str = _setting(
        "", "Addresses of RabbitMQ's nodes, by comma: amqp://user:password@host:port/vhost or amqps://.", secret=True
    )
    redis_url: str = _setting(
        "", "Address of the Redis that the processes of a cluster share, redis:// or rediss://.", secret=True
    )
    redis_prefix: str = _setting("headrace:", "What the names of everything kept there begin with.")
    connectors: Path = _setting(Path(), "A further folder of connectors; empty: only the built-in ones.")
    workers: bool = _setting(True, "False: this process only serves the web, steps run elsewhere.")

    @property
    def netloc(self) -> str:
        """Host and port as they stand in an address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def served_url(self) -> str:
        """Where the server can be reached from this machine; one that listens everywhere also does so there."""
        own = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://{replace(self, host=own).netloc}"

    @property
    def public_url(self) -> str:
        """As webhook addresses show it."""
        return self.url.rstrip("/") or self.served_url

    @property
    def local_url(self) -> str:
        """Where processes of this installation call its API."""
        return self.own_url.rstrip("/") or self.served_url

    @property
    def local_host(self) -> str:
        return str(urlsplit(self.local_url).hostname)

    @property
    def keeps(self) -> dict[str, Keep]:
        """How much of what is kept, see `engine.services.retention`."""
        return {
            "log": Keep(self.log_days, self.log_bytes),
            "unprocessed": Keep(self.unprocessed_days, self.unprocessed_bytes),
            "files": Keep(self.flow_file_days, self.flow_file_bytes),
            "uploads": Keep(self.upload_days),
            "versions": Keep(self.version_days, self.version_bytes),
            "ledger": Keep(self.ledger_days, self.ledger_bytes),
        }


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the environment. Raises SettingsError naming the variable."""
    env = os.environ if environ is None else environ
    known = {f.name: f for f in fields(Settings)}
    values: dict[str, Any] = {}
    for name, spec in known.items():
        variable = PREFIX + name.upper()
        text = env.get(variable)
        if text is None and f"{variable}_FILE" in env:
            text = _read_secret(f"{variable}_FILE", env[f"{variable}_FILE"])
        if text is not None and text != "":
            values[name] = _parse(variable, text, spec.default)
    settings = Settings(**values)
    _check(settings)
    return settings


def secret_of(settings: Settings) -> str:
    """The installation's secret; made once and kept with mode 600 when the setting is empty."""
    if settings.secret:
        return settings.secret
    path = settings.data / "secret"
    settings.data.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_urlsafe(48))
    return path.read_text().strip()


def _read_secret(variable: str, path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise SettingsError(f"{variable}: cannot read {path}: {error.strerror}") from error


def _parse(variable: str, text: str, default: Any) -> Any:
    try:
        if isinstance(default, bool):
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]
        if isinstance(default, tuple):
            return tuple(part.strip() for part in text.split(",") if part.strip())
        return type(default)(text) if not isinstance(default, Path) else Path(text)
    except (KeyError, ValueError) as error:
        kind = {bool: "true or false", int: "a whole number", float: "a number"}.get(type(default), "text")
        raise SettingsError(f"{variable} must be {kind}, not {text!r}") from error


def _check(settings: Settings) -> None:
    if not 0 < settings.port < 65536:
        raise SettingsError(f"{PREFIX}PORT must be between 1 and 65535, not {settings.port}")
    for name in ("step_threads", "web_threads"):
        if not 1 <= getattr(settings, name) <= 1000:
            raise SettingsError(f"{PREFIX}{name.upper()} must be between 1 and 1000")
    if settings.execution_messages < 1:
        raise SettingsError(f"{PREFIX}EXECUTION_MESSAGES must be at least 1, not {settings.execution_messages}")
    for name in ("mongo_url", "amqp_url", "redis_url"):
        if getattr(settings, name):
            raise SettingsError(f"{PREFIX}{name.upper()}: this version serves from one data folder only; unset it")
    if not 1 <= settings.children <= 64:
        raise SettingsError(f"{PREFIX}CHILDREN must be between 1 and 64, not {settings.children}")
    for name in (
        f.name for f in fields(Settings) if f.name.endswith(("_days", "_bytes", "_rate", "_burst", "proxies"))
    ):
        if getattr(settings, name) < 0:
            raise SettingsError(f"{PREFIX}{name.upper()} must not be negative")
    for name in ("url", "own_url"):
        address = getattr(settings, name)
        if address and not re.match(r"https?://[^/]", address):
            raise SettingsError(f"{PREFIX}{name.upper()} must begin with http:// or https://, not {address!r}")
    if bool(settings.admin_email) != bool(settings.admin_password):
        raise SettingsError(f"{PREFIX}ADMIN_EMAIL and {PREFIX}ADMIN_PASSWORD must be given together")
    if settings.log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise SettingsError(f"{PREFIX}LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR, not {settings.log_level!r}")
