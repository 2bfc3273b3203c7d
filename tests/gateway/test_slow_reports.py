"""Reports may take long, and agents do not wait for them."""

import asyncio
import threading
from typing import Any

import pytest

from actguard.gateway import accounts, reports
from actguard.gateway.config import Settings
from actguard.gateway.http.app import App
from actguard.gateway.http.wire import Request
from tests.gateway.conftest import Ledger


async def test_any_number_of_slow_reports_keeps_no_agent_from_an_answer(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(agent: str, role: str) -> dict[bytes, bytes]:
        made = ledger.store.write(lambda t: accounts.create_key(t, ledger.workspace, agent, role, 0))
        return {b"authorization": f"Bearer {made.key.text}".encode()}

    over, begun = threading.Event(), threading.Event()

    def slow(*_: Any) -> dict[str, Any]:
        begun.set()
        return {"over": over.wait(60)}

    monkeypatch.setattr(reports, "spend", slow)
    admin, agent = key("admin", "admin"), key("bot", "agent")
    app = App(ledger.store, Settings())
    await app.gateway.start()
    spend, budget = (app.direct["GET", f"/api/v1/{name}"] for name in ("spend", "budget"))
    asked = [asyncio.create_task(spend.answer(Request("/api/v1/spend", admin))) for _ in range(50)]
    try:
        await asyncio.to_thread(begun.wait, 60)
        said = await asyncio.wait_for(budget.answer(Request("/api/v1/budget", agent)), 20)
    finally:
        over.set()
        made = await asyncio.gather(*asked)
        await app.gateway.close()
        ledger.store.open()
    assert said.status == 200
    assert {each.status for each in made} == {200}
