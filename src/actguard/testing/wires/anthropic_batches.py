"""Anthropic's count_tokens, and its message batches."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from actguard.testing import tokens
from actguard.testing.http import Request
from actguard.testing.jsons import dumps, mapping, sequence
from actguard.testing.script import HttpError
from actguard.testing.store import Store
from actguard.testing.wires.route import Desk, Match, Static
from actguard.testing.wires.wire import new_id


def count_tokens(request: Request, match: Match, desk: Desk) -> Static:
    """`POST /v1/messages/count_tokens`, Vertex's `count-tokens:rawPredict`; free."""
    return Static({"input_tokens": tokens.count_input(request.json)})


def bedrock_count_tokens(request: Request, match: Match, desk: Desk) -> Static:
    """`POST /model/{id}/count-tokens`; free."""
    return Static({"inputTokens": tokens.count_input(mapping(request.json.get("input")))})


@dataclass(slots=True)
class _Batch:
    total: int
    results: bytes
    polls: int


class MessageBatches:
    """`/v1/messages/batches`. A batch is made, and billed at batch rates, when it is created."""

    def __init__(self) -> None:
        self._batches = Store[_Batch]()

    def create(self, request: Request, match: Match, desk: Desk) -> Static | HttpError:
        lines: list[str] = []
        polls = 0
        for item in map(mapping, sequence(request.json.get("requests"))):
            wire, answer = desk.make("/v1/messages", {**mapping(item.get("params")), "stream": False})
            answer.asked.endpoint = "messages.batches"
            answer.reply = replace(answer.reply, service_tier="batch")
            desk.bill(wire, answer, variant="batch")
            polls = max(polls, answer.reply.polls)
            result = {"type": "succeeded", "message": wire.body(answer)}
            lines.append(dumps({"custom_id": item.get("custom_id"), "result": result}))
        id = new_id("msgbatch_")
        self._batches[id] = batch = _Batch(len(lines), "\n".join(lines).encode(), polls)
        return Static(_body(id, batch, "in_progress", ""))

    def read(self, request: Request, match: Match, desk: Desk) -> Static | HttpError:
        """`GET /v1/messages/batches/{id}`."""
        batch = self._batches.get(match["id"])
        if batch is None:
            return HttpError(status=404, message=f"no batch {match['id']!r}")
        if batch.polls > 0:
            batch.polls -= 1
            return Static(_body(match["id"], batch, "in_progress", ""))
        return Static(_body(match["id"], batch, "ended", f"http://{request.headers.get('host', '')}"))

    def results(self, request: Request, match: Match, desk: Desk) -> Static | HttpError:
        """`GET /v1/messages/batches/{id}/results`."""
        batch = self._batches.get(match["id"])
        if batch is None:
            return HttpError(status=404, message=f"no batch {match['id']!r}")
        return Static(batch.results, "application/x-jsonl")


def _body(id: str, batch: _Batch, status: str, origin: str) -> Mapping[str, Any]:
    ended = status == "ended"
    counts = {"canceled": 0, "errored": 0, "expired": 0}
    return {
        "id": id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": {
            **counts,
            "processing": 0 if ended else batch.total,
            "succeeded": batch.total if ended else 0,
        },
        "created_at": "2026-01-01T00:00:00Z",
        "expires_at": "2026-01-02T00:00:00Z",
        "ended_at": "2026-01-01T01:00:00Z" if ended else None,
        "archived_at": None,
        "cancel_initiated_at": None,
        "results_url": f"{origin}/v1/messages/batches/{id}/results" if ended else None,
    }
