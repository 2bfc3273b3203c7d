"""What each guard makes of a call: its key, what it asks, what a refusal becomes, and what it says of how it ended."""

from math import inf
from typing import Any

import pytest

from actguard import (
    ActGuardUsageError,
    CircuitOpenError,
    ConcurrencyExceeded,
    DuplicateIdempotencyKey,
    Executed,
    FailureKind,
    IdempotencyInProgress,
    IdempotencyOutcomeUnknown,
    IdempotencyPayloadMismatch,
    MissingIdempotencyKeyError,
    MissingRuntimeContextError,
    NotExecuted,
    RateLimitExceeded,
    StillUnknown,
    circuit_breaker,
    circuits,
    concurrency,
    idempotency,
    idempotent,
    rate_limit,
    session,
)
from actguard.context import Frame, Run, inside
from actguard.exceptions import InvalidIdempotentToolError, ToolGuardError
from actguard.pipeline.guard import Ending, Part
from actguard.pipeline.target import target_of
from actguard.stores.protocol import InProgress, NoPlace, OverLimit, RateGive, RateTake, Taken, Unknown


def part(guard: Any, function: Any = lambda user="a", idempotency_key="k": None) -> Part[Any]:
    return guard.bind(target_of(function))


def refused(function: Any, *args: Any, error: type[Any] = RateLimitExceeded, **kwargs: Any) -> Any:
    with pytest.raises(error) as caught:
        function(*args, **kwargs)
    return caught.value


# ---- rates ----


def test_a_rate_that_is_waited_for_says_how_long_and_only_if_it_comes_in_time() -> None:
    waits = part(rate_limit(wait=7))
    assert (waits.wait_s, waits.lined) == (7, True)
    assert waits.patience is not None
    assert waits.patience(OverLimit(0, 0, 5.0), 5.0) == 5.0
    assert waits.patience(OverLimit(0, 0, 5.0), 4.9) is None
    goes = part(rate_limit())
    assert (goes.wait_s, goes.lined, goes.patience) == (0.0, False, None)


def test_only_a_call_that_failed_is_given_back_where_successes_count() -> None:
    report = part(rate_limit(count="successes")).report
    assert report is not None
    step = RateTake("key", rate_limit().all_limits(), 3)
    taken: Any = Taken("token", 1)
    assert report(step, taken, Ending("result", None, False, 0.0)) is None
    given = report(step, taken, Ending(None, LookupError(), False, 0.0))
    assert given == RateGive("key", step.limits, "token", 3)
    assert part(rate_limit()).report is None


def test_a_refused_call_names_its_scope_by_key_and_what_was_left() -> None:
    look = rate_limit(max_calls=3, scope="user", cost=2)(lambda user: user)
    look("a")
    error = refused(look, "a")
    assert error.remaining == 1
    assert error.scope.endswith("/s:a")
    assert refused(rate_limit(max_calls=1, cost=lambda: 2)(lambda: None)).scope is None
    once = rate_limit(max_calls=1)(lambda: None)
    once()
    assert (refused(once).scope, refused(once).remaining) == (None, 0)


@pytest.mark.parametrize(
    "other",
    [
        {"max_calls": 2},
        {"period": 30},
        {"algorithm": "fixed"},
        {"algorithm": "gcra"},
        {"algorithm": "gcra", "burst": 1},
        {"limits": "1/60s;5/h"},
        {"scope": lambda: "x"},
    ],
)
def test_limits_that_differ_are_counted_apart_even_under_one_name(other: dict[str, Any]) -> None:
    def options(changed: dict[str, Any]) -> dict[str, Any]:
        return {"name": "shared", **({} if "limits" in changed else {"max_calls": 1}), **changed}

    one, same = (rate_limit(**options({}))(lambda: "done") for _ in range(2))
    different = rate_limit(**options(other))(lambda: "done")
    assert one() == "done"
    refused(same)
    assert different() == "done"


def test_a_cost_is_compared_with_the_least_that_ever_fits() -> None:
    assert rate_limit(max_calls=5, cost=5)(lambda: "done")() == "done"
    assert rate_limit(limits="10/s;5/m", cost=5)(lambda: "done")() == "done"
    assert rate_limit(max_calls=1, burst=3, algorithm="gcra", cost=3)(lambda: "done")() == "done"
    dear = rate_limit(limits="10/2s;5/m", cost=lambda price: price)(lambda price: price)
    assert dear(5) == 5
    error = refused(dear, 6)
    assert (error.tool, error.limit, error.period) == ("<lambda>", 5, 2.0)
    assert refused(dear, True, error=ToolGuardError).code == "INVALID_COST"
    apart = rate_limit(max_calls=5, scope="user", cost=lambda price, user: price)(lambda price, user: user)
    assert apart(5, user="a") == "a"
    assert apart(price=5, user="b") == "b"
    assert refused(apart, 1, user="a").scope.endswith("s:a")


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("10/s", [(10, 1.0)]),
        (" 10 / 30 s ; 5/0.5min", [(10, 30.0), (5, 30.0)]),
        ("1/sec;2/second;3/seconds;4/secs", [(1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0)]),
        ("1/m;2/min;3/minutes", [(1, 60.0), (2, 60.0), (3, 60.0)]),
        ("1/h;2/2hours", [(1, 3_600.0), (2, 7_200.0)]),
        ("1/d;2/days", [(1, 86_400.0), (2, 86_400.0)]),
    ],
)
def test_limits_in_words_are_seconds(text: str, limits: list[tuple[int, float]]) -> None:
    read = rate_limit(limits=text, algorithm="fixed").all_limits()
    assert [(limit.max_calls, limit.period) for limit in read] == limits
    assert {(limit.algorithm, limit.burst) for limit in read} == {("fixed", None)}
    (limit,) = rate_limit(max_calls=7, period=5, algorithm="gcra", burst=2).all_limits()
    assert limit == (7, 5.0, "gcra", 2)
    assert [each.burst for each in rate_limit(limits="7/s", algorithm="gcra", burst=2).all_limits()] == [2]


# ---- places ----


def test_a_place_is_looked_for_every_twentieth_of_a_second_while_there_is_time() -> None:
    waits = part(concurrency(limit=1, wait=7))
    assert (waits.wait_s, waits.lined, waits.asks) == (7, True, "lease")
    assert waits.patience is not None
    assert [waits.patience(NoPlace(1.0), left) for left in (7, 0.02, 0, -1)] == [0.05, 0.02, None, None]
    for wait in (0.01, 1):
        assert part(concurrency(limit=1, wait=wait)).lined
        assert part(rate_limit(wait=wait)).lined
    goes = part(concurrency(limit=1))
    assert (goes.wait_s, goes.lined, goes.patience) == (0.0, False, None)


def test_places_are_shared_by_name_and_apart_otherwise() -> None:
    def both(one: Any, other: Any) -> Any:
        return one(lambda: other(lambda: "done"))

    def hold(**options: Any) -> Any:
        return concurrency(limit=1, **options)(lambda then: then())

    assert both(hold(), hold()) == "done"
    assert both(hold(name="a"), hold(name="b")) == "done"
    assert refused(both, hold(name="a"), hold(name="a"), error=ConcurrencyExceeded).limit == 1


# ---- circuits ----


class Throttled(Exception):
    status_code = 429
    headers = {"Retry-After": "40"}  # noqa: RUF012


class Unavailable(Exception):
    status_code = 503
    headers = {"Retry-After": "40"}  # noqa: RUF012


THROTTLED = {"fail_on": [FailureKind.THROTTLED]}


def says_throttled(error: BaseException) -> FailureKind:
    return FailureKind.THROTTLED


@pytest.mark.parametrize(
    ("options", "ending", "said"),
    [
        ({}, Ending(1, None, False, 99.0), ("success", None)),
        ({"slow_call_s": 2}, Ending(1, None, False, 2.0), ("success", None)),
        ({"slow_call_s": 2}, Ending(1, None, False, 2.1), ("failure", None)),
        ({"slow_call_s": 2}, Ending(None, ValueError(), False, 2.1), ("neutral", None)),
        ({}, Ending(None, ConnectionError(), False, 0.0), ("failure", None)),
        ({}, Ending(None, ConnectionError(), True, 0.0), ("neutral", None)),
        ({}, Ending(None, ValueError(), False, 0.0), ("neutral", None)),
        ({}, Ending(None, Throttled(), False, 0.0), ("neutral", None)),
        (THROTTLED, Ending(None, Throttled(), False, 0.0), ("failure", 40.0)),
        ({}, Ending(None, Unavailable(), False, 0.0), ("failure", None)),
        ({**THROTTLED, "classify": says_throttled}, Ending(None, Unavailable(), False, 0.0), ("failure", 40.0)),
        ({"is_failure": lambda error: True}, Ending(None, Throttled(), False, 0.0), ("failure", None)),
        ({"is_failure": lambda error: False}, Ending(None, Throttled(), False, 0.0), ("neutral", None)),
        ({"is_failure": lambda error: 1 / 0}, Ending(None, Throttled(), False, 0.0), ("neutral", None)),
        ({"is_failure": lambda error: True}, Ending(None, Throttled(), True, 0.0), ("neutral", None)),
    ],
)
def test_what_the_end_of_a_call_says_of_a_service(options: Any, ending: Ending, said: Any) -> None:
    assert circuit_breaker(name="judge", **options).judge(ending) == said


def test_calls_are_timed_only_where_slow_ones_count() -> None:
    quick, slow = part(circuit_breaker(name="quick")), part(circuit_breaker(name="slow", slow_call_s=1))
    assert (str in quick.quiet, quick.timed) == (True, False)
    assert (str in slow.quiet, slow.timed) == (False, True)


def test_a_circuit_of_its_own_for_each_value_of_its_scope() -> None:
    @circuit_breaker(name="each", max_fails=1, scope="user")
    def call(user: str, error: Exception | None = None) -> str:
        if error is not None:
            raise error
        return user

    refused(call, "a", ConnectionError(), error=ConnectionError)
    assert refused(call, "a", error=CircuitOpenError).dependency_name == "each"
    assert call("b") == "b"


def test_a_circuit_s_rules_are_its_options_and_bounded_by_its_times() -> None:
    rules = circuit_breaker(name="long", reset_timeout=4_000).rules()
    assert (rules.max_open_s, rules.idle_s) == (4_000, 86_400.0)
    rules = circuit_breaker(name="longer", reset_timeout=8_641).rules()
    assert rules.idle_s == 86_410
    assert circuit_breaker(name="own", reset_timeout=10, max_open_s=11).rules().max_open_s == 11
    for share in (1, 1.0, 0.01):
        assert circuit_breaker(name=f"share {share!r}", failure_rate=share).rules().failure_rate == share
    for name in ("long", "longer", "own"):
        circuits.forget(name)


# ---- keys ----


def test_a_key_reaches_as_far_as_it_says(heard: Any) -> None:
    def tools(scope: Any) -> tuple[list[str], Any]:
        done: list[str] = []

        @idempotent(scope=scope)
        def pay(idempotency_key: str) -> str:
            done.append(idempotency_key)
            return "paid"

        return done, pay

    in_run, pay_in_run = tools("run")
    in_session, pay_in_session = tools("session")
    anywhere, pay_anywhere = tools("global")
    for run in ("a", "b", "a"):
        for chat in ("x", "y"):
            with inside(Frame(run=Run(run, "alice", heard))), session(chat):
                assert pay_in_run("k") == pay_in_session("k") == pay_anywhere("k") == "paid"
    assert (len(in_run), len(in_session), len(anywhere)) == (2, 2, 1)


def test_where_a_key_would_reach_nothing_the_call_is_refused() -> None:
    for scope in ("run", "session"):
        error = refused(idempotent(scope=scope)(lambda idempotency_key: 1), "k", error=MissingRuntimeContextError)
        assert scope in str(error)
        assert "idempotent" in str(error)


def test_no_run_is_taken_for_another_however_it_is_called(heard: Any) -> None:
    done: list[tuple[str, str]] = []

    @idempotent()
    def pay(idempotency_key: str, who: str = "") -> None:
        done.append((who, idempotency_key))

    for run, key in (("a", "b/s:c"), ("a/s:b", "c"), ("a/s:b/s:c", "c")):
        with inside(Frame(run=Run(run, "alice", heard))):
            pay(key)
    assert len(done) == 3


@pytest.mark.parametrize(
    ("key", "reason"),
    [(None, "missing"), ("", "invalid"), (" \n", "invalid"), (1.5, "invalid"), (True, "invalid"), (["k"], "invalid")],
)
def test_what_is_no_key_is_refused_with_its_reason(run: Any, key: Any, reason: str) -> None:
    error = refused(idempotent()(lambda idempotency_key: 1), key, error=MissingIdempotencyKeyError)
    assert (error.reason, error.tool) == (reason, "<lambda>")
    assert "'idempotency_key'" in str(error)
    own = refused(idempotent(key=lambda item: item)(lambda item: 1), key, error=MissingIdempotencyKeyError)
    assert own.reason == reason
    assert "idempotency_key" not in str(own)


def test_texts_and_whole_numbers_are_keys_and_no_two_of_them_are_one(run: Any) -> None:
    done: list[Any] = []
    pay = idempotent()(lambda idempotency_key: done.append(idempotency_key))
    keys = ["1", 1, 0, -1, "0", " 1", "x" * 200, "x" * 201, "x" * 202, 10**70, 10**101, 10**102]
    for key in keys * 2:
        pay(key)
    assert done == keys


def test_a_key_is_found_among_other_things_by_name(run: Any) -> None:
    done: list[Any] = []

    @idempotent(key_arg="request")
    def pay(amount: int, **more: Any) -> None:
        done.append(more)

    pay(1, request="a")
    pay(1, request="a")
    assert done == [{"request": "a"}]
    assert refused(pay, 1, error=MissingIdempotencyKeyError).reason == "missing"
    with pytest.raises(InvalidIdempotentToolError) as wrong:
        idempotent(key_arg="request")(lambda idempotency_key: 1)
    assert wrong.value.argument == "key_arg"


@pytest.mark.parametrize(
    ("fingerprint", "same", "other"),
    [
        ("args", {"a": 1, "b": 2}, {"a": 1, "b": 3}),
        (["a"], {"a": 1, "b": 3}, {"a": 2, "b": 2}),
        (("a", "b"), {"b": 2, "a": 1}, {"a": 1, "b": 3}),
        ([], {"a": 9, "b": 9}, None),
        (None, {"a": 9, "b": 9}, None),
    ],
)
def test_further_calls_agree_in_what_is_asked_of_them(run: Any, fingerprint: Any, same: Any, other: Any) -> None:
    @idempotent(fingerprint=fingerprint)
    def pay(idempotency_key: str, a: int, b: int = 2) -> str:
        return "paid"

    assert pay("k", 1) == "paid"
    assert pay(idempotency_key="k", **same) == "paid"
    if other is not None:
        error = refused(pay, "k", **other, error=IdempotencyPayloadMismatch)
        assert error.tool == "pay"
        assert error.key == "k"


def test_what_calls_must_agree_in_is_a_parameter() -> None:
    with pytest.raises(InvalidIdempotentToolError) as wrong:
        idempotent(fingerprint=["odd"])(lambda idempotency_key: 1)
    assert wrong.value.argument == "fingerprint"
    with pytest.raises(ActGuardUsageError):
        idempotent(fingerprint="odd")


class Account:
    def __init__(self, done: list[Any]) -> None:
        self.done = done

    @idempotent()
    def pay(self, amount: int, idempotency_key: str) -> int:
        self.done.append(amount)
        return amount

    @idempotent(key="derived")
    def order(self, item: str, amount: int = 1) -> str:
        self.done.append((item, amount))
        return item


def test_of_a_method_it_does_not_matter_on_which_object_it_is_called(run: Any) -> None:
    done: list[Any] = []
    one, other = Account(done), Account(done)
    assert one.pay(5, "k") == other.pay(5, "k") == 5
    assert one.order("x") == other.order("x", amount=1) == "x"
    assert other.order("x", 2) == "x"
    assert done == [5, ("x", 1), ("x", 2)]


def test_a_derived_or_own_key_is_given_to_who_has_a_parameter_for_it(run: Any) -> None:
    given: list[Any] = []

    @idempotent(key="derived", hide_key=False)
    def last(item: str, idempotency_key: str | None = None) -> None:
        given.append(idempotency_key)

    @idempotent(key=lambda item, **more: f"own {item}", hide_key=False)
    def only_by_name(item: str, *, idempotency_key: str | None = None) -> None:
        given.append(idempotency_key)

    last("a")
    last("a", "ignored")
    last("b")
    only_by_name("a")
    assert len(given) == 3
    assert given[0].startswith("d:")
    assert given[0] != given[1]
    assert given[2] == "own a"


def test_every_refusal_of_a_key_names_the_tool_and_the_key(run: Any) -> None:
    @idempotent(on_duplicate="raise", fingerprint=["amount"])
    def pay(idempotency_key: str, amount: int = 1, then: Any = None) -> Any:
        return then() if then else "paid"

    pay("a")
    done = refused(pay, "a", error=DuplicateIdempotencyKey)
    mismatch = refused(pay, "a", 2, error=IdempotencyPayloadMismatch)
    running = pay("b", 1, lambda: refused(pay, "b", error=IdempotencyInProgress))
    refused(pay, "c", 1, lambda: 1 / 0, error=ZeroDivisionError)
    unknown = refused(pay, "c", error=IdempotencyOutcomeUnknown)
    assert {error.tool for error in (done, mismatch, running, unknown)} == {"pay"}
    assert [error.key for error in (done, mismatch, running, unknown)] == ["a", "a", "b", "c"]
    assert {error.run_id for error in (done, mismatch, running, unknown)} == {"run-1"}
    assert str(done) == "pay was done with key 'a' already."
    assert unknown.details["error"] == "ZeroDivisionError"
    assert done.reason != "result_not_kept"
    assert {record.key for record in idempotency.list(state="unknown")} == {unknown.record}


def test_whoever_knows_is_asked_what_became_of_a_call(run: Any, clock: Any) -> None:
    asked: list[Any] = []
    answers: list[Any] = []
    done: list[str] = []

    def reconcile(key: str, arguments: dict[str, Any]) -> Any:
        asked.append((key, arguments))
        return answers.pop(0)

    @idempotent(reconcile=reconcile, ttl_s=50, fingerprint=None)
    def pay(idempotency_key: str, amount: int = 1, fails: bool = False) -> str:
        done.append(idempotency_key)
        if fails:
            raise LookupError
        return "paid"

    refused(pay, "a", fails=True, error=LookupError)
    for nothing in (StillUnknown(), None, "paid"):
        answers.append(nothing)
        refused(pay, "a", amount=2, error=IdempotencyOutcomeUnknown)
    assert asked == [("a", {"idempotency_key": "a", "amount": 2, "fails": False})] * 3

    answers.append(Executed({"found": 1}))
    clock.pass_(10)
    assert pay("a") == pay("a") == {"found": 1}
    clock.pass_(49.9)
    assert pay("a") == {"found": 1}
    assert done == ["a"]
    clock.pass_(0.1)
    assert pay("a") == "paid"

    refused(pay, "b", fails=True, error=LookupError)
    answers.append(NotExecuted())
    assert pay("b") == "paid"
    assert done == ["a", "a", "b", "b"]
    assert (len(asked), answers) == (5, [])


@pytest.mark.parametrize(
    ("options", "given", "said"),
    [
        ({}, {"idempotency_key": 7}, 7),
        ({}, {"idempotency_key": "s:7/i:7"}, "s:7/i:7"),
        ({}, {"idempotency_key": "k" * 200}, "k" * 200),
        ({"scope": "global"}, {"idempotency_key": "k"}, "k"),
        ({"key": lambda **arguments: "mine", "hide_key": False}, {}, "mine"),
    ],
    ids=["number", "confusable", "long", "everywhere", "made"],
)
def test_an_error_and_a_look_up_are_told_the_key_as_the_function_is(
    run: Any, options: dict[str, Any], given: dict[str, Any], said: Any
) -> None:
    heard: list[Any] = []

    @idempotent(reconcile=lambda key, arguments: heard.append(key), **options)
    def pay(*, idempotency_key: Any = None) -> None:
        heard.append(idempotency_key)
        raise LookupError

    refused(pay, **given, error=LookupError)
    error = refused(pay, **given, error=IdempotencyOutcomeUnknown)
    assert [*heard, error.key] == [said, str(said), said]
    assert idempotency.resolve(error.record, Executed("found"))


async def test_what_became_of_a_call_that_is_awaited_is_awaited_too(run: Any) -> None:
    @idempotent(reconcile=lambda key, arguments: Executed("found"))
    async def pay(idempotency_key: str) -> str:
        raise LookupError

    with pytest.raises(LookupError):
        await pay("a")
    assert await pay("a") == "found"


def test_who_waits_for_a_result_looks_every_twentieth_of_a_second_while_there_is_time() -> None:
    waits = part(idempotent(on_duplicate="wait", wait_s=9))
    assert waits.wait_s == 9
    assert waits.patience is not None
    running = InProgress(inf)
    assert [waits.patience(running, left) for left in (9, 0.02, 0, -1)] == [0.05, 0.02, None, None]
    assert waits.patience(Unknown("LookupError"), 9) is None
    assert part(idempotent()).patience is None
    assert part(idempotent(on_duplicate="raise")).patience is None


def test_after_a_safe_exception_the_key_is_free_and_after_any_other_it_is_not(run: Any) -> None:
    @idempotent(safe_exceptions=[LookupError], fingerprint=None)
    def pay(idempotency_key: str, error: Exception | None = None) -> str:
        if error is not None:
            raise error
        return "paid"

    refused(pay, "a", KeyError(), error=KeyError)
    assert pay("a") == "paid"
    refused(pay, "b", ValueError(), error=ValueError)
    refused(pay, "b", error=IdempotencyOutcomeUnknown)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "once per key 'idempotency_key' and run, kept 3600 s"),
        ({"key_arg": "id", "scope": "global", "ttl_s": 0.5}, "once per key 'id' and global, kept 0.5 s"),
        ({"key": "derived"}, "once per derived key and run, kept 3600 s"),
        ({"key": len, "scope": "session"}, "once per own key and session, kept 3600 s"),
    ],
)
def test_a_guard_with_keys_explains_itself(options: dict[str, Any], said: str) -> None:
    assert idempotent(**options).explain() == said
