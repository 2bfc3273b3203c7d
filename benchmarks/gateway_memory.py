"""What a gateway's ledger and store keep in memory while pairs go by: `python -m benchmarks gateway_memory`.

Pairs of reserve and settle in one process, over SQLite, with the budgets that every request is held on, a user in every
twenty new, one hold in sixty-four left to expire, and the reaper at work. ACTGUARD_BENCH_PAIRS says how many.
"""

import gc
import os
import tempfile
import time
from pathlib import Path

from actguard.gateway.accounts import add_workspace, put_budget
from actguard.gateway.ledger.operations import Reserve, Settle
from actguard.gateway.storage.sqlite.store import SqliteStore

PAIRS = int(os.environ.get("ACTGUARD_BENCH_PAIRS", "1000000"))
BATCH = 128
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SECOND = 1_000_000


def main() -> None:
    print(f"resident memory of the ledger and its store over {PAIRS:,} pairs, in MB (SQLite):")
    for done, resident, objects in measured():
        print(f"  {done:9,} pairs  {resident / 2**20:7.1f} MB  {objects:8,} objects that the collector knows")


def measured() -> list[tuple[int, int, int]]:
    """Pairs done, bytes, objects: at a twentieth, when every cache has been used, and at each quarter."""
    marks = [PAIRS // 20, *(PAIRS * quarter // 4 for quarter in (1, 2, 3, 4))]
    found: list[tuple[int, int, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        clock = [time.time_ns() // 1000]
        store = SqliteStore(Path(folder) / "memory.db", clock=lambda: clock[0])
        store.open()
        store.write(lambda t: add_workspace(t, "w", "UTC", 1))
        limits = {"window": "day", "usd": 10**14, "tokens": None, "observe": False, "now": 1}
        for scope, key in (("workspace", ""), ("user", "*")):
            store.write(lambda t, s=scope, k=key: put_budget(t, 1, scope=s, key=k, **limits))
        done = 0
        for mark in marks:
            while done < mark:
                one_batch(store, done)
                done += BATCH
                clock[0] += _SECOND // 20
                if done % (BATCH * 100) == 0:
                    store.maintain()
            gc.collect()
            found.append((done, resident(), len(gc.get_objects())))
        store.close()
    return found


def one_batch(store: SqliteStore, done: int) -> None:
    same = {"workspace": 1, "agent": "bench", "hash": "h"}
    ids = [f"{done + number:020d}" for number in range(BATCH)]
    users = [f"user-{(done + number) // 20}" for number in range(BATCH)]
    reserves = [
        Reserve(**same, reserve_id=id, idempotency_key=id, user_id=user, usd=50_000, ttl=30 * _SECOND)
        for id, user in zip(ids, users, strict=True)
    ]
    settles = [Settle(**same, reserve_id=id, idempotency_key=f"{id}s", usd=6_400, tokens=1540) for id in ids[:-2]]
    assert all(reply.status == 200 for reply in [*store.apply(reserves), *store.apply(settles)])


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


if __name__ == "__main__":
    main()
