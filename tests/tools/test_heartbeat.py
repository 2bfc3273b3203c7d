"""The thread that renews leases outlives what goes wrong with one of them."""

import threading
import time

from actguard.tools.heartbeat import Heartbeats


class Store:
    """Renews everything but "bad", and says so."""

    def __init__(self):
        self.renewed = threading.Event()

    def idem_heartbeat(self, key, owner, lease_s):
        if key == "bad":
            raise ValueError(key)
        self.renewed.set()
        return True


def test_a_lease_that_cannot_be_renewed_does_not_end_the_others():
    beats, store = Heartbeats(), Store()
    beats.begin("1", store, "idempotency", "bad", 0.03)
    beats.begin("2", store, "idempotency", "good", 0.03)
    for _ in range(2):
        assert store.renewed.wait(10)
        store.renewed.clear()
    beats.end("1")
    beats.end("2")


def test_a_thread_that_could_not_start_is_started_by_the_next_lease(monkeypatch):
    beats, store = Heartbeats(), Store()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", lambda self: (_ for _ in ()).throw(RuntimeError("no more threads")))
        beats.begin("1", store, "idempotency", "good", 0.03)
    beats.begin("2", store, "idempotency", "good", 0.03)
    assert store.renewed.wait(10)
    beats.end("1")
    beats.end("2")
    until = time.monotonic() + 10
    while beats._thread is not None and time.monotonic() < until:
        time.sleep(0.01)
    assert beats._thread is None
