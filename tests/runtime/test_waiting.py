"""What becomes of work that nobody waits for any more."""

import asyncio
import threading
import time
from typing import Any

import pytest

from actguard import Client
from actguard.runtime.waiting import await_for
from actguard.transport.workers import Job, Workers
from tests.fake_gateway import FakeGateway, until


class Known(Workers):
    """Tells which job it was given."""

    job: Job[Any]

    def start(self, job: Job[Any]) -> Job[Any]:
        self.job = super().start(job)
        return self.job


@pytest.mark.parametrize("done", [False, True])
async def test_what_comes_when_a_task_is_cancelled_is_told_whether_it_came_before_or_after(done: bool) -> None:
    workers, may_end, told = Known(), threading.Event(), list[int]()

    def work() -> int:
        may_end.wait(10)
        return 5

    task = asyncio.create_task(await_for(workers, work, None, told.append))
    await asyncio.sleep(0)
    if done:  # and the loop has not heard of it yet
        may_end.set()
        while not workers.job._done:
            time.sleep(0.001)  # noqa: ASYNC251 - the loop is to stand still
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    may_end.set()

    await asyncio.to_thread(until, lambda: told)
    assert told == [5]


async def test_a_task_that_is_cancelled_while_its_spend_is_written_down_tells_it_all_the_same(
    gateway: FakeGateway, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, may_end = threading.Event(), threading.Event()
    async with Client(**gateway.options(spool_dir=tmp_path)) as client:
        assert client.remote is not None
        keep = client.remote.keep

        def slowly(key: str, body: Any) -> Any:
            writing.set()
            may_end.wait(10)
            return keep(key, body)

        monkeypatch.setattr(client.remote, "keep", slowly)

        async def work() -> None:
            async with client.run(), client.budget_guard(usd_limit=1) as guard:
                guard.add_cost(name="search", usd=0.25)

        task = asyncio.create_task(work())
        await asyncio.to_thread(writing.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        may_end.set()
        await asyncio.to_thread(until, lambda: gateway.to("settle"))

    assert len(gateway.settled()) == 1
