"""What runs in a peer's own environment: one scenario, or the measurement of its overhead, with nothing of ours.

    python peer_program.py PEER SCENARIO LIMIT

Each peer is a context manager that guards an SDK client with a limit in dollars, as its own manual says, and yields the
client to use. `peers.py` starts this, the environment pointing the SDK at the local provider, and reads its ledger.
"""

import asyncio
import gc
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import openai

MODEL = "gpt-4o"
"""agentarmor charges it at an older price, half as high again; the others at the one that is billed."""
MESSAGES: Any = [{"role": "user", "content": "Tell me everything."}]
AT_ONCE = 50

# ---- the peers -------------------------------------------------------------------------------------------------------


@contextmanager
def unguarded(client: Any, usd: float) -> Iterator[Any]:
    yield client


@contextmanager
def shekel(client: Any, usd: float) -> Iterator[Any]:
    from shekel import budget

    with budget(max_usd=usd):
        yield client


@contextmanager
def agentbudget(client: Any, usd: float) -> Iterator[Any]:
    import agentbudget as peer

    peer.init(usd, max_repeated_calls=10**9)
    yield client
    peer.teardown()


@contextmanager
def budget_guard_llm(client: Any, usd: float) -> Iterator[Any]:
    import budget_guard as peer

    peer.default_pricing().set("openai", MODEL, {"input": 2.5, "output": 10})  # knows newer models only
    peer.configure(limits=peer.Limits(per_user=usd), loop_detection=None)
    yield peer.guard(client, user="somebody")


@contextmanager
def agentguard47(client: Any, usd: float) -> Iterator[Any]:
    import agentguard as peer

    budget = peer.BudgetGuard(max_cost_usd=usd)
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as traces:
        tracer = peer.Tracer(service="benchmark", sink=peer.JsonlFileSink(traces.name))
        peer.patch_openai(tracer, budget_guard=budget)
        peer.patch_openai_async(tracer, budget_guard=budget)
        yield client
        peer.unpatch_openai()
        peer.unpatch_openai_async()


@contextmanager
def agentarmor(client: Any, usd: float) -> Iterator[Any]:
    import agentarmor as peer

    peer.init(budget=f"${usd:.6f}")
    yield client
    peer.teardown()


@contextmanager
def cendor_tokenguard(client: Any, usd: float) -> Iterator[Any]:
    from cendor.core import instrument
    from cendor.tokenguard import budget

    with budget(usd=usd):
        yield instrument(client)


@contextmanager
def ours(client: Any, usd: float) -> Iterator[Any]:
    from actguard import BudgetGuard

    with BudgetGuard(usd_limit=usd):
        yield client


@contextmanager
def ours_strict(client: Any, usd: float) -> Iterator[Any]:
    from actguard import BudgetGuard

    with BudgetGuard(usd_limit=usd, strict=True):
        yield client


PEERS: dict[str, Callable[[Any, float], Any]] = {
    "unguarded": unguarded,
    "ours": ours,
    "ours, strict": ours_strict,
    "shekel": shekel,
    "agentbudget": agentbudget,
    "budget-guard-llm": budget_guard_llm,
    "agentguard47": agentguard47,
    "agentarmor": agentarmor,
    "cendor-tokenguard": cendor_tokenguard,
}

# ---- the scenarios ---------------------------------------------------------------------------------------------------


def refused(error: BaseException) -> None:
    """A refusal is what a limit is for; an error of another kind is the benchmark's, and has to show."""
    name = type(error).__name__
    if not any(word in name for word in ("Budget", "Exceeded", "Exhausted")):
        raise error


def call(client: Any, **options: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=MESSAGES, **options)


def sequential(guard: Callable[[Any], Any]) -> None:
    """One call after the other, until one is refused."""
    with guard(openai.OpenAI(max_retries=0)) as client:
        for _ in range(AT_ONCE):
            try:
                call(client)
            except Exception as error:
                refused(error)
                return


def tasks(guard: Callable[[Any], Any]) -> None:
    """50 at once, on one event loop."""

    async def one(client: Any) -> None:
        try:
            await call(client)
        except Exception as error:
            refused(error)

    async def all_of_them() -> None:
        with guard(openai.AsyncOpenAI(max_retries=0)) as client:
            await asyncio.gather(*(one(client) for _ in range(AT_ONCE)))

    asyncio.run(all_of_them())


def threads(guard: Callable[[Any], Any]) -> None:
    """50 at once, each in its thread."""

    def one(client: Any) -> None:
        try:
            call(client)
        except Exception as error:
            refused(error)

    with guard(openai.OpenAI(max_retries=0)) as client:
        running = [threading.Thread(target=one, args=(client,)) for _ in range(AT_ONCE)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()


def one_call(guard: Callable[[Any], Any]) -> None:
    with guard(openai.OpenAI(max_retries=0)) as client:
        try:
            call(client)
        except Exception as error:
            refused(error)


def one_stream(guard: Callable[[Any], Any]) -> None:
    with guard(openai.OpenAI(max_retries=0)) as client:
        try:
            for _ in call(client, stream=True):
                pass
        except Exception as error:
            refused(error)


SCENARIOS: dict[str, Callable[[Callable[[Any], Any]], None]] = {
    "sequential": sequential,
    "50 tasks": tasks,
    "50 threads": threads,
    "one call of 20x": one_call,
    "one stream of 20x": one_stream,
}

# ---- the overhead ----------------------------------------------------------------------------------------------------


def offline_client() -> openai.OpenAI:
    """A client with its HTTP layer replaced: nothing but Python runs."""
    import httpx2

    number = 0

    def answer(request: httpx2.Request) -> httpx2.Response:
        nonlocal number
        number += 1
        reply = {
            "id": f"chatcmpl-{number:029d}",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": "gpt-4o-2024-08-06",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": f"Hello, for the {number}th time!", "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21},
        }
        return httpx2.Response(200, headers={"content-type": "application/json"}, content=json.dumps(reply).encode())

    return openai.OpenAI(api_key="none", http_client=httpx2.Client(transport=httpx2.MockTransport(answer)))


def overhead(guard: Callable[[Any], Any], rounds: int = 100, block: int = 10) -> tuple[float, float]:
    """Microseconds of CPU that a guard adds to one `create`, and those that it takes without.

    Single calls, in blocks with and without it, in turns; the lower quartile of each, as in `overhead.py`.
    """
    bare, client = offline_client(), offline_client()
    without: list[float] = []
    within: list[float] = []

    def timed(client: Any, times: list[float]) -> None:
        for _ in range(block):  # what happens at first only
            call(client)
        for _ in range(block):
            begin = time.thread_time()
            call(client)
            times.append((time.thread_time() - begin) * 1e6)

    def guarded() -> None:
        with guard(client) as watched:
            timed(watched, within)

    turns = [lambda: timed(bare, without), guarded]
    gc.disable()
    for _ in range(rounds):
        turns.reverse()  # neither always comes second
        for turn in turns:
            turn()
        gc.collect()
    before, after = (sorted(times)[len(times) // 4] for times in (without, within))
    return after - before, before


def main(peer: str, scenario: str, limit: float) -> None:
    def guard(client: Any) -> Any:
        return PEERS[peer](client, limit)

    if scenario == "overhead":
        print(json.dumps(overhead(guard)))
        return
    SCENARIOS[scenario](guard)
    print(json.dumps(None))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
