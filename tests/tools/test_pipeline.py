"""One wrapper for whatever is guarded: it keeps what it wraps, or refuses with a reason."""

import asyncio
import functools
import inspect
import threading
import types
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

import actguard
from actguard import (
    ActGuardUsageError,
    CircuitOpenError,
    ConcurrencyExceeded,
    IdempotencyOutcomeUnknown,
    InvalidToolError,
    LoopDetected,
    MaxAttemptsExceeded,
    RateLimitExceeded,
    circuit_breaker,
    circuits,
    concurrency,
    explain,
    idempotent,
    max_attempts,
    no_repeat,
    rate_limit,
    timeout,
    tool,
)

# ---- what can be guarded ------------------------------------------------------------------------------------------


def test_stacking_makes_one_wrapper_around_the_function():
    def search():
        return 1

    guarded = rate_limit()(timeout(3)(tool(max_attempts=3)(search)))

    assert guarded.__wrapped__ is search
    assert [guard.kind for guard in guarded.__actguard__.guards] == ["max_attempts", "rate_limit", "timeout"]


def test_a_guard_above_another_decorator_does_not_take_its_wrapper_for_its_own():
    calls = []

    @rate_limit(max_calls=5)
    def inner():
        return calls.append("inner")

    @functools.wraps(inner)
    def foreign():
        calls.append("foreign")
        return inner()

    rate_limit(max_calls=1)(foreign)()

    assert calls == ["foreign", "inner"]


def test_a_function_that_was_guarded_stays_as_it_was_when_it_is_guarded_again():
    once = rate_limit(max_calls=9)(lambda: 1)
    rate_limit(max_calls=1)(once)

    assert len(once.__actguard__.guards) == 1


@pytest.mark.parametrize("thing", [3, "search", None, property(lambda self: 1), object()])
def test_what_is_no_function_is_refused(thing):
    with pytest.raises(InvalidToolError):
        rate_limit()(thing)


def test_a_class_is_refused():
    with pytest.raises(InvalidToolError, match="class"):
        rate_limit()(dict)


@pytest.mark.parametrize("mark", ["args_schema", "forward", "acall", "run_json", "tool_spec", "to_json_schema_spec"])
@pytest.mark.parametrize("as_functions_have", [(), ("__call__",), ("__call__", "__get__")])
def test_a_tool_object_of_a_framework_is_refused_with_the_way_out(mark, as_functions_have):
    class StructuredTool:
        def __init__(self, func):
            self.func = func
            setattr(self, mark, func)

    for name in as_functions_have:
        setattr(StructuredTool, name, lambda self, *args: self)

    with pytest.raises(InvalidToolError, match=r"below the framework's decorator.*\.func"):
        rate_limit()(StructuredTool(str))


def test_a_function_is_one_whatever_a_framework_has_written_on_it():
    def search(query):
        return query

    search.args_schema = search.tool_spec = {}

    assert rate_limit()(search)("cats") == "cats"


@pytest.mark.parametrize("function", [str.upper, len, dict.fromkeys, "cats and dogs".count])
def test_methods_that_are_not_written_in_python_are_guarded(function):
    assert rate_limit()(function)("cats") == function("cats")


def test_a_builtin_is_guarded():
    length = rate_limit(max_calls=1)(len)
    assert length("abc") == 3
    with pytest.raises(RateLimitExceeded):
        length("abc")


def test_a_scope_must_be_a_parameter():
    with pytest.raises(ActGuardUsageError, match=r"'usr'.*user.*Did you mean 'user'"):
        rate_limit(scope="usr")(lambda user: 1)
    with pytest.raises(ActGuardUsageError, match=r"options\.usr"):
        rate_limit(scope="usr")(lambda **options: 1)


def test_a_scope_follows_paths_the_run_callables_and_tuples(run):
    context = types.SimpleNamespace(user={"id": "u1"})
    for scope, args in (
        ("ctx.user.id", (context,)),
        ("run.user_id", (context,)),
        (lambda ctx: ctx.user["id"], (context,)),
        (("run.run_id", "ctx.user.id"), (context,)),
    ):
        call = rate_limit(max_calls=1, scope=scope)(lambda ctx: 1)
        call(*args)
        with pytest.raises(RateLimitExceeded):
            call(*args)
        context.user = {"id": "u2"}
        if scope != "run.user_id":
            call(*args)
        context.user = {"id": "u1"}


@pytest.mark.parametrize("sizes", [1, 1_000_000])
def test_a_hostile_key_is_bounded(sizes):
    store = actguard.MemoryStore()
    call = rate_limit(max_calls=1, scope="user", store=store)(lambda user: 1)
    call("x" * sizes + "\u200b\ud800")
    with pytest.raises(RateLimitExceeded):
        call("x" * sizes + "\u200b\ud800")
    assert max(len(key) for shard in store._shards for key in shard.rates) < 600


# ---- generators ---------------------------------------------------------------------------------------------------


def test_a_generator_stays_one_and_is_admitted_when_it_begins():
    @rate_limit(max_calls=1)
    def rows(start):
        got = yield start
        yield got
        return "end"

    assert inspect.isgeneratorfunction(rows)
    made = rows(1)
    assert (next(made), made.send("sent")) == (1, "sent")
    with pytest.raises(StopIteration) as end:
        next(made)
    assert end.value.value == "end"
    with pytest.raises(RateLimitExceeded):
        next(rows(1))


async def test_an_asynchronous_generator_stays_one():
    @rate_limit(max_calls=1)
    async def rows(start):
        try:
            got = yield start
            yield got
        except KeyError:
            yield "caught"

    assert inspect.isasyncgenfunction(rows)
    made = rows(1)
    assert await anext(made) == 1
    assert await made.asend("sent") == "sent"
    assert await made.athrow(KeyError()) == "caught"
    await made.aclose()
    with pytest.raises(RateLimitExceeded):
        await anext(rows(1))


def test_a_generator_that_is_closed_early_frees_its_place():
    @concurrency(limit=1)
    def rows():
        yield 1
        yield 2

    made = rows()
    next(made)
    with pytest.raises(ConcurrencyExceeded):
        next(rows())
    made.close()
    assert list(rows()) == [1, 2]


async def test_an_asynchronous_generator_is_bounded_in_time():
    @timeout(0.05)
    async def rows():
        yield 1
        await asyncio.sleep(5)
        yield 2

    seen = []
    with pytest.raises(actguard.ToolTimeoutError):
        async for row in rows():
            seen.append(row)
    assert seen == [1]


def test_a_generator_cannot_be_timed():
    def rows():
        yield 1

    with pytest.raises(actguard.TimeoutUsageError, match="generator"):
        timeout(3)(rows)


# ---- modes, and what a refusal does -------------------------------------------------------------------------------


def test_observe_lets_pass_and_says_so(run, heard):
    call = tool(rate_limit={"max_calls": 1, "mode": "observe"}, max_attempts={"calls": 1, "mode": "observe"})(lambda: 1)

    assert [call() for _ in range(3)] == [1, 1, 1]
    assert [(name, event["guard"]) for name, event in heard.events if name == "guard.intervention"] == [
        *(("guard.intervention", "max_attempts"), ("guard.intervention", "rate_limit")) * 2
    ]


def test_all_guards_may_be_put_on_watch_at_once():
    call = rate_limit(max_calls=1)(lambda: 1)
    call()
    actguard.configure(mode="observe")
    assert call() == 1
    actguard.configure(mode=None)
    with pytest.raises(RateLimitExceeded):
        call()


def test_off_is_off():
    call = rate_limit(max_calls=1, mode="off")(lambda: 1)
    assert [call(), call()] == [1, 1]


async def test_a_refusal_may_be_a_sentence_for_the_model():
    def search():
        return "found"

    async def asearch():
        return "found"

    sync = rate_limit(max_calls=1, on_block="return_prompt")(search)
    coroutine = rate_limit(max_calls=1, on_block=lambda error: error.code)(asearch)

    assert sync() == await coroutine() == "found"
    assert "search was not run" in sync()
    assert await coroutine() == "RATE_LIMIT_EXCEEDED"


def test_a_generator_has_no_place_for_a_sentence():
    def rows():
        yield 1

    with pytest.raises(InvalidToolError, match="generator"):
        rate_limit(on_block="return_prompt")(rows)


def test_the_tools_own_error_reaches_the_caller_unchanged(run):
    mine = StopIteration("mine")

    @tool(rate_limit="9/s", max_attempts=9, circuit_breaker={"name": "own"}, timeout=5)
    def call():
        raise mine

    with pytest.raises(StopIteration) as caught:
        call()
    assert caught.value is mine
    assert caught.value.__cause__ is None


def test_a_refusal_hides_nothing_behind_it():
    call = rate_limit(max_calls=1)(lambda: 1)
    call()
    with pytest.raises(RateLimitExceeded) as caught:
        call()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_failures_and_runs_are_told_to_who_listens(run, heard):
    call = rate_limit()(lambda error=None: (_ for _ in ()).throw(error) if error else 1)

    call()
    with pytest.raises(KeyError):
        next(call(KeyError("secret")))

    assert heard.events == [
        ("tool.invoke", {"tool_name": "<lambda>", "outcome": "success"}),
        ("tool.failure", {"error_type": "KeyError", "tool_name": "<lambda>", "outcome": "failed"}),
    ]


@pytest.mark.parametrize(
    ("name", "base", "module"),
    [
        ("GraphInterrupt", Exception, "langgraph.errors"),
        ("ModelRetry", Exception, "pydantic_ai.exceptions"),
        ("NodeInterruptedError", BaseException, "google.adk.workflow._errors"),
    ],
)
def test_frameworks_steer_past_the_guards(run, name, base, module):
    steering = type(name, (base,), {"__module__": module})

    @tool(max_attempts=1, circuit_breaker={"name": name, "max_fails": 1}, idempotent=True)
    def ask(interrupt, *, idempotency_key):
        if interrupt:
            raise steering
        return "done"

    for _ in range(3):
        with pytest.raises(steering):
            ask(True, idempotency_key="k")
    assert ask(False, idempotency_key="k") == "done"


def test_explain_needs_guards():
    with pytest.raises(ActGuardUsageError):
        explain(len)


def test_what_is_made_of_a_guarded_function_explains_it():
    class Mail:
        def _send(self, to):
            return to

        send = rate_limit(max_calls=3)(functools.partialmethod(_send, "all"))

    guarded = rate_limit(max_calls=3)(lambda a, b: 1)
    assert explain(functools.partial(functools.partial(guarded, 1), 2)) == explain(guarded)
    for method in (Mail.__dict__["send"], Mail.send, Mail().send):
        assert "3 calls in 60 s" in explain(method)


def test_a_store_that_keeps_no_such_state_is_refused_where_it_is_written(tmp_path):
    store = actguard.DurableStore(tmp_path / "records.db")
    idempotent(scope="global", store=store)(lambda idempotency_key: 1)
    for guard in (
        rate_limit(store=store),
        max_attempts(calls=1, store=store),
        no_repeat(store=store),
        concurrency(limit=1, store=store),
        circuit_breaker(name="kept in a file", store=store),
    ):
        with pytest.raises(ActGuardUsageError, match="idempotency") as caught:
            guard(lambda: 1)
        assert caught.value.argument == "store"


# ---- guards, one by one: what the faults do not show --------------------------------------------------------------


def test_several_limits_count_all_or_nothing(clock):
    call = rate_limit(limits="2/s; 3/min")(lambda: 1)
    call()
    call()
    for _ in range(5):
        with pytest.raises(RateLimitExceeded):
            call()
    clock.pass_(1)
    call()
    with pytest.raises(RateLimitExceeded) as caught:
        call()
    assert (caught.value.limit, caught.value.period) == (3, 60)


@pytest.mark.parametrize(
    "limits", ["", "10", "0/s", "10/x", "10/s;", "-1/s", "10/100ms", 5, "9" * 5000 + "/s", f"1/{'9' * 400}d"]
)
def test_limits_read_like_limits(limits):
    with pytest.raises(ActGuardUsageError, match="limits"):
        rate_limit(limits=limits)


@pytest.mark.parametrize("algorithm", ["sliding", "gcra", "fixed"])
def test_a_limit_beyond_all_reckoning_lets_every_call_pass(algorithm):
    burst = {"burst": 10**400} if algorithm == "gcra" else {}
    call = rate_limit(max_calls=10**400, algorithm=algorithm, **burst)(lambda: 1)

    assert [call(), call()] == [1, 1]


def test_a_call_may_cost_more():
    call = rate_limit(max_calls=5, cost=lambda pages: pages)(lambda pages: pages)
    call(3)
    with pytest.raises(RateLimitExceeded):
        call(3)
    call(2)
    with pytest.raises(RateLimitExceeded) as caught:
        call(6)
    assert caught.value.retryable is False
    with pytest.raises(actguard.ToolGuardError, match="cost"):
        call(0)


def test_a_failed_call_may_be_given_back():
    @rate_limit(max_calls=1, count="successes")
    def call(fail):
        if fail:
            raise KeyError

    for _ in range(3):
        with pytest.raises(KeyError):
            call(True)
    call(False)
    with pytest.raises(RateLimitExceeded):
        call(False)


async def test_a_call_may_wait_for_room():
    actguard.configure(store=actguard.MemoryStore())

    @rate_limit(max_calls=1, period=0.05, wait=5)
    async def call():
        return 1

    assert await asyncio.gather(*(call() for _ in range(4))) == [1] * 4
    with pytest.raises(RateLimitExceeded):
        no_wait = rate_limit(max_calls=1, period=60, wait=0.01)(lambda: 1)
        no_wait()
        no_wait()


def test_an_identical_call_is_told_first_and_refused_then(run):
    @no_repeat(max_identical=2)
    def search(text, limit=3):
        return text

    assert [search("a", limit=1), search(limit=1, text="a"), search("b")] == ["a", "a", "b"]
    assert "this exact call was made twice" in search("a", 1)
    with pytest.raises(LoopDetected) as caught:
        search("a", 1)
    assert (caught.value.limit, caught.value.count) == (2, 4)


def test_polling_may_repeat_itself(run):
    poll = no_repeat(max_identical=1, exempt=lambda job: job == "poll")(lambda job: job)
    assert [poll("poll") for _ in range(5)] == ["poll"] * 5


def test_places_are_taken_and_given_back():
    gate, inside = threading.Event(), threading.Barrier(3, timeout=5)

    @concurrency(limit=2)
    def work():
        inside.wait()
        gate.wait(5)

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(work) for _ in range(2)]
        inside.wait()
        with pytest.raises(ConcurrencyExceeded):
            work()
        gate.set()
        for one in running:
            one.result()


def test_attempts_may_count_failures_only(run):
    call = max_attempts(calls=1, count="failures")(lambda fail: 1 / (not fail))
    assert [call(False), call(False)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        call(True)
    with pytest.raises(MaxAttemptsExceeded) as caught:
        call(False)
    assert (caught.value.used, caught.value.limit, caught.value.run_id) == (1, 1, "run-1")


def test_an_unknown_outcome_may_be_looked_up(run):
    found = [actguard.StillUnknown(), actguard.NotExecuted()]

    @idempotent(reconcile=lambda key, arguments: found.pop(0))
    def pay(fail, *, idempotency_key):
        if fail:
            raise ConnectionError
        return "paid"

    with pytest.raises(ConnectionError):
        pay(True, idempotency_key="k")
    with pytest.raises(IdempotencyOutcomeUnknown) as caught:
        pay(True, idempotency_key="k")
    assert caught.value.details == {"error": "ConnectionError"}
    with pytest.raises(ConnectionError):
        pay(True, idempotency_key="k")  # it was not executed, says the look-up, so it is tried again
    assert actguard.idempotency.resolve(caught.value.record, actguard.Executed("found"))
    assert pay(True, idempotency_key="k") == "found"


def test_an_exception_may_be_known_to_be_safe(run):
    tries = []

    @idempotent(safe_exceptions=(ValueError,))
    def pay(*, idempotency_key):
        tries.append(1)
        if len(tries) < 3:
            raise ValueError("refused before anything was done")
        return "paid"

    for _ in range(2):
        with pytest.raises(ValueError):
            pay(idempotency_key="k")
    assert pay(idempotency_key="k") == "paid"


async def test_a_duplicate_may_wait_for_the_first(run):
    actguard.configure(store=actguard.MemoryStore())
    calls = []

    @idempotent(on_duplicate="wait")
    async def pay(*, idempotency_key):
        calls.append(1)
        await asyncio.sleep(0.03)
        return "paid"

    assert await asyncio.gather(*(pay(idempotency_key="k") for _ in range(5))) == ["paid"] * 5
    assert len(calls) == 1


def test_circuits_must_agree_on_their_settings():
    circuit_breaker(name="agree", max_fails=2)
    with pytest.raises(actguard.exceptions.CircuitBreakerConfigurationError, match="max_fails"):
        circuit_breaker(name="agree", max_fails=3)
    circuits.forget("agree")
    circuit_breaker(name="agree", max_fails=3)


def test_a_slow_success_may_count_as_a_failure(monkeypatch):
    from actguard.pipeline import run as shells

    ticks = iter(range(0, 1000, 5))
    monkeypatch.setattr(shells, "clock", lambda: next(ticks) + 1)
    call = circuit_breaker(name="slow", max_fails=2, slow_call_s=1)(lambda: 1)
    call()
    call()
    with pytest.raises(CircuitOpenError):
        call()


def test_a_circuit_for_each_user():
    def down(user, fail=False):
        if fail:
            raise ConnectionError
        return user

    call = circuit_breaker(name="each", max_fails=1, scope="user")(down)
    with pytest.raises(ConnectionError):
        call("a", fail=True)
    with pytest.raises(CircuitOpenError):
        call("a")
    assert call("b") == "b"
    assert circuits.state("each", "a").state == "open"


def test_orphans_may_be_bounded():
    gate = threading.Event()
    hang = timeout(0.02, max_orphans=2)(lambda: gate.wait(5))
    for _ in range(2):
        with pytest.raises(actguard.ToolTimeoutError):
            hang()
    with pytest.raises(actguard.TooManyOrphansError, match="hang as may: 2"):
        hang()
    gate.set()
    actguard.shutdown()


async def test_a_timeout_keeps_out_of_other_peoples_cancellation():
    @timeout(5)
    async def call():
        await asyncio.sleep(5)

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_the_nearer_deadline_counts_and_can_be_asked_for():
    left = []

    @timeout(5)
    async def inner():
        left.append(actguard.remaining())
        await asyncio.sleep(5)

    @timeout(0.05)
    async def outer():
        await inner()

    with pytest.raises(actguard.ToolTimeoutError) as caught:
        await outer()
    assert caught.value.tool_name == "outer"
    assert left[0] < 0.06
    assert actguard.remaining() is None


def test_nothing_is_warned_about_when_all_is_well(run):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tool(rate_limit="1/s", timeout=1, max_attempts=1, idempotent=True)(lambda idempotency_key: 1)("k")
