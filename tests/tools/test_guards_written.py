"""How guards are written: options, what they cannot be given, and what they say of themselves and of refused calls."""

import asyncio
import inspect
import sqlite3
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

import actguard
from actguard import (
    ActGuardUsageError,
    CircuitOpenError,
    ConcurrencyExceeded,
    Executed,
    FailureKind,
    LoopDetected,
    MaxAttemptsExceeded,
    MissingRuntimeContextError,
    NotExecuted,
    RateLimitExceeded,
    circuit_breaker,
    circuits,
    concurrency,
    explain,
    idempotency,
    idempotent,
    max_attempts,
    no_repeat,
    rate_limit,
    session,
    timeout,
    tool,
)
from actguard.context import Frame, Run, inside
from actguard.exceptions import (
    CircuitBreakerConfigurationError,
    MaxAttemptsConfigurationError,
    ScopeValueError,
    TimeoutUsageError,
    ToolGuardError,
)

COMMON = "mode='enforce', on_block='raise', store=None, on_store_error=None"


@pytest.mark.parametrize(
    ("guard", "signature"),
    [
        (
            rate_limit,
            f"(*, {COMMON}, max_calls=10, period=60.0, scope=None, algorithm='sliding', burst=None, cost=1, "
            "limits=None, name=None, wait=0.0, count='calls')",
        ),
        (max_attempts, f"(*, {COMMON}, calls, per='run', count='calls', name=None)"),
        (
            no_repeat,
            f"(*, {COMMON}, max_identical=3, window=None, args='canonical', compare_results=False, exempt=None, "
            "tell=True)",
        ),
        (
            timeout,
            f"(seconds, executor=None, grace=1.0, thread='daemon', on_orphan=None, max_orphans=None, *, {COMMON})",
        ),
        (
            idempotent,
            f"(*, {COMMON}, ttl_s=3600.0, on_duplicate='return', key='arg', key_arg='idempotency_key', hide_key=None, "
            "fingerprint='args', scope='run', safe_exceptions=(), lease_s=60.0, codec='json', reconcile=None, "
            "wait_s=60.0, durable=None)",
        ),
        (concurrency, f"(*, {COMMON}, limit, scope=None, name=None, wait=0.0, lease_s=60.0)"),
        (
            tool,
            "(function=None, /, *, rate_limit=None, circuit_breaker=None, max_attempts=None, timeout=None, "
            "timeout_executor=None, idempotent=None, no_repeat=None, concurrency=None, policy=None, prove=None, "
            "guards=())",
        ),
    ],
)
def test_options_and_their_defaults_are_those_of_the_manual(guard, signature):
    written = inspect.signature(guard)
    bare = [each.replace(annotation=each.empty) for each in written.parameters.values()]

    assert str(written.replace(parameters=bare, return_annotation=written.empty)) == signature


def test_a_circuit_has_the_defaults_of_the_manual():
    rules = circuit_breaker(name="defaults").rules()
    assert rules._asdict() == {
        "max_fails": 3,
        "reset_timeout": 60.0,
        "failure_rate": None,
        "window": 60.0,
        "min_calls": 10,
        "half_open_probes": 1,
        "successes_to_close": 1,
        "backoff": 1.0,
        "max_open_s": 3600.0,
        "probe_lease_s": 60.0,
        "idle_s": 86_400.0,
    }


def test_a_circuit_passes_its_options_on():
    options = {
        "max_fails": 7,
        "reset_timeout": 9_000.0,
        "failure_rate": 1.0,
        "window": 30.0,
        "min_calls": 4,
        "half_open_probes": 2,
        "successes_to_close": 5,
        "backoff": 1000.0,
        "probe_lease_s": 11.0,
    }
    rules = circuit_breaker(name="options", **options).rules()._asdict()
    assert {name: rules[name] for name in options} == options
    assert (rules["max_open_s"], rules["idle_s"]) == (9_000.0, 90_000.0)
    assert circuit_breaker(name="longest", reset_timeout=5, max_open_s=5).rules().max_open_s == 5


WRONG = [
    (rate_limit, {"max_calls": 0}, "max_calls", ActGuardUsageError),
    (rate_limit, {"max_calls": 1.5}, "max_calls", ActGuardUsageError),
    (rate_limit, {"period": 0}, "period", ActGuardUsageError),
    (rate_limit, {"period": "1"}, "period", ActGuardUsageError),
    (rate_limit, {"scope": ""}, "scope", ActGuardUsageError),
    (rate_limit, {"scope": ()}, "scope", ActGuardUsageError),
    (rate_limit, {"scope": 7}, "scope", ActGuardUsageError),
    (rate_limit, {"scope": ("a", None)}, "scope", ActGuardUsageError),
    (rate_limit, {"scope": (None,)}, "scope", ActGuardUsageError),
    (rate_limit, {"algorithm": "leaky"}, "algorithm", ActGuardUsageError),
    (rate_limit, {"burst": 5}, "burst", ActGuardUsageError),
    (rate_limit, {"burst": 0, "algorithm": "gcra"}, "burst", ActGuardUsageError),
    (rate_limit, {"cost": 0}, "cost", ActGuardUsageError),
    (rate_limit, {"cost": 11}, "cost", ActGuardUsageError),
    (rate_limit, {"cost": 3, "burst": 2, "algorithm": "gcra"}, "cost", ActGuardUsageError),
    (rate_limit, {"cost": 6, "limits": "10/s;5/m"}, "cost", ActGuardUsageError),
    (rate_limit, {"name": ""}, "name", ActGuardUsageError),
    (rate_limit, {"wait": -1}, "wait", ActGuardUsageError),
    (rate_limit, {"count": "failures"}, "count", ActGuardUsageError),
    (rate_limit, {"limits": ""}, "limits", ActGuardUsageError),
    (rate_limit, {"limits": 7}, "limits", ActGuardUsageError),
    (rate_limit, {"limits": "10"}, "limits", ActGuardUsageError),
    (rate_limit, {"limits": "10/s;"}, "limits", ActGuardUsageError),
    (rate_limit, {"limits": "0/s"}, "limits", ActGuardUsageError),
    (rate_limit, {"limits": "10/0s"}, "limits", ActGuardUsageError),
    (rate_limit, {"limits": "10/week"}, "limits", ActGuardUsageError),
    (rate_limit, {"limits": "10/s", "max_calls": 5}, "limits", ActGuardUsageError),
    (rate_limit, {"limits": "10/s", "period": 5}, "limits", ActGuardUsageError),
    (circuit_breaker, {"name": ""}, "name", CircuitBreakerConfigurationError),
    (circuit_breaker, {"name": "w1", "max_fails": 0}, "max_fails", CircuitBreakerConfigurationError),
    (circuit_breaker, {"name": "w2", "reset_timeout": -1}, "reset_timeout", CircuitBreakerConfigurationError),
    (circuit_breaker, {"name": "w3", "failure_rate": 0}, "failure_rate", CircuitBreakerConfigurationError),
    (circuit_breaker, {"name": "w4", "failure_rate": 1.01}, "failure_rate", CircuitBreakerConfigurationError),
    (circuit_breaker, {"name": "w5", "window": 5}, "window", CircuitBreakerConfigurationError),
    (circuit_breaker, {"name": "w6", "min_calls": 5}, "min_calls", CircuitBreakerConfigurationError),
    (
        circuit_breaker,
        {"name": "w7", "min_calls": 0, "failure_rate": 1},
        "min_calls",
        CircuitBreakerConfigurationError,
    ),
    (circuit_breaker, {"name": "w8", "window": 0, "failure_rate": 1}, "window", CircuitBreakerConfigurationError),
    (circuit_breaker, {"name": "w9", "slow_call_s": 0}, "slow_call_s", CircuitBreakerConfigurationError),
    (circuit_breaker, {"name": "w10", "max_open_s": 59}, "max_open_s", CircuitBreakerConfigurationError),
    (circuit_breaker, {"name": "w11", "half_open_probes": 0}, "half_open_probes", CircuitBreakerConfigurationError),
    (circuit_breaker, {"name": "w12", "successes_to_close": 0}, "successes_to_close", CircuitBreakerConfigurationError),
    (circuit_breaker, {"name": "w13", "backoff": 0.9}, "backoff", CircuitBreakerConfigurationError),
    (circuit_breaker, {"name": "w14", "backoff": 1001}, "backoff", CircuitBreakerConfigurationError),
    (circuit_breaker, {"name": "w15", "probe_lease_s": 0}, "probe_lease_s", CircuitBreakerConfigurationError),
    (circuit_breaker, {"name": "w16", "classify": 7}, "classify", CircuitBreakerConfigurationError),
    (circuit_breaker, {"name": "w17", "is_failure": 7}, "is_failure", CircuitBreakerConfigurationError),
    (circuit_breaker, {"name": "w18", "fail_on": ["odd"]}, "fail_on", CircuitBreakerConfigurationError),
    (circuit_breaker, {"name": "w19", "scope": 7}, "scope", ActGuardUsageError),
    (max_attempts, {"calls": 0}, "calls", MaxAttemptsConfigurationError),
    (max_attempts, {"calls": True}, "calls", MaxAttemptsConfigurationError),
    (max_attempts, {"calls": 1, "per": "day"}, "per", ActGuardUsageError),
    (max_attempts, {"calls": 1, "count": "successes"}, "count", ActGuardUsageError),
    (max_attempts, {"calls": 1, "name": ""}, "name", MaxAttemptsConfigurationError),
    (no_repeat, {"max_identical": 0}, "max_identical", ActGuardUsageError),
    (no_repeat, {"max_identical": 1, "compare_results": True}, "max_identical", ActGuardUsageError),
    (no_repeat, {"window": 0}, "window", ActGuardUsageError),
    (no_repeat, {"args": "all"}, "args", ActGuardUsageError),
    (no_repeat, {"exempt": 7}, "exempt", ActGuardUsageError),
    (timeout, {"seconds": 0}, "seconds", TimeoutUsageError),
    (timeout, {"seconds": 1e12}, "seconds", TimeoutUsageError),
    (timeout, {"seconds": 1, "executor": 7}, "executor", TimeoutUsageError),
    (timeout, {"seconds": 1, "grace": -1}, "grace", TimeoutUsageError),
    (timeout, {"seconds": 1, "thread": "green"}, "thread", ActGuardUsageError),
    (timeout, {"seconds": 1, "on_orphan": 7}, "on_orphan", TimeoutUsageError),
    (timeout, {"seconds": 1, "max_orphans": 0}, "max_orphans", TimeoutUsageError),
    (idempotent, {"ttl_s": 0}, "ttl_s", ActGuardUsageError),
    (idempotent, {"lease_s": 0}, "lease_s", ActGuardUsageError),
    (idempotent, {"wait_s": 0}, "wait_s", ActGuardUsageError),
    (idempotent, {"on_duplicate": "ignore"}, "on_duplicate", ActGuardUsageError),
    (idempotent, {"scope": "day"}, "scope", ActGuardUsageError),
    (idempotent, {"key": "auto"}, "key", ActGuardUsageError),
    (idempotent, {"key_arg": ""}, "key_arg", ActGuardUsageError),
    (idempotent, {"hide_key": "yes"}, "hide_key", ActGuardUsageError),
    (idempotent, {"fingerprint": "all"}, "fingerprint", ActGuardUsageError),
    (idempotent, {"codec": "xml"}, "codec", ActGuardUsageError),
    (idempotent, {"codec": (str,)}, "codec", ActGuardUsageError),
    (idempotent, {"codec": (str, 7)}, "codec", ActGuardUsageError),
    (idempotent, {"reconcile": 7}, "reconcile", ActGuardUsageError),
    (idempotent, {"safe_exceptions": 7}, "safe_exceptions", ActGuardUsageError),
    (idempotent, {"safe_exceptions": (7,)}, "safe_exceptions", ActGuardUsageError),
    (concurrency, {"limit": 0}, "limit", ActGuardUsageError),
    (concurrency, {"limit": 1, "name": ""}, "name", ActGuardUsageError),
    (concurrency, {"limit": 1, "wait": -1}, "wait", ActGuardUsageError),
    (concurrency, {"limit": 1, "lease_s": 0}, "lease_s", ActGuardUsageError),
    (concurrency, {"limit": 1, "scope": 7}, "scope", ActGuardUsageError),
    (tool, {"timeout_executor": object()}, "timeout_executor", ActGuardUsageError),
    (tool, {"max_attempts": True}, "max_attempts", ActGuardUsageError),
    (tool, {"circuit_breaker": "crm"}, "circuit_breaker", ActGuardUsageError),
    (tool, {"idempotent": 7}, "idempotent", ActGuardUsageError),
    (tool, {"rate_limit": {"calls": 7}}, "rate_limit", ActGuardUsageError),
    (tool, {"rate_limit": ["10/s", {"calls": 7}]}, "rate_limit", ActGuardUsageError),
]


@pytest.mark.parametrize(("guard", "options", "argument", "error"), WRONG)
def test_what_a_guard_cannot_be_given_is_named_where_it_is_written(guard, options, argument, error):
    with pytest.raises(error) as caught:
        guard(**options)

    assert caught.value.argument == argument
    assert argument in str(caught.value)


def test_a_pool_of_processes_cannot_run_what_is_timed():
    with ProcessPoolExecutor(1) as pool, pytest.raises(TimeoutUsageError) as caught:
        timeout(1, pool)
    assert caught.value.argument == "executor"
    with ThreadPoolExecutor(1) as pool, pytest.raises(TimeoutUsageError) as caught:
        timeout(1, pool, thread="none")
    assert caught.value.argument == "thread"


def test_tool_takes_nothing_but_guards_for_guards():
    with pytest.raises(ActGuardUsageError, match="'limit'"):
        tool(guards=["limit"])


# ---- what guards say of themselves ----


@pytest.mark.parametrize(
    ("guard", "said"),
    [
        (rate_limit(), "10 calls in 60 s"),
        (rate_limit(limits="5/30s; 100/2 min;7/hours;8/1.5d", scope="user"), "5 calls in 30 s and 100 calls in 120 s"),
        (rate_limit(limits="7/hour;8/1.5d"), "7 calls in 3600 s and 8 calls in 129600 s"),
        (rate_limit(scope=("user", "run.user_id")), "10 calls in 60 s for each 'user' and 'run.user_id'"),
        (rate_limit(scope=len), "10 calls in 60 s for each len"),
        (max_attempts(calls=3), "3 calls in a run"),
        (max_attempts(calls=3, per="session", count="failures"), "3 failed calls in a session"),
        (no_repeat(), "3 identical calls in a run"),
        (no_repeat(compare_results=True), "3 identical calls with the same result in a run"),
        (timeout(1.5), "1.5 s"),
        (concurrency(limit=2, scope="user"), "2 at once for each 'user'"),
        (circuit_breaker(name="says"), "'says': opens after 3 failures in a row, for 60 s"),
        (
            circuit_breaker(name="says rate", failure_rate=0.25, window=30, scope="user"),
            "'says rate': opens at 25% failures in 30 s, for 60 s for each 'user'",
        ),
        (circuit_breaker(name="says share", failure_rate=0.5), "'says share': opens at 50% failures in 60 s, for 60 s"),
    ],
)
def test_a_guard_explains_itself(guard, said):
    assert guard.explain().startswith(said)


def test_tool_makes_every_guard_from_its_main_option_its_options_or_itself(run):
    made = rate_limit(max_calls=9)

    def call(idempotency_key: str = "k"):
        return None

    both = tool(
        rate_limit=["10/s;100/min", {"max_calls": 3}, made],
        circuit_breaker={"name": "short"},
        max_attempts=4,
        timeout=5,
        idempotent=True,
        no_repeat=6,
        concurrency=7,
        policy=[actguard.InPlan()],
        prove=[actguard.prove("id", "."), actguard.prove("to", ".")],
        guards=[concurrency(limit=8)],
    )(call)
    kinds = [guard.kind for guard in both.__actguard__.guards]
    assert kinds == [
        "enforce",
        "idempotent",
        "no_repeat",
        "max_attempts",
        "circuit_breaker",
        "rate_limit",
        "rate_limit",
        "rate_limit",
        "concurrency",
        "concurrency",
        "timeout",
        "prove",
        "prove",
    ]
    text = str(explain(both))
    for said in ("10 calls in 1 s", "3 calls in 60 s", "9 calls in 60 s", "4 calls in a run", "6 identical", "5 s"):
        assert said in text
    assert "8 at once" in text
    assert "7 at once" in text
    assert (
        not hasattr(tool(idempotent=False)(lambda: 1), "__actguard__")
        or not tool(idempotent=False)(lambda: 1).__actguard__.guards
    )
    assert tool(call) is call or tool(call).__wrapped__ is call


def test_the_executor_of_tool_is_that_of_its_timeout():
    import threading

    with ThreadPoolExecutor(1, "pool") as pool:
        for given in (5, {"seconds": 5}):
            here = tool(timeout=given, timeout_executor=pool)(lambda: threading.current_thread().name)
            assert here().startswith("pool")


# ---- what a refused call is told ----


def test_a_rate_says_how_much_and_when(clock):
    @rate_limit(limits="2/10s;3/100s", scope="user")
    def look(user):
        return user

    look("a")
    clock.pass_(1)
    look("a")
    with pytest.raises(RateLimitExceeded) as caught:
        look("a")
    refused = caught.value
    assert (refused.tool, refused.limit, refused.period, refused.retry_after) == ("look", 2, 10.0, 9.0)
    assert look("b") == "b"
    clock.pass_(19)
    look("a")
    with pytest.raises(RateLimitExceeded) as caught:
        look("a")
    assert (caught.value.limit, caught.value.period) == (3, 100.0)


@pytest.mark.parametrize(
    ("limits", "calls", "seconds"),
    [("2/s", 2, 1), ("2/sec", 2, 1), ("3/2s", 3, 2), ("1/m", 1, 60), ("1/2minutes", 1, 120), ("1/h", 1, 3600)],
)
def test_limits_are_read_as_people_write_them(clock, limits, calls, seconds):
    look = rate_limit(limits=limits)(lambda: "done")
    for _ in range(calls):
        look()
    with pytest.raises(RateLimitExceeded):
        look()
    clock.pass_(seconds)
    assert look() == "done"


def test_a_price_that_never_fits_or_is_none_is_refused(clock):
    @rate_limit(max_calls=5, cost=lambda items: items if items < 100 else "many")
    def send(items):
        return items

    assert send(2) == 2
    assert send(3) == 3
    with pytest.raises(RateLimitExceeded) as caught:
        send(6)
    assert (caught.value.limit, caught.value.retryable, caught.value.retry_after) == (5, False, float("inf"))
    for items in (0, -1, 100):
        with pytest.raises(ToolGuardError) as wrong:
            send(items)
        assert wrong.value.code == "INVALID_COST"
    clock.pass_(60)
    assert send(5) == 5


def test_calls_that_raise_are_given_back_where_successes_count(clock):
    @rate_limit(max_calls=2, count="successes")
    def look(fails):
        if fails:
            raise LookupError
        return "done"

    for _ in range(5):
        with pytest.raises(LookupError):
            look(True)
    assert look(False) == look(False) == "done"
    with pytest.raises(RateLimitExceeded):
        look(False)


def test_an_attempt_too_many_says_how_many_there_were(run):
    look = max_attempts(calls=2)(lambda: "done")
    look(), look()
    for refused_before in (1, 2):
        with pytest.raises(MaxAttemptsExceeded) as caught:
            look()
        assert (caught.value.used, caught.value.limit, caught.value.run_id) == (2, 2, "run-1")
        assert caught.value.refused == refused_before


def test_attempts_count_in_each_run_session_or_conversation(heard):
    @max_attempts(calls=1)
    def in_run():
        return "done"

    @max_attempts(calls=1, per="session")
    def in_session():
        return "done"

    def refused(function):
        with pytest.raises(MaxAttemptsExceeded):
            function()
        return True

    for name in ("one", "two"):
        with inside(Frame(run=Run(name, "alice", heard))):
            assert in_run() == "done"
            assert refused(in_run)
            assert in_run.__actguard__
    for name in ("a", "b"):
        with session(name):
            assert in_session() == "done"
            assert refused(in_session)


def test_functions_may_share_their_attempts_by_name(run):
    one, two = (max_attempts(calls=2, name="both")(function) for function in (lambda: 1, lambda: 2))
    alone = max_attempts(calls=2)(lambda: 3)
    assert (one(), two(), alone(), alone()) == (1, 2, 3, 3)
    for function in (one, two, alone):
        with pytest.raises(MaxAttemptsExceeded):
            function()


@pytest.mark.parametrize(
    ("guard", "word"),
    [
        (max_attempts(calls=1), "run"),
        (max_attempts(calls=1, per="thread"), "run"),
        (max_attempts(calls=1, per="session"), "session"),
        (no_repeat(), "run"),
    ],
)
def test_outside_of_what_it_counts_in_a_guard_says_what_it_needs(guard, word):
    with pytest.raises(MissingRuntimeContextError, match=f"needs a {word}") as caught:
        guard(lambda: "done")()
    assert guard.kind in str(caught.value)


def test_the_same_call_again_is_told_and_then_refused(run):
    @no_repeat(max_identical=2)
    def look(text, page=1):
        return text

    assert look("a") == look(text="a", page=1) == "a"
    assert (look("b"), look("a", page=2)) == ("b", "a")
    told = look("a")
    assert told != "a"
    assert "already" in told
    with pytest.raises(LoopDetected) as caught:
        look("a")
    assert (caught.value.limit, caught.value.run_id, caught.value.tool) == (2, "run-1", "look")
    assert caught.value.count == 4


def test_the_first_call_too_many_may_raise(run):
    look = no_repeat(max_identical=1, tell=False)(lambda text: text)
    look("a")
    with pytest.raises(LoopDetected):
        look("a")


def test_calls_are_forgotten_after_the_window_and_compared_by_what_matters(run, clock):
    seen = no_repeat(max_identical=1, tell=False, window=10)(lambda text: text)
    seen("a")
    clock.pass_(9.9)
    with pytest.raises(LoopDetected):
        seen("a")
    clock.pass_(10)
    assert seen("a") == "a"

    @no_repeat(max_identical=1, tell=False, args=["trace"])
    def look(text, trace):
        return text

    look("a", 1)
    with pytest.raises(LoopDetected):
        look("a", 2)
    own = no_repeat(max_identical=1, tell=False, args=lambda text: text.casefold())(lambda text: text)
    own("a")
    with pytest.raises(LoopDetected):
        own("A")


def test_polling_that_sees_a_change_repeats_nothing(run):
    results = iter(["10 %", "20 %", "30 %", "30 %", "40 %"])
    poll = no_repeat(max_identical=2, tell=False, compare_results=True)(lambda: next(results))
    assert [poll() for _ in range(4)] == ["10 %", "20 %", "30 %", "30 %"]
    with pytest.raises(LoopDetected):
        poll()


def test_what_names_a_parameter_that_is_not_there_is_refused_where_it_is_written():
    for guard, argument in ((no_repeat(args=["odd"]), "args"), (rate_limit(scope="odd"), "scope")):
        with pytest.raises(ActGuardUsageError) as caught:
            guard(lambda text: text)
        assert caught.value.argument == argument


def test_a_place_that_is_not_there_is_told(clock):
    inner = []

    @concurrency(limit=1, scope="user")
    def hold(user, then=None):
        return then() if then else "done"

    def again():
        with pytest.raises(ConcurrencyExceeded) as caught:
            hold("a")
        inner.append(caught.value)
        return hold("b")

    assert hold("a", again) == "done"
    assert (inner[0].limit, inner[0].tool, inner[0].retry_after) == (1, "hold", None)
    assert hold("a") == "done"


def test_an_open_circuit_says_whose_it_is_and_for_how_long(clock):
    @circuit_breaker(name="crm", max_fails=2, reset_timeout=30)
    def call(error=None):
        if error:
            raise error

    for _ in range(2):
        with pytest.raises(ConnectionError):
            call(ConnectionError())
    clock.pass_(10)
    with pytest.raises(CircuitOpenError) as caught:
        call()
    assert (caught.value.dependency_name, caught.value.retry_after, caught.value.state) == ("crm", 20.0, "open")
    assert caught.value.tool == "call"
    circuits.force("crm", "forced_open")
    with pytest.raises(CircuitOpenError) as caught:
        call()
    assert (caught.value.state, caught.value.retry_after) == ("forced_open", None)


@pytest.mark.parametrize(
    ("options", "error", "opens"),
    [
        ({}, ConnectionError(), True),
        ({}, TimeoutError(), True),
        ({}, ValueError(), False),
        ({"fail_on": [FailureKind.UNKNOWN]}, ValueError(), True),
        ({"fail_on": [FailureKind.INVALID]}, ConnectionError(), False),
        ({"is_failure": lambda error: isinstance(error, KeyError)}, KeyError(), True),
        ({"is_failure": lambda error: isinstance(error, KeyError)}, ConnectionError(), False),
        ({"is_failure": lambda error: 1 / 0}, ConnectionError(), False),
        ({"classify": lambda error: FailureKind.TIMEOUT}, ValueError(), True),
        ({"classify": lambda error: FailureKind.INVALID}, ConnectionError(), False),
        ({"classify": lambda error: None}, ConnectionError(), True),
        ({"classify": lambda error: 1 / 0}, ConnectionError(), True),
    ],
)
def test_which_errors_open_a_circuit(options, error, opens):
    @circuit_breaker(name="which", max_fails=1, **options)
    def call():
        raise error

    with pytest.raises(type(error)):
        call()
    with pytest.raises(CircuitOpenError if opens else type(error)):
        call()


def test_kinds_that_are_named_twice_are_a_mistake_unless_by_default():
    assert circuit_breaker(name="room", fail_on=[FailureKind.INVALID]).ignore_on == {
        FailureKind.NOT_FOUND,
        FailureKind.CONFLICT,
    }
    with pytest.raises(CircuitBreakerConfigurationError) as caught:
        circuit_breaker(name="both", fail_on=[FailureKind.AUTH], ignore_on=[FailureKind.AUTH])
    assert caught.value.argument == "ignore_on"


# ---- scopes ----


def test_whoever_is_counted_apart_is_named_or_refused(run):
    @rate_limit(max_calls=1, scope=("user", "run.user_id"))
    def look(user=None):
        return "done"

    for user in ("a", "b", 1, "1", 1.5, ("x", 1), "x" * 5_000, b"x"):
        assert look(user) == "done"
        with pytest.raises(RateLimitExceeded):
            look(user)
    for missing in (None, object()):
        with pytest.raises(ScopeValueError) as caught:
            look(missing)
        assert caught.value.tool == "look"
        assert "'user' and 'run.user_id'" in str(caught.value)


def test_a_scope_of_one_parameter_is_found_however_it_is_given():
    @rate_limit(max_calls=1, scope="user")
    def look(text, user="nobody"):
        return "done"

    for call in (lambda: look("x", "a"), lambda: look("x", user="b"), lambda: look("x")):
        assert call() == "done"
        with pytest.raises(RateLimitExceeded):
            call()
    with pytest.raises(RateLimitExceeded):
        look(user="a", text="y")
    with pytest.raises(RateLimitExceeded):
        look("z", "nobody")
    with pytest.raises(ScopeValueError, match="has none"):
        look("x", None)


def test_a_scope_may_be_what_a_function_says():
    look = rate_limit(max_calls=1, scope=lambda text: text[0])(lambda text: text)
    assert look("ab") == "ab"
    assert look("bb") == "bb"
    with pytest.raises(RateLimitExceeded):
        look("ac")


def test_apps_and_environments_are_counted_apart():
    look = {}
    for app in ("one", "two"):
        before = actguard.configure(app=app) if hasattr(actguard, "configure") else None
        del before
        look[app] = rate_limit(max_calls=1, name="apps")(lambda: "done")
        assert look[app]() == "done"
    with pytest.raises(RateLimitExceeded):
        look["two"]()


# ---- what is kept of results ----


def test_a_result_comes_back_as_it_was_and_is_everybodys_own(run):
    @idempotent()
    def pay(idempotency_key, result):
        return result

    for number, result in enumerate(["text", 7, 1.5, None, True, b"x", [1, [2]], {"a": {"b": 1}}, (1, 2), {1, 2}]):
        first = pay(f"k{number}", result)
        again = pay(f"k{number}", result)
        assert first is result
        assert (again, type(again)) == (result, type(result))
        if isinstance(result, list | dict | set):
            assert again is not result


def test_a_result_that_cannot_be_kept_is_done_all_the_same(run):
    made = []

    @idempotent()
    def pay(idempotency_key):
        made.append(1)
        return sqlite3.connect(":memory:")

    pay("k").close()
    with pytest.raises(ToolGuardError):
        pay("k")
    assert len(made) == 1


@pytest.mark.parametrize("codec", ["json", "pickle", (repr, eval)])
def test_a_durable_result_comes_back_through_its_codec(run, tmp_path, codec):
    @idempotent(durable=str(tmp_path / "keys.db"), codec=codec)
    def pay(idempotency_key):
        made.append(1)
        return {"paid": [1, "ä", None]}

    made: list[Any] = []
    assert pay("k") == pay("k") == {"paid": [1, "ä", None]}
    assert len(made) == 1


def test_what_json_would_change_is_not_given_back_changed(run, tmp_path):
    @idempotent(durable=str(tmp_path / "keys.db"))
    def pay(idempotency_key):
        return {"paid": (1, 2)}

    assert pay("k") == {"paid": (1, 2)}
    with pytest.raises(ToolGuardError):
        pay("k")


async def test_a_coroutine_gives_the_kept_result_too(run, tmp_path):
    @idempotent(durable=str(tmp_path / "keys.db"))
    async def pay(idempotency_key):
        return [1]

    assert await pay("k") == await pay("k") == [1]


@pytest.mark.parametrize("codec", ["json", "pickle", (repr, eval)])
def test_what_is_said_of_an_unknown_outcome_is_kept_as_the_guard_keeps_results(run, tmp_path, codec):
    guard = idempotent(durable=str(tmp_path / "keys.db"), codec=codec)

    @guard
    def pay(idempotency_key):
        raise ConnectionError

    with pytest.raises(ConnectionError):
        pay("k")
    (record,) = idempotency.list(state="unknown", store=guard.store)
    assert idempotency.resolve(record.key, Executed({"paid": 1}), codec=codec, store=guard.store)
    assert pay("k") == {"paid": 1}
    assert not idempotency.resolve(record.key, NotExecuted(), store=guard.store)
    assert idempotency.forget(record.key, store=guard.store) == 1
    with pytest.raises(ConnectionError):
        pay("k")
    assert idempotency.resolve(record.key, NotExecuted(), store=guard.store)
    with pytest.raises(ConnectionError):
        pay("k")


# ---- by hand, and in other ways of calling ----


async def test_circuits_of_several_users_are_set_and_asked_for_one_by_one(clock):
    @circuit_breaker(name="each", max_fails=1, scope="user")
    def call(user):
        return user

    await circuits.aforce("each", "forced_open", "a")
    assert (await circuits.astate("each", "a")).state == circuits.state("each", "a").state == "forced_open"
    assert (await circuits.astate("each", "b")).state == circuits.state("each", "b").state == "closed"
    assert call("b") == "b"
    await circuits.areset("each", "b")
    with pytest.raises(CircuitOpenError):
        call("a")
    circuits.reset("each", "a")
    assert call("a") == "a"


def test_a_parameter_by_position_only_cannot_be_hidden_and_is_named_as_the_mistake():
    def pay(amount, idempotency_key, /):
        return amount

    with pytest.raises(ActGuardUsageError) as caught:
        idempotent(key="derived")(pay)
    assert caught.value.argument == "key_arg"


async def test_what_may_answer_late_gets_its_arguments_by_name_too():
    @timeout(5, on_block="return_prompt")
    async def coroutine(text, *, mark):
        return text + mark

    @timeout(5, on_block="return_prompt")
    def function(text, *, mark):
        return text + mark

    assert await coroutine("a", mark="!") == function("a", mark="!") == "a!"


def test_a_success_behind_failures_makes_the_row_begin_anew(clock):
    @circuit_breaker(name="row", max_fails=2)
    def call(fails):
        if fails:
            raise ConnectionError
        return "done"

    for _ in range(3):
        with pytest.raises(ConnectionError):
            call(True)
        assert call(False) == "done"


def test_whether_a_call_may_repeat_itself_is_asked_with_its_arguments(run):
    look = no_repeat(max_identical=1, tell=False, exempt=lambda text, *, poll: poll)(lambda text, *, poll: text)
    for _ in range(3):
        assert look("a", poll=True) == "a"
    look("a", poll=False)
    with pytest.raises(LoopDetected):
        look("a", poll=False)


def test_a_watched_generator_gets_its_arguments():
    @timeout(60, mode="observe")
    async def count(first, *, last):
        for number in range(first, last):
            yield number

    async def counted():
        return [number async for number in count(1, last=4)]

    assert asyncio.run(counted()) == [1, 2, 3]
