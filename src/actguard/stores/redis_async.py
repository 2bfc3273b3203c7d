"""`RedisStore` for event loops: the same requests, awaited. Clients belong to the loop they were made on."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Literal
from weakref import WeakKeyDictionary

from actguard.stores import redis_facts
from actguard.stores.facts import Fact, Known, Need, Receipt, Spend, Verdict
from actguard.stores.protocol import (
    Admitted,
    BreakerRules,
    BreakerState,
    Circuit,
    Done,
    IdempotencyRecord,
    Kind,
    Refused,
    Report,
    Step,
)
from actguard.stores.redis_answers import read_admitted, read_circuit, read_finished, read_records
from actguard.stores.redis_options import RedisOptions, translated
from actguard.stores.redis_wire import Request, Wire

_BATCH = 200


class AsyncRedisStore:
    """What `RedisStore.aio` is. May be used from any number of event loops; each has its own connections, which are
    closed when it ends (`asyncio.run` sees to that) or by `aclose`."""

    serialises = True
    blocking = False

    def __init__(self, options: RedisOptions, wire: Wire) -> None:
        self._options = options
        self._wire = wire
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopClient] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"AsyncRedisStore({self._options.place!r})"

    async def admit(self, steps: Sequence[Step]) -> Admitted | Refused:
        return read_admitted(await self._run(self._wire.admit(steps)))

    async def finish(self, reports: Sequence[Report]) -> tuple[bool, ...]:
        return read_finished(await self._run(self._wire.finish(reports)))

    async def idem_heartbeat(self, key: str, owner: str, lease_s: float) -> bool:
        return read_finished(await self._run(self._wire.heartbeat("idempotency", key, owner, lease_s)))[0]

    async def lease_heartbeat(self, key: str, owner: str, lease_s: float) -> bool:
        return read_finished(await self._run(self._wire.heartbeat("lease", key, owner, lease_s)))[0]

    async def circuit(self, key: str, rules: BreakerRules) -> Circuit:
        return read_circuit(await self._run(self._wire.circuit(key, rules)))

    async def force_circuit(self, key: str, rules: BreakerRules, state: BreakerState) -> None:
        await self._run(self._wire.force(key, rules, state))

    async def list_idempotency(
        self, prefix: str = "", *, state: Literal["in_progress", "done", "unknown"] | None = None, limit: int = 100
    ) -> list[IdempotencyRecord]:
        found: list[IdempotencyRecord] = []
        for keys in await self._matching("idempotency", prefix):
            names = [self._wire.plain_key("idempotency", key) for key in keys]
            records = read_records(names, await self._run(self._wire.records(keys)))
            found += [record for record in records if state is None or record.state == state]
            if len(found) >= limit:
                break
        return found[:limit]

    async def resolve_idempotency(self, key: str, outcome: Done | None, *, ttl_s: float) -> bool:
        return read_finished(await self._run(self._wire.resolve(key, outcome, ttl_s)))[0]

    async def forget(self, kind: Kind, prefix: str) -> int:
        gone = 0
        for keys in await self._matching(kind, prefix):
            gone += await self._remove(keys)
        return gone

    async def facts_put(self, session: str, facts: Sequence[Fact]) -> None:
        await self._run(redis_facts.put(self._wire, session, facts))

    async def facts_check(
        self, session: str, needs: Sequence[Need], spends: Sequence[Spend] = (), *, commit: bool = True
    ) -> Verdict:
        reply = await self._run(redis_facts.check(self._wire, session, needs, spends, commit=commit))
        return redis_facts.read_verdict(reply, needs, spends)

    async def facts_give_back(self, session: str, receipt: Receipt) -> None:
        await self._run(redis_facts.give_back(self._wire, session, receipt))

    async def facts_revoke(self, session: str, kind: str, value: str | None = None) -> int:
        return int(await self._run(redis_facts.revoke(self._wire, session, kind, value)))

    async def facts_list(self, session: str, kinds: Sequence[str] = ()) -> list[Known]:
        return redis_facts.read_known(await self._run(redis_facts.listing(self._wire, session, kinds)))

    async def facts_end(self, session: str) -> None:
        await self._run(redis_facts.end(self._wire, session))

    async def aclose(self) -> None:
        """Close the connections of this event loop; the next request opens new ones."""
        if (held := self._loops.pop(asyncio.get_running_loop(), None)) is not None:
            await held.aclose()

    async def _run(self, request: Request) -> Any:
        known, arguments = request.script(), request.arguments()
        client = await self._client()
        options = self._options
        try:
            try:
                return await client.execute_command("EVALSHA", known.sha, *arguments)
            except options.no_script:  # a server that was just started
                return await client.execute_command("EVAL", known.source, *arguments)
        except options.errors as error:
            raise options.translate(error) from error

    async def _remove(self, keys: Sequence[bytes]) -> int:
        client = await self._client()
        with translated(self._options):
            return int(await client.unlink(*keys))

    async def _matching(self, kind: Kind, prefix: str) -> list[list[bytes]]:
        client = await self._client()
        with translated(self._options):
            found = client.scan_iter(match=self._wire.pattern(kind, prefix), count=1000)
            keys = sorted({key async for key in found})
        return [keys[start : start + _BATCH] for start in range(0, len(keys), _BATCH)]

    async def _client(self) -> Any:
        loop = asyncio.get_running_loop()
        held = self._loops.get(loop)
        if held is None:
            held = self._loops[loop] = _LoopClient(self._options.async_client())
            await held.keep()
        return held.client


class _LoopClient:
    """A client that is closed when its loop shuts down its asynchronous generators: one of them waits for that here."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self._kept = self._until_the_end()

    async def keep(self) -> None:
        await anext(self._kept)

    async def aclose(self) -> None:
        await self._kept.aclose()

    async def _until_the_end(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await self.client.aclose()
