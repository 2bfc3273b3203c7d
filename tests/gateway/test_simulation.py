"""A network that drops, doubles and reorders, a store that crashes between its steps, a clock that jumps: by a seed.

A failure names its seed; the same seed does the same again. ACTGUARD_SEEDS sets how many are run; on Postgres, where
one takes seconds, a tenth of them.
"""

import itertools
import os
import random
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from actguard.gateway import accounts
from actguard.gateway.audit import audit
from actguard.gateway.ledger.batch import run
from actguard.gateway.ledger.operations import Operation, Reply, Reserve, Settle
from actguard.gateway.ledger.windows import SECOND
from tests.gateway.conftest import Clock, Ledger, open_ledger

_SEEDS = int(os.environ.get("ACTGUARD_SEEDS", "15"))
SEEDS = {"sqlite": _SEEDS, "postgres": -(-_SEEDS // 10)}
LIMIT = 1_000
_names = itertools.count()


class Crashed(Exception):
    pass


@dataclass
class Client:
    """One run: reserve until it is answered, settle until it is answered, and again under the same ids."""

    reserve: Reserve
    settle: Settle
    granted: bool | None = None
    charged: bool = False

    @property
    def wants(self) -> Operation | None:
        if self.granted is None:
            return self.reserve
        return self.settle if self.granted and not self.charged else None

    def hear(self, asked: Operation, reply: Reply) -> None:
        if isinstance(asked, Reserve):
            assert reply.status in (200, 409), reply
            assert self.granted in (None, reply.status == 200) or reply.status == 200, "a grant was taken back"
            self.granted = self.granted or reply.status == 200
        else:
            assert (reply.status, reply.body["usd_micros"]) == (200, self.settle.usd), reply
            self.charged = True


@dataclass
class World:
    """Requests and replies under way, in an order that the dice choose."""

    seed: int
    ledger: Ledger
    dice: random.Random = field(init=False)

    def play(self) -> None:
        self.dice = random.Random(self.seed)
        ledger, dice = self.ledger, self.dice
        workspace = ledger.store.write(lambda t: accounts.add_workspace(t, f"s{next(_names)}", "UTC", 1))
        ledger.workspace = workspace
        ledger.budget(usd=LIMIT)
        clients = {f"{self.seed}.{n}": self._client(workspace, f"{self.seed}.{n}") for n in range(12)}
        under_way: list[Operation] = []
        for _ in range(400):
            if dice.random() < 0.1:
                ledger.clock.tick(dice.choice([-5, 1, 30, 120]))
            for client in dice.sample([*clients.values()], 4):
                if client.wants is not None and dice.random() < 0.7:
                    under_way += [client.wants] * dice.choice([0, 1, 1, 1, 2])
            dice.shuffle(under_way)
            batch = [under_way.pop() for _ in range(min(len(under_way), dice.randrange(1, 6)))]
            with suppress(Crashed):
                for asked, reply in zip(batch, self._apply(batch), strict=True):
                    if dice.random() < 0.8:
                        clients[asked.reserve_id].hear(asked, reply)
            self._check(clients)
        for client in clients.values():  # a calm network at last: everything is answered
            while client.wants is not None:
                asked = client.wants
                client.hear(asked, ledger.one(asked))
        for late in under_way:
            ledger.one(late)
        ledger.clock.tick(3600)
        ledger.apply()
        _, spent, _, _ = ledger.counter()
        assert spent == sum(client.settle.usd for client in clients.values() if client.charged)
        assert ledger.counter()[0] == 0, "a hold never ended"

    def _client(self, workspace: int, name: str) -> Client:
        held, spent = self.dice.randrange(1, 300), self.dice.randrange(0, 300)
        same: dict[str, Any] = {"workspace": workspace, "agent": "bot", "reserve_id": name, "hash": "h"}
        keyed = self.dice.random() < 0.5
        ttl = self.dice.choice([10, 60, 900]) * SECOND
        first, second = (f"{name}r", f"{name}s") if keyed else (None, None)
        return Client(
            Reserve(**same, idempotency_key=first, run_id=name, usd=held, ttl=ttl),
            Settle(**same, idempotency_key=second, usd=spent, tokens=1),
        )

    def _apply(self, batch: list[Operation]) -> list[Reply]:
        """Apply, and perhaps lose the process before the transaction, inside it, or between commit and answer."""
        ledger, moment = self.ledger, self.dice.choice(["", "", "", "", "before", "inside", "after"])
        if moment == "":
            return ledger.apply(*batch)
        if moment == "inside":
            with suppress(Crashed), ledger.store.session() as session:
                run(session, batch)
                raise Crashed
        elif moment == "after":
            ledger.apply(*batch)
        ledger.crash()
        raise Crashed

    def _check(self, clients: dict[str, Client]) -> None:
        held, spent, _, _ = self.ledger.counter()
        over = sum(max(c.settle.usd - (c.reserve.usd or 0), 0) for c in clients.values())
        late = sum(c.settle.usd for c in clients.values() if c.charged)
        assert held + spent <= LIMIT + over + late
        assert held >= 0
        assert spent <= sum(c.settle.usd for c in clients.values())


def test_whatever_the_network_and_the_store_do_each_run_is_charged_once(database: str, kind: str) -> None:
    first = int(os.environ.get("ACTGUARD_FIRST_SEED", "1"))
    ledger = open_ledger(database, Clock())
    for seed in range(first, first + SEEDS[kind]):
        print(f"seed {seed}: again with ACTGUARD_FIRST_SEED={seed} ACTGUARD_SEEDS=1")
        World(seed, ledger).play()
    assert ledger.store.read(audit) == []
    ledger.store.close()
