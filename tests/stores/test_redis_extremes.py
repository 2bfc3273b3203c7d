"""Numbers that no server can count to, and a key that holds something else: one guard's affair, and nobody else's."""

import threading
import time

import pytest
import redis

import actguard
from actguard import circuits, concurrency, idempotent, no_repeat, rate_limit
from actguard.context import Frame, Run, inside
from actguard.exceptions import ConcurrencyExceeded, RateLimitExceeded, StoreUnavailableError
from actguard.stores.redis import RedisStore
from actguard.tools.heartbeat import heartbeats

LONG = [1e9, 1e12, 1e300, 1e308]


@pytest.fixture(autouse=True)
def store(redis_url):
    store = RedisStore(redis_url, timeout_s=10)
    before = actguard.configure(store=store, on_store_error="closed")
    with inside(Frame(run=Run("run-1"))):
        yield store
    actguard.configure(store=before.store, on_store_error=before.on_store_error)
    for name in tuple(circuits):
        circuits.forget(name)
    store.close()


@pytest.mark.parametrize("seconds", LONG)
def test_for_ever_is_long_and_no_more(seconds):
    kept = idempotent(ttl_s=seconds, lease_s=seconds)(lambda idempotency_key: "done")
    assert [kept("a"), kept("a")] == ["done", "done"]
    seldom = no_repeat(max_identical=1, window=seconds)(lambda: 1)
    assert seldom() == 1
    assert "already" in seldom()
    for algorithm in ("sliding", "gcra", "fixed"):
        limited = rate_limit(max_calls=1, period=seconds, algorithm=algorithm)(lambda: 1)
        assert limited() == 1
        with pytest.raises(RateLimitExceeded):
            limited()
    held = concurrency(limit=1, lease_s=seconds)(lambda inner=None: inner() if inner else 1)
    with pytest.raises(ConcurrencyExceeded):
        held(held)
    assert held() == 1

    @actguard.circuit_breaker(name="long", max_fails=1, reset_timeout=seconds)
    def fail():
        raise ConnectionError

    with pytest.raises(ConnectionError):
        fail()
    with pytest.raises(actguard.CircuitOpenError):
        fail()
    with actguard.session() as here:
        here.add_fact("order", 1, ttl=seconds)
        assert len(here.facts()) == 1


@pytest.mark.parametrize("most", [1 << 53, 10**30, 10**400])
def test_as_often_as_one_likes_is_often_and_no_more(most):
    for algorithm in ("sliding", "gcra", "fixed"):
        limited = rate_limit(max_calls=most, algorithm=algorithm)(lambda: 1)
        assert [limited(), limited()] == [1, 1]
    assert concurrency(limit=most)(lambda: 1)() == 1
    assert actguard.max_attempts(calls=most)(lambda: 1)() == 1


def test_a_long_lease_does_not_keep_short_ones_from_being_renewed():
    gate = threading.Event()
    hold = concurrency(limit=1, lease_s=1e12)(lambda: gate.wait(5))
    brief = concurrency(limit=1, lease_s=0.3)(lambda: gate.wait(5))
    frame = Frame(run=Run("run-1"))

    def inside_run(call):
        with inside(frame):
            call()

    threads = [threading.Thread(target=inside_run, args=(call,)) for call in (hold, brief)]
    for thread in threads:
        thread.start()
        time.sleep(0.1)
    time.sleep(0.5)  # the server's clock
    with pytest.raises(ConcurrencyExceeded):
        brief()
    gate.set()
    for thread in threads:
        thread.join(5)
    assert heartbeats._running == {}


def test_a_key_that_holds_something_else_is_its_guard_s_affair_alone(store, redis_url, caplog):
    broken = rate_limit(max_calls=1, name="broken")(lambda: 1)
    local = rate_limit(max_calls=1, name="broken", on_store_error="local")(lambda: 1)
    sound = rate_limit(max_calls=3, name="sound")(lambda: 1)
    with redis.Redis.from_url(redis_url) as beside:
        assert broken() == 1
        (key,) = beside.keys("*broken*")
        beside.set(key, "a text")
        with pytest.raises(StoreUnavailableError) as refused:
            broken()
        assert refused.value.reason == "refused"
        assert local() == 1
        with pytest.raises(RateLimitExceeded):
            local()
        assert [sound(), sound()] == [1, 1]
        assert beside.keys("*sound*")  # where everybody sees it
        beside.delete(key)
        assert broken() == 1


def test_a_record_that_cannot_be_written_holds_up_no_other(store, redis_url, caplog):
    with redis.Redis.from_url(redis_url) as beside:

        @idempotent(scope="global")
        def pay(idempotency_key):
            for key in beside.keys("*bad*"):
                beside.set(key, "a text")
            return "paid"

        assert pay("bad") == "paid"
        assert [pay("good"), pay("good")] == ["paid", "paid"]
    assert "refuses to write" in caplog.text


def test_a_wait_longer_than_a_thread_can_wait_is_a_long_wait():
    gate, inside_now = threading.Event(), threading.Event()

    @concurrency(limit=1, wait=1e300, store=actguard.MemoryStore())
    def hold():
        inside_now.set()
        gate.wait(5)
        return 1

    holder = threading.Thread(target=hold)
    holder.start()
    inside_now.wait(5)
    threading.Timer(0.05, gate.set).start()
    assert hold() == 1
    holder.join(5)
