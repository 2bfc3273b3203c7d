"""Databases: their schema, what is refused at the start, and what the rows themselves refuse."""

import importlib.resources
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actguard.gateway import reports
from actguard.gateway.accounts import put_budget
from actguard.gateway.audit import audit
from actguard.gateway.http.bodies import Envelope
from actguard.gateway.ingest import Sent, add_events
from actguard.gateway.ledger.batch import run
from actguard.gateway.storage.connect import connect
from actguard.gateway.storage.postgres.arrays import array, arrays
from actguard.gateway.storage.postgres.store import PLANS
from actguard.gateway.storage.sqlite.file import check_place
from actguard.gateway.storage.store import StoreError, migrations, statements
from actguard.gateway.stored_events import body_of, forget
from tests.gateway.conftest import NOON, Ledger, Postgres, make_store
from tests.gateway.server import SOURCE
from tests.gateway.test_ledger import reserve, settle

SCHEMAS = importlib.resources.files("actguard.gateway.storage")


def test_schema_sql_is_what_all_migrations_make_in_sqlite(tmp_path: Path) -> None:
    store = make_store(str(tmp_path / "a.db"), None)
    store.open()
    store.close()
    made = sqlite3.connect(tmp_path / "a.db")
    said = sqlite3.connect(":memory:")
    said.executescript((SCHEMAS / "sqlite" / "schema.sql").read_text())
    everything = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_stat%' ORDER BY 1, 2"
    assert made.execute(everything).fetchall() == said.execute(everything).fetchall()


def test_schema_sql_is_what_all_migrations_make_in_postgres(postgres: Postgres) -> None:
    made, said = postgres.database(), postgres.database()
    store = make_store(made, None)
    store.open()
    store.close()
    with psycopg.connect(said) as connection:
        connection.execute((SCHEMAS / "postgres" / "schema.sql").read_text().encode())
    assert described(made) == described(said) != []


def described(url: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        columns = (
            "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
        )
        rest = "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', '' FROM pg_constraint"
        indexes = "SELECT tablename, indexname, indexdef, '', '' FROM pg_indexes"
        triggers = "SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid), '', '' FROM pg_trigger"
        found = connection.execute(
            f"{columns} WHERE table_schema = 'public' UNION ALL {rest} WHERE conrelid <> 0 "
            f"UNION ALL {indexes} WHERE schemaname = 'public' "
            f"UNION ALL {triggers} WHERE NOT tgisinternal ORDER BY 1, 2, 3".encode()
        ).fetchall()
    return [row for row in found if "schema_versions" not in row[0]]


TEXTS = st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
"""Every character that Postgres takes: quotes, backslashes, line ends and brackets among them."""


@given(TEXTS, st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)), st.lists(st.binary()))
def test_what_postgres_reads_from_an_array_is_what_was_written(
    postgres: Postgres, texts: list[str | None], numbers: list[int | None], raw: list[bytes]
) -> None:
    statement = "SELECT %s::TEXT[], %s::BIGINT[], %s::BYTEA[]"
    with psycopg.connect(postgres.url) as connection:
        found = connection.execute(statement, [array(texts), array(numbers), array(raw)]).fetchone()
    assert found == (texts, numbers, raw)


def test_no_rows_have_as_many_columns_as_they_should() -> None:
    assert arrays([], 2) == ["{}", "{}"]
    assert arrays([("null", None), ('{"a\\"}', 1)], 2) == ['{"null","{\\"a\\\\\\"}"}', "{null,1}"]


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("load_holds", 2), ("load_fingerprints", 2), ("load_answers", 2), ("load_zones", 1), ("load_budgets", 3),
        ("load_counters", 1), ("find_counters", 5), ("end_holds", 11), ("save_counters", 5),
    ],
)  # fmt: skip
def test_no_statement_of_a_batch_reads_a_whole_table(name: str, width: int) -> None:
    empty = sqlite3.connect(":memory:")
    empty.executescript((SCHEMAS / "sqlite" / "schema.sql").read_text())
    row = f"({', '.join('?' * width)})"
    statement = statements("sqlite")[name].replace(":rows", f"{row}, {row}")
    plan = [step[3] for step in empty.execute(f"EXPLAIN QUERY PLAN {statement}", [1] * width * 2)]
    assert any(step.startswith("SEARCH") for step in plan), plan
    assert not [step for step in plan if re.match(r"SCAN (h|a|b|c|holds|answers|budgets|counters|workspaces)\b", step)]


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("load_holds", ("workspace_id", "reserve_id")),
        ("load_answers", ("workspace_id", "idempotency_key")),
    ],
)  # fmt: skip
def test_a_statement_that_was_planned_when_its_table_was_empty_goes_by_the_keys(
    postgres: Postgres, name: str, keys: tuple[str, ...]
) -> None:
    """As all are in a new database: a plan that reads all there is, for each that is asked for, is good only there."""
    plan = planned_when_empty(postgres, name)
    found = [line for line in plan if "Index Cond" in line]
    assert found, plan
    assert all(f"({key} = " in line for line in found for key in keys), "\n".join(plan)


def planned_when_empty(postgres: Postgres, name: str) -> list[str]:
    """The lines of a plan."""
    url = postgres.database()
    store = make_store(url, None)
    store.open()
    store.close()
    parameters: list[str] = []
    for parameter in re.findall(r":(\w+)", statements("postgres")[name]):
        parameters += [parameter] if parameter not in parameters else []
    text = re.sub(r":(\w+)", lambda found: f"${parameters.index(found[1]) + 1}", statements("postgres")[name])
    with psycopg.connect(url) as connection:
        connection.execute(PLANS.encode())
        connection.execute(f"PREPARE it AS {text}".encode())
        plan = connection.execute(f"EXPLAIN EXECUTE it ({', '.join(['NULL'] * len(parameters))})".encode()).fetchall()
    return [line for (line,) in plan]


SEARCHED = {
    "event_batches": "event_batches_time (workspace_id=? AND ingested_at>? AND ingested_at<?)",
    "forget_event_batches": "event_batches_time (workspace_id=? AND ingested_at<?)",
    "known_event_ids": "PRIMARY KEY (workspace_id=? AND id=?)",
    "forget_event_ids": "PRIMARY KEY (workspace_id=? AND id=?)",
}


@pytest.mark.parametrize("name", SEARCHED)
def test_no_statement_of_stored_events_reads_a_whole_table_in_sqlite(name: str) -> None:
    empty = sqlite3.connect(":memory:")
    empty.executescript((SCHEMAS / "sqlite" / "schema.sql").read_text())
    said = {"workspace": 1, "since": 1, "until": 2, "before": 2, "number": 0, "most": 9, "ids": "[]", "batch": 1}
    plan = [step[3] for step in empty.execute(f"EXPLAIN QUERY PLAN {statements('sqlite')[name]}", said)]
    assert any(step.startswith("SEARCH") and step.endswith(SEARCHED[name]) for step in plan), plan
    assert not [step for step in plan if re.match(r"SCAN (b|e|event_batches|event_ids)\b", step)], plan


@pytest.mark.parametrize(("name", "keys"), [
    ("event_batches", ("workspace_id", "ingested_at", "number")),
    ("forget_event_batches", ("workspace_id", "ingested_at", "number")),
    ("forget_event_ids", ("workspace_id", "id")),
])  # fmt: skip
def test_no_statement_of_stored_events_reads_a_whole_table_in_postgres(
    postgres: Postgres, name: str, keys: tuple[str, ...]
) -> None:
    plan = planned_when_empty(postgres, name)
    found = " ".join(line for line in plan if "Index Cond" in line)
    assert all(re.search(rf"\b{key}\)? [=<]|ROW\([^)]*\b{key}\b", found) for key in keys), plan
    assert not [line for line in plan if "Seq Scan" in line], plan


EVENT = (
    '{{"id":"{id}","ts":"t","tenant_id":null,"user_id":"alice","run_id":"{run}","category":"{category}","name":"usage",'
    '"payload":{{"odd":"ü\\u0000 % {{}} \\""}}}}'
)


def test_a_database_of_an_older_schema_is_opened_with_all_its_events(database: str, kind: str) -> None:
    """One that 0001 and 0002 made, when each event was a row."""
    rows = [
        (number, 1 + (number == 4), f"e{number}", NOON + number // 2, f"run{number % 2}", category)
        for number, category in ((1, "llm"), (2, "llm"), (4, "llm"), (7, "tool"), (8, "llm"))
    ]
    texts = {row[2]: EVENT.format(id=row[2], run=row[4], category=row[5]) for row in rows}
    with older(database, kind, 2) as run:
        for name in ("default", "other"):
            run("INSERT INTO workspaces (name, time_zone, created_at) VALUES (?, 'UTC', 1)", (name,))
        for seq, workspace, id, at, run_id, category in rows:
            run(
                "INSERT INTO events (seq, workspace_id, id, ts, ingested_at, agent, user_id, run_id, category, name,"
                " provider, model, scope_name, usd_micros, body)"
                " VALUES (?, ?, ?, 't', ?, 'bot', 'alice', ?, ?, 'usage', '', '', '', 5, ?)",
                (seq, workspace, id, at, run_id, category, texts[id]),
            )
        run("INSERT INTO event_rollups VALUES (1, 'agent', ?, 'llm.usage', 'bot', 3, 15, 0, 0, 0)", (NOON,))

    store = make_store(database, None)
    store.open()

    def ids(
        workspace: int, run_id: str = "", category: str = "", since: int = NOON, until: int = NOON + 9
    ) -> list[str]:
        found = store.read(lambda t: reports.events(t, workspace, since, until, run_id, category, 99))
        for event in found:
            said = {name: bytes(value).decode() for name, value in event.items() if isinstance(value, msgspec.Raw)}
            assert said["payload"] in texts[json.loads(said["id"])]
            assert event["tenant_id"] == str(workspace)
        return [json.loads(bytes(event["id"])) for event in found]

    assert ids(1) == ["e8", "e7", "e2", "e1"]
    assert ids(2) == ["e4"]
    assert ids(1, run_id="run0", category="llm") == ["e8", "e2"]
    assert ids(1, category="tool") == ["e7"]
    assert ids(1, since=NOON + 1, until=NOON + 4) == ["e7", "e2"]
    assert [row["n"] for row in store.read(lambda t: reports.activity(t, 1, NOON, NOON + 1, "agent"))] == [3]

    again = [Envelope(id=id, category="llm", name="usage") for id in ("e1", "e4", "e9")]
    sent = Sent(1, "bot", NOON + 5, again, body_of(EVENT.format(id=e.id, run="r", category="llm") for e in again))
    assert store.write(lambda t: add_events(t, [sent])) == [2]
    texts["e9"] = texts["e4"]
    assert ids(1) == ["e9", "e4", "e8", "e7", "e2", "e1"]
    assert store.write(lambda t: forget(t, 1, NOON + 3)) == 2
    assert ids(1) == ["e9", "e4", "e8", "e7"]
    store.close()


@contextmanager
def older(database: str, kind: str, version: int) -> Generator[Callable[[str, tuple[Any, ...]], Any]]:
    """A new database as it was after so many migrations, and what runs a statement in it."""
    texts = [text for number, _, text in migrations(kind) if number <= version]
    if kind == "sqlite":
        connected = sqlite3.connect(database)
        connected.executescript(f"{''.join(texts)}PRAGMA user_version = {version}")
        with connected:
            yield connected.execute
        connected.close()
        return
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE schema_versions (version BIGINT PRIMARY KEY, name TEXT NOT NULL)")
        connection.execute("".join(texts).encode())
        for number in range(1, version + 1):
            connection.execute("INSERT INTO schema_versions VALUES (%s, '')", [number])
        yield lambda statement, values: connection.execute(statement.replace("?", "%s").encode(), values)


def test_a_newer_schema_is_refused_in_one_sentence(database: str, kind: str) -> None:
    store = make_store(database, None)
    store.open()
    store.close()
    if kind == "sqlite":
        sqlite3.connect(database).execute("PRAGMA user_version = 9999")
    else:
        with psycopg.connect(database) as connection:
            connection.execute("INSERT INTO schema_versions VALUES (9999, 'later')")
    with pytest.raises(StoreError, match="has schema 9999, and this version of actguard knows"):
        make_store(database, None).open()


def test_a_store_opens_what_it_made_before(ledger: Ledger) -> None:
    for _ in range(2):
        ledger.crash()
    assert ledger.store.read(lambda t: t.rows("workspaces"))[0][1] == "default"


def test_a_second_gateway_on_a_sqlite_file_is_refused_and_told_of_postgres(tmp_path: Path) -> None:
    first, second = (connect(str(tmp_path / "one.db")) for _ in range(2))
    first.open()
    with pytest.raises(StoreError, match=r"Another gateway already uses .*one\.db, .*--database postgresql://"):
        second.open()
    first.close()
    second.open()
    second.close()


def test_a_network_disk_is_refused_and_told_of_postgres(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"disk / ext4 rw 0 0\nserver:/x {tmp_path.resolve()} nfs4 rw 0 0\n")
    with pytest.raises(StoreError, match=r"network disk \(nfs4\).*postgresql://"):
        check_place(tmp_path / "gateway.db", mounts)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--database", "/proc/nowhere/gateway.db"), "cannot be written"),
        (("--database", "mysql://x/y"), "--database cannot be mysql"),
        (("--database", "postgresql://nobody:secret@127.0.0.1:1/x"), "Postgres cannot be reached"),
        (("--database", "{folder}/gateway.db", "--workers", "2"), "SQLite serves one process"),
        (("--database", "{folder}/gateway.db", "--time-zone", "Mars/Base"), "no time zone"),
        (
            (
                "--database",
                "{folder}/text.db",
            ),
            "cannot be used",
        ),
        (("--port", "99999"), "99999"),
    ],
)
def test_what_keeps_it_from_starting_is_said_in_one_line(arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database, only a text that is long enough to be seen as one. " * 20)
    command = [sys.executable, "-m", "actguard.cli", "gateway"]
    if "--port" not in arguments:
        command += ["--port", "0"]
    done = subprocess.run(
        [*command, *(part.format(folder=tmp_path) for part in arguments)],
        capture_output=True, text=True, timeout=60, check=False, env={"PYTHONPATH": str(SOURCE), "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode != 0
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr


def test_the_ledger_itself_refuses_to_be_changed(ledger: Ledger, database: str, kind: str) -> None:
    ledger.one(reserve(usd=1))
    statements = ["UPDATE ledger SET usd_held = 0", "DELETE FROM ledger"]
    for statement in statements if kind == "sqlite" else [*statements, "TRUNCATE ledger"]:
        if kind == "sqlite":
            connected = sqlite3.connect(database, isolation_level=None)
            with pytest.raises(sqlite3.IntegrityError, match="never"):
                connected.execute(statement)
            connected.close()
        else:
            with psycopg.connect(database) as connection, pytest.raises(psycopg.errors.RaiseException, match="never"):
                connection.execute(statement.encode())


def test_what_another_process_changes_holds_from_the_next_batch_on(ledger: Ledger, database: str) -> None:
    ledger.budget(usd=100)
    assert ledger.one(reserve("a", usd=10)).status == 200
    other = connect(database, alone=False)
    other.open()
    limits: dict[str, Any] = {"usd": 15, "tokens": None, "observe": False, "now": 1}
    other.write(lambda t: put_budget(t, ledger.workspace, scope="workspace", key="", window="total", **limits))
    other.close()
    assert ledger.one(reserve("b", usd=10)).status == 409
    assert ledger.one(reserve("c", usd=5)).status == 200


def test_a_batch_that_is_undone_leaves_nothing_behind_in_memory_either(ledger: Ledger) -> None:
    ledger.budget(usd=100)
    assert ledger.one(reserve("a", usd=30)).status == 200
    with pytest.raises(RuntimeError, match="undone"), ledger.store.session() as session:
        replies = run(session, [reserve("b", usd=70), settle("a", usd=30)])
        assert replies is not None
        assert [reply.status for reply in replies] == [200, 200]
        raise RuntimeError("undone")
    assert ledger.one(settle("b", usd=1)).status == 404
    assert ledger.one(reserve("c", usd=71)).status == 409
    assert ledger.one(reserve("d", usd=70)).status == 200
    assert ledger.one(settle("a", usd=5)).body["usd_micros"] == 5
    assert ledger.counter()[:2] == (70, 5)
    assert ledger.store.read(audit) == []


def test_the_protocol_page_is_what_the_code_says(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "tools/protocol.py", "--check"], cwd=root, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
