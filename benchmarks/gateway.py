"""Reserve+settle pairs a second through the gateway, every answer durable, beside what its bare store can commit.

The load comes from a process of its own, on the same cores. Postgres is measured where one is installed.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.request import urlopen

from actguard.gateway.accounts import add_workspace, put_budget
from actguard.gateway.ledger.operations import Reserve, Settle
from actguard.gateway.storage.connect import connect
from actguard.gateway.storage.store import Store

SECONDS = float(os.environ.get("ACTGUARD_BENCH_SECONDS", "4"))
CONNECTIONS = (1, 64, 256)
BATCHES = (1, 32, 128)
SOURCE = Path(__file__).parents[1] / "src"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCE)}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        print(f"the disk: {syncs(place):,.0f} flushes a second")
        report("SQLite, synchronous=FULL, one gateway", str(place / "bench.db"), 1)
        url = os.environ.get("ACTGUARD_BENCH_POSTGRES")
        if url:
            report("Postgres, synchronous_commit=on, two gateways, one hot workspace", url, 2)
        else:
            print("Postgres: not measured; ACTGUARD_BENCH_POSTGRES=postgresql://... names an empty database")


def report(title: str, database: str, gateways: int) -> None:
    print(title)
    processes, ports, key = [], [], ""
    for _ in range(gateways):
        process, port, found = started(database, fresh=not processes)
        processes.append(process)
        ports.append(str(port))
        key = key or found
    for scope in (["workspace"], ["user", "*"]):
        command = [sys.executable, "-m", "actguard.cli", "budgets", "set", *scope, "--usd", "900000000", "--per", "day"]
        subprocess.run([*command, "--database", database], check=True, env=ENVIRONMENT, capture_output=True)
    load(ports, key, 8, 2)
    for connections in CONNECTIONS:
        said = load(ports, key, connections, SECONDS)
        times = f"p50 {said['p50']:6.2f} ms  p99 {said['p99']:6.2f} ms"
        print(f"  {connections:4} connections  {said['pairs_s']:8,.0f} pairs/s  {times}")
    for process in processes:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    store = connect(database)
    store.open()
    for size in BATCHES:
        print(f"  its store alone, {size:3} to a batch  {ceiling(store, size):8,.0f} pairs/s")
    store.close()


def started(database: str, *, fresh: bool = True) -> tuple["subprocess.Popen[str]", int, str]:
    command = [sys.executable, "-m", "actguard.cli", "gateway", "--port", "0", "--database", database]
    process = subprocess.Popen([*command, "--log-level", "warning"], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert process.stdout is not None
    port = re.search(r":(\d+) ", process.stdout.readline())
    assert port is not None
    key = None
    for _ in range(3 if fresh else 0):
        key = key or re.search(r"for agents\s+(\S+)", process.stdout.readline())
    for _ in range(600):
        try:
            urlopen(f"http://127.0.0.1:{port[1]}/readyz").close()
            break
        except OSError:
            time.sleep(0.05)
    return process, int(port[1]), key[1] if key else ""


def load(ports: list[str], key: str, connections: int, seconds: float) -> dict[str, float]:
    command = [sys.executable, str(Path(__file__).with_name("gateway_load.py")), ",".join(ports), key, str(connections)]
    done = subprocess.run([*command, str(seconds)], capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def syncs(place: Path) -> float:
    """What the disk takes: appends of a page that are each waited for."""
    handle = os.open(place / "sync", os.O_RDWR | os.O_CREAT)
    started_at, count = time.perf_counter(), 0
    while time.perf_counter() - started_at < 1:
        os.write(handle, bytes(4096))
        os.fdatasync(handle)
        count += 1
    os.close(handle)
    return count / (time.perf_counter() - started_at)


def ceiling(store: Store, size: int) -> float:
    """Pairs a second when nothing is in front of the store: the ledger itself and its commits."""
    workspace = store.write(lambda t: add_workspace(t, f"alone {size}", "UTC", 1))
    limits = {"window": "day", "usd": 10**14, "tokens": None, "observe": False, "now": 1}
    for scope, scope_key in (("workspace", ""), ("user", "*")):
        store.write(lambda t, s=scope, k=scope_key: put_budget(t, workspace, scope=s, key=k, **limits))
    done, started_at = 0, time.perf_counter()
    while time.perf_counter() - started_at < 1.5:
        ids = [f"{time.time_ns():x}.{n}" for n in range(size)]
        same = {"workspace": workspace, "agent": "bench", "hash": "h"}
        store.apply([Reserve(**same, reserve_id=i, idempotency_key=i, user_id="u", usd=50_000) for i in ids])
        store.apply([Settle(**same, reserve_id=i, idempotency_key=f"{i}:final", usd=6_400, tokens=1540) for i in ids])
        done += size
    return done / (time.perf_counter() - started_at)


if __name__ == "__main__":
    main()
