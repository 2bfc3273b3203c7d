"""The thread that renews leases: when it beats, whom it renews, and what it outlives."""

import logging
import os
import queue
import threading
from collections.abc import Callable
from typing import Any

import pytest

from actguard.exceptions import StoreUnavailableError
from actguard.tools.heartbeat import Heartbeats

SECONDS = 10.0
"""What should come at once may take so long on a busy machine."""


class Wake:
    """An alarm clock whose time passes when the test says so."""

    def __init__(self) -> None:
        self.pauses: queue.Queue[float] = queue.Queue()
        self._turns: queue.Queue[bool] = queue.Queue()
        self.cleared = 0

    def wait(self, pause: float) -> bool:
        self.pauses.put(pause)
        return self._turns.get(timeout=SECONDS)

    def set(self) -> None:
        self._turns.put(True)

    def clear(self) -> None:
        self.cleared += 1

    def beat(self) -> float:
        """Let the time pass that is being waited for; how long it would be waited then."""
        self._turns.put(False)
        return self.pause()

    def pause(self) -> float:
        return self.pauses.get(timeout=SECONDS)


class Store:
    """Keeps what it was asked to renew, and answers what it is told to."""

    def __init__(self, *answers: Any) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self._answers = list(answers)

    def idem_heartbeat(self, *asked: Any) -> bool:
        return self._answer("idempotency", *asked)

    def lease_heartbeat(self, *asked: Any) -> bool:
        return self._answer("lease", *asked)

    def _answer(self, *asked: Any) -> bool:
        self.asked.append(asked)
        answer = self._answers.pop(0) if self._answers else True
        if isinstance(answer, BaseException):
            raise answer
        return answer


class Beats(Heartbeats):
    """Heartbeats with a clock of the test's."""

    def __init__(self) -> None:
        super().__init__()
        self.wake = Wake()
        self._wake = self.wake  # type: ignore[assignment]

    @property
    def thread(self) -> threading.Thread | None:
        return self._thread

    def over(self) -> None:
        """Let the thread find that nothing is left to do."""
        running = self._thread
        for owner in tuple(self._running):
            self.end(owner)
        self.wake.set()
        assert running is not None
        running.join(SECONDS)
        assert not running.is_alive()
        assert self._thread is None


@pytest.fixture
def beats() -> Beats:
    return Beats()


@pytest.fixture
def store() -> Any:
    return Store()


def test_each_lease_is_renewed_in_its_own_store_and_way(beats: Beats, store: Any) -> None:
    other: Any = Store()
    beats.begin("me", store, "idempotency", "pay", 30.0)
    beats.begin("you", other, "lease", "places", 60.0)
    beats.wake.pause()
    beats.wake.beat()
    assert store.asked == [("idempotency", "pay", "me", 30.0)]
    assert other.asked == [("lease", "places", "you", 60.0)]
    beats.wake.beat()
    assert len(store.asked) == len(other.asked) == 2
    beats.over()


def test_it_beats_three_times_in_the_shortest_lease(beats: Beats, store: Any) -> None:
    beats.begin("a", store, "lease", "a", 30.0)
    assert beats.wake.pause() == 10.0
    beats.begin("b", store, "lease", "b", 60.0)
    assert beats.wake.beat() == 10.0
    beats.end("a")
    assert beats.wake.beat() == 20.0
    beats.over()


def test_a_shorter_lease_is_not_kept_waiting(beats: Beats, store: Any) -> None:
    beats.begin("a", store, "lease", "a", 30.0)
    assert beats.wake.pause() == 10.0
    beats.begin("b", store, "lease", "b", 30.0)
    beats.begin("c", store, "lease", "c", 30.5)
    assert beats.wake.pauses.empty()
    assert beats.wake.cleared == 0
    beats.begin("d", store, "lease", "d", 29.5)
    assert beats.wake.pause() == 29.5 / 3
    assert beats.wake.cleared == 1
    assert store.asked == [], "it was woken, and it is not time yet"
    beats.over()


def test_a_lease_without_end_is_waited_for_as_long_as_a_thread_can(beats: Beats, store: Any) -> None:
    beats.begin("a", store, "lease", "a", float("inf"))
    assert beats.wake.pause() == threading.TIMEOUT_MAX
    beats.over()


def test_a_lease_that_is_lost_is_renewed_no_more(beats: Beats) -> None:
    store: Any = Store(False)
    beats.begin("a", store, "lease", "a", 3.0)
    beats.begin("b", store, "lease", "b", 3.0)
    beats.wake.pause()
    beats.wake.beat()
    beats.wake.beat()
    assert [key for _, key, _, _ in store.asked] == ["a", "b", "b"]
    beats.over()


def test_a_store_that_is_away_is_asked_again(beats: Beats, caplog: pytest.LogCaptureFixture) -> None:
    store: Any = Store(StoreUnavailableError("away"))
    beats.begin("a", store, "lease", "a", 3.0)
    beats.begin("b", store, "lease", "b", 3.0)
    beats.wake.pause()
    beats.wake.beat()
    beats.wake.beat()
    assert [key for _, key, _, _ in store.asked] == ["a", "b", "a", "b"]
    assert caplog.records == []
    beats.over()


def test_a_lease_that_cannot_be_renewed_is_logged_and_does_not_end_the_others(
    beats: Beats, caplog: pytest.LogCaptureFixture
) -> None:
    store: Any = Store(ValueError("bad"))
    beats.begin("a", store, "idempotency", "a", 3.0)
    beats.begin("b", store, "idempotency", "b", 3.0)
    beats.wake.pause()
    with caplog.at_level(logging.ERROR, "actguard.tools"):
        beats.wake.beat()
    beats.wake.beat()
    assert [key for _, key, _, _ in store.asked] == ["a", "b", "a", "b"]
    assert [record.exc_info and record.exc_info[0] for record in caplog.records] == [ValueError]
    beats.over()


def test_one_daemon_thread_is_there_while_there_are_leases(beats: Beats, store: Any) -> None:
    assert beats.thread is None
    beats.begin("a", store, "lease", "a", 3.0)
    first = beats.thread
    assert first is not None
    assert (first.name, first.daemon) == ("actguard-leases", True)
    beats.begin("b", store, "lease", "b", 3.0)
    assert beats.thread is first
    beats.end("a")
    beats.end("nobody")
    beats.wake.pause()
    beats.wake.beat()
    assert first.is_alive()
    beats.over()

    beats.wake = beats._wake = Wake()  # type: ignore[assignment]
    beats.begin("c", store, "lease", "c", 3.0)
    assert beats.thread not in (None, first)
    assert beats.wake.pause() == 1.0
    beats.over()


def test_a_thread_that_could_not_start_is_started_by_the_next_lease(
    beats: Beats, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none_left)
        beats.begin("a", store, "idempotency", "a", 3.0)
    assert beats.thread is None
    beats.begin("b", store, "idempotency", "b", 6.0)
    assert beats.wake.pause() == 1.0
    beats.wake.beat()
    assert [key for _, key, _, _ in store.asked] == ["a", "b"]
    beats.over()


def test_a_thread_that_died_is_started_by_the_next_lease(beats: Beats, store: Any) -> None:
    beats._thread = threading.Thread(target=lambda: None)
    beats.begin("a", store, "lease", "a", 3.0)
    assert beats.wake.pause() == 1.0
    beats.over()


def test_by_the_clock_of_the_machine_it_beats_too(store: Any) -> None:
    beats, renewed = Heartbeats(), threading.Event()

    class Told(Store):
        def _answer(self, *asked: Any) -> bool:
            renewed.set()
            return True

    told: Any = Told()
    beats.begin("a", told, "lease", "a", 60.0)
    beats.begin("b", told, "lease", "b", 0.03)  # wakes it
    for _ in range(2):
        assert renewed.wait(SECONDS)
        renewed.clear()
    beats.end("a")
    beats.end("b")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_renews_nothing_of_its_parent_and_waits_for_none_of_its_locks(beats: Beats, store: Any) -> None:
    beats.begin("a", store, "lease", "a", 30.0)
    beats.wake.pause()

    def child() -> bool:
        return beats._running == {} and beats.thread is None and not beats._lock.locked()

    with beats._lock:
        assert in_a_child(child)
    assert beats.thread is not None
    beats.over()


def in_a_child(question: Callable[[], bool]) -> bool:
    """What *question* answers in a fork of this process."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if question() else 1
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0
