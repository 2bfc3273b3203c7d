"""`circuit_breaker`: leave a dependency alone that keeps failing."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from actguard.exceptions import CircuitBreakerConfigurationError, CircuitOpenError, ToolGuardError
from actguard.pipeline import settings
from actguard.pipeline.decorate import Decorator
from actguard.pipeline.guard import (
    PLAIN,
    Args,
    Ending,
    Guard,
    Kwargs,
    OnStoreError,
    Part,
    called,
    named,
    positive,
    whole,
)
from actguard.pipeline.target import Target
from actguard.stores.breaker import QUIET
from actguard.stores.protocol import (
    BreakerAcquire,
    BreakerRecord,
    BreakerRules,
    CallOutcome,
    Open,
    Permit,
    Receipt,
    Refusal,
)
from actguard.tools.circuits import circuits
from actguard.tools.failure_kinds import FAIL_ON_DEFAULT, IGNORE_ON_DEFAULT, FailureKind
from actguard.tools.failures import classify, kind_of_answer, retry_after
from actguard.tools.owners import new_owner
from actguard.tools.scope import Scope, check_scope, counted, described, key_maker, key_prefix

_Error = CircuitBreakerConfigurationError


@dataclass(frozen=True, kw_only=True, eq=False)
class CircuitBreaker(Decorator):
    """Stop calling a dependency after *max_fails* failures in a row, for *reset_timeout* seconds; then try it with
    a few probes, and go on when they succeed.

    A failure is an exception whose `FailureKind` is in *fail_on*. Everything else that is raised is neutral: it neither
    counts, nor makes good for failures before it.

    Args:
        name: of the dependency. All functions with the same name share one circuit, and must agree on when it opens and
            closes.
        max_fails: failures in a row that open the circuit.
        reset_timeout: seconds that it stays open.
        fail_on: kinds of failures that count.
        ignore_on: kinds that do not, whatever *fail_on* says of others.
        failure_rate: opens the circuit at this share of failures instead (0.5: half of them), among the calls of the
            last *window* seconds (None: 60), if there were *min_calls* at least (None: 10).
        slow_call_s: a call that took longer counts as a failure, though it succeeded.
        half_open_probes: how many calls may try at once.
        successes_to_close: how many of them must succeed.
        backoff: each time in a row that a probe fails, the circuit stays open this many times longer, up to
            *max_open_s* (None: an hour, or *reset_timeout* if that is longer).
        probe_lease_s: a probe that has not come back by then is given up, and its place is free again.
        classify: gets the exception, returns its `FailureKind`, or None for the usual one.
        is_failure: gets the exception and decides alone.
        scope: one circuit for each value, as in `rate_limit`.

    Raises:
        CircuitOpenError: on a call that is not let through; `retry_after` says when the next probe may.
    """

    kind: ClassVar[str] = "circuit_breaker"
    safe_store_error: ClassVar[OnStoreError] = "local"

    name: str
    max_fails: int = 3
    reset_timeout: float = 60.0
    fail_on: Iterable[FailureKind] = FAIL_ON_DEFAULT
    ignore_on: Iterable[FailureKind] = IGNORE_ON_DEFAULT
    failure_rate: float | None = None
    window: float | None = None
    min_calls: int | None = None
    slow_call_s: float | None = None
    half_open_probes: int = 1
    successes_to_close: int = 1
    backoff: float = 1.0
    max_open_s: float | None = None
    probe_lease_s: float = 60.0
    classify: Callable[[BaseException], FailureKind | None] | None = None
    is_failure: Callable[[BaseException], bool] | None = None
    scope: Scope = None

    def __post_init__(self) -> None:
        Guard.__post_init__(self)
        named("name", self.name, error=_Error)
        whole("max_fails", self.max_fails, error=_Error)
        positive("reset_timeout", self.reset_timeout, error=_Error)
        kinds = {argument: _kinds(argument, getattr(self, argument)) for argument in ("fail_on", "ignore_on")}
        both = kinds["fail_on"] & kinds["ignore_on"]
        if kinds["ignore_on"] == IGNORE_ON_DEFAULT:
            kinds["ignore_on"] -= both  # the default makes room for what was asked for
        elif both:
            raise _Error(f"fail_on and ignore_on both name {', '.join(sorted(both))}", argument="ignore_on")
        for argument, value in kinds.items():
            object.__setattr__(self, argument, value)
        if self.failure_rate is None:
            for argument in ("window", "min_calls"):
                if getattr(self, argument) is not None:
                    raise _Error(f"{argument} needs failure_rate", argument=argument)
        elif positive("failure_rate", self.failure_rate, error=_Error) > 1:
            raise _Error(f"failure_rate must be at most 1, not {self.failure_rate!r}", argument="failure_rate")
        for argument in ("window", "slow_call_s", "max_open_s"):
            if getattr(self, argument) is not None:
                positive(argument, getattr(self, argument), error=_Error)
        if self.min_calls is not None:
            whole("min_calls", self.min_calls, error=_Error)
        whole("half_open_probes", self.half_open_probes, error=_Error)
        whole("successes_to_close", self.successes_to_close, error=_Error)
        if not 1 <= positive("backoff", self.backoff, error=_Error) <= 1000:
            raise _Error(f"backoff must be between 1 and 1000, not {self.backoff!r}", argument="backoff")
        if self.max_open_s is not None and self.max_open_s < self.reset_timeout:
            raise _Error("max_open_s must not be less than reset_timeout", argument="max_open_s")
        positive("probe_lease_s", self.probe_lease_s, error=_Error)
        for argument in ("classify", "is_failure"):
            if getattr(self, argument) is not None:
                called(argument, getattr(self, argument), error=_Error)
        check_scope(self.scope)
        circuits.agree(self.name, self.rules(), self.store)

    def rules(self) -> BreakerRules:
        """What the options say, as the store reads it."""
        return BreakerRules(
            max_fails=self.max_fails,
            reset_timeout=float(self.reset_timeout),
            failure_rate=self.failure_rate,
            window=self.window or 60.0,
            min_calls=self.min_calls or 10,
            half_open_probes=self.half_open_probes,
            successes_to_close=self.successes_to_close,
            backoff=float(self.backoff),
            max_open_s=self.max_open_s or max(3600.0, self.reset_timeout),
            probe_lease_s=float(self.probe_lease_s),
            idle_s=max(86_400.0, 10 * self.reset_timeout),
        )

    def bind(self, target: Target) -> Part[BreakerAcquire]:
        rules = self.rules()
        begin = key_prefix(self.kind, self.name)
        key = key_maker(target, self.scope, begin)

        names_probes = not self.store_under(settings.current().store).blocking  # then nobody needs a name before

        def named_step(args: Args, kwargs: Kwargs) -> BreakerAcquire:
            return BreakerAcquire(key(args, kwargs), rules, new_owner())

        def refuse(step: BreakerAcquire, refusal: Refusal) -> ToolGuardError:
            assert isinstance(refusal, Open)
            return CircuitOpenError(
                tool=target.name, dependency_name=self.name, state=refusal.state, retry_after=refusal.retry_after
            )

        def report(step: BreakerAcquire, receipt: Receipt, ending: Ending) -> BreakerRecord | None:
            assert isinstance(receipt, Permit)
            outcome, open_for = self.judge(ending)
            if outcome == "success" and receipt.quiet:
                return None
            if outcome == "neutral" and not receipt.probe:
                return None
            return BreakerRecord(step.key, rules, receipt.owner or step.owner, receipt.generation, outcome, open_for)

        return Part(
            guard=self,
            asks="breaker",
            step=None if names_probes else named_step,
            key=key if names_probes else None,
            like=BreakerAcquire("", rules) if names_probes else None,
            fixed_key=begin if self.scope is None else None,
            refuse=refuse,
            report=report,
            quiet=PLAIN if self.slow_call_s is None else frozenset(),
            usual=QUIET if self.slow_call_s is None else None,
            timed=self.slow_call_s is not None,
        )

    def judge(self, ending: Ending) -> tuple[CallOutcome, float | None]:
        """What *ending* says about the dependency, and for how long it asked to be left alone."""
        error = ending.error
        if error is None:
            if self.slow_call_s is not None and ending.seconds > self.slow_call_s:
                return "failure", None
            said = None if type(ending.result) in PLAIN else kind_of_answer(ending.result)
            return ("success", None) if said is None else self._by_kind(said, ending.result)
        if ending.neutral:
            return "neutral", None
        if self.is_failure is not None:
            try:
                return ("failure" if self.is_failure(error) else "neutral"), None
            except Exception:  # noqa: BLE001 - the tool's own error is what must reach the caller
                return "neutral", None
        return self._by_kind(self._kind(error), error)

    def _by_kind(self, kind: FailureKind, said_by: Any) -> tuple[CallOutcome, float | None]:
        if kind not in cast("frozenset[FailureKind]", self.fail_on):
            return "neutral", None
        return "failure", retry_after(said_by) if kind is FailureKind.THROTTLED else None

    def explain(self) -> str:
        when = (
            f"after {counted(self.max_fails, 'failure')} in a row"
            if self.failure_rate is None
            else f"at {self.failure_rate:.0%} failures in {self.window or 60.0:g} s"
        )
        return f"{self.name!r}: opens {when}, for {self.reset_timeout:g} s{described(self.scope)}"

    def _kind(self, error: BaseException) -> FailureKind:
        if self.classify is not None:
            try:
                kind = self.classify(error)
            except Exception:  # noqa: BLE001 - the tool's own error is what must reach the caller
                kind = None
            if isinstance(kind, FailureKind):
                return kind
        return classify(error)


circuit_breaker = CircuitBreaker


def _kinds(argument: str, kinds: Any) -> frozenset[FailureKind]:
    if isinstance(kinds, str) or not isinstance(kinds, Iterable):
        kinds = [kinds]
    found: list[FailureKind] = []
    for kind in kinds:  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(kind, FailureKind):
            allowed = ", ".join(FailureKind.__members__)
            raise _Error(f"{argument} must hold FailureKinds ({allowed}), not {kind!r}", argument=argument)
        found.append(kind)
    if not found and argument == "fail_on":
        raise _Error("fail_on must name one kind of failure at least, or the circuit never opens", argument=argument)
    return frozenset(found)
