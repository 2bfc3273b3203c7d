"""With a gateway: an outermost scope reserves when it is entered, and settles when it is left."""

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest

from actguard import ActGuardPaymentRequired, BudgetExceededError, BudgetGuard, Client
from actguard.exceptions import ActGuardUsageError, BudgetTransportError
from actguard.testing import LocalProvider
from tests.fake_gateway import Answer, FakeGateway, until

Make = Callable[..., Client]
EXCEEDED = {
    "error": "The month budget of workspace has not enough left for this run.",
    "code": "budget_exceeded",
    "scope": "workspace",
    "window": "month",
    "user_id": None,
    "tokens_used": 10,
    "token_limit": None,
    "usd_used_micros": 49_900_000,
    "usd_limit_micros": 50_000_000,
    "resets_at": "2026-12-01T00:00:00Z",
}
PAYMENT = {
    "message": "Top up.",
    "current_balance": 5,
    "required_amount": 50,
    "shortfall": 45,
    "topup_url": "https://pay.example.com",
    "topup_session_id": "s1",
    "user_id": "alice",
}


# ---- reserve ----


def test_an_outermost_scope_reserves_its_limits_once(gateway: FakeGateway, make: Make) -> None:
    client = make(gateway)
    with client.run(user_id="alice", run_id="req-42"):
        with client.budget_guard(usd_limit=0.05, token_limit=100_000, plan_key="pro"):
            with client.budget_guard(usd_limit=0.01), BudgetGuard():
                pass

    (reserve,) = gateway.to("reserve")
    reserve_id = reserve.body.pop("reserve_id")
    assert reserve.body == {
        "run_id": "req-42",
        "user_id": "alice",
        "plan_key": "pro",
        "usd_limit_micros": 50_000,
        "token_limit": 100_000,
    }
    assert reserve.key == reserve_id
    assert reserve_id[14] == "7"  # a UUID, version 7
    assert reserve.headers["authorization"] == "Bearer ag_live_k1.s3cret-of-the-key"


def test_a_plain_guard_in_a_run_reserves_too(gateway: FakeGateway, make: Make) -> None:
    with make(gateway).run(), BudgetGuard(usd_limit=1):
        assert len(gateway.to("reserve")) == 1


def test_a_plain_guard_outside_a_run_asks_nobody(gateway: FakeGateway, make: Make) -> None:
    make(gateway)
    with BudgetGuard(usd_limit=1):
        pass

    assert gateway.asked == []


def test_a_smaller_grant_is_the_scopes_own_limit(gateway: FakeGateway, make: Make, ask: Callable[..., Any]) -> None:
    gateway.granted_micros = 300
    client = make(gateway)
    with client.run(), client.budget_guard(usd_limit=5) as guard:
        assert guard.usd_limit == 0.0003
        ask()
        with pytest.raises(BudgetExceededError) as caught:
            for _ in range(3):
                ask()

    assert caught.value.usd_limit == 0.0003
    assert caught.value.origin == "local"


def test_figures_that_no_gateway_grants_are_not_taken(gateway: FakeGateway, make: Make) -> None:
    absurd = 10**400
    gateway.say("reserve", Answer(200, {"reserve_id": "r", "usd_limit_micros": absurd, "remaining_ttl_ms": absurd}))
    client = make(gateway)
    with client.run(), client.budget_guard(usd_limit=1) as guard:
        assert guard.usd_limit == 1.0


def test_an_error_under_a_smaller_grant_says_why_the_limit_is_so_small(
    gateway: FakeGateway, make: Make, ask: Callable[..., Any]
) -> None:
    gateway.granted_micros = 300
    client = make(gateway)
    with client.run(), client.budget_guard(usd_limit=5, name="task"), pytest.raises(BudgetExceededError) as caught:
        for _ in range(3):
            ask()

    assert caught.value.details["asked_usd"] == 5.0
    assert caught.value.details["granted_usd"] == 0.0003
    (note,) = caught.value.__notes__
    assert note == "The shared budget had $0.0003 left of the $5.0000 that this scope asked for."


def test_an_error_under_a_whole_grant_says_nothing_of_it(
    gateway: FakeGateway, make: Make, ask: Callable[..., Any]
) -> None:
    client = make(gateway)
    with client.run(), client.budget_guard(usd_limit=0.0003), pytest.raises(BudgetExceededError) as caught:
        for _ in range(3):
            ask()

    assert "asked_usd" not in caught.value.details
    assert not hasattr(caught.value, "__notes__")


def test_a_guard_may_take_what_is_left(gateway: FakeGateway, make: Make) -> None:
    client = make(gateway)
    with client.run(), BudgetGuard(usd_limit=5):  # all or nothing
        pass
    with client.run(), client.budget_guard(usd_limit=5, when_short="shrink"):
        pass

    assert [asked.body.get("when_short") for asked in gateway.to("reserve")] == [None, "shrink"]
    with pytest.raises(ActGuardUsageError, match="when_short must be 'shrink' or 'deny', not 'less'"):
        client.budget_guard(usd_limit=5, when_short="less")


def test_a_scope_without_a_limit_takes_what_is_granted(gateway: FakeGateway, make: Make) -> None:
    gateway.granted_micros = 2_000_000
    client = make(gateway)
    with client.run(), client.budget_guard() as guard:
        assert guard.usd_limit == 2.0
        assert guard.account is not None
        assert guard.account.usd_limited


def test_a_larger_grant_does_not_raise_a_limit(gateway: FakeGateway, make: Make) -> None:
    gateway.granted_micros = 9_000_000
    client = make(gateway)
    with client.run(), client.budget_guard(usd_limit=0.5) as guard:
        assert guard.usd_limit == 0.5


@pytest.mark.parametrize("policy", ["open", "closed"])
def test_a_shared_budget_that_is_used_up_is_always_raised(gateway: FakeGateway, make: Make, policy: str) -> None:
    gateway.say("reserve", Answer(409, EXCEEDED))
    client = make(gateway, on_gateway_error=policy)
    with client.run(user_id="alice"), pytest.raises(BudgetExceededError) as caught:
        with client.budget_guard(usd_limit=1, name="x"):
            pytest.fail("entered")

    error = caught.value
    assert (error.origin, error.phase, error.limit_type, error.user_id) == ("remote", "before", "usd", "alice")
    assert (error.usd_used, error.usd_limit, error.tokens_used) == (49.9, 50.0, 10)
    assert error.details["resets_at"] == "2026-12-01T00:00:00Z"
    assert gateway.to("settle") == []
    client.flush()
    (blocked,) = [event for event in gateway.events() if event["name"] == "blocked"]
    assert (blocked["category"], blocked["outcome"], blocked["payload"]["origin"]) == ("budget", "blocked", "remote")


@pytest.mark.parametrize("policy", ["open", "closed"])
def test_a_balance_that_does_not_cover_it_is_always_raised(gateway: FakeGateway, make: Make, policy: str) -> None:
    gateway.say("reserve", Answer(402, PAYMENT))
    client = make(gateway, on_gateway_error=policy)
    with client.run(), pytest.raises(ActGuardPaymentRequired) as caught:
        client.budget_guard(usd_limit=1).__enter__()

    error = caught.value
    assert (error.status, error.path, error.user_message) == (402, "/api/v1/reserve", "Top up.")
    assert (error.current_balance, error.required_amount, error.shortfall) == (5, 50, 45)
    assert (error.topup_url, error.topup_session_id, error.user_id) == ("https://pay.example.com", "s1", "alice")


def test_the_older_names_of_a_payment_are_read(gateway: FakeGateway, make: Make) -> None:
    older = {"Message": "Pay", "CurrentBalance": 1, "RequiredAmount": 2, "Shortfall": 1, "TopupURL": "u"}
    gateway.say("reserve", Answer(402, older))
    client = make(gateway)
    with client.run(), pytest.raises(ActGuardPaymentRequired, match="Pay") as caught:
        client.budget_guard().__enter__()

    assert (caught.value.current_balance, caught.value.topup_url) == (1, "u")


@pytest.mark.parametrize("status", [400, 401, 403, 422])
def test_a_refused_request_is_raised_whatever_the_policy_is(gateway: FakeGateway, make: Make, status: int) -> None:
    gateway.say("reserve", Answer(status, {"error": "no such key", "code": "unauthorized"}))
    client = make(gateway)
    with client.run(), pytest.raises(BudgetTransportError, match="no such key") as caught:
        client.budget_guard().__enter__()

    assert not caught.value.retryable
    assert caught.value.details["status"] == status
    assert len(gateway.to("reserve")) == 1


def test_a_try_that_failed_is_repeated_with_the_same_id(gateway: FakeGateway, make: Make) -> None:
    gateway.say("reserve", Answer(503, {"error": "down"}, {"Retry-After": "0"}))
    client = make(gateway, backoff_base_ms=1)
    with client.run(), client.budget_guard(usd_limit=1):
        pass

    first, second = gateway.to("reserve")
    assert (first.key, first.body) == (second.key, second.body)


def test_a_pause_that_is_asked_for_is_kept(gateway: FakeGateway, make: Make) -> None:
    gateway.say("reserve", Answer(429, {"error": "slow down"}, {"Retry-After": "0.3"}))
    client = make(gateway, backoff_base_ms=1)
    with client.run(), client.budget_guard(usd_limit=1):
        pass

    first, second = gateway.to("reserve")
    assert 0.3 <= second.at - first.at < 2.5


# ---- settle ----


def test_what_was_spent_is_settled_with_every_call_in_it(
    gateway: FakeGateway, make: Make, ask: Callable[..., Any]
) -> None:
    client = make(gateway)
    with client.run(user_id="alice", run_id="r1"):
        with client.budget_guard(usd_limit=0.5, name="root") as guard:
            ask()
            with client.budget_guard(name="search"):
                ask()
            guard.add_cost(name="tavily", usd=0.01)

    (settle,) = gateway.to("settle")
    assert settle.body["reserve_id"] == gateway.to("reserve")[0].body["reserve_id"]
    assert (settle.body["input_tokens"], settle.body["output_tokens"]) == (16, 40)
    assert "final" not in settle.body
    call = {
        "provider": "openai",
        "provider_model_id": "gpt-4o",
        "requested_model": "gpt-4o",
        "input_tokens": 8,
        "cached_input_tokens": 0,
        "output_tokens": 20,
        "usd_micros": 220,
        "calls": 1,
    }
    assert settle.body["usage_breakdown"] == [
        {**call, "scope_name": "root"},
        {**call, "scope_name": "search"},
        {"type": "custom_cost", "name": "tavily", "cost_cu": 10, "usd_micros": 10_000, "scope_name": "root"},
    ]


def test_a_scope_is_settled_when_its_body_raised_and_the_error_stays(
    gateway: FakeGateway, make: Make, ask: Callable[..., Any]
) -> None:
    gateway.say("settle", Answer(409, EXCEEDED))  # must not hide the program's own error
    client = make(gateway)
    with pytest.raises(ZeroDivisionError):
        with client.run(), client.budget_guard(usd_limit=1):
            ask()
            raise ZeroDivisionError

    assert gateway.to("settle")[0].body["output_tokens"] == 20


def test_a_settle_is_on_disk_before_it_is_sent_and_gone_when_it_is_acknowledged(
    gateway: FakeGateway, make: Make, ask: Callable[..., Any]
) -> None:
    client = make(gateway)
    assert client.remote is not None
    spool, kept = client.remote.spool, []
    gateway.script = lambda asked: (
        kept.extend(spool.segments()[0].read_bytes().split()) if "settle" in asked.path else None
    )  # type: ignore[func-returns-value]
    with client.run(), client.budget_guard(usd_limit=1):
        ask()

    assert kept
    assert b"usage_breakdown" in kept[0] or any(b"usage_breakdown" in part for part in kept)
    assert spool.pending() == []
    assert spool.segments()[0].read_bytes() == b""


def test_a_guard_that_is_entered_again_reserves_what_remains(
    gateway: FakeGateway, make: Make, ask: Callable[..., Any]
) -> None:
    client = make(gateway)
    with client.run():
        guard = client.budget_guard(usd_limit=0.5)
        with guard:
            ask()
        with guard:
            ask()

    first, second = gateway.to("reserve")
    assert (first.body["usd_limit_micros"], second.body["usd_limit_micros"]) == (500_000, 499_780)
    assert first.key != second.key
    assert [settle.body["output_tokens"] for settle in gateway.to("settle")] == [20, 20]
    assert guard.usd_limit == 0.5


async def test_two_tasks_that_enter_one_guard_at_once_settle_it_once(gateway: FakeGateway, make: Make) -> None:
    client = make(gateway)
    async with client.run():
        guard = client.budget_guard(usd_limit=0.5)
        inside = asyncio.Barrier(2)

        async def work() -> None:
            async with guard:
                guard.add_cost(name="x", usd=0.001)
                await inside.wait()

        await asyncio.gather(work(), work())

    assert len(gateway.to("settle")) == len(gateway.to("reserve"))
    costs = [line["usd_micros"] for settle in gateway.to("settle") for line in settle.body["usage_breakdown"]]
    assert costs == [1000, 1000]


def test_a_stream_that_outlives_its_scope_settles_again(
    gateway: FakeGateway, make: Make, ask: Callable[..., Any]
) -> None:
    client = make(gateway)
    with client.run(), client.budget_guard(usd_limit=1, name="root"):
        ask()
        stream = ask(stream=True)
        next(stream)

    (part,) = gateway.to("settle")
    assert (part.body["final"], part.body["seq"], part.body["output_tokens"]) == (False, 1, 20)
    list(stream)
    until(lambda: len(gateway.to("settle")) == 2)
    rest = gateway.to("settle")[1].body
    assert "final" not in rest
    assert (rest["reserve_id"], rest["output_tokens"]) == (part.body["reserve_id"], 20)


def test_a_stream_that_is_thrown_away_after_its_scope_settles_too(
    gateway: FakeGateway, make: Make, ask: Callable[..., Any]
) -> None:
    client = make(gateway)
    with client.run(), client.budget_guard(usd_limit=1):
        stream = ask(stream=True)
        next(stream)
    assert gateway.to("settle") == []  # nothing is certain yet
    del stream
    gc.collect()

    (settle,) = until(lambda: gateway.to("settle"))
    assert settle.body["usage_breakdown"][0]["estimated"] is True


def test_a_stream_that_is_held_until_its_client_is_closed_is_settled_then_as_one_that_was_left(
    gateway: FakeGateway, make: Make, ask: Callable[..., Any]
) -> None:
    client = make(gateway)
    with client.run(), client.budget_guard(usd_limit=1) as guard:
        stream = ask(stream=True)
        for _ in range(3):
            next(stream)
    assert gateway.to("settle") == []
    client.close()

    (settle,) = gateway.to("settle")
    assert "final" not in settle.body
    (entry,) = settle.body["usage_breakdown"]
    assert entry["estimated"] is True
    assert 0 < entry["output_tokens"] < 20  # what was received, not what was expected
    assert [event["name"] for event in gateway.events() if event["category"] == "llm"] == ["usage"]
    told = guard.usd_used
    list(stream)
    assert (guard.usd_used, guard.calls) == (told, 1)  # counted once, also by who goes on reading


async def test_an_async_stream_that_is_held_until_its_client_is_closed_is_settled_then(
    gateway: FakeGateway, make: Make, provider: LocalProvider
) -> None:
    client = make(gateway)
    async with client.run(), client.budget_guard(usd_limit=1):
        stream = await provider.async_openai().chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        await anext(aiter(stream))
    await client.aclose()

    (settle,) = gateway.to("settle")
    assert "final" not in settle.body
    assert settle.body["usage_breakdown"][0]["estimated"] is True
    await stream.close()


def test_a_google_stream_that_is_held_until_its_client_is_closed_is_settled_then(
    gateway: FakeGateway, make: Make, provider: LocalProvider
) -> None:
    client = make(gateway)
    with client.run(), client.budget_guard(usd_limit=1):
        models: Any = provider.google().models
        stream = models.generate_content_stream(model="gemini-2.5-flash", contents="Hi")
        next(stream)
    client.close()

    (settle,) = gateway.to("settle")
    assert settle.body["usage_breakdown"][0]["estimated"] is True
    stream.close()


def test_a_call_in_flight_when_its_client_is_closed_is_settled_then_by_estimate(
    gateway: FakeGateway, make: Make, provider: LocalProvider, ask: Callable[..., Any]
) -> None:
    client = make(gateway)
    with provider.hold() as gate:
        with client.run(), client.budget_guard(usd_limit=1):
            asking = threading.Thread(target=ask)
            asking.start()
            gate.wait_for(1)
        client.close()
        (settle,) = gateway.to("settle")
        assert settle.body["usage_breakdown"][0]["estimated"] is True
        gate.release()
        asking.join()
    assert len(gateway.to("settle")) == 1


def test_a_call_that_is_begun_after_the_last_settle_is_one_more_part(
    gateway: FakeGateway, make: Make, ask: Callable[..., Any]
) -> None:
    client = make(gateway)
    entered, left = threading.Event(), threading.Event()

    def late() -> None:
        entered.set()
        left.wait(10)
        ask()

    with client.run(), client.budget_guard(usd_limit=1):
        thread = threading.Thread(target=late)
        thread.start()
        entered.wait(10)
    left.set()
    thread.join()

    until(lambda: len(gateway.to("settle")) == 2)
    last, later = (settle.body for settle in gateway.to("settle"))
    assert "final" not in last
    assert (later["final"], later["seq"], later["output_tokens"]) == (False, 1, 20)


def test_a_long_run_renews_its_hold_and_tells_what_it_spent_so_far(
    gateway: FakeGateway, make: Make, ask: Callable[..., Any]
) -> None:
    gateway.ttl_ms = 700
    client = make(gateway)
    with client.run(), client.budget_guard(usd_limit=1):
        ask()
        until(lambda: len(gateway.to("extend")) >= 3)
        first, second = gateway.to("extend")[:2]
        assert first.body == {"reserve_id": gateway.to("reserve")[0].body["reserve_id"], "ttl_s": 1}
        assert 0.1 < second.at - first.at < 0.7
        until(lambda: gateway.to("settle"))
    part, last = (settle.body for settle in gateway.to("settle"))
    assert (part["final"], part["seq"], part["output_tokens"]) == (False, 1, 20)
    assert ("final" in last, last["output_tokens"]) == (False, 0)
    renewals = len(gateway.to("extend"))
    time.sleep(0.6)
    assert len(gateway.to("extend")) == renewals


def test_a_run_whose_hold_has_ended_goes_on_telling_what_it_spends(
    gateway: FakeGateway, make: Make, ask: Callable[..., Any]
) -> None:
    gateway.ttl_ms = 700
    gateway.say("extend", Answer(422, {"error": "This hold is expired.", "code": "hold_closed"}))
    client = make(gateway)
    with client.run(), client.budget_guard(usd_limit=1):
        for told in (1, 2):
            ask()
            until(lambda told=told: len(gateway.to("settle")) >= told)
    assert len(gateway.to("extend")) == 1, "it cannot be had back"
    assert [settle.body.get("seq") for settle in gateway.to("settle")] == [1, 2, None]


def test_a_hold_that_the_gateway_has_forgotten_is_told_as_an_offline_run(
    gateway: FakeGateway, make: Make, ask: Callable[..., Any]
) -> None:
    gateway.say("settle", Answer(404, {"error": "There is no such hold.", "code": "unknown_hold"}))
    client = make(gateway)
    with client.run(run_id="r9"), client.budget_guard(usd_limit=1):
        ask()

    known, offline = gateway.to("settle")
    assert "offline" not in known.body
    assert offline.body["offline"] is True
    assert (offline.body["run_id"], offline.body["output_tokens"]) == ("r9", 20)
    assert known.key != offline.key
    assert client.remote is not None
    assert client.remote.spool.pending() == []


# ---- extend ----


def test_a_live_guard_is_extended_at_the_gateway_first(gateway: FakeGateway, make: Make) -> None:
    client = make(gateway)
    with client.run(), client.budget_guard(usd_limit=0.5, token_limit=1000) as guard:
        guard.extend(usd=0.25, tokens=500)

        assert (guard.usd_limit, guard.token_limit) == (0.75, 1500)
        (asked,) = gateway.to("extend")
        reserve_id = gateway.to("reserve")[0].body["reserve_id"]
        assert asked.body == {"reserve_id": reserve_id, "usd_micros": 250_000, "tokens": 500}


def test_what_the_gateway_does_not_give_is_not_given(gateway: FakeGateway, make: Make) -> None:
    gateway.say("extend", Answer(409, EXCEEDED))
    client = make(gateway)
    with client.run(), client.budget_guard(usd_limit=0.5) as guard:
        with pytest.raises(BudgetExceededError) as caught:
            guard.extend(usd=0.25)

        assert (guard.usd_limit, caught.value.origin) == (0.5, "remote")


async def test_it_is_extended_without_blocking_the_loop(gateway: FakeGateway, make: Make) -> None:
    client = make(gateway)
    async with client.run(), client.budget_guard(usd_limit=0.5) as guard:
        await guard.aextend(usd=0.25)

        assert guard.usd_limit == 0.75
        assert len(gateway.to("extend")) == 1


# ---- async ----


async def test_async_guards_reserve_and_settle_without_blocking_the_loop(
    gateway: FakeGateway, make: Make, provider: Any
) -> None:
    slow = Answer(200, None, wait=1.0)
    gateway.script = lambda asked: (
        Answer(200, gateway._grant(asked), wait=slow.wait) if "events" not in asked.path else None
    )
    client = make(gateway)
    longest = 0.0

    async def heartbeat() -> None:
        nonlocal longest
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            longest = max(longest, time.perf_counter() - before)

    sdk = openai.AsyncOpenAI()
    messages: Any = [{"role": "user", "content": "Hi"}]
    async with client.run(), client.budget_guard(usd_limit=0.5):  # what is loaded once is loaded now
        await sdk.chat.completions.create(model="gpt-4o", messages=messages)
    beating = asyncio.create_task(heartbeat())
    async with client.run(), client.budget_guard(usd_limit=0.5) as guard:
        await sdk.chat.completions.create(model="gpt-4o", messages=messages)
        assert guard.calls == 1
    beating.cancel()

    assert longest < 0.5  # each request took a second
    assert gateway.to("settle")[1].body["output_tokens"] == 20


async def test_with_on_a_loop_is_warned_about(gateway: FakeGateway, make: Make) -> None:
    client = make(gateway)
    async with client.run():
        with pytest.warns(UserWarning, match="use `async with`"):
            with client.budget_guard(usd_limit=1):
                pass


async def test_a_task_that_is_cancelled_while_it_reserves_gives_the_hold_back(gateway: FakeGateway, make: Make) -> None:
    gateway.script = lambda asked: Answer(200, gateway._grant(asked), wait=0.3) if "reserve" in asked.path else None
    client = make(gateway)

    async def work() -> None:
        async with client.run(), client.budget_guard(usd_limit=1):
            pytest.fail("entered")

    task = asyncio.create_task(work())
    while not gateway.to("reserve"):  # noqa: ASYNC110 - another thread gets it
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    released = await asyncio.to_thread(until, lambda: gateway.to("release"))
    assert released[0].body["reserve_id"] == gateway.to("reserve")[0].body["reserve_id"]


def test_guards_work_on_trio(gateway: FakeGateway, make: Make) -> None:
    trio = pytest.importorskip("trio")
    client = make(gateway)

    async def work() -> float:
        async with client.run(), client.budget_guard(usd_limit=0.5) as guard:
            return guard.usd_limit

    assert trio.run(work) == 0.5
    assert len(gateway.to("settle")) == 1


def test_a_client_serves_one_event_loop_after_another(gateway: FakeGateway, make: Make) -> None:
    client = make(gateway)

    async def work() -> None:
        async with client.run(), client.budget_guard(usd_limit=0.5):
            pass

    for _ in range(3):
        asyncio.run(work())

    assert len(gateway.to("settle")) == 3


# ---- without a guard ----


def test_budgets_may_be_reserved_and_settled_without_a_guard(gateway: FakeGateway, make: Make) -> None:
    client = make(gateway)

    granted = client.reserve_budget(run_id="r1", user_id="alice", usd_limit=0.25, plan_key="pro")
    for _ in range(2):
        client.settle_budget(
            reserve_id=granted["reserve_id"],
            input_tokens=10,
            output_tokens=5,
            usage_breakdown=[{"provider": "openai", "provider_model_id": "gpt-4o", "input_tokens": 10}],
        )

    assert gateway.to("reserve")[0].body["usd_limit_micros"] == 250_000
    assert "when_short" not in gateway.to("reserve")[0].body
    client.reserve_budget(run_id="run-2", usd_limit=0.25, when_short="shrink")
    assert gateway.to("reserve")[-1].body["when_short"] == "shrink"
    with pytest.raises(ActGuardUsageError, match="when_short"):
        client.reserve_budget(run_id="run-2", usd_limit=0.25, when_short="")
    first, second = gateway.to("settle")
    assert first.key == second.key
    assert first.body["usage_breakdown"][0]["provider"] == "openai"


async def test_their_async_twins(gateway: FakeGateway, make: Make) -> None:
    client = make(gateway)

    granted = await client.areserve_budget(run_id="r1", cost_limit=250)
    answer = await client.asettle_budget(reserve_id=granted["reserve_id"], provider="openai", output_tokens=5)

    assert gateway.to("reserve")[0].body["cost_limit"] == 250
    assert answer["status"] == "settled"
