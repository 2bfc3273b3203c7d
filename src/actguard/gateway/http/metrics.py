"""Prometheus, by hand: a few counters and one histogram, with labels that cannot grow."""

from bisect import bisect_left
from collections import Counter
from typing import Final

from actguard.gateway.ledger.operations import Operation, Reply

_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """What one process has seen since it started."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds: dict[str, list[float]] = {}
        self._ledger: Counter[tuple[type[Operation], str]] = Counter()
        self._events: Counter[str] = Counter()

    def request(self, route: str, status: int, seconds: float) -> None:
        self._requests[route, status] += 1
        seen = self._seconds.get(route)
        if seen is None:
            seen = self._seconds[route] = [0.0] * (len(_BUCKETS) + 2)
        seen[bisect_left(_BUCKETS, seconds)] += 1
        seen[-1] += seconds

    def ledger(self, operation: Operation, reply: Reply) -> None:
        said = reply.body.get("status") or reply.body.get("code") or ""
        self._ledger[type(operation), said] += 1

    def events(self, result: str, count: int) -> None:
        self._events[result] += count

    def text(self, *, waiting: int, batches: int, operations: int, open_holds: int) -> str:
        """In Prometheus' format."""
        lines = ["# TYPE actguard_requests_total counter"]
        for (route, status), count in sorted(self._requests.items()):
            lines.append(f'actguard_requests_total{{route="{route}",status="{status}"}} {count}')
        lines.append("# TYPE actguard_request_seconds histogram")
        for route, seen in sorted(self._seconds.items()):
            total = 0.0
            for bucket, number in zip((*map(str, _BUCKETS), "+Inf"), seen, strict=False):
                total += number
                lines.append(f'actguard_request_seconds_bucket{{route="{route}",le="{bucket}"}} {total:g}')
            lines.append(f'actguard_request_seconds_sum{{route="{route}"}} {seen[-1]:.6f}')
            lines.append(f'actguard_request_seconds_count{{route="{route}"}} {total:g}')
        lines.append("# TYPE actguard_ledger_total counter")
        ledger = sorted((kind.__name__.lower(), said, count) for (kind, said), count in self._ledger.items())
        for operation, said, count in ledger:
            lines.append(f'actguard_ledger_total{{operation="{operation}",result="{said}"}} {count}')
        lines.append("# TYPE actguard_events_total counter")
        lines += [
            f'actguard_events_total{{result="{result}"}} {count}' for result, count in sorted(self._events.items())
        ]
        for name, kind, value in (
            ("batches_total", "counter", batches),
            ("batched_operations_total", "counter", operations),
            ("waiting_requests", "gauge", waiting),
            ("open_holds", "gauge", open_holds),
        ):
            lines += [f"# TYPE actguard_{name} {kind}", f"actguard_{name} {value}"]
        return "\n".join(lines) + "\n"
