"""Holding replies back, so that what runs at once is decided and not timed."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from actguard.testing import LocalProvider

openai = pytest.importorskip("openai")

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}


def test_fifty_threads_are_all_held_at_once_then_all_answered(llm_provider: LocalProvider) -> None:
    client = llm_provider.openai()
    with ThreadPoolExecutor(50) as pool:
        with llm_provider.hold() as gate:
            calls = [pool.submit(client.chat.completions.create, **CHAT) for _ in range(50)]
            gate.wait_for(50)
            assert llm_provider.ledger.calls == 0
            assert llm_provider.ledger.in_flight == 50
        replies = [call.result() for call in calls]
    assert len({reply.id for reply in replies}) == llm_provider.ledger.calls == 50


async def test_tasks_are_released_one_by_one_in_their_order(llm_provider: LocalProvider) -> None:
    async with llm_provider.async_openai() as client:
        llm_provider.reply("first", "second", "third")
        with llm_provider.hold() as gate:
            tasks = []
            for n in range(3):
                tasks.append(asyncio.create_task(client.chat.completions.create(**CHAT)))
                await gate.wait_for_async(n + 1)
            gate.release(1)
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            assert [task.result().choices[0].message.content for task in done] == ["first"]
            assert gate.waiting == 2
        rest = [(await task).choices[0].message.content for task in tasks[1:]]
    assert rest == ["second", "third"]


def test_a_release_counts_for_who_has_yet_to_come(llm_provider: LocalProvider) -> None:
    with llm_provider.hold() as gate:
        gate.release(2)
        for _ in range(2):
            llm_provider.openai().chat.completions.create(**CHAT)
        assert (gate.arrived, gate.waiting) == (2, 0)


def test_waiting_for_calls_that_do_not_come_times_out(llm_provider: LocalProvider) -> None:
    with llm_provider.hold() as gate, pytest.raises(TimeoutError, match="0 of 1 requests are held"):
        gate.wait_for(1, timeout=0.01)


def test_releasing_the_provider_releases_everything(llm_provider: LocalProvider) -> None:
    gate = llm_provider.hold()
    thread = threading.Thread(target=llm_provider.openai().chat.completions.create, kwargs=CHAT)
    thread.start()
    gate.wait_for(1)
    with pytest.raises(TimeoutError, match="1 requests still in flight"):
        llm_provider.wait_idle(timeout=0.01)
    llm_provider.release()
    thread.join()
    llm_provider.wait_idle()


def test_what_is_free_is_not_held(llm_provider: LocalProvider) -> None:
    with llm_provider.hold() as gate:
        assert list(llm_provider.openai().models.list())
        assert gate.arrived == 0
