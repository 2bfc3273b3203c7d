"""The writer tells everybody what became of what was asked, whatever happens beside it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from actguard.gateway.config import Settings
from actguard.gateway.http import gateway as running
from actguard.gateway.http.gateway import Gateway
from actguard.gateway.ledger.operations import Release, Reply, Reserve
from actguard.gateway.storage.store import StoreDown
from actguard.gateway.storage.writer import Overloaded, Writer
from tests.gateway.conftest import Ledger


@pytest.fixture
async def writer(ledger: Ledger) -> AsyncIterator[Writer]:
    writer = Writer(ledger.store)
    writer.start()
    yield writer
    await writer.close()


def reserve(ledger: Ledger, id: str) -> Reserve:
    return Reserve(workspace=ledger.workspace, agent="bot", reserve_id=id, usd=1)


async def test_one_that_cannot_be_told_keeps_no_answer_from_the_next(ledger: Ledger, writer: Writer) -> None:
    told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def breaks(_: Reply | Exception) -> None:
        raise RuntimeError("its connection is broken")

    writer.submit(reserve(ledger, "first"), breaks)
    writer.submit(reserve(ledger, "second"), told.set_result)

    assert (await told).status == 200
    assert (await writer.apply(Release(workspace=ledger.workspace, agent="bot", reserve_id="first"))).status == 200
    assert writer.waiting == 0


async def test_a_store_that_is_down_is_told_to_each_and_raised_where_it_is_awaited(
    ledger: Ledger, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(_: object) -> None:
        raise StoreDown("away")

    monkeypatch.setattr(ledger.store, "apply", down)
    told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    writer.submit(reserve(ledger, "first"), told.set_result)

    assert isinstance(await told, StoreDown)
    with pytest.raises(StoreDown, match="away"):
        await writer.apply(reserve(ledger, "second"))


async def test_who_no_longer_waits_is_no_hindrance(ledger: Ledger, writer: Writer) -> None:
    waiting = asyncio.ensure_future(writer.apply(reserve(ledger, "first")))
    await asyncio.sleep(0)
    waiting.cancel()

    assert (await writer.apply(reserve(ledger, "second"))).status == 200
    assert (await writer.apply(Release(workspace=ledger.workspace, agent="bot", reserve_id="first"))).status == 200


async def test_too_many_are_refused_at_once(ledger: Ledger, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actguard.gateway.storage.writer.MOST_WAITING", 1)
    first = asyncio.ensure_future(writer.apply(reserve(ledger, "first")))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await writer.apply(reserve(ledger, "second"))
    assert (await first).status == 200


async def test_holds_are_ended_again_after_a_moment_in_which_they_could_not_be(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_REAP_EVERY_S", 0.001)
    gateway = Gateway(ledger.store, Settings())
    troubles: list[Exception] = [Overloaded(), StoreDown("away"), RuntimeError("odd")]
    ended = asyncio.Event()

    async def reap() -> None:
        if troubles:
            raise troubles.pop()
        ended.set()

    monkeypatch.setattr(gateway.writer, "reap", reap)
    await gateway.start()
    try:
        await asyncio.wait_for(ended.wait(), 30)
    finally:
        await gateway.close()
        ledger.store.open()
