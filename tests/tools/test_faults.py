"""Faults that guards of this kind are known to have, one test each: none of them is here.

The letters name where each was found: R rate limits, C circuit breakers, M attempts, T timeouts, I idempotency, X how
they combine; PEER: in a library in common use.
"""

import asyncio
import contextlib
import contextvars
import inspect
import math
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import actguard
from actguard import (
    ActGuardUsageError,
    CircuitOpenError,
    DuplicateIdempotencyKey,
    FailureKind,
    IdempotencyInProgress,
    IdempotencyOutcomeUnknown,
    IdempotencyPayloadMismatch,
    InvalidIdempotentToolError,
    MaxAttemptsExceeded,
    MissingIdempotencyKeyError,
    MissingRuntimeContextError,
    RateLimitExceeded,
    ScopeValueError,
    ToolTimeoutError,
    circuit_breaker,
    circuits,
    idempotent,
    max_attempts,
    rate_limit,
    timeout,
    tool,
)
from actguard.context import Frame, Run, inside
from actguard.tools.failures import classify

# ---- rate limits --------------------------------------------------------------------------------------------------


def made_in(module: str):
    def search():
        return module

    search.__module__, search.__qualname__ = module, "search"
    return search


def test_r1_functions_of_the_same_name_in_two_modules_do_not_share_a_window():
    one, two = (rate_limit(max_calls=1)(made_in(name)) for name in ("mod_a", "mod_b"))

    assert (one(), two()) == ("mod_a", "mod_b")


def test_r2_functions_of_one_factory_do_not_share_a_window():
    def factory(max_calls):
        @rate_limit(max_calls=max_calls)
        def search():
            return max_calls

        return search

    five, one = factory(5), factory(1)

    assert [five() for _ in range(3)] == [5, 5, 5]
    assert one() == 1


def test_r3_stacked_limits_both_hold(clock):
    @rate_limit(max_calls=2, period=0.05)
    @rate_limit(max_calls=3, period=10)
    def search():
        return clock.now

    done = 0
    for _ in range(8):
        try:
            search()
            done += 1
        except RateLimitExceeded:
            pass
        clock.pass_(0.06)
    assert done == 3


def test_r4_the_computers_clock_has_no_say(monkeypatch):
    actguard.configure(store=actguard.MemoryStore())

    @rate_limit(max_calls=1, period=0.5)  # a machine that stands still for so long is no machine to test on
    def search():
        return 1

    search()
    real = time.time()
    monkeypatch.setattr(time, "time", lambda: real + 3600)
    with pytest.raises(RateLimitExceeded):
        search()
    monkeypatch.setattr(time, "time", lambda: real - 3600)
    time.sleep(0.51)
    assert search() == 1


def test_r5_values_of_different_types_are_different_users():
    @rate_limit(max_calls=1, scope="user")
    def search(user):
        return user

    for user in (1, "1", True, 1.0, "__global__", ("a", "b"), ("ab",), "None"):
        assert search(user) == user
    with pytest.raises(RateLimitExceeded):
        search("1")


def test_r5b_a_missing_user_is_nobody_and_refused():
    @rate_limit(max_calls=1, scope="user")
    def search(user=None):
        return user

    with pytest.raises(ScopeValueError):
        search()


def test_r6_an_object_that_is_known_by_its_address_only_is_no_key():
    class User:
        pass

    @rate_limit(max_calls=1, scope="user")
    def search(user):
        return user

    with pytest.raises(ScopeValueError, match="User"):
        search(User())


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "10", None, math.nan])
def test_r7_a_number_of_calls_is_a_whole_number(value):
    with pytest.raises(ActGuardUsageError, match="max_calls"):
        rate_limit(max_calls=value)


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, True, "60", None])
def test_r7b_a_period_is_positive_and_finite(value):
    with pytest.raises(ActGuardUsageError, match="period"):
        rate_limit(period=value)


def test_r8_partials_and_callable_objects_are_guarded():
    import functools

    class Search:
        def __call__(self, text):
            return text

    for function in (functools.partial(lambda a, text: text, 1), Search()):
        search = rate_limit(max_calls=1)(function)
        assert search("x") == "x"
        with pytest.raises(RateLimitExceeded):
            search("x")


def test_r9_class_and_static_methods_are_guarded_on_either_side():
    class Tools:
        @rate_limit(max_calls=1)
        @classmethod
        def above(cls, text):
            return cls, text

        @staticmethod
        @rate_limit(max_calls=1)
        def below(text):
            return text

        @rate_limit(max_calls=1)
        @staticmethod
        def static(text):
            return text

    for call in (Tools.above, Tools().below, Tools.static):
        call("x")
        with pytest.raises(RateLimitExceeded):
            call("x")


def test_r10_a_method_may_count_for_each_object():
    class Tools:
        def __init__(self, name):
            self.name = name

        @rate_limit(max_calls=1, scope="self.name")
        def search(self):
            return self.name

    assert (Tools("a").search(), Tools("b").search()) == ("a", "b")
    with pytest.raises(RateLimitExceeded):
        Tools("a").search()


def test_r11_a_scope_may_come_through_keyword_arguments():
    @rate_limit(max_calls=1, scope="arguments.user_id")
    def call_tool(name, **arguments):
        return name

    assert call_tool("a", user_id="u1") == call_tool("a", user_id="u2")
    with pytest.raises(RateLimitExceeded):
        call_tool("a", user_id="u1")
    with pytest.raises(ScopeValueError):
        call_tool("a")


def test_r12_a_call_does_not_cost_more_in_a_full_window(clock):
    @rate_limit(max_calls=200_000, period=1000)
    def search():
        return None

    def cost(calls):
        begin = time.thread_time()
        for _ in range(calls):
            clock.pass_(1e-6)
            search()
        return (time.thread_time() - begin) / calls

    empty = min(cost(500) for _ in range(3))
    cost(50_000)
    assert min(cost(500) for _ in range(5)) < 5 * empty


def test_r13_keys_that_are_over_are_freed(clock):
    store = actguard.MemoryStore(clock=clock)

    @rate_limit(max_calls=1, period=1, scope="user", store=store)
    def search(user):
        return user

    for user in range(5000):
        search(user)
    clock.pass_(2)
    for user in range(1300):
        search(f"other {user}")

    assert len(store) < 1400


def test_x5_a_new_guard_is_safe_for_threads_at_once():
    @rate_limit(max_calls=100)
    def search():
        return 1

    done = []

    def call():
        for _ in range(20):
            with contextlib.suppress(RateLimitExceeded):
                done.append(search())

    threads = [threading.Thread(target=call) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 100


def test_peer_keys_sent_in_bulk_do_not_lift_a_limit():
    @rate_limit(max_calls=1, scope="user", store=actguard.MemoryStore(max_keys=160))
    def search(user):
        return user

    search("blocked")
    refused = 0
    for user in range(2000):
        try:
            search(user)
        except actguard.StoreFullError:
            refused += 1
    assert refused > 1000
    with pytest.raises(RateLimitExceeded):
        search("blocked")


def test_peer_a_refusal_says_when_to_come_back(clock):
    @rate_limit(max_calls=2, period=10)
    def search():
        return None

    search()
    clock.pass_(4)
    search()
    with pytest.raises(RateLimitExceeded) as caught:
        search()
    assert caught.value.retry_after == pytest.approx(6)
    clock.pass_(caught.value.retry_after)
    search()


# ---- circuit breakers ---------------------------------------------------------------------------------------------


def failing(name, **options):
    """A function behind the circuit *name*, that does what it is told."""

    @circuit_breaker(name=name, **options)
    def call(error=None, result="ok"):
        if error is not None:
            raise error
        return result

    return call


def fail(call, *errors):
    for error in errors:
        with pytest.raises(type(error)):
            call(error)


def test_c1_functions_with_the_same_name_share_one_circuit():
    one, two = failing("mail", max_fails=2), failing("mail", max_fails=2)

    fail(one, ConnectionError(), ConnectionError())

    with pytest.raises(CircuitOpenError):
        two()


async def test_c2_at_reset_only_the_permitted_probes_pass(clock):
    reached = 0

    @circuit_breaker(name="c2", max_fails=1, reset_timeout=10)
    async def call(fail=False):
        nonlocal reached
        reached += 1
        await asyncio.sleep(0)
        if fail:
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await call(fail=True)
    clock.pass_(10)
    reached = 0
    outcomes = await asyncio.gather(*(call() for _ in range(50)), return_exceptions=True)

    assert reached == 1
    assert sum(isinstance(outcome, CircuitOpenError) for outcome in outcomes) == 49


def test_c2b_a_failed_probe_opens_the_circuit_at_once(clock):
    call = failing("c2b", max_fails=3, reset_timeout=10)
    fail(call, *[ConnectionError() for _ in range(3)])
    clock.pass_(10)

    fail(call, ConnectionError())

    with pytest.raises(CircuitOpenError):
        call()


def test_c3_what_is_neither_failure_nor_success_makes_nothing_good():
    call = failing("c3", max_fails=3)

    fail(call, ConnectionError(), ValueError(), ConnectionError(), ValueError(), ConnectionError())

    with pytest.raises(CircuitOpenError):
        call()


def test_c3b_throttling_makes_nothing_good():
    call = failing("c3b", max_fails=3)

    fail(call, *[http_error(status) for status in (503, 503, 429, 503)])

    with pytest.raises(CircuitOpenError):
        call()


async def test_c4_a_late_result_of_an_earlier_time_changes_nothing(clock):
    gate = asyncio.Event()

    @circuit_breaker(name="c4", max_fails=1, reset_timeout=10)
    async def call(error=None, wait=False):
        if wait:
            await gate.wait()
        if error:
            raise error

    late = [asyncio.create_task(call(wait=True)), asyncio.create_task(call(KeyError(), wait=True))]
    await asyncio.sleep(0)
    with pytest.raises(ConnectionError):
        await call(ConnectionError())
    gate.set()
    await asyncio.gather(*late, return_exceptions=True)

    assert circuits.state("c4").state == "open"


def test_c5_a_timeout_of_the_same_pipeline_opens_the_circuit():
    @tool(timeout=0.01, circuit_breaker={"name": "c5", "max_fails": 2})
    async def call():
        await asyncio.sleep(1)

    for _ in range(2):
        with pytest.raises(ToolTimeoutError):
            asyncio.run(call())

    with pytest.raises(CircuitOpenError):
        asyncio.run(call())


def http_error(status, **attributes):
    """Like what an HTTP library raises for *status*."""
    error = RuntimeError("the server said something")
    error.status_code = status
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


def aws_error(code, status):
    error = RuntimeError("An error occurred")
    error.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {}}}
    return error


def test_c7_a_cloud_services_code_is_sharper_than_its_status():
    assert classify(aws_error("ThrottlingException", 400)) is FailureKind.THROTTLED
    assert classify(aws_error("ExpiredToken", 400)) is FailureKind.AUTH
    assert classify(aws_error("SomethingNew", 503)) is FailureKind.OVERLOADED


def test_c7b_status_408_is_a_timeout():
    assert classify(http_error(408)) is FailureKind.TIMEOUT


def test_c8_a_broken_exception_reaches_the_caller_as_it_is():
    class BrokenError(Exception):
        def __str__(self):
            raise RuntimeError("no text")

        @property
        def response(self):
            raise RuntimeError("no response")

        @property
        def status_code(self):
            raise KeyError("no status")

    broken = BrokenError()
    with pytest.raises(BrokenError) as caught:
        failing("c8")(broken)
    assert caught.value is broken


def test_c8b_what_a_message_says_decides_nothing():
    assert classify(RuntimeError("syntax error, invalid request, timeout, 503")) is FailureKind.UNKNOWN


def test_c9_the_computers_clock_has_no_say(monkeypatch):
    actguard.configure(store=actguard.MemoryStore())
    call = failing("c9", max_fails=1, reset_timeout=60)
    fail(call, ConnectionError())
    monkeypatch.setattr(time, "time", lambda: 1e12)
    with pytest.raises(CircuitOpenError):
        call()


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, True, "60", None])
def test_c10_a_reset_timeout_is_positive_and_finite(value):
    with pytest.raises(actguard.ActGuardUsageError, match="reset_timeout"):
        circuit_breaker(name="c10", reset_timeout=value)


def test_c11_a_generator_that_fails_is_seen_failing():
    @circuit_breaker(name="c11", max_fails=2)
    def rows():
        yield 1
        raise ConnectionError

    for _ in range(2):
        with pytest.raises(ConnectionError):
            list(rows())
    with pytest.raises(CircuitOpenError):
        list(rows())


async def test_c11b_an_asynchronous_generator_too():
    @circuit_breaker(name="c11b", max_fails=2)
    async def rows():
        yield 1
        raise ConnectionError

    for _ in range(2):
        with pytest.raises(ConnectionError):
            [row async for row in rows()]
    with pytest.raises(CircuitOpenError):
        [row async for row in rows()]


async def test_c12_a_function_that_returns_an_awaitable_is_seen_failing():
    async def request():
        raise ConnectionError

    call = circuit_breaker(name="c12", max_fails=2)(lambda: request())

    for _ in range(2):
        with pytest.raises(ConnectionError):
            await call()
    with pytest.raises(CircuitOpenError):
        await call()


async def test_c13_peer_a_cancelled_call_is_no_failure(clock):
    call = circuit_breaker(name="c13", max_fails=1)(asyncio.sleep)

    task = asyncio.create_task(call(10))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert circuits.state("c13").fails == 0


async def test_peer_a_cancelled_probe_frees_its_place(clock):
    @circuit_breaker(name="probe", max_fails=1, reset_timeout=10)
    async def call(seconds=0.0, error=None):
        if error:
            raise error
        await asyncio.sleep(seconds)

    with pytest.raises(ConnectionError):
        await call(error=ConnectionError())
    clock.pass_(10)
    probe = asyncio.create_task(call(10))
    await asyncio.sleep(0)
    with pytest.raises(CircuitOpenError):
        await call()
    probe.cancel()
    await asyncio.wait([probe])

    await call()
    assert circuits.state("probe").state == "closed"


def test_peer_calls_run_at_once_behind_one_circuit():
    inside_at_once = threading.Barrier(4, timeout=5)
    call = circuit_breaker(name="at once")(inside_at_once.wait)

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(lambda _: call(), range(4))) == [0, 1, 2, 3]


# ---- attempts -----------------------------------------------------------------------------------------------------


def test_m1_threads_of_two_runs_at_once_count_for_their_own():
    @max_attempts(calls=2)
    def call():
        return 1

    def work(run_id):
        with inside(Frame(run=Run(run_id))):
            done = 0
            for _ in range(5):
                with contextlib.suppress(MaxAttemptsExceeded):
                    done += call()
            return done

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, ["a", "b", "c", "d"])) == [2, 2, 2, 2]


def test_m2_a_thread_without_a_run_is_charged_to_nobody():
    @max_attempts(calls=1)
    def call():
        return 1

    caught = []

    def outside():
        try:
            call()
        except MissingRuntimeContextError as error:
            caught.append(error)

    with inside(Frame(run=Run("only"))):
        bare = threading.Thread(target=lambda: contextvars.Context().run(outside))
        bare.start()
        bare.join()
        assert call() == 1
    assert len(caught) == 1


# ---- timeouts -----------------------------------------------------------------------------------------------------


def test_t1_a_call_that_timed_out_in_a_queue_never_runs():
    ran = []
    release = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(release.wait, 5)
        queued = timeout(0.02, pool)(lambda: ran.append(1))
        with pytest.raises(ToolTimeoutError) as caught:
            queued()
        release.set()
    assert ran == []
    assert (caught.value.started, caught.value.still_running) == (False, False)


def test_t2_calls_that_hang_starve_nobody():
    release = threading.Event()
    hang = timeout(0.02)(lambda: release.wait(5))
    for _ in range(12):
        with pytest.raises(ToolTimeoutError) as caught:
            hang()
    assert caught.value.still_running

    assert timeout(5)(lambda: "served")() == "served"
    release.set()


def test_t3_timed_functions_may_call_timed_functions():
    inner = timeout(5)(lambda: "inner")
    outer = timeout(5)(lambda: inner())

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: outer(), range(16))) == ["inner"] * 16


def test_t4_the_functions_own_timeout_error_stays_its_own():
    own = TimeoutError("waited for a database lock")

    @timeout(5)
    def sync():
        raise own

    @timeout(5)
    async def coroutine():
        raise own

    for call in (sync, lambda: asyncio.run(coroutine())):
        with pytest.raises(TimeoutError) as caught:
            call()
        assert caught.value is own


def test_t5_the_interpreter_ends_though_a_call_hangs():
    program = (
        "import actguard, time\n"
        "try: actguard.timeout(0.05)(time.sleep)(60)\n"
        "except actguard.ToolTimeoutError as error: print(error.still_running)"
    )
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
    assert time.monotonic() - begin < 30


async def test_t6_the_bound_holds_though_a_coroutine_swallows_its_cancellation():
    ended = asyncio.Event()

    @timeout(0.02, grace=0.02, on_orphan=lambda outcome: ended.set())
    async def stubborn():
        for _ in range(20):
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue

    begin = time.monotonic()
    with pytest.raises(ToolTimeoutError) as caught:
        await stubborn()
    assert time.monotonic() - begin < 0.5
    assert caught.value.still_running
    await asyncio.wait_for(ended.wait(), 10)


@pytest.mark.parametrize("value", [None, 0, -1, math.nan, math.inf, "2", True])
def test_t7_seconds_are_positive_and_finite(value):
    with pytest.raises(actguard.TimeoutUsageError, match="seconds"):
        timeout(value)


def test_t8_what_must_not_change_threads_stays_on_its_own():
    database = sqlite3.connect(":memory:")

    @timeout(5, thread="none")
    def query():
        return database.execute("SELECT 1").fetchone()

    assert query() == (1,)


def test_t9_context_variables_set_inside_are_seen_outside():
    variable = contextvars.ContextVar("variable", default="before")

    @timeout(5)
    def change():
        variable.set("after")

    change()
    assert variable.get() == "after"


def test_t9b_the_deadline_of_one_call_is_not_that_of_the_next():
    call = timeout(0.2)(lambda: actguard.remaining())

    end = time.monotonic() + 0.4
    left = [call() for _ in iter(lambda: time.monotonic() < end, False)]

    assert min(left) > 0.05
    assert actguard.remaining() is None


# ---- idempotency --------------------------------------------------------------------------------------------------


def payments(**options):
    """A function that pays, and the list of what it paid."""
    paid = []

    @idempotent(**options)
    def pay(to, amount, *, idempotency_key=None):
        paid.append((to, amount))
        return f"paid {to} {amount}"

    return pay, paid


def test_i1_a_key_may_be_given_by_position(run):
    @idempotent()
    def pay(idempotency_key, to):
        return to

    assert pay("k", "bob") == pay("k", to="bob") == "bob"


def test_i2_the_same_key_with_another_payload_is_refused(run):
    pay, paid = payments()
    pay("alice", 1, idempotency_key="k")

    with pytest.raises(IdempotencyPayloadMismatch):
        pay("bob", 999, idempotency_key="k")
    assert paid == [("alice", 1)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, ValueError])
def test_i3_however_a_call_breaks_off_its_key_says_so(run, error):
    @idempotent()
    def pay(*, idempotency_key):
        raise error

    with pytest.raises(error):
        pay(idempotency_key="k")
    with pytest.raises(IdempotencyOutcomeUnknown):
        pay(idempotency_key="k")


async def test_i3b_a_cancelled_task_does_not_leave_its_key_in_progress(run):
    @idempotent()
    async def pay(*, idempotency_key):
        await asyncio.sleep(10)

    task = asyncio.create_task(pay(idempotency_key="k"))
    await asyncio.sleep(0)
    with pytest.raises(IdempotencyInProgress):
        await pay(idempotency_key="k")
    task.cancel()
    await asyncio.wait([task])
    with pytest.raises(IdempotencyOutcomeUnknown):
        await pay(idempotency_key="k")


async def test_i4_a_call_longer_than_its_time_to_live_does_not_run_twice(run, clock):
    gate = asyncio.Event()
    started = 0

    @idempotent(ttl_s=10)
    async def pay(*, idempotency_key):
        nonlocal started
        started += 1
        await gate.wait()
        return started

    first = asyncio.create_task(pay(idempotency_key="k"))
    await asyncio.sleep(0)
    clock.pass_(1000)
    with pytest.raises(IdempotencyInProgress):
        await pay(idempotency_key="k")
    gate.set()
    assert (await first, await pay(idempotency_key="k"), started) == (1, 1, 1)


def test_i5_a_durable_key_outlives_its_process(tmp_path):
    program = (
        "import actguard, sys\n"
        "from actguard.context import Frame, Run, inside\n"
        "@actguard.idempotent(durable=sys.argv[1], scope='global')\n"
        "def pay(*, idempotency_key):\n"
        "    print('paid'); return {'id': 7}\n"
        "print(pay(idempotency_key='k'))"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "keys.db")], capture_output=True, text=True, check=True
        ).stdout.split("\n")
        for _ in range(2)
    ]
    assert said == [["paid", "{'id': 7}", ""], ["{'id': 7}", ""]]


def test_i5_a_durable_file_is_the_one_that_was_meant_where_it_was_named(tmp_path, monkeypatch):
    made = []

    def pay_in(folder):
        folder.mkdir()
        monkeypatch.chdir(folder)

        @idempotent(durable="keys.db", scope="global")
        def pay(*, idempotency_key):
            made.append(folder.name)

        return pay

    first, second = pay_in(tmp_path / "a"), pay_in(tmp_path / "b")
    with actguard.BudgetGuard():
        for pay in (first, second, first):
            pay(idempotency_key="k")
    assert made == ["a", "b"]


def test_i6_a_result_is_everybodys_own(run):
    @idempotent()
    def read(*, idempotency_key):
        return {"rows": [1]}

    first = read(idempotency_key="k")
    first["rows"].append(2)
    second = read(idempotency_key="k")
    second["rows"].append(3)
    assert read(idempotency_key="k") == {"rows": [1]}


@pytest.mark.parametrize("key", [True, None, "", "  ", ["k"], 1.5, b"k", {}])
def test_i7_a_key_is_a_text_or_a_whole_number(run, key):
    pay, paid = payments()
    with pytest.raises(MissingIdempotencyKeyError):
        pay("bob", 1, idempotency_key=key)
    assert paid == []


def test_i7b_zero_and_texts_of_numbers_are_keys_of_their_own(run):
    pay, paid = payments()
    for key in (0, 1, "0", "1"):
        pay("bob", key, idempotency_key=key)
    assert len(paid) == 4


def test_i8_what_happens_to_duplicates_is_one_of_three():
    with pytest.raises(ActGuardUsageError, match="on_duplicate"):
        idempotent(on_duplicate="rasie")


def test_i9_generators_are_refused_where_they_are_decorated():
    def rows(*, idempotency_key):
        yield 1

    with pytest.raises(InvalidIdempotentToolError, match="generator"):
        idempotent()(rows)


def test_i9b_a_generator_that_comes_back_is_not_given_out_twice(run):
    @idempotent()
    def rows(*, idempotency_key):
        return (n for n in (1, 2))

    assert list(rows(idempotency_key="k")) == [1, 2]
    with pytest.raises(DuplicateIdempotencyKey):
        list(rows(idempotency_key="k"))


async def test_i10_a_function_that_returns_a_coroutine_gives_one_to_each_caller(run):
    async def request():
        return {"id": 1}

    @idempotent()
    def pay(*, idempotency_key):
        return request()

    assert [await pay(idempotency_key="k") for _ in range(3)] == [{"id": 1}] * 3


def test_i11_keys_that_are_over_are_freed(run, clock):
    store = actguard.MemoryStore(clock=clock)

    @idempotent(ttl_s=1, store=store)
    def pay(*, idempotency_key):
        return 1

    for key in range(3000):
        pay(idempotency_key=key)
    clock.pass_(2)
    for key in range(1000):
        pay(idempotency_key=f"later {key}")
    assert len(store) < 1100


# ---- together -----------------------------------------------------------------------------------------------------


def test_x1_the_order_is_the_documented_one_however_it_is_written():
    @rate_limit(max_calls=1)
    @timeout(5)
    @circuit_breaker(name="x1")
    @max_attempts(calls=1)
    @idempotent()
    def pay(*, idempotency_key):
        return 1

    lines = actguard.explain(pay).splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        *("idempotent", "max_attempts", "circuit_breaker", "rate_limit", "timeout", "->"),
    ]


def test_x1b_an_open_circuit_spends_no_rate():
    @tool(rate_limit={"max_calls": 2}, circuit_breaker={"name": "x1b", "max_fails": 1})
    def call(error=None):
        if error:
            raise error
        return 1

    fail(call, ConnectionError())
    for _ in range(3):
        with pytest.raises(CircuitOpenError):
            call()
    circuits.reset("x1b")
    assert call() == 1


def test_x2_signature_hints_and_documentation_survive():
    def search(text: str, limit: int = 3, *, lang: str = "en") -> list[str]:
        """Find it."""
        return []

    guarded = tool(rate_limit="10/s", timeout=3)(search)

    assert inspect.signature(guarded) == inspect.signature(search)
    assert (guarded.__name__, guarded.__doc__, guarded.__annotations__) == (
        *("search", "Find it."),
        search.__annotations__,
    )


def test_x3b_a_key_that_is_derived_is_not_shown_to_the_model(run):
    seen = []

    @idempotent(key="derived")
    def pay(to: str, amount: int, *, idempotency_key: str = "") -> str:
        seen.append(idempotency_key)
        return to

    assert list(inspect.signature(pay).parameters) == ["to", "amount"]
    assert "idempotency_key" not in pay.__annotations__
    assert pay("bob", 1) == pay(amount=1, to="bob") == "bob"
    pay("bob", 2)
    assert len(seen) == len(set(seen)) == 2


def test_x6_a_duplicate_spends_no_attempt(run):
    @tool(idempotent=True, max_attempts=1)
    def pay(*, idempotency_key):
        return 1

    assert [pay(idempotency_key="k") for _ in range(3)] == [1, 1, 1]


def test_x7_a_refusal_further_in_frees_the_key(run, clock):
    @tool(idempotent=True, rate_limit={"max_calls": 1, "period": 10})
    def pay(*, idempotency_key):
        return idempotency_key

    pay(idempotency_key="a")
    with pytest.raises(RateLimitExceeded):
        pay(idempotency_key="b")
    clock.pass_(10)
    assert pay(idempotency_key="b") == "b"


def test_x7b_a_refusal_gives_back_the_attempt(run, clock):
    limited = tool(max_attempts=2, rate_limit={"max_calls": 1, "period": 10})(lambda: 1)
    assert limited() == 1
    for _ in range(5):
        with pytest.raises(RateLimitExceeded):
            limited()
    clock.pass_(10)
    assert limited() == 1


def test_x8_coroutine_functions_are_known_as_such():
    @tool(rate_limit="1/s", timeout=1)
    async def call():
        return 1

    assert inspect.iscoroutinefunction(call)


def test_x9_a_nested_refusal_is_told_once_and_by_the_tool_that_refused(run, heard):
    @rate_limit(max_calls=1)
    def inner():
        return 1

    @tool(max_attempts=5)
    def outer():
        return inner()

    outer()
    with pytest.raises(RateLimitExceeded) as caught:
        outer()
    assert [event for event in heard.events if event[0] == "guard.blocked"] == [
        ("guard.blocked", {"guard": "rate_limit", "code": "RATE_LIMIT_EXCEEDED", **ANY_RETRY, **BLOCKED_INNER})
    ]
    assert "tool.failure" not in heard.names
    assert caught.value.tool == "inner"


class _Any:
    def __eq__(self, other: object) -> bool:
        return True


ANY_RETRY = {"retry_after": _Any()}
BLOCKED_INNER = {"tool_name": "inner", "outcome": "blocked"}


def test_p19_the_policy_of_a_tool_is_in_force():
    pay = tool(policy=[actguard.Threshold("amount", 10)])(lambda amount: amount)

    with actguard.session("s"), pytest.raises(actguard.GuardError):
        pay(11)


def test_unknown_options_are_mistakes():
    with pytest.raises(TypeError):
        rate_limit(max_call=3)
    with pytest.raises(ActGuardUsageError, match="max_call"):
        tool(rate_limit={"max_call": 3})
    with pytest.raises(TypeError):
        tool(rate_limits="1/s")
