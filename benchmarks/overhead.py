"""CPU time that a guard adds to a call, and to a chunk of a stream: `python -m benchmarks.overhead`.

Thread time of single calls, in turns with and without a guard in one process. Neighbours on the machine make some calls
slower and none faster, so what is printed is the difference of the lower quartiles. Two ways:

    in the SDK    the real SDK with its HTTP layer replaced: what a program sees. Half of it is memory: between two
                  calls the SDK drives our code out of the caches
    our own code  the SDK's methods replaced as well
"""

import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

from google.genai.types import GenerateContentConfig
from openai._models import FinalRequestOptions
from rich.console import Console
from rich.table import Table

from actguard import BudgetGuard, install, uninstall
from benchmarks.replaced import (
    CHUNKS,
    CONTENTS,
    MESSAGES,
    anthropic_client,
    google_client,
    openai_client,
    without_sdk,
)

Context = Callable[[], AbstractContextManager[object]]


@dataclass
class Added:
    """Microseconds."""

    bare: float
    """Without a guard."""
    quartile: float
    median: float

    def per_chunk(self, short: "Added") -> "Added":
        """Of this one, a stream of CHUNKS, without what a *short* one costs."""
        return Added(
            (self.bare - short.bare) / CHUNKS,
            (self.quartile - short.quartile) / CHUNKS,
            (self.median - short.median) / CHUNKS,
        )


@dataclass
class Row:
    what: str
    limit: float
    inside: Added
    own: Added | None = None


def watched() -> AbstractContextManager[object]:
    """The SDKs are patched, and no guard is open."""
    install()
    return nullcontext()


class Unwatched:
    def __enter__(self) -> None:
        uninstall()

    def __exit__(self, *_: object) -> None:
        install()


def compared(work: Callable[[], object], guarded: Context, *, bare: Context = nullcontext, pairs: int) -> Added:
    """Time *work* with and without, in turns."""

    def timed(context: AbstractContextManager[object]) -> float:
        with context:
            begin = time.thread_time()
            work()
            return time.thread_time() - begin

    for _ in range(3):
        timed(bare())
        timed(guarded())
    without: list[float] = []
    within: list[float] = []
    gc.collect()
    gc.disable()
    for number in range(pairs):
        if number % 2:  # neither always comes second
            without.append(timed(bare()))
            within.append(timed(guarded()))
        else:
            within.append(timed(guarded()))
            without.append(timed(bare()))
        if number % 100 == 99:
            gc.collect()
    gc.enable()
    return added(without, within)


def added(without: list[float], within: list[float], count: int = 1) -> Added:
    def quantile(times: list[float], share: float) -> float:
        return sorted(times)[int(len(times) * share)] / count * 1e6

    return Added(
        quantile(without, 0.25),
        quantile(within, 0.25) - quantile(without, 0.25),
        quantile(within, 0.5) - quantile(without, 0.5),
    )


def in_blocks(
    work: Callable[[], object], guarded: Context, *, bare: Context = nullcontext, blocks: int, size: int
) -> Added:
    """`compared`, for work so short that the clock would be most of it, or contexts that take long to enter."""

    def block() -> None:
        for _ in range(size):
            work()

    whole = compared(block, guarded, bare=bare, pairs=blocks)
    return Added(whole.bare / size, whole.quartile / size, whole.median / size)


def measure(pairs: int) -> list[Row]:
    client, claude, gemini = openai_client(), anthropic_client(), google_client()

    def create() -> object:
        return client.chat.completions.create(model="gpt-4o", messages=MESSAGES)

    def create_claude() -> object:
        return claude.messages.create(model="claude-sonnet-5", max_tokens=100, messages=MESSAGES)

    def generate() -> object:
        return gemini.models.generate_content(model="gemini-2.5-flash", contents=CONTENTS)

    def stream(chunks: int) -> Callable[[], object]:
        def read() -> None:
            for _ in client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True, seed=chunks):
                pass

        return read

    def generate_stream(chunks: int) -> Callable[[], object]:
        config = GenerateContentConfig(seed=chunks)

        def read() -> None:
            for _ in gemini.models.generate_content_stream(model="gemini-2.5-flash", contents=CONTENTS, config=config):
                pass

        return read

    limited, strict, none = (BudgetGuard(usd_limit=1e6), BudgetGuard(usd_limit=1e6, strict=True), BudgetGuard())
    few = max(5, pairs // 20)

    def chunk(streamed: Callable[[int], Callable[[], object]]) -> Added:
        long, short = (compared(streamed(count), lambda: limited, pairs=few) for count in (CHUNKS, 0))
        return long.per_chunk(short)

    rows = [
        Row("openai create", 10, compared(create, lambda: limited, pairs=pairs)),
        Row("openai create, strict", 10, compared(create, lambda: strict, pairs=pairs)),
        Row("openai create, no limit", 10, compared(create, lambda: none, pairs=pairs)),
        Row("anthropic create", 10, compared(create_claude, lambda: limited, pairs=pairs)),
        Row("google generate_content", 10, compared(generate, lambda: limited, pairs=pairs)),
        Row("openai stream, per chunk", 0.3, chunk(stream)),
        Row("google stream, per chunk", 0.3, chunk(generate_stream)),
        Row("outside any guard", 0.3, in_blocks(create, watched, bare=Unwatched, blocks=few, size=20)),
        Row("after uninstall", 0, in_blocks(create, Unwatched, bare=Unwatched, blocks=few, size=20)),
    ]
    with without_sdk():
        for row, own in zip(rows, own_code(max(10, pairs // 20)), strict=True):
            row.own = own
    return rows


def own_code(blocks: int) -> list[Added]:
    """The same rows, inside `without_sdk`."""
    client, claude, gemini = openai_client(), anthropic_client(), google_client()
    limited, strict, none = (BudgetGuard(usd_limit=1e6), BudgetGuard(usd_limit=1e6, strict=True), BudgetGuard())
    base: Any = gemini._api_client
    path = "models/gemini-2.5-flash:{}"

    def posted(to: Any, url: str, **body: Any) -> Callable[[], object]:
        options = FinalRequestOptions.construct(method="post", url=url, json_data={"messages": MESSAGES, **body})
        return lambda: to.request(None, options)

    def streamed(chunks: int) -> Callable[[], object]:
        body = {"messages": MESSAGES, "model": "gpt-4o", "stream": True, "seed": chunks}
        options = FinalRequestOptions.construct(method="post", url="/chat/completions", json_data=body)

        def read() -> None:
            for _ in client.request(None, options, stream=True).iter_bytes():  # type: ignore[call-overload]
                pass

        return read

    def contents(**config: Any) -> dict[str, Any]:
        return {"contents": [{"parts": [{"text": CONTENTS}], "role": "user"}], "generationConfig": config}

    def generated() -> object:
        return base.request("post", path.format("generateContent"), contents(), None)

    def generated_stream(chunks: int) -> Callable[[], object]:
        def read() -> None:
            for _ in base.request_streamed("post", path.format("streamGenerateContent"), contents(seed=chunks), None):
                pass

        return read

    def call(work: Callable[[], object], guard: BudgetGuard) -> Added:
        return in_blocks(work, lambda: guard, blocks=blocks, size=100)

    def chunk(streamed: Callable[[int], Callable[[], object]]) -> Added:
        long, short = (in_blocks(streamed(n), lambda: limited, blocks=blocks, size=4) for n in (CHUNKS, 0))
        return long.per_chunk(short)

    create = posted(client, "/chat/completions", model="gpt-4o")
    return [
        call(create, limited),
        call(create, strict),
        call(create, none),
        call(posted(claude, "/v1/messages", model="claude-sonnet-5", max_tokens=100), limited),
        call(generated, limited),
        chunk(streamed),
        chunk(generated_stream),
        in_blocks(create, watched, bare=Unwatched, blocks=blocks, size=100),
        in_blocks(create, Unwatched, bare=Unwatched, blocks=blocks, size=100),
    ]


def start_times() -> list[float]:
    """Milliseconds of CPU for `import actguard`, for BudgetGuard too, and, in a program that has imported openai, for
    both and the first guard; the best of ten processes each."""
    programs = (
        ("", "import actguard"),
        ("", "from actguard import BudgetGuard"),
        ("import openai; ", "from actguard import BudgetGuard; BudgetGuard().__enter__()"),
    )
    times: list[float] = []
    with TemporaryDirectory() as cache:  # bytecode is kept, as it is where packages are installed
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        for before, statement in programs:
            code = f"{before}import time; t = time.process_time(); {statement}; print(time.process_time() - t)"
            runs = [
                subprocess.run(
                    [sys.executable, "-c", code],
                    capture_output=True,
                    text=True,
                    check=True,
                    env={**kept, "PYTHONPYCACHEPREFIX": cache},
                ).stdout
                for _ in range(10)
            ]
            times.append(min(map(float, runs)) * 1000)
    return times


def table(rows: list[Row]) -> Table:
    shown = Table("CPU, us", "bare call", "added", "median", "own code", "aim", title="overhead")
    for column in shown.columns[1:]:
        column.justify = "right"
    for row in rows:
        inside, own = row.inside, f"{row.own.quartile:.2f}" if row.own else ""
        shown.add_row(
            row.what, f"{inside.bare:.1f}", f"{inside.quartile:.2f}", f"{inside.median:.2f}", own, f"<= {row.limit:g}"
        )
    return shown


def main(pairs: int = 1_000) -> None:
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(table(measure(pairs)))
    bare, whole, first = start_times()
    console.print(
        f"import actguard: {bare:.1f} ms of CPU (aim <= 30); with BudgetGuard: {whole:.1f} ms; "
        f"up to the first guard, after openai: {first:.1f} ms"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000)
