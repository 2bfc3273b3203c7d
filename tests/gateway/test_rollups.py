"""Sums beside the rows: events once, charges exactly, whoever adds them up and when."""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, cast

import psycopg
import pytest

from actguard.gateway import accounts, reports, rollups
from actguard.gateway.config import Settings
from actguard.gateway.http.bodies import Envelope
from actguard.gateway.ingest import Sent, add_events
from actguard.gateway.ledger.operations import Settle
from actguard.gateway.ledger.windows import SECOND
from actguard.gateway.rollups import DAY, HOUR, count_said, name_said, next_hour, write_hour
from actguard.gateway.storage.store import Transaction
from actguard.gateway.storage.writer import Writer
from actguard.gateway.upkeep import tidy
from tests.gateway.conftest import NOON, Clock, Ledger, Postgres, make_store, open_ledger
from tests.gateway.test_ingest import as_sent
from tests.gateway.test_ledger import reserve

SPAN = (NOON - DAY, NOON + 40 * DAY)


def event(id: str, at: int = NOON, workspace: int = 1, **fields: Any) -> Sent:
    """A request with one event."""
    said: dict[str, Any] = {
        "user_id": "alice", "run_id": "r", "category": "llm", "name": "usage", "provider": "openai", "model": "gpt-4o",
        "usd_micros": 10, "input_tokens": 100, "cached_input_tokens": 40, "output_tokens": 5,
    } | fields  # fmt: skip
    return as_sent(Envelope(id=id, **said), workspace=workspace, at=at)


def store(ledger: Ledger, *events: Sent) -> int:
    return sum(ledger.store.write(lambda t: add_events(t, events)))


def told(ledger: Ledger, by: str, name: str = "llm.usage") -> list[tuple[Any, ...]]:
    """Key, number, dollars, and tokens: input, cached, output."""
    found = ledger.store.read(lambda t: reports.activity(t, 1, *SPAN, by, name))
    return [tuple(row.values())[1:] for row in found]


def test_an_event_is_added_to_the_sums_of_every_dimension(ledger: Ledger) -> None:
    assert store(ledger, event("a"), event("b", scope_name="search", tool_name="web"), event("c", model="o3")) == 3

    assert told(ledger, "total") == [("", 3, 30, 300, 120, 15)]
    assert told(ledger, "agent") == [("bot", 3, 30, 300, 120, 15)]
    assert told(ledger, "model") == [("gpt-4o", 2, 20, 200, 80, 10), ("o3", 1, 10, 100, 40, 5)]
    assert told(ledger, "scope") == [("search", 1, 10, 100, 40, 5)]
    assert told(ledger, "tool") == [("web", 1, 10, 100, 40, 5)]
    assert told(ledger, "agent_model") == [("bot\tgpt-4o", 2, 20, 200, 80, 10), ("bot\to3", 1, 10, 100, 40, 5)]
    assert told(ledger, "user") == [("alice", 3, 30, 300, 120, 15)]


def test_what_is_no_spend_is_counted_beside_it(ledger: Ledger) -> None:
    refusal: dict[str, Any] = {
        "category": "guard",
        "name": "blocked",
        "tool_name": "pay",
        "usd_micros": None,
        "model": "x",
    }
    store(ledger, event("a"), event("b", **refusal))

    assert told(ledger, "tool", "guard.blocked")[0][:3] == ("pay", 1, 0)
    assert told(ledger, "model", "guard.blocked") == []
    assert told(ledger, "total") == [("", 1, 10, 100, 40, 5)]


def test_hours_are_kept_apart_and_users_by_the_day(ledger: Ledger) -> None:
    store(ledger, event("a", NOON), event("b", NOON + HOUR - 1), event("c", NOON + HOUR))

    assert [row[1] for row in told(ledger, "total")] == [2, 1]
    assert [row[1] for row in told(ledger, "user")] == [3]


def test_an_event_counts_once_in_one_batch_and_in_another(ledger: Ledger) -> None:
    assert store(ledger, event("a"), event("a")) == 1
    assert store(ledger, event("a", usd_micros=999), event("b")) == 1
    assert store(ledger, event("a")) == 0
    assert store(ledger) == 0

    assert told(ledger, "total") == [("", 2, 20, 200, 80, 10)]


def test_the_same_id_in_another_workspace_is_another_event(ledger: Ledger) -> None:
    other = ledger.store.write(lambda t: accounts.add_workspace(t, "other", "UTC", 1))
    assert store(ledger, event("a")) == 1
    assert store(ledger, event("a", workspace=other, usd_micros=7)) == 1

    assert told(ledger, "total") == [("", 1, 10, 100, 40, 5)]


def test_sums_are_undone_with_their_events(ledger: Ledger) -> None:
    def fail(transaction: Transaction) -> None:
        add_events(transaction, [event("a")])
        raise RuntimeError("undone")

    with pytest.raises(RuntimeError, match="undone"):
        ledger.store.write(fail)
    assert told(ledger, "total") == []
    assert store(ledger, event("a")) == 1


def test_an_event_that_another_gateway_is_storing_in_the_same_moment_is_counted_once(postgres: Postgres) -> None:
    database = postgres.database()
    ledger = open_ledger(database, Clock())
    other = make_store(database, ledger.clock)
    other.open()
    with ThreadPoolExecutor(1) as pool:
        with other.writing() as transaction:
            assert add_events(transaction, [event("a")]) == [1]
            late = pool.submit(store, ledger, event("a"), event("b"))
            waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
            with psycopg.connect(database) as watching:
                while watching.execute(waits, [watching.info.dbname]).fetchone() == (0,):
                    watching.rollback()
        assert late.result(30) == 1

    assert told(ledger, "total") == [("", 2, 20, 200, 80, 10)]
    for opened in (ledger.store, other):
        opened.close()


def test_to_store_events_reads_no_more_of_them_the_more_there_are(postgres: Postgres) -> None:
    """Its statements are planned when the table is empty, where a plan that reads all of it is as good as any."""
    database = postgres.database()
    ledger = open_ledger(database, Clock())
    for batch in range(8):
        assert store(ledger, *(event(f"{batch}.{n}") for n in range(100))) == 100
    reading = (
        "SELECT sum(pg_stat_get_xact_tuples_returned(indexrelid)) FROM pg_index WHERE indrelid = ANY(%s::regclass[])"
    )
    with ledger.store.writing() as transaction:
        assert sum(add_events(transaction, [event(f"{8}.{n}") for n in range(100)])) == 100
        ((read,),) = cast("Any", transaction).connection.execute(reading, [["event_ids", "event_batches"]])

    assert read <= 200
    ledger.store.close()


def test_two_gateways_that_are_sent_the_same_batches_at_once_count_each_event_once(postgres: Postgres) -> None:
    database = postgres.database()
    ledger = open_ledger(database, Clock())
    other = make_store(database, ledger.clock)
    other.open()
    batches = [[event(f"{batch}.{n}", user_id=f"u{(n * 7 + batch) % 13}") for n in range(20)] for batch in range(30)]

    def send(to: Any, order: list[Any]) -> int:
        return sum(sum(to.write(partial(add_events, sent=rows))) for rows in order)

    with ThreadPoolExecutor() as pool:
        added = [pool.submit(send, to, order) for to, order in ((ledger.store, batches), (other, batches[::-1]))]
        assert sum(done.result() for done in added) == 600
    assert [row[1] for row in told(ledger, "total")] == [600]
    assert sum(row[1] for row in told(ledger, "user")) == 600
    for opened in (ledger.store, other):
        opened.close()


@pytest.mark.parametrize("said", [-1, 1.5, True, "5", None, 10**13, [], {}])
def test_a_number_that_cannot_be_one_counts_nothing(said: Any) -> None:
    assert count_said(said) == 0


@pytest.mark.parametrize("said", ["a\x00b", "a\nb", "\ud800", 5, None, [], ""])
def test_a_name_that_cannot_be_one_is_none(said: Any) -> None:
    assert name_said(said) == ""


# ---- what is billed -------------------------------------------------------------------------------------------------


def spent(
    ledger: Ledger, name: str, usd: int, *lines: dict[str, Any], user: str = "u", held: int | None = None
) -> None:
    """A run of *user* that reserves and settles; *lines* are its bill's."""
    ledger.one(reserve(name, usd=held if held is not None else usd, user_id=user))
    said = json.dumps(lines) if lines else ""
    same: dict[str, Any] = {"workspace": ledger.workspace, "agent": "bot", "hash": name}
    tokens = sum(line.get("usage", {}).get("input_tokens", 0) for line in lines)
    assert ledger.one(Settle(**same, reserve_id=name, usd=usd, tokens=tokens, usage=said)).status == 200


def line(usd: int, model: str = "gpt-4o", tokens: int = 10, **more: Any) -> dict[str, Any]:
    return {"usd_micros": usd, "provider": "openai", "model": model, "usage": {"input_tokens": tokens}, **more}


def a_busy_time(ledger: Ledger) -> None:
    ledger.budget(usd=10**9)
    for number in range(24):
        cost = {"usd_micros": 1, "type": "custom_cost", "name": "tavily"}
        model = ("gpt-4o", "o3", "haiku")[number % 3]
        lines = [line(number + 5, model, scope_name="search" if number % 2 else None), cost]
        spent(ledger, f"r{number}", number + 6, *lines, user=f"u{number % 4}", held=10)
        ledger.clock.tick(1700)


def reported(ledger: Ledger, since: int, until: int) -> dict[tuple[str, str], Any]:
    return {
        (by, zone): ledger.store.read(lambda t, b=by, z=zone: reports.spend(t, 1, since, until, b, z))
        for by in reports.BY
        for zone in ("UTC", "Asia/Kathmandu")
    }


def roll(ledger: Ledger, now: int) -> int:
    hours = 0
    while (over := next_hour(ledger.store, ledger.workspace, now)) is not None:
        assert ledger.store.write(lambda t, hour=over: write_hour(t, hour))
        hours += 1
    return hours


def test_a_report_says_the_same_with_the_sums_and_without(ledger: Ledger) -> None:
    a_busy_time(ledger)
    end = ledger.clock.now
    spans = [(NOON - DAY, end + 2 * DAY), (NOON + 100 * SECOND, end - 1), (NOON + HOUR, NOON + 3 * HOUR),
             (NOON + HOUR // 2, NOON + HOUR), (NOON + 5 * HOUR + 1, NOON + 5 * HOUR + 2)]  # fmt: skip
    before = [reported(ledger, *span) for span in spans]
    whole = before[0]["model", "UTC"]
    assert whole["usd_micros"] == sum(number + 6 for number in range(24))
    assert {group["key"] for group in whole["groups"]} == {"gpt-4o", "o3", "haiku", "tavily"}
    assert whole["unattributed_micros"] == 0
    assert whole["overrun_micros"] > 0
    assert [group["key"] for group in before[0]["day", "Asia/Kathmandu"]["groups"]] == ["2026-01-01", "2026-01-02"]

    assert roll(ledger, end) >= 8
    assert [reported(ledger, *span) for span in spans] == before
    ledger.clock.tick(86_400)
    assert roll(ledger, ledger.clock.now) >= 1
    assert [reported(ledger, *span) for span in spans] == before

    spent(ledger, "later", 1000, line(1000), user="u1")
    after = reported(ledger, *spans[0])
    assert after["user", "UTC"]["usd_micros"] == whole["usd_micros"] + 1000
    by_user = {group["key"]: group["usd_micros"] for group in before[0]["user", "UTC"]["groups"]}
    assert after["user", "UTC"]["groups"][0] == {
        "key": "u1", "usd_micros": by_user["u1"] + 1000, "tokens": 70, "charges": 7,
    }  # fmt: skip


def test_an_hour_that_may_still_be_charged_in_is_not_rolled_up(ledger: Ledger) -> None:
    spent(ledger, "a", 5)
    for passed in (0, HOUR - 1, HOUR, 2 * HOUR - 1):
        assert next_hour(ledger.store, ledger.workspace, NOON + passed) is None
    assert next_hour(ledger.store, ledger.workspace, NOON + 2 * HOUR) is not None


def test_a_workspace_that_never_spent_anything_costs_nothing(ledger: Ledger) -> None:
    assert next_hour(ledger.store, ledger.workspace, NOON + DAY) is None


def test_of_two_gateways_one_writes_an_hour(ledger: Ledger) -> None:
    a_busy_time(ledger)
    for _ in range(3):
        first, second = (next_hour(ledger.store, ledger.workspace, ledger.clock.now) for _ in range(2))
        assert first is not None
        assert second is not None
        wrote = [ledger.store.write(lambda t, hour=over: write_hour(t, hour)) for over in (first, second)]
        assert wrote == [True, False]
    found = ledger.store.read(lambda t: reports.spend(t, 1, NOON, NOON + 3 * HOUR, "agent"))
    assert found["usd_micros"] == sum(number + 6 for number in range(24) if number * 1700 < 3 * 3600)


def test_what_tools_spent_is_told_by_events(ledger: Ledger) -> None:
    spent(ledger, "a", 25)
    store(ledger, event("a", tool_name="web"), event("b", tool_name="web"), event("c"))
    found = ledger.store.read(lambda t: reports.spend(t, 1, NOON, NOON + HOUR, "tool"))

    assert found["groups"] == [{"key": "web", "usd_micros": 20, "tokens": 210, "charges": 2}]
    assert (found["usd_micros"], found["unattributed_micros"]) == (25, 5)


async def test_what_is_over_is_forgotten_and_added_up(ledger: Ledger) -> None:
    a_busy_time(ledger)
    store(ledger, *(event(f"old{n}") for n in range(2500)), event("new", ledger.clock.now + DAY))
    ledger.clock.tick(31 * 86_400 - 24 * 1700 + 60)
    before = reported(ledger, *SPAN)
    writer = Writer(ledger.store)
    writer.start()
    await tidy(ledger.store, writer, Settings())
    await writer.close()

    kept = ledger.store.read(lambda t: reports.events(t, 1, *SPAN, "", "llm", 5000))
    assert len(kept) == 1
    assert [row[1] for row in told(ledger, "total")] == [2500, 1]
    assert next_hour(ledger.store, ledger.workspace, ledger.clock.now) is None
    assert ledger.store.read(lambda t: t.rows("rolled_until", workspace=1))[0][0] > NOON
    assert reported(ledger, *SPAN) == before


def test_every_statement_of_the_sums_names_the_workspace() -> None:
    from importlib.resources import files

    here = files("actguard.gateway.storage")
    for file in (here / "rollups.sql", here / "sqlite" / "rollups.sql", here / "postgres" / "rollups.sql"):
        for statement in file.read_text().split("-- name: ")[1:]:
            assert "workspace" in statement, statement


def test_dims_of_events_are_all_there(ledger: Ledger) -> None:
    store(ledger, event("a", scope_name="s", tool_name="t"))
    assert all(told(ledger, dim) for dim in rollups.EVENT_DIMS)
