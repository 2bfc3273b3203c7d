"""Waiting until nothing of a guard's is on its way any more."""

import asyncio

from actguard import BudgetGuard


async def ended(guard: BudgetGuard) -> None:
    """The event loop closes what is below an asynchronous stream that nobody holds any more, one generator a turn."""
    assert guard.estimated
    account = guard.account
    assert account is not None
    async with asyncio.timeout(10):
        while account.in_flight:  # noqa: ASYNC110 - generators have no event of their own
            await asyncio.sleep(0)
