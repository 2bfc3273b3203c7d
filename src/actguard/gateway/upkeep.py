"""What a gateway does now and then beside its requests: it forgets what is over, and adds up what is over for good."""

import asyncio
from functools import partial

from actguard.gateway import stored_events
from actguard.gateway.config import Settings
from actguard.gateway.rollups import DAY, next_hour, write_hour
from actguard.gateway.storage.store import Store, Transaction
from actguard.gateway.storage.writer import Writer


async def tidy(store: Store, writer: Writer, settings: Settings) -> None:
    """Forget old answers and old events, and write the sums of every hour that is over. Raises `StoreDown`."""
    now = await asyncio.to_thread(store.now)
    await writer.write(partial(_forget_answers, before=now - settings.answers_kept_days * DAY))
    workspaces = [row[0] for row in await asyncio.to_thread(store.read, _workspaces)]
    for workspace in workspaces:
        before = now - settings.events_kept_days * DAY
        while await writer.write(partial(stored_events.forget, workspace=workspace, before=before)):
            pass
        while (over := await asyncio.to_thread(next_hour, store, workspace, now)) is not None:
            await writer.write(partial(write_hour, over=over))


def _workspaces(transaction: Transaction) -> list[tuple[int, ...]]:
    return transaction.rows("workspaces")


def _forget_answers(transaction: Transaction, before: int) -> int:
    return transaction.run("forget_answers", before=before)
