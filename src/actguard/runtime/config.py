"""Every option of a Client, validated once; and where else than in code they may be written."""

import base64
import binascii
import inspect
import json
import os
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args
from urllib.parse import urlsplit

from actguard.exceptions import ActGuardUsageError

EventMode = Literal["off", "significant", "verbose"]
OnGatewayError = Literal["open", "closed"]

_API_KEY = re.compile(r"ag_[a-z]+_[A-Za-z0-9_-]+\.[A-Za-z0-9._~+/-]+=*")
_UNFIT = re.compile(r"[\s\x00-\x1f\x7f]")
_LONGEST_WAIT = 86_400.0
_URL_SAFE = str.maketrans("-_", "+/")


class Patience(NamedTuple):
    """How long a request may take, over all its tries, and how often it is tried again."""

    timeout_s: float
    max_retries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Options of a Client.

    Args:
        api_key: `ag_live_<key id>.<secret>`, as the gateway has printed it.
        gateway_url: where the gateway listens, such as "http://127.0.0.1:8085". None: everything stays local.
        on_gateway_error: when the gateway cannot be reached, or gives no sensible answer. "open": warn once, go on
            under the local limits, and deliver what was spent later. "closed": raise BudgetTransportError.
        event_mode: "off", "significant", or "verbose" for all of them.
        event_sinks: where events go besides the gateway: functions of one event, or objects with `write(events)` and
            `close()`.
        events_file: a file to append events to, one JSON object a line.
        agent_id: names this agent in events; the gateway knows it by its key.
        flush_interval_ms: events wait at most so long for others to travel with.
        max_batch_events, max_batch_bytes: what one request to the gateway carries at most.
        max_queue_events: events that may wait; beyond it the oldest goes that is not about spend.
        timeout_s, max_retries: for both kinds of request, where the four below say nothing.
        budget_timeout_s, budget_max_retries: for requests that the program waits for. The deadline is over all tries.
        event_timeout_s, event_max_retries: for requests in the background.
        backoff_base_ms, backoff_max_ms: the pause before a further try: the first, and the longest.
        spool_dir: where spend is kept that could not be delivered yet. None: a folder of this user.
        ca_file: a PEM file with the certificate authority of the gateway, if it is not a public one.
        debug: log every request to the gateway, without its secrets, to the logger "actguard.transport".
    """

    api_key: str | None = field(repr=False)
    gateway_url: str | None
    on_gateway_error: OnGatewayError
    event_mode: EventMode
    event_sinks: tuple[Any, ...]
    events_file: str | None
    agent_id: str | None
    flush_interval_ms: int
    max_batch_events: int
    max_batch_bytes: int
    max_queue_events: int
    timeout_s: float | None
    max_retries: int | None
    budget_timeout_s: float | None
    budget_max_retries: int | None
    event_timeout_s: float | None
    event_max_retries: int | None
    backoff_base_ms: int
    backoff_max_ms: int
    spool_dir: str | None
    ca_file: str | None
    debug: bool

    def __post_init__(self) -> None:
        for name in ("spool_dir", "ca_file", "events_file"):
            _set(self, name, _path(name, getattr(self, name)))
        if self.events_file is not None and os.path.isdir(self.events_file):
            raise ActGuardUsageError(
                f"events_file must be a file, and {self.events_file} is a folder", argument="events_file"
            )
        _set(self, "event_sinks", _sinks(self.event_sinks))
        _text("agent_id", self.agent_id)
        _choice("on_gateway_error", self.on_gateway_error, get_args(OnGatewayError))
        _choice("event_mode", self.event_mode, get_args(EventMode))
        _choice("debug", self.debug, (True, False))
        for name, most in (
            ("flush_interval_ms", 3_600_000),
            ("max_batch_events", 1000),
            ("max_batch_bytes", 1_000_000),
            ("max_queue_events", 10_000_000),
            ("backoff_base_ms", 3_600_000),
            ("backoff_max_ms", 3_600_000),
        ):
            _whole(name, getattr(self, name), 1, most)
        if self.backoff_max_ms < self.backoff_base_ms:
            raise ActGuardUsageError(
                f"backoff_max_ms must be at least backoff_base_ms, which is {self.backoff_base_ms}, "
                f"not {self.backoff_max_ms}",
                argument="backoff_max_ms",
            )
        for name in ("max_retries", "budget_max_retries", "event_max_retries"):
            if getattr(self, name) is not None:
                _whole(name, getattr(self, name), 0, 100)
        for name in ("timeout_s", "budget_timeout_s", "event_timeout_s"):
            if getattr(self, name) is not None:
                _seconds(name, getattr(self, name))
        _set(self, "budget_timeout_s", _first(self.budget_timeout_s, self.timeout_s, 3.0))
        _set(self, "event_timeout_s", _first(self.event_timeout_s, self.timeout_s, 5.0))
        _set(self, "budget_max_retries", _first(self.budget_max_retries, self.max_retries, 1))
        _set(self, "event_max_retries", _first(self.event_max_retries, self.max_retries, 8))
        self._check_gateway()

    def _check_gateway(self) -> None:
        key = cast("object", self.api_key)
        if key is not None and not (isinstance(key, str) and _API_KEY.fullmatch(key)):
            raise ActGuardUsageError(
                "api_key must look like ag_live_<key id>.<secret>; `actguard keys create` prints one",
                argument="api_key",
            )
        if self.ca_file is not None and not os.access(self.ca_file, os.R_OK):
            raise ActGuardUsageError(f"ca_file {self.ca_file} cannot be read", argument="ca_file")
        if self.gateway_url is not None:
            _set(self, "gateway_url", _gateway_url(self.gateway_url))
        if (self.api_key is None) == (self.gateway_url is None):
            return
        missing, given = ("api_key", "gateway_url") if self.api_key is None else ("gateway_url", "api_key")
        raise ActGuardUsageError(
            f"{given} is given and {missing} is not: give both to share budgets through a gateway, or none to be local",
            argument=missing,
        )

    @property
    def budget(self) -> Patience:
        """With requests that the program waits for."""
        return Patience(cast("float", self.budget_timeout_s), cast("int", self.budget_max_retries))

    @property
    def events(self) -> Patience:
        """With requests in the background."""
        return Patience(cast("float", self.event_timeout_s), cast("int", self.event_max_retries))

    @property
    def remote(self) -> bool:
        """Whether a gateway is used."""
        return self.gateway_url is not None

    def warn_if_exposed(self) -> None:
        """Say so if the key would travel unencrypted to a host that does not look like one of our own."""
        if self.gateway_url is not None and _is_exposed(self.gateway_url):
            warnings.warn(
                f"gateway_url {self.gateway_url} is not encrypted, and its host looks public: whoever is in between "
                "can read the api_key. Use https.",
                UserWarning,
                stacklevel=3,
            )


OPTIONS = tuple(field.name for field in fields(Config))


def no_such_option(name: str) -> ActGuardUsageError:
    """The error for an option that Client does not have, with the one that may have been meant."""
    near = get_close_matches(name, OPTIONS, 1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    return ActGuardUsageError(f"Client has no option {name!r}.{meant} There are {', '.join(OPTIONS)}.", argument=name)


def from_file(path: "str | os.PathLike[str]") -> dict[str, Any]:
    """The options in a JSON file.

    Raises:
        ActGuardUsageError: it cannot be read, or is not a JSON object.
    """
    try:
        raw = Path(path).read_bytes()
    except (OSError, ValueError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ActGuardUsageError(f"the configuration file {path} cannot be read: {reason}", argument="path") from None
    return _parsed(raw, f"the configuration file {path}", "path")


def from_env(environ: Mapping[str, str]) -> dict[str, Any]:
    """The options in ACTGUARD_CONFIG, with ACTGUARD_GATEWAY_URL and ACTGUARD_API_KEY over them.

    Raises:
        ActGuardUsageError: ACTGUARD_CONFIG is neither the path of a file nor base64 JSON, or is no JSON object.
    """
    options: dict[str, Any] = {}
    raw = environ.get("ACTGUARD_CONFIG", "").strip()
    if raw:
        options = _from_variable(raw)
    for name, variable in (("gateway_url", "ACTGUARD_GATEWAY_URL"), ("api_key", "ACTGUARD_API_KEY")):
        value = environ.get(variable, "").strip()
        if value:
            options[name] = value
    return options


def _from_variable(raw: str) -> dict[str, Any]:
    try:
        is_file = Path(raw).is_file()
    except (OSError, ValueError):  # too long for a path
        is_file = False
    if is_file:
        return from_file(raw)
    try:
        plain = "".join(raw.split()).rstrip("=").translate(_URL_SAFE)  # wrapped, unpadded, URL-safe: as tools print it
        decoded = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        decoded.decode()  # many a path of a file that is missing can be decoded, but not into text
    except (binascii.Error, ValueError):
        raise ActGuardUsageError(
            "ACTGUARD_CONFIG is neither the path of a file that exists nor base64 of a JSON object",
            argument="ACTGUARD_CONFIG",
        ) from None
    return _parsed(decoded, "ACTGUARD_CONFIG, decoded from base64,", "ACTGUARD_CONFIG")


def _parsed(raw: bytes, source: str, argument: str) -> dict[str, Any]:
    try:
        parsed: Any = json.loads(raw)
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno}: {error.msg})" if isinstance(error, json.JSONDecodeError) else ""
        raise ActGuardUsageError(f"{source} is not JSON{where}", argument=argument) from None
    if not isinstance(parsed, dict):
        raise ActGuardUsageError(
            f"{source} must hold a JSON object of options, not {type(parsed).__name__}", argument=argument
        )
    return cast("dict[str, Any]", parsed)


# ---- single options ------------------------------------------------------------------------------------------------


def _set(config: Config, name: str, value: Any) -> None:
    object.__setattr__(config, name, value)


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _text(argument: str, value: Any) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise ActGuardUsageError(f"{argument} must be a non-empty string, not {value!r}", argument=argument)


def _path(argument: str, value: Any) -> str | None:
    try:
        path = None if value is None else os.fsdecode(value)
    except TypeError:
        path = ""
    if path == "" or (path is not None and "\0" in path):
        raise ActGuardUsageError(f"{argument} must be a path, not {value!r}", argument=argument)
    return None if path is None else os.path.abspath(path)  # files are opened later, when the program may be elsewhere


def _sinks(value: Any) -> "tuple[Callable[..., Any], ...]":
    if not isinstance(value, (list, tuple)):
        raise ActGuardUsageError(f"event_sinks must be a list, not {value!r}", argument="event_sinks")
    sinks: tuple[Any, ...] = tuple(cast("list[Any]", value))
    for sink in sinks:
        if not callable(sink) and not callable(getattr(sink, "write", None)):
            raise ActGuardUsageError(
                f"event_sinks takes callables and sinks, not {type(sink).__name__}", argument="event_sinks"
            )
        if inspect.iscoroutinefunction(sink):
            raise ActGuardUsageError(
                f"event_sinks takes plain functions, called on a thread of their own, and {sink.__name__} is async",
                argument="event_sinks",
            )
    return sinks


def _choice(argument: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if not any(type(value) is type(option) and value == option for option in allowed):
        options = ", ".join(repr(option) for option in allowed)
        raise ActGuardUsageError(f"{argument} must be one of {options}, not {value!r}", argument=argument)


def _whole(argument: str, value: Any, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise ActGuardUsageError(
            f"{argument} must be a whole number from {least} to {most}, not {value!r}", argument=argument
        )


def _seconds(argument: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _LONGEST_WAIT:
        raise ActGuardUsageError(
            f"{argument} must be a number of seconds above 0 and up to {_LONGEST_WAIT:.0f}, not {value!r}",
            argument=argument,
        )


def _gateway_url(value: Any) -> str:
    what = "gateway_url must be an address such as http://127.0.0.1:8085 or https://gateway.example.com"
    if not isinstance(value, str):
        raise ActGuardUsageError(f"{what}, not {type(value).__name__}", argument="gateway_url")
    try:
        parts = urlsplit(value.strip())
        host, _ = parts.hostname, parts.port
        (host or "").encode("idna")  # as it is looked up
    except ValueError:
        raise ActGuardUsageError(f"{what}, not {value!r}", argument="gateway_url") from None
    if parts.username or parts.password:
        raise ActGuardUsageError(f"{what}, with no user or password in it", argument="gateway_url")
    if parts.scheme not in ("http", "https") or not host or _UNFIT.search(value.strip()):
        raise ActGuardUsageError(f"{what}, not {value!r}", argument="gateway_url")
    if "?" in value or "#" in value:
        raise ActGuardUsageError(f"{what}, with nothing behind its path, not {value!r}", argument="gateway_url")
    return value.strip().rstrip("/")


def _is_exposed(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https" or host.endswith((".local", ".internal", ".localhost")):
        return False
    try:
        return ip_address(host).is_global
    except ValueError:
        return "." in host  # a name without a dot is of this machine, or of this network
