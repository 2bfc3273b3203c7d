"""What OpenAI keeps: responses (read again, or made in the background), files, batches."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actguard.testing.counts import Counts
from actguard.testing.http import Request
from actguard.testing.jsons import dumps, mapping
from actguard.testing.multipart import file
from actguard.testing.script import HttpError
from actguard.testing.store import Store
from actguard.testing.wires.openai_responses import Responses, state_of
from actguard.testing.wires.route import Desk, Match, Static
from actguard.testing.wires.wire import Answer, new_id


@dataclass(slots=True)
class _Stored:
    answer: Answer
    polls: int
    """Reads that still find it unfinished."""
    cancelled: bool = False


class StoredResponses(Responses):
    """Responses that remember: `GET /responses/{id}`, `cancel`, `previous_response_id`, conversations.

    A background response is made (and billed) at once; how long it looks unfinished is `Reply.polls`.
    """

    def __init__(self) -> None:
        self.remembered = Store[int]()
        self._stored = Store[_Stored]()
        super().__init__(self.remembered)

    def billed(self, answer: Answer) -> None:
        asked = answer.asked.body
        self.remembered[answer.id] = answer.counts.tokens
        if conversation := asked.get("conversation"):
            self.remembered[state_of({"conversation": conversation})] = answer.counts.tokens
        if asked.get("store") is not False:
            polls = answer.reply.polls if asked.get("background") else 0
            self._stored[answer.id] = _Stored(answer, polls)

    def deferred(self, answer: Answer) -> Mapping[str, Any] | None:
        asked = answer.asked
        return self.response(answer, "queued") if asked.body.get("background") and not asked.stream else None

    def read(self, request: Request, match: Match, desk: Desk) -> Static | HttpError:
        """`GET /responses/{id}`, as JSON or as a stream from its start."""
        stored = self._stored.get(match["id"])
        if stored is None:
            return _not_found("response", match["id"])
        if request.query.get("stream") == "true":
            stored.polls = 0
            after = int(request.query.get("starting_after", -1))
            events = list(self.events(stored.answer))[after + 1 :]
            return Static(b"".join(self.frame(event) for event in events), "text/event-stream")
        if stored.cancelled:
            return Static(self.response(stored.answer, "cancelled"))
        if stored.polls > 0:
            stored.polls -= 1
            return Static(self.response(stored.answer, "in_progress"))
        return Static(self.body(stored.answer))

    def cancel(self, request: Request, match: Match, desk: Desk) -> Static | HttpError:
        """`POST /responses/{id}/cancel`."""
        stored = self._stored.get(match["id"])
        if stored is None:
            return _not_found("response", match["id"])
        stored.cancelled = stored.cancelled or stored.polls > 0
        return Static(self.response(stored.answer, "cancelled") if stored.cancelled else self.body(stored.answer))

    def delete(self, request: Request, match: Match, desk: Desk) -> Static | HttpError:
        """`DELETE /responses/{id}`."""
        if self._stored.pop(match["id"], None) is None:
            return _not_found("response", match["id"])
        return Static({"id": match["id"], "object": "response", "deleted": True})


@dataclass(slots=True)
class _Batch:
    body: dict[str, Any]
    usage: dict[str, Any]
    output_file_id: str
    polls: int


class Batches:
    """`/files` and `/batches`. A batch is made, and billed at batch rates, when it is created."""

    def __init__(self) -> None:
        self._files = Store[bytes]()
        self._batches = Store[_Batch]()

    def upload(self, request: Request, match: Match, desk: Desk) -> Static | HttpError:
        """`POST /files`."""
        content = file(request)
        if content is None:
            return HttpError(status=400, message="no file in the form")
        id = new_id("file-")
        self._files[id] = content
        about = {"object": "file", "bytes": len(content), "created_at": 0, "filename": "batch.jsonl"}
        return Static({"id": id, **about, "purpose": "batch", "status": "processed"})

    def content(self, request: Request, match: Match, desk: Desk) -> Static | HttpError:
        """`GET /files/{id}/content`."""
        content = self._files.get(match["id"])
        return _not_found("file", match["id"]) if content is None else Static(content, "application/octet-stream")

    def create(self, request: Request, match: Match, desk: Desk) -> Static | HttpError:
        """`POST /batches`."""
        lines = self._files.get(str(request.json.get("input_file_id")))
        if lines is None:
            return HttpError(status=400, message="no such input file")
        output: list[str] = []
        counts, polls, model = Counts(), 0, ""
        for line in filter(None, lines.splitlines()):
            item = mapping(json.loads(line))
            wire, answer = desk.make(str(item["url"]), mapping(item["body"]))
            answer.asked.endpoint, answer.asked.stream = "batches", False
            desk.bill(wire, answer, variant="batch")
            counts, polls, model = counts.plus(answer.counts), max(polls, answer.reply.polls), answer.model
            response = {"status_code": 200, "request_id": answer.id, "body": wire.body(answer)}
            output.append(dumps({"id": new_id("br_"), "custom_id": item.get("custom_id"), "response": response}))
        id, output_file_id = new_id("batch_"), new_id("file-")
        self._files[output_file_id] = "\n".join(output).encode()
        body: dict[str, Any] = {
            "id": id,
            "object": "batch",
            "endpoint": request.json.get("endpoint"),
            "model": model,
            "input_file_id": request.json.get("input_file_id"),
            "completion_window": request.json.get("completion_window", "24h"),
            "created_at": 0,
            "metadata": request.json.get("metadata"),
            "request_counts": {"total": len(output), "completed": 0, "failed": 0},
        }
        self._batches[id] = _Batch(body, _batch_usage(counts), output_file_id, polls)
        return Static({**body, "status": "validating"})

    def read(self, request: Request, match: Match, desk: Desk) -> Static | HttpError:
        """`GET /batches/{id}`."""
        batch = self._batches.get(match["id"])
        if batch is None:
            return _not_found("batch", match["id"])
        if batch.polls > 0:
            batch.polls -= 1
            return Static({**batch.body, "status": "in_progress"})
        total = batch.body["request_counts"]["total"]
        return Static(
            {
                **batch.body,
                "status": "completed",
                "output_file_id": batch.output_file_id,
                "request_counts": {"total": total, "completed": total, "failed": 0},
                "usage": batch.usage,
            }
        )


def _batch_usage(counts: Counts) -> dict[str, Any]:
    return {
        "input_tokens": counts.input_tokens,
        "input_tokens_details": {"cached_tokens": counts.all_cached},
        "output_tokens": counts.output_tokens,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning},
        "total_tokens": counts.tokens,
    }


def _not_found(what: str, id: str) -> HttpError:
    return HttpError(status=404, message=f"no {what} with id {id!r}")
