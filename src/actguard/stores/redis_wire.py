"""What goes to Redis and comes back, without Redis: requests for its scripts (`lua/`), and their answers read.

Every key of a store is in one hash slot, because of the `{namespace}` it begins with: so whatever a call asks of a
Redis Cluster is one atomic script on one of its nodes.

    {namespace}:r:KEY~s60000000     a rate: its key, and one Redis key for each of its limits
    {namespace}:b:KEY               a circuit; c: a counter, i: an idempotency record, l: leases, f: facts
    {namespace}:l:KEY~turns         who waits for a lease
"""

import json
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from hashlib import sha1
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from actguard.exceptions import ActGuardUsageError
from actguard.stores.protocol import (
    BreakerAcquire,
    BreakerRecord,
    BreakerRules,
    BreakerState,
    CounterGive,
    CounterSeen,
    CounterTake,
    Done,
    IdempotencyBegin,
    IdempotencyDone,
    IdempotencyLost,
    IdempotencyRelease,
    Kind,
    LeaseGive,
    LeaseTake,
    Limit,
    RateGive,
    RateTake,
    Report,
    Step,
)

_LETTERS: dict[Kind, str] = {"rate": "r", "breaker": "b", "counter": "c", "idempotency": "i", "lease": "l"}
_PARTS: tuple[str, ...] = ("sliding", "gcra", "fixed", "rate", "breaker", "counter", "idempotency", "lease")
_SECOND = 1_000_000

_text = json.encoder.encode_basestring_ascii


class Script(NamedTuple):
    source: str
    sha: str


@cache
def script(operation: str, parts: frozenset[str]) -> Script:
    """The script of an operation, with the parts that it needs: what is not defined costs nothing."""
    folder = files("actguard.stores") / "lua"
    needed = [f"do\n{(folder / f'{part}.lua').read_text('utf-8')}end\n" for part in _PARTS if part in parts]
    source = "".join(
        ((folder / "clock.lua").read_text("utf-8"), *needed, (folder / f"{operation}.lua").read_text("utf-8"))
    )
    return Script(source, sha1(source.encode(), usedforsecurity=False).hexdigest())  # as Redis names scripts


class Request:
    """One run of a script: which, and with what. Steps and reports add themselves to it."""

    __slots__ = ("_asked", "_now", "_prefix", "keys", "operation", "parts", "texts")

    def __init__(self, operation: str, prefix: str, now: str) -> None:
        self.operation = operation
        self.keys: list[bytes] = []
        self.parts: frozenset[str] = frozenset()
        self.texts: list[bytes] = []
        self._asked: list[str] = []
        self._now = now
        self._prefix = prefix

    def ask(self, parts: frozenset[str], asked: str) -> None:
        self.parts = parts if not self.parts else self.parts | parts
        self._asked.append(asked)

    def key(self, letter: str, key: str, suffix: str = "") -> int:
        """Add a key; its number."""
        self.keys.append(f"{self._prefix}{letter}:{key}{suffix}".encode(errors="surrogatepass"))
        return len(self.keys)

    def text(self, value: Any) -> int:
        """Add a text that is kept as it is; its number."""
        self.texts.append(value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass"))
        return len(self.texts) + 2

    def script(self) -> Script:
        return script(self.operation, self.parts)

    def arguments(self) -> tuple[Any, ...]:
        """What follows EVALSHA and the script's name."""
        return (len(self.keys), *self.keys, f"[{','.join(self._asked)}]", self._now, *self.texts)


class Wire:
    """Requests in one namespace.

    Args:
        now: microseconds, for tests whose time does not pass by itself; None: the server's clock.
    """

    def __init__(self, namespace: str, now: Callable[[], int] | None = None) -> None:
        word = isinstance(namespace, str) and namespace.isprintable()  # pyright: ignore[reportUnnecessaryIsInstance]
        if not word or not namespace or set(namespace) & set("{}*?[]^\\ "):
            raise ActGuardUsageError(
                "namespace must be a word without spaces, braces, brackets, *, ?, ^ and backslashes, "
                f"not {namespace!r}",
                argument="namespace",
            )
        self._prefix = f"{{{namespace}}}:"
        self._now = now

    def admit(self, steps: Sequence[Step]) -> Request:
        request = self._request("admit")
        for step in steps:
            _STEPS[type(step)](request, step)
        return request

    def finish(self, reports: Sequence[Report]) -> Request:
        request = self._request("finish")
        for report in reports:
            _REPORTS[type(report)](request, report)
        return request

    def heartbeat(self, kind: Literal["idempotency", "lease"], key: str, owner: str, lease_s: float) -> Request:
        request = self._request("finish")
        letter = _LETTERS[kind]
        request.ask(_only(kind), f'["{letter}b",{request.key(letter, key)},{_text(owner)},{micros(lease_s)}]')
        return request

    def circuit(self, key: str, rules: BreakerRules) -> Request:
        request = self._request("look")
        request.key("b", key)
        request.ask(_only("breaker"), f'"b",{_rules(rules)}')
        return request

    def force(self, key: str, rules: BreakerRules, state: BreakerState) -> Request:
        request = self._request("finish")
        request.ask(_only("breaker"), f'["bf",{request.key("b", key)},{_rules(rules)},{_text(state)}]')
        return request

    def resolve(self, key: str, outcome: Done | None, ttl_s: float) -> Request:
        request = self._request("finish")
        text = 0 if outcome is None else request.text(outcome.result)
        request.ask(_only("idempotency"), f'["iv",{request.key("i", key)},{micros(ttl_s)},{text}]')
        return request

    def records(self, keys: Sequence[bytes]) -> Request:
        request = self._request("look")
        request.keys += keys
        request.ask(_only("idempotency"), '"i"')
        return request

    def facts(self, session: str, asked: list[Any]) -> Request:
        request = self._request("facts")
        request.key("f", session)
        request.key("f", session, "~due")
        request.ask(frozenset(), json.dumps(asked)[1:-1])
        return request

    def pattern(self, kind: Kind, prefix: str) -> bytes:
        """What SCAN has to match."""
        plain = "".join(f"\\{letter}" if letter in "*?[]^\\" else letter for letter in prefix)
        return f"{self._prefix}{_LETTERS[kind]}:{plain}*".encode(errors="surrogatepass")

    def plain_key(self, kind: Kind, key: bytes) -> str:
        return key.decode(errors="surrogatepass").removeprefix(f"{self._prefix}{_LETTERS[kind]}:")

    def _request(self, operation: str) -> Request:
        return Request(operation, self._prefix, "" if self._now is None else str(self._now()))


# ---- numbers and options, written once for each set of options ----------------------------------------------------


_LONGEST = 100 * 365.25 * 86_400
"""Seconds: for ever, as far as keys are concerned. What ends later is more than a server can count to."""


def micros(seconds: float) -> int:
    """*seconds* as the scripts count them."""
    return max(1, round(min(seconds, _LONGEST) * _SECOND))


_MOST = 1 << 53
"""The largest whole number that a script counts to; whoever may call more often may call as often as he likes."""


@lru_cache(1024)
def _limits(limits: tuple[Limit, ...]) -> tuple[str, tuple[str, ...], frozenset[str]]:
    """Limits as JSON, the ends of their keys, and the parts they need. Limits of other periods have keys of their own:
    what the shorter one forgets, the longer one still counts."""
    asked: list[str] = []
    suffixes: list[str] = []
    for limit in limits:
        period, burst = micros(limit.period), limit.max_calls if limit.burst is None else limit.burst
        most = min(limit.max_calls, _MOST)
        asked.append(f'["{limit.algorithm}",{most},{period},{min(burst, _MOST)}]')
        suffix = f"~{limit.algorithm[0]}{period}"
        suffixes.append(suffix + "+" * suffixes.count(suffix))
    return f"[{','.join(asked)}]", tuple(suffixes), frozenset({"rate", *(limit.algorithm for limit in limits)})


@lru_cache(1024)
def _rules(rules: BreakerRules) -> str:
    return json.dumps(
        {
            name: micros(value) if name in _DURATIONS else value
            for name, value in rules._asdict().items()
            if value is not None
        }
    )


_DURATIONS = {"reset_timeout", "window", "max_open_s", "probe_lease_s", "idle_s"}


@cache
def _only(part: str) -> frozenset[str]:
    return frozenset({part})


def _flag(value: bool) -> str:
    return "true" if value else "false"


# ---- steps: kind, number of the (first) key, observe, and the rest -------------------------------------------------


def _rate(request: Request, step: RateTake) -> None:
    asked, suffixes, parts = _limits(step.limits)
    first = len(request.keys) + 1
    for suffix in suffixes:
        request.key("r", step.key, suffix)
    request.ask(parts, f'["r",{first},{_flag(step.observe)},{step.cost},{asked}]')


def _breaker(request: Request, step: BreakerAcquire) -> None:
    key = request.key("b", step.key)
    request.ask(_only("breaker"), f'["b",{key},{_flag(step.observe)},{_text(step.owner)},{_rules(step.rules)}]')


def _counter(request: Request, step: CounterTake) -> None:
    key = request.key("c", step.key)
    request.ask(_only("counter"), f'["c",{key},{_flag(step.observe)},{step.limit},{micros(step.ttl_s)}]')


def _idempotency(request: Request, step: IdempotencyBegin) -> None:
    key, observe, owner = request.key("i", step.key), _flag(step.observe), _text(step.owner)
    fingerprint = "false" if step.fingerprint is None else _text(step.fingerprint)
    request.ask(
        _only("idempotency"),
        f'["i",{key},{observe},{owner},{micros(step.ttl_s)},{micros(step.lease_s)},{fingerprint}]',
    )


def _lease(request: Request, step: LeaseTake) -> None:
    key, owner, observe = request.key("l", step.key), _text(step.owner), _flag(step.observe)
    request.key("l", step.key, "~turns")
    waits = 0 if step.observe or not step.waits_s else micros(step.waits_s)
    limit, lease = min(step.limit, _MOST), micros(step.lease_s)
    request.ask(_only("lease"), f'["l",{key},{observe},{owner},{limit},{lease},{waits}]')


_STEPS: dict[type[Any], Callable[[Request, Any], None]] = {
    RateTake: _rate,
    BreakerAcquire: _breaker,
    CounterTake: _counter,
    IdempotencyBegin: _idempotency,
    LeaseTake: _lease,
}

# ---- reports: what, number of the (first) key, and the rest --------------------------------------------------------


def _record(request: Request, report: BreakerRecord) -> None:
    key, owner = request.key("b", report.key), _text(report.owner)
    open_for = "false" if report.open_for is None else micros(report.open_for)
    request.ask(
        _only("breaker"),
        f'["br",{key},{owner},{_rules(report.rules)},{report.generation},"{report.outcome}",{open_for}]',
    )


def _give(request: Request, report: RateGive) -> None:
    asked, suffixes, parts = _limits(report.limits)
    first = len(request.keys) + 1
    for suffix in suffixes:
        request.key("r", report.key, suffix)
    request.ask(parts, f'["rg",{first},{report.cost},{_text(str(report.token))},{asked}]')


def _uncount(request: Request, report: CounterGive) -> None:
    request.ask(_only("counter"), f'["cg",{request.key("c", report.key)}]')


def _seen(request: Request, report: CounterSeen) -> None:
    request.ask(_only("counter"), f'["cs",{request.key("c", report.key)},{_text(report.mark)}]')


def _done(request: Request, report: IdempotencyDone) -> None:
    key, text = request.key("i", report.key), request.text(report.result)
    request.ask(_only("idempotency"), f'["id",{key},{_text(report.owner)},{micros(report.ttl_s)},{text}]')


def _lost(request: Request, report: IdempotencyLost) -> None:
    key, text = request.key("i", report.key), request.text(report.error)
    request.ask(_only("idempotency"), f'["il",{key},{_text(report.owner)},{micros(report.ttl_s)},{text}]')


def _release(request: Request, report: IdempotencyRelease) -> None:
    request.ask(_only("idempotency"), f'["ir",{request.key("i", report.key)},{_text(report.owner)}]')


def _unlease(request: Request, report: LeaseGive) -> None:
    key = request.key("l", report.key)
    request.key("l", report.key, "~turns")
    request.ask(_only("lease"), f'["lg",{key},{_text(report.owner)}]')


_REPORTS: dict[type[Any], Callable[[Request, Any], None]] = {
    BreakerRecord: _record,
    RateGive: _give,
    CounterGive: _uncount,
    CounterSeen: _seen,
    IdempotencyDone: _done,
    IdempotencyLost: _lost,
    IdempotencyRelease: _release,
    LeaseGive: _unlease,
}
