"""Guard state in Redis or Valkey, for many processes: one request before a call, at most one after it.

    actguard.configure(store=RedisStore("redis://localhost:6379/0"))

- Time is the server's, so that processes need not agree about it.
- Every key goes by itself when what it says is over.
- A request is made once: nobody knows whether one that got no answer was carried out, and twice is too often. What a
  guard does then is its `on_store_error`. A server that was started again is found by the next request, which gives it
  its scripts anew.
- Connections are made when they are needed, in the process and on the event loop that need them.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

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

if TYPE_CHECKING:
    import redis

    from actguard.stores.redis_async import AsyncRedisStore

_BATCH = 200  # keys looked at or removed by one request


class RedisStore:
    """State shared by everybody who uses the same server and namespace.

    Args:
        url: `redis://`, `rediss://` or `unix://`, as redis-py takes it.
        client: instead of *url*, a client of yours: `redis.Redis`, `redis.cluster.RedisCluster`, a Sentinel's master.
            It should neither retry nor decode; give `async_client` as well where tools are asynchronous.
        async_client: makes a `redis.asyncio` client, once for each event loop.
        namespace: what all keys begin with. In a Redis Cluster a namespace lives on one node.
        timeout_s: how long an answer may take.
        connect_timeout_s: how long a connection may take.
        max_connections: at most so many for each process, and for each event loop.
        now: microseconds instead of the server's clock, for tests.
    """

    serialises = True
    blocking = True

    def __init__(
        self,
        url: str | None = None,
        *,
        client: "redis.Redis | redis.RedisCluster | None" = None,
        async_client: Callable[[], Any] | None = None,
        namespace: str = "actguard",
        timeout_s: float = 0.5,
        connect_timeout_s: float = 0.5,
        max_connections: int = 64,
        now: Callable[[], int] | None = None,
    ) -> None:
        self._options = RedisOptions(url, client, async_client, timeout_s, connect_timeout_s, max_connections)
        self._client = self._options.client()
        self._wire = Wire(namespace, now)
        self._aio: AsyncRedisStore | None = None

    @property
    def aio(self) -> "AsyncRedisStore | None":
        """The same state for event loops; None: a client was given, and no way to make an asynchronous one."""
        if self._aio is None and self._options.has_async:
            from actguard.stores.redis_async import AsyncRedisStore

            self._aio = AsyncRedisStore(self._options, self._wire)
        return self._aio

    def __repr__(self) -> str:
        return f"RedisStore({self._options.place!r})"

    def admit(self, steps: Sequence[Step]) -> Admitted | Refused:
        return read_admitted(self._run(self._wire.admit(steps)))

    def finish(self, reports: Sequence[Report]) -> tuple[bool, ...]:
        return read_finished(self._run(self._wire.finish(reports)))

    def idem_heartbeat(self, key: str, owner: str, lease_s: float) -> bool:
        return read_finished(self._run(self._wire.heartbeat("idempotency", key, owner, lease_s)))[0]

    def lease_heartbeat(self, key: str, owner: str, lease_s: float) -> bool:
        return read_finished(self._run(self._wire.heartbeat("lease", key, owner, lease_s)))[0]

    def circuit(self, key: str, rules: BreakerRules) -> Circuit:
        return read_circuit(self._run(self._wire.circuit(key, rules)))

    def force_circuit(self, key: str, rules: BreakerRules, state: BreakerState) -> None:
        self._run(self._wire.force(key, rules, state))

    def list_idempotency(
        self, prefix: str = "", *, state: Literal["in_progress", "done", "unknown"] | None = None, limit: int = 100
    ) -> list[IdempotencyRecord]:
        found: list[IdempotencyRecord] = []
        for keys in self._matching("idempotency", prefix):
            names = [self._wire.plain_key("idempotency", key) for key in keys]
            records = read_records(names, self._run(self._wire.records(keys)))
            found += [record for record in records if state is None or record.state == state]
            if len(found) >= limit:
                break
        return found[:limit]

    def resolve_idempotency(self, key: str, outcome: Done | None, *, ttl_s: float) -> bool:
        return read_finished(self._run(self._wire.resolve(key, outcome, ttl_s)))[0]

    def forget(self, kind: Kind, prefix: str) -> int:
        return sum(self._remove(keys) for keys in self._matching(kind, prefix))

    def facts_put(self, session: str, facts: Sequence[Fact]) -> None:
        self._run(redis_facts.put(self._wire, session, facts))

    def facts_check(
        self, session: str, needs: Sequence[Need], spends: Sequence[Spend] = (), *, commit: bool = True
    ) -> Verdict:
        reply = self._run(redis_facts.check(self._wire, session, needs, spends, commit=commit))
        return redis_facts.read_verdict(reply, needs, spends)

    def facts_give_back(self, session: str, receipt: Receipt) -> None:
        self._run(redis_facts.give_back(self._wire, session, receipt))

    def facts_revoke(self, session: str, kind: str, value: str | None = None) -> int:
        return int(self._run(redis_facts.revoke(self._wire, session, kind, value)))

    def facts_list(self, session: str, kinds: Sequence[str] = ()) -> list[Known]:
        return redis_facts.read_known(self._run(redis_facts.listing(self._wire, session, kinds)))

    def facts_end(self, session: str) -> None:
        self._run(redis_facts.end(self._wire, session))

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        self._options.close(self._client)

    def _run(self, request: Request) -> Any:
        known, arguments = request.script(), request.arguments()
        options = self._options
        try:
            try:
                return self._client.execute_command("EVALSHA", known.sha, *arguments)
            except options.no_script:  # a server that was just started
                return self._client.execute_command("EVAL", known.source, *arguments)
        except options.errors as error:
            raise options.translate(error) from error

    def _remove(self, keys: Sequence[bytes]) -> int:
        with translated(self._options):
            return int(self._client.unlink(*keys))

    def _matching(self, kind: Kind, prefix: str) -> "list[list[bytes]]":
        with translated(self._options):
            keys = sorted(set(self._client.scan_iter(match=self._wire.pattern(kind, prefix), count=1000)))
        return [keys[start : start + _BATCH] for start in range(0, len(keys), _BATCH)]
