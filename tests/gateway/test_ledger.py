"""What holds, settles and budgets do, the same on both stores."""

from typing import Any

import pytest

from actguard.gateway import accounts, reports
from actguard.gateway.audit import audit
from actguard.gateway.ledger.operations import Extend, Release, Reply, Reserve, Settle
from actguard.gateway.ledger.windows import SECOND, window_at

pytestmark = pytest.mark.usefixtures("sums_are_right")


@pytest.fixture
def sums_are_right(ledger: Any) -> Any:
    yield
    assert ledger.store.read(audit) == []


def reserve(reserve_id: str = "r1", **said: Any) -> Reserve:
    return Reserve(**({"workspace": 1, "agent": "bot", "reserve_id": reserve_id, "run_id": "run", "hash": "h"} | said))


def settle(reserve_id: str = "r1", usd: int = 0, tokens: int = 0, **said: Any) -> Settle:
    fixed = {"workspace": 1, "agent": "bot", "reserve_id": reserve_id, "usd": usd, "tokens": tokens, "hash": f"s{usd}"}
    return Settle(**(fixed | said))


def extend(reserve_id: str = "r1", **said: Any) -> Extend:
    return Extend(**({"workspace": 1, "agent": "bot", "reserve_id": reserve_id} | said))


def release(reserve_id: str = "r1") -> Release:
    return Release(workspace=1, agent="bot", reserve_id=reserve_id)


def outcome(reply: Reply) -> tuple[Any, ...]:
    body = reply.body
    return (
        reply.status,
        body.get("status"),
        body.get("usd_micros"),
        body.get("released_micros"),
        body.get("overrun_micros"),
    )


def test_what_was_not_spent_is_given_back(ledger: Any) -> None:
    ledger.budget(usd=100)
    assert ledger.one(reserve(usd=60)).status == 200
    assert ledger.counter() == (60, 0, 0, 0)
    assert ledger.one(reserve("r2", usd=60)).status == 409

    assert outcome(ledger.one(settle(usd=25, tokens=7))) == (200, "settled", 25, 35, 0)
    assert ledger.counter() == (0, 25, 0, 7)
    assert ledger.one(reserve("r2", usd=75)).status == 200


def test_what_was_spent_beyond_the_hold_is_charged_in_full_and_refuses_the_next(ledger: Any) -> None:
    ledger.budget(usd=100)
    ledger.one(reserve(usd=60))

    assert outcome(ledger.one(settle(usd=150))) == (200, "settled", 150, 0, 90)
    assert ledger.counter() == (0, 150, 0, 0)
    refused = ledger.one(reserve("r2", usd=1))
    assert (refused.status, refused.body["code"], refused.body["scope"]) == (409, "budget_exceeded", "workspace")
    assert (refused.body["usd_used_micros"], refused.body["usd_limit_micros"]) == (150, 100)


def test_a_settle_is_charged_once_however_often_it_comes(ledger: Any) -> None:
    ledger.budget(usd=100)
    ledger.one(reserve(usd=60))
    first = ledger.one(settle(usd=25))

    assert ledger.one(settle(usd=25)) == first
    assert ledger.one(settle(usd=40)) == first, "another figure for the same hold is no second settle"
    assert ledger.apply(settle(usd=25), settle(usd=25)) == [first, first]
    assert ledger.counter() == (0, 25, 0, 0)


def test_a_reserve_is_granted_once_by_its_id(ledger: Any) -> None:
    ledger.budget(usd=100)
    first = ledger.one(reserve(usd=60))

    assert ledger.one(reserve(usd=60)).body == first.body
    assert ledger.one(reserve(usd=60, hash="other")).status == 422
    assert ledger.counter() == (60, 0, 0, 0)


def test_an_idempotency_key_returns_the_first_answer_and_no_other_request_for_it(ledger: Any) -> None:
    ledger.budget(usd=100)
    granted = ledger.one(reserve(usd=60, idempotency_key="k1"))
    refused = ledger.one(reserve("r2", usd=60, idempotency_key="k2"))
    ledger.one(release())
    ledger.clock.tick(1)

    again = ledger.one(reserve("r9", usd=60, idempotency_key="k1"))
    assert again.body | {"remaining_ttl_ms": 0} == granted.body | {"remaining_ttl_ms": 0}
    assert ledger.one(reserve("r2", usd=60, idempotency_key="k2")) == refused
    assert ledger.one(reserve("r3", usd=60, idempotency_key="k1", hash="x")).body["code"] == "idempotency_mismatch"
    assert ledger.counter() == (0, 0, 0, 0)


def test_a_hold_remembers_the_keys_that_are_named_after_it(ledger: Any) -> None:
    ledger.budget(usd=100)
    asked, done = reserve(usd=60, idempotency_key="r1"), settle(usd=25, idempotency_key="r1:final")
    granted, settled = ledger.one(asked), ledger.one(done)
    for _ in range(2):
        again = ledger.one(asked)
        assert again.body | {"remaining_ttl_ms": 0} == granted.body | {"remaining_ttl_ms": 0}
        assert ledger.apply(done, done) == [settled, settled]
        for other in (
            reserve(usd=61, idempotency_key="r1", hash="x"),
            settle(usd=26, idempotency_key="r1:final"),
            reserve("r2", usd=1, idempotency_key="r1", hash="x"),
            reserve("r2", usd=1, idempotency_key="r1:final"),
            settle(usd=25, idempotency_key="r1"),
        ):
            assert ledger.one(other).body["code"] == "idempotency_mismatch", other
        ledger.crash()
    assert ledger.store.read(lambda t: t.rows("answer", workspace=1, key="r1")) == []
    assert ledger.counter() == (0, 25, 0, 0)


def test_a_hold_that_changes_keeps_what_it_has_answered(ledger: Any) -> None:
    ledger.budget(usd=100)
    asked, done = reserve(usd=60, idempotency_key="r1", tariff_version="t"), settle(usd=25, idempotency_key="r1:final")
    granted = ledger.one(asked)
    assert ledger.one(extend(usd=10)).body["usd_limit_micros"] == 70
    assert ledger.one(asked) == granted
    settled = ledger.one(done)
    assert ledger.one(settle(usd=7, final=False, seq=6)).body["usd_micros"] == 32
    ledger.crash()
    assert ledger.one(done) == settled
    assert ledger.one(asked).body["usd_limit_micros"] == 60
    assert ledger.one(settle(usd=25)).body["usd_micros"] == 32


@pytest.mark.parametrize("odd", ['"', "\\", "{a,b}", "NULL", "", " ", "Zoë 🙂", "a'b;--", '\\"},{', "%s :rows ?"])
def test_texts_are_kept_as_they_are(ledger: Any, odd: str) -> None:
    ledger.budget(usd=100)
    ledger.budget("user", odd or "alice", usd=50)
    said = {"user_id": odd or "alice", "plan_key": odd, "run_id": odd, "tariff_version": odd, "hash": odd}
    granted = ledger.one(reserve(odd, usd=60, idempotency_key=f"k{odd}", **said))
    assert granted.status == 409
    granted = ledger.one(reserve(odd, usd=50, idempotency_key=odd, **said))
    assert (granted.body["reserve_id"], granted.body["tariff_version"]) == (odd, odd)
    assert ledger.one(settle(odd, usd=5, usage=f'["{len(odd)}"]')).body["usd_micros"] == 5
    ledger.crash()
    assert ledger.one(reserve(odd, usd=50, **said)).body["reserve_id"] == odd
    assert ledger.one(reserve(odd, usd=60, idempotency_key=f"k{odd}", **said)).status == 409
    runs = ledger.store.read(lambda t: t.rows("runs", workspace=1, since=0, until=2**62, run_id="", most=9))
    assert [(row[0], row[2]) for row in runs] == [(odd, odd or "alice")]


def test_a_key_named_after_a_hold_is_free_until_it_was_used(ledger: Any) -> None:
    ledger.budget(usd=100)
    ledger.one(reserve(usd=10))
    assert ledger.one(reserve("r2", usd=10, idempotency_key="r1")).status == 200
    assert ledger.one(settle(usd=5)).status == 200
    assert ledger.one(reserve("r3", usd=10, idempotency_key="r1:final")).status == 200
    refused = ledger.one(reserve("r4", usd=1000, idempotency_key="r4"))
    ledger.one(release("r2"))
    assert refused.status == 409
    assert ledger.one(reserve("r4", usd=1000, idempotency_key="r4")) == refused
    assert ledger.one(settle(usd=5, idempotency_key="r1:final")).status == 422


def test_another_agent_learns_nothing_of_a_settle_by_its_key(ledger: Any) -> None:
    ledger.budget(usd=100)
    ledger.one(reserve(usd=10))
    ledger.one(settle(usd=5, idempotency_key="r1:final"))
    for usd in (5, 6):
        assert ledger.one(settle(usd=usd, idempotency_key="r1:final", agent="spy")).status == 404


def test_a_request_without_any_id_shares_the_open_hold_of_its_like(ledger: Any) -> None:
    ledger.budget(usd=100)
    first = ledger.one(reserve("s1", usd=60, fingerprint="f"))
    assert ledger.one(reserve("s2", usd=60, fingerprint="f")).body["reserve_id"] == first.body["reserve_id"] == "s1"
    assert ledger.counter() == (60, 0, 0, 0)

    ledger.one(settle("s1", usd=10))
    ledger.one(settle("s1", usd=10))  # the same settle again
    assert ledger.counter() == (0, 10, 0, 0)
    ledger.one(settle("s1", usd=30))  # of the other process that was given the hold
    ledger.one(settle("s1", usd=50))  # of nobody
    assert ledger.counter() == (0, 40, 0, 0)
    assert ledger.one(reserve("s3", usd=60, fingerprint="f")).body["reserve_id"] == "s3"


def test_a_hold_that_was_never_settled_expires_by_itself(ledger: Any) -> None:
    ledger.budget(usd=100)
    ledger.one(reserve(usd=100, ttl=60 * SECOND))
    ledger.clock.tick(59)
    assert ledger.one(reserve("r2", usd=100)).status == 409
    ledger.clock.tick(1)
    assert ledger.one(reserve("r2", usd=100)).status == 200, "no reaper has run: the answer does not depend on one"
    assert ledger.counter() == (100, 0, 0, 0)


def test_more_due_holds_than_one_transaction_takes_are_all_ended_before_a_refusal(ledger: Any) -> None:
    ledger.budget(usd=1200)
    ledger.apply(*(reserve(f"r{n}", usd=1, ttl=SECOND) for n in range(1200)))
    assert ledger.one(reserve("late", usd=1200)).status == 409
    ledger.clock.tick(1)
    assert ledger.one(reserve("now", usd=1200)).status == 200


@pytest.mark.parametrize("end", ["expired", "released"])
def test_a_settle_that_comes_too_late_is_charged_in_the_window_that_granted_it(ledger: Any, end: str) -> None:
    ledger.budget(window="day", usd=100)
    ledger.one(reserve(usd=60, ttl=60 * SECOND))
    if end == "released":
        assert outcome(ledger.one(release())) == (200, "released", 0, 60, 0)
    ledger.clock.tick(86_400)
    ledger.apply()

    assert outcome(ledger.one(settle(usd=25))) == (200, "settled_late", 25, 60, 0)
    assert ledger.one(settle(usd=25)).body["usd_micros"] == 25
    assert ledger.counter(window="day", start="2026-01-01") == (0, 25, 0, 0)
    assert ledger.counter(window="day", start="2026-01-02") == (0, 0, 0, 0)


def test_a_run_that_happened_without_a_gateway_is_recorded_as_reserve_and_settle_in_one(ledger: Any) -> None:
    ledger.budget(usd=100)
    assert ledger.one(settle("off", usd=30)).status == 404
    offline = settle("off", usd=30, offline=True, run_id="run", user_id="alice")
    assert outcome(ledger.one(offline)) == (200, "settled", 30, 0, 0)
    assert outcome(ledger.one(offline)) == (200, "settled", 30, 0, 0)
    assert ledger.counter() == (0, 30, 0, 0)


def test_an_offline_settle_that_is_refused_leaves_no_hold_behind(ledger: Any) -> None:
    ledger.budget(usd=100)
    assert ledger.one(settle("off", usd=30, offline=True, final=False)).status == 422
    assert ledger.one(settle("off", usd=2**62 + 1, offline=True)).status == 422
    assert ledger.one(settle("off", usd=30)).status == 404
    assert ledger.one(reserve("off", usd=10)).status == 200


def test_parts_are_charged_once_each_in_any_order_and_the_last_gives_back_the_rest(ledger: Any) -> None:
    ledger.budget(usd=100)
    ledger.one(reserve(usd=60))
    for seq in (2, 1, 2, 1, 5):
        ledger.one(settle(usd=10, final=False, seq=seq))
    assert ledger.counter() == (30, 30, 0, 0)
    assert outcome(ledger.one(settle(usd=5))) == (200, "settled", 35, 25, 0)
    assert ledger.one(settle(usd=5, final=False, seq=5)).body["usd_micros"] == 35
    assert ledger.one(settle(usd=7, final=False, seq=6)).body["usd_micros"] == 42, "a stream that outlived its scope"
    assert ledger.counter() == (0, 42, 0, 0)
    assert ledger.one(settle(usd=7, final=False)).status == 422


def test_a_part_that_came_late_does_not_hide_the_settle_after_it(ledger: Any) -> None:
    ledger.budget(usd=100)
    ledger.one(reserve(usd=60))
    ledger.one(release())
    assert ledger.one(settle(usd=10, final=False, seq=1)).body["status"] == "settled_late"
    assert outcome(ledger.one(settle(usd=20))) == (200, "settled_late", 30, 60, 0)
    assert outcome(ledger.one(settle(usd=20))) == (200, "settled_late", 30, 60, 0)


def test_a_hold_grows_only_where_every_budget_has_room_and_stays_whole_where_not(ledger: Any) -> None:
    ledger.budget(usd=100)
    ledger.budget("user", "alice", usd=70)
    ledger.one(reserve(usd=60, user_id="alice"))
    assert ledger.one(extend(usd=10)).body["usd_limit_micros"] == 70
    assert ledger.one(extend(usd=1)).status == 409
    assert ledger.counter() == ledger.counter("user", "alice") == (70, 0, 0, 0)
    assert outcome(ledger.one(settle(usd=70))) == (200, "settled", 70, 0, 0)
    assert ledger.one(extend(usd=1)).body["code"] == "hold_closed"
    assert ledger.one(extend("nobody", usd=1)).status == 404


def test_a_hold_counts_once_beside_the_extension_of_anothers(ledger: Any) -> None:
    ledger.budget(usd=100)
    ledger.one(reserve(usd=10, user_id="alice"))
    replies = ledger.apply(extend(usd=5), reserve("r2", usd=30, user_id="bob"), extend("r2", usd=1))
    assert [reply.status for reply in replies] == [200, 200, 200]
    assert ledger.counter() == (46, 0, 0, 0)


def test_a_renewed_hold_lives_on(ledger: Any) -> None:
    ledger.budget(usd=100)
    ledger.one(reserve(usd=100, ttl=60 * SECOND))
    for _ in range(3):
        ledger.clock.tick(50)
        assert ledger.one(extend(ttl=60 * SECOND)).body["remaining_ttl_ms"] == 60_000
    assert ledger.one(reserve("r2", usd=1)).status == 409


def test_a_hold_is_taken_on_all_budgets_or_on_none(ledger: Any) -> None:
    ledger.budget(usd=1000)
    ledger.budget("agent", "bot", usd=1000)
    ledger.budget("user", "alice", usd=1000)
    ledger.budget("plan", "pro", usd=10)
    refused = ledger.one(reserve(usd=50, user_id="alice", plan_key="pro"))
    assert (refused.status, refused.body["scope"], refused.body["usd_limit_micros"]) == (409, "plan", 10)
    assert {ledger.counter(), ledger.counter("agent", "bot"), ledger.counter("user", "alice")} == {(0, 0, 0, 0)}
    assert ledger.one(reserve(usd=50, user_id="alice")).status == 200
    assert {ledger.counter(), ledger.counter("agent", "bot"), ledger.counter("user", "alice")} == {(50, 0, 0, 0)}


def test_the_tightest_budget_is_the_one_that_is_named(ledger: Any) -> None:
    ledger.budget(usd=40)
    ledger.budget("user", "alice", usd=20)
    ledger.budget("agent", "bot", usd=30)
    assert ledger.one(reserve(usd=50, user_id="alice")).body["scope"] == "user"


def test_a_budget_of_each_user_is_each_ones_own_and_gives_way_to_one_with_his_name(ledger: Any) -> None:
    ledger.budget("user", "*", usd=10)
    ledger.budget("user", "vip", usd=100)
    assert ledger.one(reserve("a", usd=10, user_id="alice")).status == 200
    assert ledger.one(reserve("b", usd=10, user_id="bob")).status == 200
    assert ledger.one(reserve("c", usd=1, user_id="bob")).status == 409
    assert ledger.one(reserve("d", usd=100, user_id="vip")).status == 200


def test_a_plans_budget_is_each_of_its_users_own(ledger: Any) -> None:
    ledger.budget("plan", "pro", usd=10)
    assert ledger.one(reserve("a", usd=10, user_id="alice", plan_key="pro")).status == 200
    assert ledger.one(reserve("b", usd=10, user_id="bob", plan_key="pro")).status == 200
    assert ledger.one(reserve("c", usd=1, user_id="bob", plan_key="pro")).status == 409
    assert ledger.one(reserve("d", usd=99, user_id="bob", plan_key="free")).status == 200


def test_tokens_are_held_and_refused_like_dollars(ledger: Any) -> None:
    ledger.budget(tokens=100)
    assert ledger.one(reserve(tokens=60)).body["token_limit"] == 60
    refused = ledger.one(reserve("r2", tokens=60))
    assert (refused.status, refused.body["tokens_used"], refused.body["token_limit"]) == (409, 60, 100)
    ledger.one(settle(tokens=45, usd=1))
    assert ledger.counter() == (0, 1, 0, 45)


def test_without_a_limit_the_smallest_remaining_budget_is_held_up_to_the_default(ledger: Any) -> None:
    assert ledger.one(reserve("free", default_usd=500)).body["usd_limit_micros"] == 500
    ledger.budget(usd=1000)
    ledger.budget("user", "alice", usd=80, tokens=9)
    body = ledger.one(reserve("a", user_id="alice", default_usd=500)).body
    assert (body["usd_limit_micros"], body["token_limit"]) == (80, 9)
    assert ledger.one(reserve("b", default_usd=500)).body["usd_limit_micros"] == 500
    assert ledger.one(reserve("c", user_id="alice", default_usd=500)).status == 409


def test_a_client_may_ask_for_what_is_left_instead_of_a_refusal(ledger: Any) -> None:
    ledger.budget(usd=100)
    ledger.one(reserve(usd=70))
    assert ledger.one(reserve("r2", usd=70, when_short="shrink")).body["usd_limit_micros"] == 30
    assert ledger.one(reserve("r3", usd=70, when_short="shrink")).status == 409


def test_a_budget_that_only_observes_counts_and_refuses_nobody(ledger: Any) -> None:
    ledger.budget(usd=10, observe=True)
    assert ledger.one(reserve(usd=60)).status == 200
    assert ledger.counter() == (60, 0, 0, 0)


def test_a_budget_that_only_observes_tells_whom_it_would_have_refused(ledger: Any) -> None:
    ledger.budget(usd=10, observe=True)
    ledger.budget("user", "alice", window="day", tokens=5, observe=True)

    def told() -> list[tuple[Any, ...]]:
        found = ledger.store.read(lambda t: reports.events(t, 1, 0, 2**62, "", "budget", 99))
        said = [event["payload"] for event in found if event["name"] == "would_block"]
        names = ("reserve_id", "scope", "scope_key", "window", "usd_used_micros", "usd_limit_micros", "tokens_used")
        return [tuple(payload[name] for name in names) for payload in reversed(said)]

    assert ledger.one(reserve("a", usd=8)).status == 200
    assert ledger.one(reserve("b")).status == 200, "whoever names no limit takes what is left"
    ledger.one(release("b"))
    assert told() == []

    for _ in range(2):
        assert ledger.one(reserve("c", usd=3, tokens=9, user_id="alice")).status == 200
    assert told() == [
        ("c", "workspace", "", "total", 8, 10, 0),
        ("c", "user", "alice", "day", 0, None, 0),
    ]
    assert ledger.one(extend("a", usd=1)).status == 200
    assert told()[2:] == [("a", "workspace", "", "total", 11, 10, 9)]


def test_a_prepaid_balance_is_asked_for_payment(ledger: Any) -> None:
    def credit(usd: int) -> None:
        ledger.store.write(lambda t: t.run("add_credit", workspace=1, usd=usd, now=ledger.clock.now))

    credit(100)
    assert ledger.one(reserve(usd=60)).status == 200
    refused = ledger.one(reserve("r2", usd=60))
    assert (refused.status, refused.body["current_balance"], refused.body["shortfall"]) == (402, 40, 20)
    assert refused.body["CurrentBalance"] == 40
    credit(20)
    assert ledger.one(reserve("r2", usd=60)).status == 200
    found = ledger.store.read(lambda t: accounts.balance(t, 1, ledger.clock.now))
    assert (found["balance_micros"], found["held_micros"]) == (0, 120)


def test_a_new_limit_holds_from_the_next_reserve_on(ledger: Any) -> None:
    ledger.budget(usd=100)
    ledger.one(reserve(usd=90))
    ledger.budget(usd=50)
    assert ledger.one(reserve("r2", usd=1)).status == 409
    ledger.budget(usd=200)
    assert ledger.one(reserve("r2", usd=110)).status == 200


def test_a_window_opens_at_local_midnight_and_old_ones_stay(ledger: Any) -> None:
    ledger.store.write(lambda t: t.run("set_time_zone", workspace=1, time_zone="Asia/Shanghai"))
    ledger.budget(window="day", usd=100)  # 20:00 in Shanghai
    ledger.one(reserve(usd=100))
    ledger.one(settle(usd=100))
    ledger.clock.tick(4 * 3600 - 1)
    assert ledger.one(reserve("r2", usd=100)).body["resets_at"] == "2026-01-01T16:00:00.000Z"
    ledger.clock.tick(1)
    assert ledger.one(reserve("r2", usd=100)).status == 200
    assert ledger.counter(window="day", start="2026-01-02") == (100, 0, 0, 0)


def test_another_agent_and_another_workspace_see_no_hold_of_mine(ledger: Any) -> None:
    other = ledger.store.write(lambda t: accounts.add_workspace(t, "other", "UTC", 1))
    ledger.budget(usd=100)
    ledger.one(reserve(usd=60))
    for said in ({"agent": "spy"}, {"workspace": other}):
        assert ledger.one(settle(usd=10, **said)).status == 404
        assert ledger.one(extend(**{"usd": 1} | said)).status == 404
    assert ledger.one(Release(workspace=other, agent="bot", reserve_id="r1")).status == 404
    assert ledger.one(reserve(usd=60, agent="spy")).status == 422
    assert ledger.one(reserve(usd=60, workspace=other)).status == 200, "ids are each workspace's own"
    assert ledger.counter() == (60, 0, 0, 0)


def test_everything_survives_a_new_process(ledger: Any) -> None:
    ledger.budget(usd=100)
    granted = ledger.one(reserve(usd=60, idempotency_key="k"))
    ledger.crash()
    assert ledger.one(reserve(usd=60, idempotency_key="k")) == granted
    assert ledger.one(reserve("r2", usd=60)).status == 409
    ledger.one(settle(usd=10))
    ledger.crash()
    assert ledger.counter() == (0, 10, 0, 0)


def test_a_clock_that_goes_back_ends_nothing_early_and_reopens_no_window(ledger: Any) -> None:
    ledger.budget(window="day", usd=100)
    ledger.one(reserve(usd=100))
    ledger.clock.tick(-86_400)
    assert ledger.one(reserve("r2", usd=100)).status == 409


def test_amounts_that_no_store_could_count_are_refused(ledger: Any) -> None:
    ledger.budget(usd=100)
    ledger.one(reserve(usd=1))
    assert ledger.one(settle(usd=2**62 + 1)).status == 422
    assert ledger.counter() == (1, 0, 0, 0)


def test_holds_that_no_store_could_add_up_are_refused(ledger: Any) -> None:
    ledger.budget(tokens=100)  # no limit in dollars keeps their sum small
    for n in (1, 2):
        assert ledger.one(reserve(f"r{n}", usd=2**61, tokens=1)).status == 200
    assert ledger.one(reserve("r3", usd=2**61, tokens=1)).body["code"] == "invalid"
    assert ledger.one(extend("r1", usd=2**61)).body["code"] == "invalid"
    assert ledger.counter() == (2**62, 0, 2, 0)
    assert ledger.one(reserve("r4", usd=0, tokens=1)).status == 200


def test_parts_of_a_hold_that_no_store_could_add_up_are_refused(ledger: Any) -> None:
    ledger.one(reserve(usd=1))  # on no budget at all
    for seq in (1, 2):
        assert ledger.one(settle(usd=2**61, final=False, seq=seq)).status == 200
    assert ledger.one(settle(usd=2**61, final=False, seq=3)).body["code"] == "invalid"
    assert ledger.one(settle(usd=0)).body["usd_micros"] == 2**62


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Amsterdam", "2026-03-29", 23),
        ("Europe/Amsterdam", "2026-10-25", 25),
        ("Europe/Amsterdam", "2028-02-29", 24),
        ("Africa/Cairo", "2026-04-24", 23),  # its clocks skip midnight itself
        ("Asia/Shanghai", "2026-12-31", 24),
    ],
)
def test_a_day_of_a_clock_change_is_as_long_as_it_is(zone: str, day: str, hours: int) -> None:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    noon = int(datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=ZoneInfo(zone)).timestamp()) * SECOND
    window = window_at("day", zone, noon)
    assert window.start == day
    assert window.ends_at is not None
    assert (window.ends_at - window.begins_at) / SECOND / 3600 == hours
    assert window_at("day", zone, window.begins_at) == window == window_at("day", zone, window.ends_at - 1)
    assert window_at("day", zone, window.ends_at).begins_at == window.ends_at


def test_a_month_ends_where_the_next_begins() -> None:
    window = window_at("month", "Europe/Amsterdam", 1_767_268_800 * SECOND)
    assert window.start == "2026-01-01"
    assert window_at("month", "Europe/Amsterdam", window.ends_at or 0).start == "2026-02-01"
