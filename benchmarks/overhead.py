"""CPU time that a guard adds to a call, and to a chunk of a stream: `python -m benchmarks.overhead`.

The real SDK with its HTTP layer replaced, so that nothing but Python runs. Blocks with and without a guard alternate in
one process, in thread time; what is printed is the difference of the best blocks, and of the medians.
"""

import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import median
from typing import Any

import anthropic
import httpx2
import openai
from rich.console import Console
from rich.table import Table

from actguard import BudgetGuard, install, uninstall

CHUNKS = 500


@dataclass
class Added:
    what: str
    best: float
    """Microseconds."""
    median: float
    limit: float


def chat_reply(number: int) -> bytes:
    """As OpenAI sends it."""
    reply = {
        "id": f"chatcmpl-{number:029d}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gpt-4o-2024-08-06",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello! How can I help you today?", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 12,
            "total_tokens": 21,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
    }
    return json.dumps(reply, separators=(",", ":")).encode()


def chat_stream(number: int) -> Iterator[bytes]:
    head = {
        "id": f"chatcmpl-{number:029d}",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "gpt-4o-2024-08-06",
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
    }

    def event(**rest: Any) -> bytes:
        return b"data: " + json.dumps({**head, **rest}, separators=(",", ":")).encode() + b"\n\n"

    delta = event(
        choices=[{"index": 0, "delta": {"content": " word"}, "logprobs": None, "finish_reason": None}], usage=None
    )
    for _ in range(CHUNKS):
        yield delta
    yield event(choices=[{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}], usage=None)
    used = {"prompt_tokens": 9, "completion_tokens": CHUNKS, "total_tokens": CHUNKS + 9}
    yield event(choices=[], usage=used)
    yield b"data: [DONE]\n\n"


class Chunks(httpx2.SyncByteStream):
    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)


def openai_client() -> openai.OpenAI:
    number = 0

    def answer(request: httpx2.Request) -> httpx2.Response:
        nonlocal number
        number += 1
        if b'"stream":true' in request.content:
            return httpx2.Response(
                200, headers={"content-type": "text/event-stream"}, stream=Chunks(list(chat_stream(number)))
            )
        return httpx2.Response(200, headers={"content-type": "application/json"}, content=chat_reply(number))

    return openai.OpenAI(api_key="none", http_client=httpx2.Client(transport=httpx2.MockTransport(answer)))


def anthropic_client() -> anthropic.Anthropic:
    number = 0

    def answer(request: httpx2.Request) -> httpx2.Response:
        nonlocal number
        number += 1
        reply = {
            "id": f"msg_{number:024d}",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-5",
            "content": [{"type": "text", "text": "Hello! How can I help you today?"}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": 9,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
                "output_tokens": 12,
                "service_tier": "standard",
            },
        }
        return httpx2.Response(200, headers={"content-type": "application/json"}, content=json.dumps(reply).encode())

    return anthropic.Anthropic(api_key="none", http_client=httpx2.Client(transport=httpx2.MockTransport(answer)))


def compared(
    what: str,
    limit: float,
    work: Callable[[], object],
    *,
    per: int = 1,
    rounds: int,
    block: int,
    guarded: Callable[[], AbstractContextManager[object]],
    bare: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Added:
    """Time *work* in blocks, with and without, in turns."""

    def timed(context: AbstractContextManager[object]) -> float:
        with context:
            begin = time.thread_time()
            for _ in range(block):
                work()
            return (time.thread_time() - begin) / (block * per) * 1e6

    for context in (bare(), guarded()):
        timed(context)
    without: list[float] = []
    within: list[float] = []
    gc.collect()
    gc.disable()
    for number in range(rounds):
        without.append(timed(bare()))
        within.append(timed(guarded()))
        if number % 25 == 24:
            gc.collect()
    gc.enable()
    differences = [b - a for a, b in zip(without, within, strict=True)]
    return Added(what, min(within) - min(without), median(differences), limit)


def measure(rounds: int) -> list[Added]:
    client, claude = openai_client(), anthropic_client()
    messages: Any = [{"role": "user", "content": "Hello! This is a message of about the usual length for a test."}]

    def create() -> object:
        return client.chat.completions.create(model="gpt-4o", messages=messages)

    def create_claude() -> object:
        return claude.messages.create(model="claude-sonnet-5", max_tokens=100, messages=messages)

    def stream() -> None:
        for _ in client.chat.completions.create(model="gpt-4o", messages=messages, stream=True):
            pass

    class Unwatched:
        def __enter__(self) -> None:
            uninstall()

        def __exit__(self, *_: object) -> None:
            install()

    one = BudgetGuard(usd_limit=1_000_000)
    strict = BudgetGuard(usd_limit=1_000_000, strict=True)
    none = BudgetGuard()

    def again(guard: BudgetGuard) -> Callable[[], AbstractContextManager[object]]:
        return lambda: guard

    def install_once() -> AbstractContextManager[object]:
        install()
        return nullcontext()

    few = max(5, rounds // 10)
    return [
        compared("openai create, default", 10, create, rounds=rounds, block=10, guarded=again(one)),
        compared("openai create, strict", 10, create, rounds=rounds, block=10, guarded=again(strict)),
        compared("openai create, no limit", 10, create, rounds=rounds, block=10, guarded=again(none)),
        compared("anthropic create, default", 10, create_claude, rounds=rounds, block=10, guarded=again(one)),
        compared("openai stream, per chunk", 0.3, stream, per=CHUNKS, rounds=few, block=1, guarded=again(one)),
        compared("outside any guard", 0.3, create, rounds=few, block=200, guarded=install_once, bare=Unwatched),
        compared("after uninstall", 0, create, rounds=few, block=200, guarded=Unwatched, bare=Unwatched),
    ]


def import_time() -> tuple[float, float]:
    """Milliseconds of CPU for `import actguard`, and to have BudgetGuard; the best of ten processes."""
    code = (
        "import time; t = time.process_time(); import actguard; a = time.process_time(); "
        "actguard.BudgetGuard; print(a - t, time.process_time() - t)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(10)
    ]
    return tuple(min(float(run[column]) for run in runs) * 1000 for column in (0, 1))  # type: ignore[return-value]


def table(added: list[Added]) -> Table:
    shown = Table("CPU added", "best, us", "median, us", "aim, us", title="overhead")
    for column in shown.columns[1:]:
        column.justify = "right"
    for row in added:
        shown.add_row(row.what, f"{row.best:.2f}", f"{row.median:.2f}", f"<= {row.limit:g}")
    return shown


def main(rounds: int = 300) -> None:
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(table(measure(rounds)))
    bare, whole = import_time()
    console.print(f"import actguard: {bare:.1f} ms of CPU (aim <= 30); with BudgetGuard: {whole:.1f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
