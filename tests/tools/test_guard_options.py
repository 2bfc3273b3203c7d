"""How guards are written: their options, what those cannot be, and what guards say of themselves."""

import inspect
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

import actguard
from actguard import (
    ActGuardUsageError,
    RateLimitExceeded,
    circuit_breaker,
    concurrency,
    explain,
    idempotent,
    max_attempts,
    no_repeat,
    rate_limit,
    timeout,
    tool,
)
from actguard.exceptions import (
    CircuitBreakerConfigurationError,
    MaxAttemptsConfigurationError,
    ScopeValidationError,
    ScopeValueError,
    TimeoutUsageError,
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
            "guards=(), on_block='raise')",
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


async def awaited(text):
    """What nobody would await."""


WRONG = [
    (rate_limit, {"max_calls": 0}, "max_calls", ActGuardUsageError),
    (rate_limit, {"max_calls": 1.5}, "max_calls", ActGuardUsageError),
    (rate_limit, {"period": 0}, "period", ActGuardUsageError),
    (rate_limit, {"period": "1"}, "period", ActGuardUsageError),
    (rate_limit, {"scope": ""}, "scope", ScopeValidationError),
    (rate_limit, {"scope": ()}, "scope", ScopeValidationError),
    (rate_limit, {"scope": 7}, "scope", ScopeValidationError),
    (rate_limit, {"scope": ("a", None)}, "scope", ScopeValidationError),
    (rate_limit, {"scope": (None,)}, "scope", ScopeValidationError),
    (rate_limit, {"algorithm": "leaky"}, "algorithm", ActGuardUsageError),
    (rate_limit, {"burst": 5}, "burst", ActGuardUsageError),
    (rate_limit, {"burst": 0, "algorithm": "gcra"}, "burst", ActGuardUsageError),
    (rate_limit, {"cost": 0}, "cost", ActGuardUsageError),
    (rate_limit, {"cost": 11}, "cost", ActGuardUsageError),
    (rate_limit, {"cost": 3, "burst": 2, "algorithm": "gcra"}, "cost", ActGuardUsageError),
    (rate_limit, {"cost": 6, "limits": "10/s;5/m"}, "cost", ActGuardUsageError),
    (rate_limit, {"name": ""}, "name", ActGuardUsageError),
    (rate_limit, {"wait": -1}, "wait", ActGuardUsageError),
    (rate_limit, {"wait": False}, "wait", ActGuardUsageError),
    (rate_limit, {"period": 10**400}, "period", ActGuardUsageError),
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
    (circuit_breaker, {"name": "w19", "scope": 7}, "scope", ScopeValidationError),
    (max_attempts, {"calls": 0}, "calls", MaxAttemptsConfigurationError),
    (max_attempts, {"calls": True}, "calls", MaxAttemptsConfigurationError),
    (max_attempts, {"calls": 1, "per": "day"}, "per", ActGuardUsageError),
    (max_attempts, {"calls": 1, "count": "successes"}, "count", ActGuardUsageError),
    (max_attempts, {"calls": 1, "name": ""}, "name", MaxAttemptsConfigurationError),
    (no_repeat, {"max_identical": 0}, "max_identical", ActGuardUsageError),
    (no_repeat, {"max_identical": 1, "compare_results": True}, "max_identical", ActGuardUsageError),
    (no_repeat, {"window": 0}, "window", ActGuardUsageError),
    (no_repeat, {"args": "all"}, "args", ActGuardUsageError),
    (no_repeat, {"args": None}, "args", ActGuardUsageError),
    (no_repeat, {"args": 7}, "args", ActGuardUsageError),
    (no_repeat, {"args": [7]}, "args", ActGuardUsageError),
    (no_repeat, {"args": {"query": True}}, "args", ActGuardUsageError),
    (no_repeat, {"compare_results": 1}, "compare_results", ActGuardUsageError),
    (no_repeat, {"tell": "no"}, "tell", ActGuardUsageError),
    (no_repeat, {"exempt": 7}, "exempt", ActGuardUsageError),
    (timeout, {"seconds": 0}, "seconds", TimeoutUsageError),
    (timeout, {"seconds": 1e12}, "seconds", TimeoutUsageError),
    (timeout, {"seconds": 1, "executor": 7}, "executor", TimeoutUsageError),
    (timeout, {"seconds": 1, "grace": -1}, "grace", TimeoutUsageError),
    (timeout, {"seconds": 1, "grace": False}, "grace", TimeoutUsageError),
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
    (idempotent, {"hide_key": 0}, "hide_key", ActGuardUsageError),
    (idempotent, {"fingerprint": 7}, "fingerprint", ActGuardUsageError),
    (idempotent, {"fingerprint": [7]}, "fingerprint", ActGuardUsageError),
    (idempotent, {"fingerprint": {"to": True}}, "fingerprint", ActGuardUsageError),
    (idempotent, {"codec": (str, awaited)}, "codec", ActGuardUsageError),
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
    (concurrency, {"limit": 1, "wait": False}, "wait", ActGuardUsageError),
    (concurrency, {"limit": 1, "lease_s": 0}, "lease_s", ActGuardUsageError),
    (concurrency, {"limit": 1, "scope": 7}, "scope", ScopeValidationError),
    (tool, {"timeout_executor": object()}, "timeout_executor", ActGuardUsageError),
    (tool, {"max_attempts": True}, "max_attempts", ActGuardUsageError),
    (tool, {"no_repeat": True}, "no_repeat", ActGuardUsageError),
    (tool, {"concurrency": True}, "concurrency", ActGuardUsageError),
    (tool, {"timeout": True}, "timeout", ActGuardUsageError),
    (tool, {"timeout": "soon"}, "timeout", TimeoutUsageError),
    (tool, {"rate_limit": 100}, "rate_limit", ActGuardUsageError),
    (tool, {"max_attempts": 0}, "max_attempts", MaxAttemptsConfigurationError),
    (tool, {"no_repeat": 0}, "no_repeat", ActGuardUsageError),
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
        (
            rate_limit(limits="5/30s; 100/2 min;7/hours;8/1.5d", scope="user"),
            "5 calls in 30 s and 100 calls in 120 s and 7 calls in 3600 s and 8 calls in 129600 s for each 'user'",
        ),
        (rate_limit(limits="7/hour;8/1.5d"), "7 calls in 3600 s and 8 calls in 129600 s"),
        (rate_limit(scope=("user", "run.user_id")), "10 calls in 60 s for each 'user' and 'run.user_id'"),
        (rate_limit(scope=len), "10 calls in 60 s for each len"),
        (rate_limit(limits="1/s;2/m"), "1 call in 1 s and 2 calls in 60 s"),
        (max_attempts(calls=3), "3 calls in a run"),
        (max_attempts(calls=1), "1 call in a run"),
        (max_attempts(calls=1, count="failures"), "1 failed call in a run"),
        (no_repeat(max_identical=1), "1 identical call in a run"),
        (circuit_breaker(name="says once", max_fails=1), "'says once': opens after 1 failure in a row, for 60 s"),
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
    assert guard.explain() == said


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


def test_on_block_of_tool_is_that_of_each_guard_it_makes_which_does_not_say_otherwise():
    made = rate_limit(max_calls=9)

    def call(idempotency_key: str = "k"):
        return None

    both = tool(
        rate_limit=["10/s", {"max_calls": 3, "on_block": "raise"}, made],
        circuit_breaker={"name": "told"},
        max_attempts=4,
        timeout=5,
        idempotent=True,
        no_repeat=6,
        concurrency={"limit": 7},
        policy=[actguard.InPlan()],
        guards=[concurrency(limit=8)],
        on_block="return_prompt",
    )(call)

    said = [(guard.kind, guard.on_block) for guard in both.__actguard__.guards]
    assert sorted(kind for kind, on_block in said if on_block == "raise") == ["concurrency", "rate_limit", "rate_limit"]
    assert len(said) == 11


def test_what_tool_refuses_is_told_to_the_model_if_it_is_to_be(run):
    guards = {"max_attempts": 1, "rate_limit": "10/s", "timeout": 5}
    told = tool(**guards, on_block="return_prompt")(lambda: "done")
    asked = tool(**guards, on_block=lambda error: error.code)(lambda: "done")

    assert [told(), told()] == [
        "done",
        "<lambda> was not run: it may not be called any more in this task; go on without it.",
    ]
    assert [asked(), asked()] == ["done", "MAX_ATTEMPTS_EXCEEDED"]


def test_an_on_block_of_tool_that_is_none_is_refused():
    with pytest.raises(ActGuardUsageError, match="on_block"):
        tool(rate_limit="10/s", on_block="tell")
    with pytest.raises(ActGuardUsageError, match="on_block"):
        tool(on_block="tell")


def test_the_executor_of_tool_is_that_of_its_timeout():
    import threading

    with ThreadPoolExecutor(1, "pool") as pool:
        for given in (5, {"seconds": 5}):
            here = tool(timeout=given, timeout_executor=pool)(lambda: threading.current_thread().name)
            assert here().startswith("pool")
            with pytest.raises(ActGuardUsageError, match="on_block"):
                tool(timeout=given, timeout_executor=pool, on_block="tell")


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
