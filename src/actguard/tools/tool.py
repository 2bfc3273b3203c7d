"""`tool`: all guards of a function, in one place."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar, cast, overload

from actguard.exceptions import ActGuardUsageError
from actguard.pipeline.decorate import guarded
from actguard.pipeline.guard import Guard, OnBlock
from actguard.tools.circuit_breaker import CircuitBreaker
from actguard.tools.concurrency import Concurrency
from actguard.tools.idempotent import Idempotent
from actguard.tools.max_attempts import MaxAttempts
from actguard.tools.no_repeat import NoRepeat
from actguard.tools.rate_limit import RateLimit
from actguard.tools.timeout import Timeout

F = TypeVar("F")

Options = Mapping[str, Any]


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(
    *,
    rate_limit: RateLimit | Options | Sequence[RateLimit | Options] | str | None = None,
    circuit_breaker: CircuitBreaker | Options | None = None,
    max_attempts: MaxAttempts | Options | int | None = None,
    timeout: Timeout | Options | float | None = None,
    timeout_executor: Executor | None = None,
    idempotent: Idempotent | Options | bool | None = None,
    no_repeat: NoRepeat | Options | int | None = None,
    concurrency: Concurrency | Options | int | None = None,
    policy: Any = None,
    prove: Any = None,
    guards: Sequence[Guard] = (),
    on_block: OnBlock = "raise",
) -> Callable[[F], F]: ...


def tool(
    function: Any = None,
    /,
    *,
    rate_limit: RateLimit | Options | Sequence[RateLimit | Options] | str | None = None,
    circuit_breaker: CircuitBreaker | Options | None = None,
    max_attempts: MaxAttempts | Options | int | None = None,
    timeout: Timeout | Options | float | None = None,
    timeout_executor: Executor | None = None,
    idempotent: Idempotent | Options | bool | None = None,
    no_repeat: NoRepeat | Options | int | None = None,
    concurrency: Concurrency | Options | int | None = None,
    policy: Any = None,
    prove: Any = None,
    guards: Sequence[Guard] = (),
    on_block: OnBlock = "raise",
) -> Any:
    """Put several guards on a function.

    Whatever the order of arguments or decorators, a call passes them in this one: policy -> idempotent -> no_repeat ->
    max_attempts -> circuit_breaker -> rate_limit -> concurrency -> timeout -> the function -> prove. A guard that
    refuses gives back what those before it took.

    Args:
        rate_limit: options of `rate_limit`, several of them, or limits such as "10/s;100/min".
        circuit_breaker: options of `circuit_breaker`.
        max_attempts: options of `max_attempts`, or the number of calls.
        timeout: options of `timeout`, or seconds.
        timeout_executor: where a synchronous function runs, as `timeout(executor=)`.
        idempotent: options of `idempotent`, or True.
        no_repeat: options of `no_repeat`, or the number of identical calls.
        concurrency: options of `concurrency`, or the number of calls at once.
        policy: rules, as for `enforce`.
        prove: a guard made by `prove`, or several.
        guards: any other guards.
        on_block: what a refused call does, for each guard that is made here and does not say otherwise.
    """
    Guard(on_block=on_block)  # which says what is wrong with it
    both = {"on_block": on_block}
    found: list[Guard] = list(guards)
    if policy is not None:
        from actguard.custody.enforce import enforce

        found.append(policy if isinstance(policy, Guard) else enforce(policy, **both))
    once: Any = None if idempotent is False else {} if idempotent is True else idempotent
    found += _of(Idempotent, "idempotent", once, both)
    found += _of(NoRepeat, "no_repeat", no_repeat, both, "max_identical")
    found += _of(MaxAttempts, "max_attempts", max_attempts, both, "calls")
    found += _of(CircuitBreaker, "circuit_breaker", circuit_breaker, both)
    several = rate_limit if isinstance(rate_limit, list | tuple) else [rate_limit]
    for one in several:
        found += _of(RateLimit, "rate_limit", one, both, "limits")
    found += _of(Concurrency, "concurrency", concurrency, both, "limit")
    found += _timeouts(timeout, timeout_executor, both)
    if prove is not None:
        found += list(cast("Sequence[Guard]", prove)) if isinstance(prove, list | tuple) else [prove]
    for guard in found:
        if not isinstance(guard, Guard):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ActGuardUsageError(f"guards must hold guards, made by rate_limit(...) say, not {guard!r}")

    def put(function: F) -> F:
        return guarded(function, found)

    return put if function is None else put(function)


def _timeouts(timeout: Any, executor: Executor | None, both: Options) -> list[Guard]:
    if timeout is None:
        if executor is not None:
            raise ActGuardUsageError("timeout_executor needs a timeout", argument="timeout_executor")
        return []
    if executor is not None:
        both = {**both, "executor": executor}
        if isinstance(timeout, Mapping):
            timeout = {**cast("Options", timeout), "executor": executor}
    return _of(Timeout, "timeout", timeout, both, "seconds")


def _of(kind: type[Guard], argument: str, options: Any, both: Options, short: str | None = None) -> list[Guard]:
    """The guard that *options* stand for: one that is made already, its keyword arguments, or its main one alone.

    Args:
        both: keyword arguments in either case, unless *options* have them.
    """
    if options is None:
        return []
    if isinstance(options, kind):
        return [options]
    if isinstance(options, Mapping):
        try:
            return [kind(**{**both, **cast("dict[str, Any]", options)})]
        except TypeError as error:
            said = str(error).replace(f"{kind.__name__}.__init__()", argument)
            raise ActGuardUsageError(said, argument=argument) from None
    if short is None or isinstance(options, bool):
        raise ActGuardUsageError(
            f"{argument} must be a mapping of the options of {argument}(), not {options!r}", argument=argument
        )
    try:
        return [kind(**{**both, short: options})]
    except ActGuardUsageError as wrong:
        raise type(wrong)(f"{argument}: {wrong.message}", argument=argument) from None
