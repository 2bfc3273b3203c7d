"""What a call is told that a guard refused, and what it may answer instead."""

import pytest

from actguard import (
    ActGuardUsageError,
    CircuitOpenError,
    Client,
    ConcurrencyExceeded,
    FailureKind,
    LoopDetected,
    MaxAttemptsExceeded,
    MissingRuntimeContextError,
    RateLimitExceeded,
    circuit_breaker,
    circuits,
    concurrency,
    idempotent,
    max_attempts,
    no_repeat,
    prove,
    rate_limit,
    session,
    tool,
)
from actguard.context import Frame, Run, inside
from actguard.exceptions import (
    CircuitBreakerConfigurationError,
    ToolGuardError,
)

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
    ("wait", "said"),
    [
        (0.0421, "0.0421 seconds"),
        (0.9996, "1 second"),
        (59.96, "60 seconds"),
        (99.96, "100 seconds"),
        (999.7, "1000 seconds"),
        (3600.0, "3600 seconds"),
        (86_399.6, "86400 seconds"),
    ],
)
def test_a_wait_is_told_in_plain_figures(wait, said):
    error = RateLimitExceeded(tool="look", limit=3, period=86_400.0, retry_after=wait)
    assert str(error) == f"look may be called 3 times in 86400 seconds; again in {said}."
    assert error.to_prompt().endswith(f"or call it again in {said}.")


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
    assert caught.value.to_prompt() == "send was not run: it asks for more than is ever allowed; ask for less."
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


def test_sessions_of_one_id_and_two_scopes_are_two(run):
    look = max_attempts(calls=1, per="session")(lambda: "done")
    pay = idempotent(scope="session")(lambda to, idempotency_key: f"paid {to}")
    for tenant in ("t-1", "t-2"):
        with session("chat-42", tenant):
            assert (look(), pay(tenant, "k")) == ("done", f"paid {tenant}")
            with pytest.raises(MaxAttemptsExceeded, match="in this session"):
                look()


def test_attempts_count_in_the_conversation_that_the_run_names():
    client = Client()
    look = max_attempts(calls=1, per="thread")(lambda: "done")
    for thread_id, passes in (("a", True), ("a", False), ("b", True), (None, True), (None, True)):
        with client.run(thread_id=thread_id):
            if passes:
                assert look() == "done"
            with pytest.raises(MaxAttemptsExceeded):
                look()


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


def test_what_a_generator_yields_cannot_be_compared():
    def items():
        yield 1

    async def aitems():
        yield 1

    for function in (items, aitems):
        with pytest.raises(ActGuardUsageError) as caught:
            no_repeat(compare_results=True)(function)
        assert caught.value.argument == "compare_results"
        assert no_repeat()(function)


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


@pytest.mark.parametrize(
    "guards",
    [[rate_limit(max_calls=1, on_block="return_prompt")], [no_repeat(max_identical=1)]],
    ids=["rate_limit", "no_repeat"],
)
async def test_a_sentence_is_waited_for_where_the_result_is(run, guards):
    """By callers of a function that is not `async`, and returns something to wait for."""

    async def later():
        return "found"

    @tool(guards=guards)
    def search():
        return later()

    assert await search() == "found"
    assert (await search()).startswith("search was not run")


async def test_what_is_said_of_a_result_that_was_waited_for_is_waited_for_once():
    async def later():
        return [{"id": 1}, {"id": 2}]

    @prove("number", "[].id", max_items=1, on_block=lambda error: error.code)
    def search():
        return later()

    with session():
        assert [await search(), await search()] == ["TOO_MANY_RESULTS", "TOO_MANY_RESULTS"]
