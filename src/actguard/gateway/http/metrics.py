"""Prometheus, by hand: a few counters and one histogram, with labels that cannot grow."""

from bisect import bisect_left
from collections import Counter
from typing import Final

from actguard.gateway.ledger.operations import Operation, Reply

_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Route:
    """The requests of one route."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.buckets = [0] * (len(_BUCKETS) + 1)
        self.seconds = 0.0

    def add(self, status: int, seconds: float) -> None:
        self.statuses[status] += 1
        self.buckets[bisect_left(_BUCKETS, seconds)] += 1
        self.seconds += seconds


class Metrics:
    """What one process has seen since it started."""

    def __init__(self) -> None:
        self._routes: dict[str, Route] = {}
        self._ledger: Counter[tuple[type[Operation], str]] = Counter()
        self._events: Counter[str] = Counter()

    def route(self, name: str) -> "Route":
        """Where the requests of a route are counted."""
        return self._routes.setdefault(name, Route())

    def ledger(self, operation: Operation, reply: Reply) -> None:
        said = reply.body.get("status") or reply.body.get("code") or ""
        self._ledger[type(operation), said] += 1

    def events(self, result: str, count: int) -> None:
        self._events[result] += count

    def text(self, *, waiting: int, batches: int, operations: int, open_holds: int | None) -> str:
        """In Prometheus' format; without the open holds where they are not known."""
        routes = [(name, route) for name, route in sorted(self._routes.items()) if route.statuses]
        lines = ["# TYPE actguard_requests_total counter"]
        for name, route in routes:
            for status, count in sorted(route.statuses.items()):
                lines.append(f'actguard_requests_total{{route="{name}",status="{status}"}} {count}')
        lines.append("# TYPE actguard_request_seconds histogram")
        for name, route in routes:
            total = 0
            for bucket, number in zip((*map(str, _BUCKETS), "+Inf"), route.buckets, strict=True):
                total += number
                lines.append(f'actguard_request_seconds_bucket{{route="{name}",le="{bucket}"}} {total}')
            lines.append(f'actguard_request_seconds_sum{{route="{name}"}} {route.seconds:.6f}')
            lines.append(f'actguard_request_seconds_count{{route="{name}"}} {total}')
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
            if value is not None:
                lines += [f"# TYPE actguard_{name} {kind}", f"actguard_{name} {value}"]
        return "\n".join(lines) + "\n"
