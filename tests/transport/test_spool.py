"""The spool: on disk before it is sent, found by whoever comes next, by one of them."""

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from actguard.transport.spool import Spool, default_root, look, read_entries

URL, KEY_ID = "http://127.0.0.1:1", "ag_live_k1"
BODY = {"reserve_id": "r1", "usage_breakdown": []}


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path, URL, KEY_ID)


def another(tmp_path: Path) -> Spool:
    return Spool(tmp_path, URL, KEY_ID)


def test_nothing_is_made_before_something_is_kept(spool: Spool, tmp_path: Path) -> None:
    assert spool.pending() == []
    assert list(spool.adopt()) == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_kept_is_on_disk_until_it_is_done(spool: Spool) -> None:
    spool.keep("a", "/api/v1/settle", BODY)
    spool.keep("b", "/api/v1/settle", BODY)
    (file,) = spool.segments()
    assert [entry.id for entry in read_entries(file)] == ["a", "b"]

    spool.done("a")
    assert [entry.id for entry in read_entries(file)] == ["b"]
    spool.done("b")
    spool.done("b")
    assert file.read_bytes() == b""


def test_a_segment_does_not_grow_while_one_entry_cannot_be_delivered(spool: Spool, tmp_path: Path) -> None:
    spool.keep("stuck", "/api/v1/settle", BODY)
    (file,) = spool.segments()
    before = file.stat()
    for number in range(3000):
        spool.keep(f"n{number}", "/api/v1/settle", BODY)
        spool.done(f"n{number}")

    assert spool.segments() == [file]
    assert file.stat().st_size < 100_000
    assert file.stat().st_mode == before.st_mode
    assert [entry.id for entry in read_entries(file)] == ["stuck"]
    assert list(another(tmp_path).adopt()) == []  # it is locked as before
    spool.keep("after", "/api/v1/settle", BODY)
    spool.close()
    (segment,) = [list(segment.pending) for segment in another(tmp_path).adopt()]
    assert segment == ["stuck", "after"]


def test_a_crash_while_a_segment_is_written_anew_loses_nothing(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crash(BaseException): ...

    def crash(*_: object) -> None:
        raise Crash

    spool.keep("stuck", "/api/v1/settle", BODY)
    monkeypatch.setattr("actguard.transport.spool.os.replace", crash)
    with pytest.raises(Crash):
        for number in range(3000):
            spool.keep(f"n{number}", "/api/v1/settle", BODY)
            spool.done(f"n{number}")
    monkeypatch.undo()
    spool.forked()  # as if the process were gone

    (segment,) = list(another(tmp_path).adopt())
    assert "stuck" in segment.pending
    segment.close()
    assert sorted(path.suffix for path in spool.folder.iterdir()) == [".json", ".spool"]


def test_a_segment_that_cannot_be_written_anew_goes_on_as_it_is(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    spool.keep("stuck", "/api/v1/settle", BODY)
    monkeypatch.setattr("actguard.transport.spool.os.replace", full)
    for number in range(3000):
        spool.keep(f"n{number}", "/api/v1/settle", BODY)
        spool.done(f"n{number}")

    (file,) = spool.segments()
    assert [entry.id for entry in read_entries(file)] == ["stuck"]
    assert sorted(path.suffix for path in spool.folder.iterdir()) == [".json", ".spool"]


def test_it_is_nobody_elses_to_read(spool: Spool) -> None:
    spool.keep("a", "/api/v1/settle", BODY)

    assert spool.segments()[0].stat().st_mode & 0o077 == 0
    assert spool.folder.stat().st_mode & 0o077 == 0
    assert "s3cret" not in (spool.folder / "gateway.json").read_text()


def test_a_segment_in_use_is_left_alone_and_a_free_one_is_taken_once(spool: Spool, tmp_path: Path) -> None:
    spool.keep("a", "/api/v1/settle", BODY)
    assert list(another(tmp_path).adopt()) == []

    spool.close()
    taken = another(tmp_path).adopt()
    segment = next(taken)
    assert list(segment.pending) == ["a"]
    assert list(another(tmp_path).adopt()) == []  # it has an owner again
    segment.done("a")
    segment.close()
    assert list(taken) == []
    assert spool.segments() == []


def test_what_an_owner_could_not_deliver_stays(spool: Spool, tmp_path: Path) -> None:
    for name in ("a", "b"):
        spool.keep(name, "/api/v1/settle", BODY)
    spool.close()
    for segment in another(tmp_path).adopt():
        segment.done("a")
        segment.close()

    (segment,) = [list(segment.pending) for segment in another(tmp_path).adopt()]
    assert segment == ["b"]


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_torn_last_line_is_survived(spool: Spool, tmp_path: Path, cut: int) -> None:
    spool.keep("a", "/api/v1/settle", BODY)
    spool.keep("b", "/api/v1/settle", BODY)
    spool.close()
    (file,) = spool.segments()
    file.write_bytes(file.read_bytes()[:-cut])

    segment = next(another(tmp_path).adopt())
    kept = ["a", "b"] if cut == 1 else ["a"]  # a line break alone is no loss
    assert list(segment.pending) == kept
    segment.done("a")
    assert [entry.id for entry in read_entries(file)] == kept[1:]


def test_rubbish_in_a_segment_costs_only_itself(spool: Spool, tmp_path: Path) -> None:
    spool.keep("a", "/api/v1/settle", BODY)
    spool.close()
    (file,) = spool.segments()
    file.write_bytes(
        b'\x00\xff\n[1]\n{"keep": 5}\n{"keep": "x", "path": "/p", "body": [], "at": 1}\n' + file.read_bytes()
    )

    assert list(next(another(tmp_path).adopt()).pending) == ["a"]


def test_a_full_disk_is_an_error_and_what_follows_is_readable(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.keep("a", "/api/v1/settle", BODY)
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) > 20:
            return write(descriptor, data[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("actguard.transport.spool.os.write", half)
    with pytest.raises(OSError, match="No space"):
        spool.keep("b", "/api/v1/settle", BODY)
    monkeypatch.setattr("actguard.transport.spool.os.write", write)
    spool.keep("c", "/api/v1/settle", BODY)

    assert [entry.id for entry in read_entries(spool.segments()[0])] == ["a", "c"]


KEEPER = """
import os, sys
from pathlib import Path
from actguard.transport.spool import Spool
spool = Spool(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
number = 0
while True:
    spool.keep(f"{os.getpid()}-{number}", "/api/v1/settle", {"number": number})
    print(number, flush=True)
    number += 1
"""


def test_what_a_killed_process_was_told_is_kept_is_there(spool: Spool, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KEEPER, str(tmp_path), URL, KEY_ID]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told: dict[int, int] = {}
    for process in processes:
        assert process.stdout is not None
        for _ in range(50):
            process.stdout.readline()
    for process in processes:
        process.kill()
        assert process.stdout is not None
        told[process.pid] = 50 + len(process.stdout.read().splitlines()) - 1  # the last line may be torn
        process.wait()

    found = {entry for segment in spool.adopt() for entry in segment.pending}
    for pid, count in told.items():
        assert {f"{pid}-{number}" for number in range(count)} <= found


def _adopt(folder: str) -> list[str]:
    found: list[str] = []
    for segment in Spool(Path(folder), URL, KEY_ID).adopt():
        for name in list(segment.pending):
            found.append(name)
            segment.done(name)
        segment.close()
    return found


def test_processes_that_look_at_once_take_each_segment_once(tmp_path: Path) -> None:
    for number in range(30):
        left = Spool(tmp_path, URL, KEY_ID)
        left.keep(f"entry-{number}", "/api/v1/settle", BODY)
        left.close()

    with multiprocessing.get_context("spawn").Pool(3) as pool:
        found = [name for names in pool.map(_adopt, [str(tmp_path)] * 9) for name in names]

    assert sorted(found) == sorted(f"entry-{number}" for number in range(30))


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.filterwarnings("ignore:This process")
def test_a_forked_child_keeps_neither_the_segment_nor_its_lock(spool: Spool, tmp_path: Path) -> None:
    spool.keep("parent", "/api/v1/settle", BODY)
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        spool.forked()
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        spool.keep("child", "/api/v1/settle", BODY)
        os._exit(0 if [entry.id for entry in spool.pending()] == ["child"] else 1)
    os.read(ready[0], 1)
    spool.close()  # as if the parent had ended
    assert [list(segment.pending) for segment in another(tmp_path).adopt()] == [["parent"]]
    os.write(go[1], b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_people_can_look_at_it_where_a_process_was_killed_while_it_made_the_folder(spool: Spool) -> None:
    spool.folder.mkdir(parents=True)
    spool.keep("k1", "/api/v1/settle", {})

    (waiting,) = look(spool.folder.parent)
    assert [entry.id for entry in waiting.entries] == ["k1"]


def test_people_can_look_at_it(spool: Spool, tmp_path: Path) -> None:
    entry = spool.keep("a", "/api/v1/settle", BODY)
    spool.refuse(entry, "no such thing")

    (waiting,) = look(tmp_path)
    assert (waiting.gateway_url, waiting.key_id, [kept.id for kept in waiting.entries]) == (URL, KEY_ID, ["a"])
    assert waiting.refused[0]["reason"] == "no such thing"
    assert json.dumps(waiting.refused[0]["body"]) == json.dumps(BODY)


def test_each_gateway_and_key_has_a_spool_of_its_own(tmp_path: Path) -> None:
    folders = {Spool(tmp_path, url, key).folder for url in ("http://a", "http://b") for key in ("k1", "k2")}

    assert len(folders) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="as Linux has it")
def test_the_folder_is_the_users_own() -> None:
    assert default_root({"XDG_STATE_HOME": "/state"}) == Path("/state/actguard/spool")
    assert default_root({}) == Path.home() / ".local" / "state" / "actguard" / "spool"
