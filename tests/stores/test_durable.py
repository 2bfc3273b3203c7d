"""Records in a file: over the end of a process, between processes, and when the file is in the way."""

import multiprocessing
import os
import sqlite3
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

import actguard
from actguard.exceptions import ActGuardUsageError, StoreFullError, StoreUnavailableError
from actguard.stores.durable import DurableStore
from actguard.stores.protocol import (
    Admitted,
    Begun,
    BreakerRules,
    CounterTake,
    Done,
    IdempotencyBegin,
    IdempotencyDone,
    IdempotencyLost,
    Refused,
    Unknown,
)
from tests.stores.places import Clock

PATIENCE = 60
KEYS = 15
servers = multiprocessing.get_context("forkserver")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.db"


def begin(key: str = "pay-1", owner: str = "me", lease_s: float = 8.0) -> IdempotencyBegin:
    return IdempotencyBegin(key, owner, 60.0, lease_s)


def payments(path: Path, ran: Path, takes: float = 0.0) -> Any:
    """A tool that leaves a mark for every time that its body runs."""

    @actguard.idempotent(scope="global", durable=str(path), lease_s=0.5)
    def pay(idempotency_key: str) -> str:
        with open(ran, "a") as marks:
            marks.write(f"{idempotency_key}\n")
        time.sleep(takes)
        return "paid"

    return pay


def work(path: Path, ran: Path, home: Connection) -> None:
    pay = payments(path, ran)
    said: set[str] = set()
    for number in range(KEYS):
        try:
            said.add(pay(idempotency_key=f"pay-{number}"))
        except actguard.IdempotencyInProgress:
            said.add("in progress")
    home.send(said)


def hang(path: Path, ran: Path, home: Connection) -> None:
    payments(path, ran, takes=3600)(idempotency_key="pay-1")


def test_a_record_survives_its_process(path: Path) -> None:
    first = DurableStore(path)
    first.admit([begin()])
    first.finish([IdempotencyDone("pay-1", "me", 60, "paid")])
    del first

    assert DurableStore(path).admit([begin(owner="you")]) == Refused(0, Done("paid"))


def test_processes_that_start_together_run_each_body_once(path: Path, tmp_path: Path) -> None:
    homes, running = [], []
    for _ in range(4):
        home, away = servers.Pipe(duplex=False)
        process = servers.Process(target=work, args=(path, tmp_path / "ran", away), daemon=True)
        process.start()
        homes.append(home)
        running.append(process)
    said = [home.recv() if home.poll(PATIENCE) else {"hangs"} for home in homes]
    for process in running:
        process.join(PATIENCE)

    marks = (tmp_path / "ran").read_text().splitlines()
    assert sorted(marks) == sorted(f"pay-{number}" for number in range(KEYS))
    assert all("paid" in one and one <= {"paid", "in progress"} for one in said)


def test_what_a_killed_holder_did_is_not_done_again(path: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    home, away = servers.Pipe(duplex=False)
    holder = servers.Process(target=hang, args=(path, ran, away), daemon=True)
    holder.start()
    deadline = time.monotonic() + PATIENCE
    while not ran.exists() or not ran.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    holder.kill()
    holder.join(PATIENCE)
    time.sleep(0.6)  # its lease ends

    with pytest.raises(actguard.IdempotencyOutcomeUnknown):
        payments(path, ran)(idempotency_key="pay-1")
    assert ran.read_text() == "pay-1\n"
    home.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_opens_the_file_for_itself(path: Path) -> None:
    store = DurableStore(path)
    store.admit([begin("mine")])
    child = os.fork()
    if child == 0:
        refused = isinstance(store.admit([begin("mine", "you")]), Refused)
        begun = store.admit([begin("childs")]) == Admitted((Begun(),))
        os._exit(0 if refused and begun else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert isinstance(store.admit([begin("childs", "you")]), Refused)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_relative_path_means_the_same_file_wherever_the_program_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = DurableStore("records.db")
    store.admit([begin()])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    child = os.fork()
    if child == 0:
        os._exit(0 if isinstance(store.admit([begin()]), Refused) else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert not list((tmp_path / "elsewhere").iterdir())


def test_threads_share_a_store(path: Path) -> None:
    store = DurableStore(path)
    begun: list[int] = []

    def ask(number: int) -> None:
        for key in range(20):
            if store.admit([begin(f"key-{key}", f"owner-{number}")]) == Admitted((Begun(),)):
                begun.append(key)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    assert sorted(begun) == list(range(20))


def test_what_is_written_is_on_the_disk(path: Path) -> None:
    """Durable means: no commit returns before the file system has it."""
    store = DurableStore(path)
    connection: Any = store._open()

    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_records_that_are_over_are_removed_by_those_that_begin(path: Path) -> None:
    clock = Clock()
    store = DurableStore(path, clock=clock)
    for number in range(50):
        store.admit([begin(f"old-{number}")])
    clock.turn(100)
    for number in range(10):
        store.admit([begin(f"new-{number}")])

    assert len(sqlite3.connect(path).execute("SELECT key FROM records").fetchall()) == 10


def test_all_keys_of_a_call_begin_or_none(path: Path) -> None:
    store = DurableStore(path)
    store.admit([begin("b", "other")])

    assert store.admit([begin("a"), begin("b")]).step == 1  # type: ignore[union-attr]
    assert store.admit([begin("a")]) == Admitted((Begun(),))


def test_a_file_that_is_locked_for_too_long_is_unavailable_and_then_available(path: Path) -> None:
    store = DurableStore(path, timeout_s=0.05)
    store.admit([begin()])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    with pytest.raises(StoreUnavailableError, match="locked"):
        store.admit([begin("pay-2")])
    other.rollback()
    assert store.admit([begin("pay-2")]) == Admitted((Begun(),))


def test_a_disk_that_is_full_takes_no_new_record(path: Path) -> None:
    store = DurableStore(path)
    connection: Any = store._open()
    connection.execute("PRAGMA max_page_count = 8")

    with pytest.raises(StoreFullError, match="full"):
        for number in range(10_000):
            store.admit([begin(f"{number}-{'x' * 500}")])
    assert store.admit([begin("0-" + "x" * 500)]).refusal is not None  # type: ignore[union-attr]


def test_a_file_that_is_none_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database, but long enough to be looked at" * 100)

    with pytest.raises(StoreUnavailableError, match=r"text\.db"):
        DurableStore(tmp_path / "text.db")
    with pytest.raises(StoreUnavailableError, match="no-such-folder"):
        DurableStore(tmp_path / "no-such-folder" / "records.db")


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"path": ""}, "path"),
        ({"path": 1}, "path"),
        ({"path": ":memory:"}, "path"),
        ({"path": b"records.db"}, "path"),
        ({"path": "records.db", "timeout_s": 0}, "timeout_s"),
        ({"path": "records.db", "timeout_s": float("inf")}, "timeout_s"),
    ],
)
def test_a_wrong_option_is_refused_where_it_is_written(
    options: dict[str, Any], argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ActGuardUsageError) as caught:
        DurableStore(**options)

    assert caught.value.argument == argument


def test_it_keeps_idempotency_records_and_nothing_else(path: Path) -> None:
    store = DurableStore(path)

    with pytest.raises(ActGuardUsageError, match="idempotency records only"):
        store.admit([CounterTake("a", 1, 60)])
    with pytest.raises(ActGuardUsageError, match="idempotency records only"):
        store.circuit("a", BreakerRules())
    with pytest.raises(ActGuardUsageError, match="idempotency records only"):
        store.force_circuit("a", BreakerRules(), "open")
    assert store.lease_heartbeat("a", "me", 1.0) is False
    assert store.forget("rate", "") == 0


@pytest.mark.parametrize("text", ["\ud800", "a\\ud800", "\\", "\\u0041", "é", "%_*"])
def test_any_text_is_a_key_and_a_reason(path: Path, text: str) -> None:
    store = DurableStore(path)
    store.admit([begin(text)])
    store.finish([IdempotencyLost(text, "me", 60, text)])

    assert store.admit([begin(text)]) == Refused(0, Unknown(text))
    assert [record.key for record in store.list_idempotency(text)] == [text]
    assert store.list_idempotency(text + "x") == []
    assert store.forget("idempotency", text) == 1


async def test_an_asynchronous_tool_writes_its_records_in_a_thread(path: Path) -> None:
    @actguard.idempotent(scope="global", durable=str(path))
    async def pay(idempotency_key: str) -> str:
        return "paid"

    assert [await pay(idempotency_key="a"), await pay(idempotency_key="a")] == ["paid", "paid"]
    assert [record.state for record in DurableStore(path).list_idempotency()] == ["done"]
