"""The parts of random programs: what they ask for, the SDKs that do it, and the threads and tasks it is done in."""

import asyncio
import re
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Literal, Self

import anthropic
import openai

from actguard import BudgetGuard, PriceBook
from actguard.budget.account import Account
from actguard.context import current_frame
from actguard.testing import (
    Cut,
    Delivery,
    Entry,
    ErrorEvent,
    Fault,
    HttpError,
    LocalProvider,
    Lost,
    NotJSON,
    Reply,
    Request,
    Reset,
    price,
)

SDKS = ("openai", "anthropic", "google")
INPUT, OUTPUT = "2", "10"
"""Dollars per million tokens, of every model here."""
MODELS = ("unit-one", "unit-two")
"""What requests ask for. Replies name a model of their own for each attempt: that makes every bill one of its own."""

Trouble = Literal[
    "none", "retried", "lost, retried", "lost", "refused", "reset", "broken", "error event", "no usage", "no JSON"
]
TROUBLES: dict[Trouble, tuple["Fault | None", ...]] = {
    "none": (None,),
    "retried": (HttpError(status=500), None),
    "lost, retried": (Lost(), None),
    "lost": (Lost(), Lost(), Lost()),
    "refused": (HttpError(status=400),),
    "reset": (Reset(), Reset(), Reset()),
    "broken": (Cut(after=3),),
    "error event": (ErrorEvent(after=3),),
    "no usage": (None,),
    "no JSON": (NotJSON(),),
}
"""What happens to each attempt."""


@dataclass(eq=False)
class Deed:
    """One call of a program, and what came of it."""

    number: int
    sdk: str
    tokens: int
    """What the model would write, if nothing capped it."""
    cap: int | None = None
    trouble: Trouble = "none"
    pause_after: int | None = None
    stream: bool = False

    scopes: tuple[Account, ...] = ()
    """Where it was made, innermost first."""
    attempts: int = 0
    reply: Any = None
    opened: Any = None
    """The SDK's own stream, while somebody has it."""
    in_thread: bool = True
    """Whether it is a synchronous one."""
    begun: bool = False
    whole: bool = False
    """Delivered to its last word."""
    cancelled: bool = False
    error: BaseException | None = None
    busy: bool = False

    @property
    def prompt(self) -> str:
        return f"#{self.number}# Go on."

    @property
    def model(self) -> str:
        return MODELS[self.number % len(MODELS)]

    def bill_of(self, attempt: int) -> str:
        """The model that the reply to an attempt names."""
        return f"unit-{self.number}{attempt:02}"

    @property
    def was_sent_well(self) -> bool:
        """Whether the last attempt is one that nothing is wrong with."""
        faults = TROUBLES[self.trouble]
        return self.trouble != "no usage" and self.attempts == len(faults) and faults[-1] is None

    def answer(self, *, paused: bool) -> Reply:
        """The provider's side of the next attempt."""
        self.attempts += 1
        faults = TROUBLES[self.trouble]
        return Reply(
            model=self.bill_of(self.attempts),
            output_tokens=self.tokens,
            fault=faults[min(self.attempts, len(faults)) - 1],
            usage="omitted" if self.trouble == "no usage" else "reported",
            delivery=Delivery(pause_after=self.pause_after if paused else None),
        )


# ---- the SDKs --------------------------------------------------------------------------------------------------------


class Clients:
    """The three SDKs, called as their users call them."""

    def __init__(self, provider: LocalProvider) -> None:
        self.openai, self.aopenai = provider.openai(), provider.async_openai()
        self.anthropic, self.aanthropic = provider.anthropic(timeout=60), provider.async_anthropic(timeout=60)
        self.google = provider.google()

    def call(self, deed: Deed) -> Any:
        """The reply or the stream; a coroutine of it, if *deed* is of a task."""
        sync = deed.in_thread
        messages: Any = [{"role": "user", "content": deed.prompt}]
        more: dict[str, Any] = {"stream": True} if deed.stream else {}
        match deed.sdk:
            case "openai":
                chats = (self.openai if sync else self.aopenai).chat.completions
                more |= {"max_completion_tokens": deed.cap} if deed.cap else {}
                return chats.create(model=deed.model, messages=messages, **more)
            case "anthropic":
                chat: Any = (self.anthropic if sync else self.aanthropic).messages
                return chat.create(model=deed.model, messages=messages, max_tokens=deed.cap or 4096, **more)
            case _:
                models: Any = self.google.models if sync else self.google.aio.models
                make = models.generate_content_stream if deed.stream else models.generate_content
                config: Any = {"max_output_tokens": deed.cap} if deed.cap else None
                return make(model=deed.model, contents=deed.prompt, config=config)


class World:
    """One provider, one event loop and one client of each SDK, for all programs of a test."""

    def __init__(self) -> None:
        self.provider = LocalProvider(prices={"unit": price(INPUT, OUTPUT)})
        self.book = PriceBook()
        self.book.set("unit-*", input=Decimal(INPUT), output=Decimal(OUTPUT))
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="event loop", daemon=True)
        self.deeds: dict[int, Deed] = {}
        self.pausing = True

    def __enter__(self) -> Self:
        self.provider.start()
        self._thread.start()
        self.clients = self.on_loop(self._make_clients())
        return self

    async def _make_clients(self) -> Clients:
        return Clients(self.provider)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.provider.stop()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def on_loop(self, work: Awaitable[Any], seconds: float = 10) -> Any:
        async def done() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(done(), self.loop).result(seconds)

    def begin(self) -> None:
        """A new program."""
        self.provider.reset()
        self.deeds.clear()
        self.pausing = True
        self.provider.when(self._answer)

    def _answer(self, request: Request) -> Reply:
        found = re.search(r"#(\d+)#", request.text)
        assert found is not None
        return self.deeds[int(found[1])].answer(paused=self.pausing)

    def bills(self) -> dict[int, list[Entry]]:
        """The ledger, by deed."""
        found: dict[int, list[Entry]] = defaultdict(list)
        for entry in self.provider.ledger.entries:
            found[int(entry.model.removeprefix("unit-")[:-2])].append(entry)
        return found


@contextmanager
def quick_retries() -> Iterator[None]:
    """The SDKs wait a thousandth of their time before they try again."""
    modules: list[Any] = [openai._base_client, anthropic._base_client]
    before = [(module, module.INITIAL_RETRY_DELAY) for module in modules]
    for module in modules:
        module.INITIAL_RETRY_DELAY /= 1000
    yield
    for module, delay in before:
        module.INITIAL_RETRY_DELAY = delay


# ---- who does it -----------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Actor:
    """Does one thing after the other, in a thread or a task of its own, in the frame it was started in."""

    clients: Clients
    guards: list[BudgetGuard] = field(default_factory=list[BudgetGuard])
    """Entered here, innermost last."""
    doing: "Future[Any] | None" = None
    deed: Deed | None = None

    @property
    def idle(self) -> bool:
        return self.doing is None or self.doing.done()

    def start(self) -> Self:
        raise NotImplementedError

    def post(self, work: Callable[[], Any], deed: Deed | None = None) -> "Future[Any]":
        assert self.idle
        self.doing, self.deed = Future(), deed
        if deed is not None:
            deed.busy = True  # from here on: two that read one stream at once are no program
        self._send(work, self.doing)
        return self.doing

    def _send(self, work: Callable[[], Any], future: "Future[Any]") -> None:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def refused_already(self) -> bool:
        """Whether every call here must be refused. Asked while nothing else runs."""
        return any(scope.refused is not None for scope in self.post(chain).result(10))

    def enter(self, guard: BudgetGuard) -> None:
        self.post(guard.__enter__).result(10)
        self.guards.append(guard)

    def leave(self, guard: BudgetGuard) -> None:
        self.post(lambda: guard.__exit__(None, None, None)).result(10)

    # What a deed does; in threads as they stand, in tasks with `await` before what the SDK gives.

    def call(self, deed: Deed) -> "Future[Any]":
        raise NotImplementedError

    def read(self, deed: Deed, count: int) -> None:
        """So many chunks; -1: to the end."""
        raise NotImplementedError

    def close(self, deed: Deed) -> None:
        raise NotImplementedError


def chain() -> tuple[Account, ...]:
    scope = current_frame().scope
    return tuple(scope.chain) if isinstance(scope, Account) else ()  # type: ignore[arg-type]


class ThreadActor(Actor):
    def start(self) -> Self:
        self._work: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            work, future = item
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
            del item, work, future

    def _send(self, work: Callable[[], Any], future: "Future[Any]") -> None:
        self._work.put((work, future))

    def stop(self) -> None:
        self._work.put(None)
        self._thread.join(10)

    def call(self, deed: Deed) -> "Future[Any]":
        def work() -> None:
            deed.scopes, deed.in_thread = chain(), True
            with _watching(deed):
                answer = self.clients.call(deed)
                if not deed.stream:
                    deed.reply = answer
                    return
                deed.opened = answer
                if deed.sdk == "google":  # nothing is sent before
                    next(answer)
                    deed.begun = True

        return self.post(work, deed)

    def read(self, deed: Deed, count: int) -> None:
        def work() -> None:
            left = count
            with _watching(deed):
                stream = iter(deed.opened)
                while left:
                    next(stream)
                    deed.begun = True
                    left -= 1

        self.post(work, deed)

    def close(self, deed: Deed) -> None:
        def work() -> None:
            with _watching(deed):
                deed.opened.close()
            deed.opened = None

        self.post(work, deed)


class TaskActor(Actor):
    def start(self) -> Self:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._work: asyncio.Queue[tuple[Callable[[], Any], Future[Any]] | None] = asyncio.Queue()
        self._task = loop.create_task(self._run())
        return self

    async def _run(self) -> None:
        while True:
            try:
                item = await self._work.get()
            except asyncio.CancelledError:  # too late: what was to be cancelled is done
                continue
            if item is None:
                return
            work, future = item
            try:
                result = work()
                if asyncio.iscoroutine(result):
                    result = await result
                future.set_result(result)
            except BaseException as error:
                future.set_exception(error)
            while self._task.cancelling():
                self._task.uncancel()  # it was about that piece of work
            del item, work, future

    def _send(self, work: Callable[[], Any], future: "Future[Any]") -> None:
        self._loop.call_soon_threadsafe(self._work.put_nowait, (work, future))

    def cancel(self) -> None:
        if self.deed is not None:
            self.deed.cancelled = True
        self._loop.call_soon_threadsafe(self._task.cancel)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._work.put_nowait, None)

    def call(self, deed: Deed) -> "Future[Any]":
        async def work() -> None:
            deed.scopes, deed.in_thread = chain(), False
            with _watching(deed):
                answer = await self.clients.call(deed)
                if not deed.stream:
                    deed.reply = answer
                    return
                deed.opened = answer
                if deed.sdk == "google":
                    await anext(answer)
                    deed.begun = True

        return self.post(work, deed)

    def read(self, deed: Deed, count: int) -> None:
        async def work() -> None:
            left = count
            with _watching(deed):
                stream = aiter(deed.opened)
                while left:
                    await anext(stream)
                    deed.begun = True
                    left -= 1

        self.post(work, deed)

    def close(self, deed: Deed) -> None:
        async def work() -> None:
            with _watching(deed):
                await (deed.opened.aclose() if deed.sdk == "google" else deed.opened.close())
            deed.opened = None

        self.post(work, deed)


@contextmanager
def _watching(deed: Deed) -> Iterator[None]:
    """Keeps what is raised, and what it carries."""
    try:
        yield
    except (StopIteration, StopAsyncIteration):
        deed.whole, deed.opened = True, None
    except BaseException as error:
        deed.error = error
        deed.opened = None
        response = getattr(error, "response", None)
        if type(error).__module__.startswith("actguard") and response is not None:
            deed.reply = response
    finally:
        deed.busy = False
