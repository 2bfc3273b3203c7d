"""What is billed when calls want more than the limit: the real SDKs, against the local provider's own ledger.

    python -m benchmarks.enforcement

Each call costs 0.375 of the limit, so that the third one passes it; 50 at once would cost 18.75 times the limit.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from actguard import BudgetExceededError, BudgetGuard
from actguard.testing import Delivery, LocalProvider, Reply

LIMIT = 3_000
"""The limit, as the price of so many output tokens."""
SHARE = 0.375
"""What one call costs of it."""
AT_ONCE = 50
HUGE = 20
"""What one huge call, or one huge stream, costs: so many limits."""

Mode = Literal["unguarded", "default", "strict"]
MODES: tuple[Mode, ...] = ("unguarded", "default", "strict")


@dataclass
class Outcome:
    """What came of one scenario."""

    limit: float
    """Dollars."""
    billed: float = 0.0
    """Dollars, by the provider's ledger."""
    said: float = 0.0
    """Dollars, by the guard."""
    paid: int = 0
    """Replies that were billed."""
    replies: list[Any] = field(default_factory=list[Any])
    """Those that reached the caller: returned, begun as a stream, or in the `.response` of an error."""
    errors: list[BudgetExceededError] = field(default_factory=list[BudgetExceededError])
    estimated: bool = False

    @property
    def ratio(self) -> float:
        """Dollars billed / limit."""
        return self.billed / self.limit

    @property
    def lost(self) -> int:
        """Replies that were paid for and reached nobody."""
        return self.paid - len(self.replies)

    def caught(self, error: BudgetExceededError) -> None:
        self.errors.append(error)
        if error.response is not None:
            self.replies.append(error.response)


# ---- the SDKs --------------------------------------------------------------------------------------------------------

MESSAGES: Any = [{"role": "user", "content": "Tell me everything."}]


class OpenAI:
    model = "gpt-4o"

    def __init__(self, provider: LocalProvider) -> None:
        self.sync, self.aio = provider.openai(max_retries=0), provider.async_openai(max_retries=0)

    def call(self) -> Any:
        return self.sync.chat.completions.create(model=self.model, messages=MESSAGES)

    async def acall(self) -> Any:
        return await self.aio.chat.completions.create(model=self.model, messages=MESSAGES)

    def stream(self) -> Iterator[Any]:
        yield from self.sync.chat.completions.create(model=self.model, messages=MESSAGES, stream=True)

    async def astream(self) -> AsyncIterator[Any]:
        async for chunk in await self.aio.chat.completions.create(model=self.model, messages=MESSAGES, stream=True):
            yield chunk


class Anthropic:
    model = "claude-sonnet-5"
    most = 128_000  # this API wants a cap stated; it is the model's own

    def __init__(self, provider: LocalProvider) -> None:
        options = {"max_retries": 0, "timeout": 60}  # without a timeout the SDK declines long replies
        self.sync, self.aio = provider.anthropic(**options), provider.async_anthropic(**options)

    def call(self) -> Any:
        return self.sync.messages.create(model=self.model, messages=MESSAGES, max_tokens=self.most)

    async def acall(self) -> Any:
        return await self.aio.messages.create(model=self.model, messages=MESSAGES, max_tokens=self.most)

    def stream(self) -> Iterator[Any]:
        yield from self.sync.messages.create(model=self.model, messages=MESSAGES, max_tokens=self.most, stream=True)

    async def astream(self) -> AsyncIterator[Any]:
        async for event in await self.aio.messages.create(
            model=self.model, messages=MESSAGES, max_tokens=self.most, stream=True
        ):
            yield event


class Google:
    model = "gemini-2.5-flash"

    def __init__(self, provider: LocalProvider) -> None:
        self.client = provider.google()

    def call(self) -> Any:
        return self.client.models.generate_content(model=self.model, contents=MESSAGES[0]["content"])

    async def acall(self) -> Any:
        return await self.client.aio.models.generate_content(model=self.model, contents=MESSAGES[0]["content"])

    def stream(self) -> Iterator[Any]:
        yield from self.client.models.generate_content_stream(model=self.model, contents=MESSAGES[0]["content"])

    async def astream(self) -> AsyncIterator[Any]:
        models = self.client.aio.models
        async for chunk in await models.generate_content_stream(model=self.model, contents=MESSAGES[0]["content"]):
            yield chunk


SDK = OpenAI | Anthropic | Google
SDKS: dict[str, type[SDK]] = {"openai": OpenAI, "anthropic": Anthropic, "google": Google}

# ---- the scenarios ---------------------------------------------------------------------------------------------------


def sequential(sdk: SDK, outcome: Outcome) -> None:
    """One call after the other, until one is refused."""
    for _ in range(AT_ONCE):
        try:
            outcome.replies.append(sdk.call())
        except BudgetExceededError as error:
            outcome.caught(error)
            return


def tasks(sdk: SDK, outcome: Outcome) -> None:
    """50 at once, on one event loop."""

    async def one() -> None:
        try:
            outcome.replies.append(await sdk.acall())
        except BudgetExceededError as error:
            outcome.caught(error)

    async def all_of_them() -> None:
        await asyncio.gather(*(one() for _ in range(AT_ONCE)))

    asyncio.run(all_of_them())


def threads(sdk: SDK, outcome: Outcome) -> None:
    """50 at once, each in its thread."""

    def one() -> None:
        try:
            outcome.replies.append(sdk.call())
        except BudgetExceededError as error:
            outcome.caught(error)

    running = [threading.Thread(target=one) for _ in range(AT_ONCE)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def one_call(sdk: SDK, outcome: Outcome) -> None:
    """One call that wants 20 times the limit."""
    try:
        outcome.replies.append(sdk.call())
    except BudgetExceededError as error:
        outcome.caught(error)


def one_stream(sdk: SDK, outcome: Outcome) -> None:
    """One stream that wants 20 times the limit."""
    try:
        for number, chunk in enumerate(sdk.stream()):
            if not number:
                outcome.replies.append(chunk)
    except BudgetExceededError as error:
        outcome.caught(error)


def many_streams(sdk: SDK, outcome: Outcome) -> None:
    """50 streams at once, on one event loop."""

    async def one() -> None:
        try:
            begun = False
            async for chunk in sdk.astream():
                if not begun:
                    outcome.replies.append(chunk)
                begun = True
        except BudgetExceededError as error:
            outcome.caught(error)

    async def all_of_them() -> None:
        await asyncio.gather(*(one() for _ in range(AT_ONCE)))

    asyncio.run(all_of_them())


SCENARIOS: dict[str, Callable[[SDK, Outcome], None]] = {
    "sequential": sequential,
    "50 tasks": tasks,
    "50 threads": threads,
    "50 streams": many_streams,
    "one call of 20x": one_call,
    "one stream of 20x": one_stream,
}


def measure(provider: LocalProvider, sdk_name: str, scenario: str, mode: Mode) -> Outcome:
    """Run *scenario* and see what the provider billed."""
    provider.reset()
    sdk_class = SDKS[sdk_name]
    paced = scenario == "one stream of 20x" and mode == "default"
    tokens = LIMIT // 10 if paced else LIMIT
    limit = float(tokens * provider.prices[sdk_class.model].rates["output"]) / 1e6
    # A token an event, as providers deliver them, and not faster than they can be read: else a stream that is cut has
    # long been made to its end. Where nothing is cut, bigger steps come to the same.
    pace = {"between_events": 0.0005} if paced else {"tokens_per_event": HUGE}
    provider.default = Reply(
        output_tokens=int(tokens * (HUGE if scenario.startswith("one ") else SHARE)),
        delivery=Delivery(first_byte=0.02, **pace),
    )
    sdk, outcome = sdk_class(provider), Outcome(limit)
    if mode == "unguarded":
        SCENARIOS[scenario](sdk, outcome)
        provider.wait_idle()
    else:
        guard = BudgetGuard(usd_limit=limit, strict=mode == "strict", name=scenario)
        with suppress(BudgetExceededError), guard:  # what a guard of tasks or threads shows at its own end
            SCENARIOS[scenario](sdk, outcome)
        provider.wait_idle()
        outcome.said, outcome.estimated = guard.usd_used, guard.estimated
    outcome.billed, outcome.paid = float(provider.ledger.total_usd), provider.ledger.calls
    return outcome


def table(outcomes: dict[tuple[str, str, Mode], Outcome]) -> str:
    """Dollars billed / limit: a row a scenario, a column a mode and an SDK."""
    columns = [(mode, sdk) for mode in MODES for sdk in SDKS if any(key[1:] == (sdk, mode) for key in outcomes)]
    rows = [("dollars billed / limit", *(f"{mode} {sdk}" for mode, sdk in columns))]
    for scenario in SCENARIOS:
        found = [outcomes.get((scenario, sdk, mode)) for mode, sdk in columns]
        rows.append((scenario, *(f"{one.ratio:.2f}" if one is not None else "" for one in found)))
    lost = sum(one.lost for one in outcomes.values() if one.lost > 0)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*lines, f"paid replies that reached nobody: {lost}"])


def main() -> None:
    with LocalProvider() as provider:
        outcomes = {
            (scenario, sdk, mode): measure(provider, sdk, scenario, mode)
            for mode in MODES
            for sdk in SDKS
            for scenario in SCENARIOS
        }
    print(table(outcomes))


if __name__ == "__main__":
    main()
