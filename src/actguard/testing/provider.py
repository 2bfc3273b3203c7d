"""`LocalProvider`: the local provider as people use it."""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from actguard.testing.clients import Clients
from actguard.testing.gate import Gate
from actguard.testing.http import Request
from actguard.testing.ledger import Entry, Ledger
from actguard.testing.prices import Price, PriceList
from actguard.testing.script import Match, Reply, Script, Step
from actguard.testing.server import Server


class LocalProvider(Clients):
    """A real HTTP server on loopback that speaks OpenAI's, Anthropic's and Google's wires and bills what it says.

    Use it as a context manager, sync or async, or with `start` and `stop`.

    Args:
        host: the address to listen on.
        port: 0 picks a free one.
        prices: prices by model, over the built-in list.
        default: what a reply is when nothing is scripted; its latency, for one.
        output_tokens: how many tokens such a reply has.
        keep: how many requests and ledger entries to remember (totals stay exact).
        on_request: called with every request, on the server's thread.
        on_entry: called with every ledger entry, on the server's thread.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        prices: Mapping[str, Price] | None = None,
        default: Reply | None = None,
        output_tokens: int = 20,
        keep: int | None = 10_000,
        on_request: Callable[[Request], None] | None = None,
        on_entry: Callable[[Entry], None] | None = None,
    ) -> None:
        super().__init__()
        self._host = host
        self._port = port
        self._on_request = on_request
        self._requests: deque[Request] = deque(maxlen=keep)
        self._lock = threading.Lock()
        self._script = Script(default or Reply())
        self.prices = PriceList(prices)
        self.ledger = Ledger(self.prices, keep, on_entry)
        self._server = Server(script=self._script, ledger=self.ledger, seen=self._seen, default_tokens=output_tokens)

    # -- running -----------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        self._port = self._server.start(self._host, self._port)
        self.url = f"http://{self._host}:{self._port}"
        return self

    def stop(self) -> None:
        self._server.stop()
        self._kept.clear()

    @property
    def port(self) -> int:
        return self._port

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.stop()

    # -- scripting ---------------------------------------------------------------------------------------------------

    @property
    def default(self) -> Reply:
        """What a reply is when nothing is scripted. Set it to change that."""
        return self._script.default

    @default.setter
    def default(self, reply: Reply) -> None:
        self._script.default = reply

    def reply(self, *steps: Step) -> None:
        """Queue the next replies, in order: texts, `Reply`s, faults, or functions from the request to one of them."""
        self._script.add(steps)

    def when(
        self,
        step: Step,
        *,
        path: str = "",
        model: str | None = None,
        text: str = "",
        match: Match | None = None,
        times: int | None = None,
    ) -> None:
        """Reply with *step* to every request that fits, ahead of the queue; the newest rule that fits wins.

        Args:
            step: as in `reply`.
            path: the request's path contains this.
            model: its body names this model.
            text: its body contains this.
            match: a function of the request that must agree, too.
            times: forget the rule after so many requests.
        """

        def fits(request: Request) -> bool:
            return (
                path in request.path
                and (model is None or request.model == model or f"/{model}" in request.path)
                and text in request.text
                and (match is None or match(request))
            )

        self._script.add_rule(fits, step, times)

    @property
    def queued(self) -> int:
        """Replies that no request has taken yet."""
        return len(self._script)

    # -- holding back ------------------------------------------------------------------------------------------------

    def hold(self) -> Gate:
        """Hold every generating request from now on until the gate releases it."""
        return self._server.hold()

    @property
    def paused(self) -> Gate:
        """Where streams with `Delivery.pause_after` wait."""
        return self._server.paused

    def release(self) -> None:
        """Let go of everything that is held or paused."""
        self._server.release()

    # -- looking -----------------------------------------------------------------------------------------------------

    @property
    def requests(self) -> list[Request]:
        """Every request so far, free ones included, oldest first."""
        with self._lock:
            return list(self._requests)

    def wait_idle(self, timeout: float = 5.0) -> None:
        """Return once nothing is in flight, so that every bill is in the ledger."""
        self.ledger.wait_idle(timeout)

    def reset(self) -> None:
        """Forget the script, the requests and the bills; let go of what is held."""
        self._script.clear()
        self.release()
        with self._lock:
            self._requests.clear()
        self.ledger.reset()

    def _seen(self, request: Request) -> None:
        with self._lock:
            self._requests.append(request)
        if self._on_request is not None:
            self._on_request(request)
