"""What a model costs: the book of prices that every budget reads, and that a program writes its own prices into.

    actguard.prices.set("my-model", input=2.5, output=10)             # dollars per million tokens
    actguard.prices.set("gpt-*", input=3, output=12, provider="azure")
    actguard.prices.set("my-deployment", same_as="gpt-4o")
    actguard.prices.host("localhost:11434", free=True)                # models on one's own machine
    actguard.prices.host("llm.example.com", provider="openai")        # a proxy that charges OpenAI's prices
    actguard.prices.unknown = "most_expensive"                        # instead of refusing

The first that knows a price gives it: what the program set (an exact name, then the latest matching pattern, then a
resolver), a declared host, our overlay, genai-prices by the model that answered, then by the model that was asked for
(on Bedrock, whose replies leave out the region, the other way round).
Nobody's price is never zero: it is `None`, and the `unknown` policy says what then happens.
"""

import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from math import inf
from threading import RLock
from typing import Final, Literal, cast, get_args

from actguard.budget.catalog import Catalog
from actguard.budget.hosts import Context, Host, address, canonical, identify
from actguard.budget.lookup import listed_price, stated_price
from actguard.budget.memo import ASK_PARENT, NO_PRICE, Remembered, keep, remembered
from actguard.budget.overrides import NATIVE, Declared, Override, Overrides, Resolver
from actguard.budget.price import Price
from actguard.budget.price_input import Amount, provider_id, rate_card, text, wrong
from actguard.budget.rates import FREE
from actguard.budget.unknown_price import UnknownPolicy, unknown_error
from actguard.exceptions import UnknownPriceError

_log = logging.getLogger("actguard.prices")

edition: object = object()
"""Another one after anything was said in any book: who keeps an answer of a book keeps this with it, as read before."""


class PriceBook:
    """Prices by provider, model and context. Safe to use and to change from any thread.

    Args:
        parent: the book to ask when this one has nothing to say; changes of it are seen. Without one, the public
            price lists are asked.
        unknown: the policy for models without a price; by default the parent's, else `refuse`.
        clock: seconds since the epoch, for prices that change on a date.
    """

    def __init__(
        self,
        *,
        parent: "PriceBook | None" = None,
        unknown: "UnknownPolicy | Mapping[str, Amount] | None" = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._parent: Final = parent
        self._clock: Callable[[], float] = clock if parent is None else parent._clock
        self._catalog: Catalog = Catalog() if parent is None else parent._catalog
        self._lock: Final = RLock()
        self._stated = Overrides()
        self._memo: dict[tuple[str, str, Context, str], Remembered | Price] = {}
        self._hosts: dict[tuple[str, str], Host | None] = {}  # None: the parent is asked, so that its changes are seen
        self._dearest: dict[tuple[str, Context], Remembered] = {}
        self._warned: dict[tuple[str, str], None] = {}
        self._unknown: UnknownPolicy | Mapping[str, Amount] | None = None
        self._unknown_price: Price | None = None
        self.unknown = unknown

    # ---- asking ---------------------------------------------------------------------------------------------------

    def price(
        self, provider: str, model: str, context: Context = (), at: datetime | None = None, requested: str = ""
    ) -> Price | None:
        """The price of one line of a bill; None when nobody knows it (see `resolve_unknown`).

        Args:
            provider: as `host_of` gives it.
            model: the model that answered; before a call, the one that is asked for.
            context: what selects a variant, as in `Line.context`, with the host's part `merged` in.
            at: when the call was made; now, by default.
            requested: the model that the request named, where the reply names another one for it (a dated snapshot,
                the model behind a deployment), so that a price set for either is found.
        """
        found = self._memo.get((provider, model, context, requested))
        if type(found) is Price and at is None:  # it holds from now on
            return found
        return None if found is NO_PRICE else self._find(provider, model, context, at, requested)

    @property
    def asks(self) -> bool:
        """Whether a function of the program's may be asked for a price (`resolver`). If not, a price may be looked up
        anywhere, in a finalizer too: the lock here is re-entrant, and held for no more than to remember an answer."""
        return bool(self._stated.resolvers) or (self._parent is not None and self._parent.asks)

    def resolve_unknown(
        self,
        provider: str,
        model: str,
        policy: "UnknownPolicy | Mapping[str, Amount] | None" = None,
        *,
        limited: bool = True,
        context: Context = (),
    ) -> Price | None:
        """What a model without a price is charged, by *policy* or else by `unknown`; None: its dollars are not counted.

        Args:
            provider: where the call would go.
            model: the model it asks for.
            policy: goes before `unknown`.
            limited: whether a dollar limit is active.
            context: as in `price`.

        Raises:
            UnknownPriceError: the policy is to refuse, and a dollar limit is active; says how to give a price.
        """
        if policy is not None and not isinstance(policy, str):
            return Price(rate_card(policy, "1M"), provider, model, "unknown")
        book: PriceBook | None = self
        while policy is None and book is not None:
            if book._unknown_price is not None:
                return book._unknown_price
            policy = cast("UnknownPolicy | None", book._unknown)
            book = book._parent
        if policy == "zero":
            return Price(FREE, provider, model, "unknown")
        if policy == "most_expensive":
            return self._most_expensive(provider, context)
        if limited and policy != "warn":
            raise self.unknown_error(provider, model)
        self._warn_once(provider, model)
        return None

    def get(self, model: str, provider: str | None = None, context: Context = ()) -> Price | None:
        """The price of a model by name; at its own provider, when none is named."""
        model, where = text("model", model), provider_id(provider)
        if where is not None:
            return self.price(where, model, context)
        book: PriceBook | None = self
        while book is not None:
            stated = stated_price(book._stated, book._catalog, "", (model,), context, self._now(None))
            if stated is not None:
                return stated
            book = book._parent
        home = self._catalog.home(model)
        return self.price(home, model, context) if home is not None else None

    def host_of(self, base_url: str, wire: str = "") -> Host:
        """Who answers at *base_url*, by what was declared and what is known; not `Host.known` when nobody has said.

        Args:
            base_url: a URL, or a host with or without a port.
            wire: the provider whose SDK makes the call, for hosts declared as `provider="native"`.
        """
        found = self._hosts.get((base_url, wire))
        return found if found is not None else self._find_host(base_url, wire)

    def describe(self, model: str | None = None, provider: str | None = None) -> str:
        """For people: the price of *model*, or everything that was said in this book."""
        if model is None:
            return "\n".join([f"unknown: {self.unknown}", *self._stated.lines()])
        price = self.get(model, provider)
        return price.describe() if price is not None else f"{model}: no price is known"

    def unknown_error(self, provider: str, model: str) -> UnknownPriceError:
        """The error for a call that is refused for want of a price, with the ways out."""
        return unknown_error(self._catalog, provider, model)

    # ---- telling --------------------------------------------------------------------------------------------------

    def set(
        self,
        model: str,
        *,
        input: Amount | None = None,
        output: Amount | None = None,
        cache_read: Amount | None = None,
        cache_write: Amount | None = None,
        per: Literal["1M", "1K", "1"] | int = "1M",
        provider: str | None = None,
        above: Mapping[int, Mapping[str, Amount]] | None = None,
        same_as: str | None = None,
        **others: Amount | None,
    ) -> None:
        """State the price of a model, in dollars; it goes before every list.

        Args:
            model: a name, or a pattern with `*` and `?`. Of patterns, the latest set that matches counts.
            input: for `per` tokens of input that have no price of their own.
            output: likewise of output; models without any (embeddings) need none.
            cache_read: input read from a prompt cache; by default as dear as other input.
            cache_write: input written to one; likewise.
            per: how many tokens the prices are for.
            provider: only calls to this provider (genai-prices' id, or `host:<address>` for one that is not known).
            above: other token prices for calls with more than so many input tokens: `{200_000: {"input": 6}}`.
            same_as: instead of prices: a listed model that this one costs as much as.
            others: `cache_write_1h`, `input_audio`, `output_image`, ... for `per` tokens; `web_search`, `image`,
                `output_video_second`, ... for one; `request` for each request.

        Raises:
            ActGuardUsageError: names the argument and says what is allowed.
        """
        name, where = text("model", model).lower(), provider_id(provider)
        stated = {"input": input, "output": output, "cache_read": cache_read, "cache_write": cache_write, **others}
        given = {word: value for word, value in stated.items() if value is not None}
        if same_as is None:
            override = Override(where, name, rate_card(given, per, above), None)
        elif given or above:
            raise wrong("same_as", "a model to take the price of; it cannot stand beside prices")
        else:
            override = Override(where, name, None, text("same_as", same_as))
        with self._lock:
            self._restate(self._stated.with_override(override))

    def remove(self, model: str, provider: str | None = None) -> bool:
        """Take back what was `set` under exactly this name or pattern; whether there was something."""
        name, where = text("model", model).lower(), provider_id(provider)
        with self._lock:
            return self._restate(self._stated.without(where, name))

    def resolver(self, resolve: Resolver) -> Resolver:
        """Let a function answer where no name or pattern does; usable as a decorator. The latest is asked first.

        Its answers are remembered, for each provider, model and context, until something in this book changes. It is
        not asked about a stream that is left, maybe by the garbage collector: the price found before the call holds.
        """
        if not callable(resolve):
            raise wrong("resolve", f"a function of provider, model and context, not {resolve!r}")
        with self._lock:
            self._restate(self._stated.with_resolver(resolve))
        return resolve

    def host(
        self,
        host: str,
        *,
        provider: str | None = None,
        free: bool = False,
        per: Literal["1M", "1K", "1"] | int = "1M",
        **flat: Amount,
    ) -> None:
        """Say what a host charges: a provider's prices, nothing, or the same prices for all its models.

        Args:
            host: `name` or `name:port`, or a pattern of it, or a URL. Without a port, any port.
            provider: whose prices it charges (genai-prices' id); "native": those of whose SDK is calling.
            free: nothing is billed there, as with models on one's own machine.
            per: for *flat*, as in `set`.
            flat: prices, as in `set`.

        Raises:
            ActGuardUsageError: unless exactly one of the three is said.
        """
        name, whose = address(text("host", host)), NATIVE if provider == NATIVE else provider_id(provider)
        if not isinstance(free, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise wrong("free", f"True or False, not {free!r}")
        if (whose is not None) + free + bool(flat) != 1:
            raise wrong("host", "say exactly one of provider='...', free=True, or prices (input=..., output=...)")
        card = None if whose is not None else FREE if free else rate_card(flat, per)
        with self._lock:
            self._restate(self._stated.with_host(Declared(name, whose, card)))

    def remove_host(self, host: str) -> bool:
        """Take back what was said of exactly this host or pattern; whether there was something."""
        with self._lock:
            return self._restate(self._stated.without_host(address(text("host", host))))

    @property
    def unknown(self) -> "UnknownPolicy | Mapping[str, Amount]":
        """What happens to a call whose price nobody knows: "refuse", "warn", "most_expensive" or "zero", or prices for
        all such models, per million tokens: {"input": 5, "output": 25}.

        Set it to None to do as the parent does.
        """
        if self._unknown is not None:
            return self._unknown
        return self._parent.unknown if self._parent is not None else "refuse"

    @unknown.setter
    def unknown(self, policy: "UnknownPolicy | Mapping[str, Amount] | None") -> None:
        price: Price | None = None
        if isinstance(policy, Mapping):
            policy = dict(policy)
            price = Price(rate_card(policy, "1M"), source="unknown")
        elif policy is not None and policy not in get_args(UnknownPolicy):
            raise wrong("unknown", f"one of {', '.join(get_args(UnknownPolicy))}, or prices, not {policy!r}")
        with self._lock:
            self._unknown, self._unknown_price = policy, price

    def refresh(self) -> int:
        """Load today's price lists over the network, once, and use them from now on; how many models they hold.

        Nothing is ever loaded without this call. It blocks: on an event loop, give it to `asyncio.to_thread`.
        Whatever the download raises is raised here, and the prices in use stay.
        """
        count = self._catalog.refresh()
        book: PriceBook | None = self
        while book is not None:
            with book._lock:
                book._restate(book._stated)
            book = book._parent
        return count

    # ---- finding --------------------------------------------------------------------------------------------------

    def _find(self, provider: str, model: str, context: Context, at: datetime | None, requested: str) -> Price | None:
        memo, key = self._memo, (provider, model, context, requested)
        found = memo.get(key)
        if isinstance(found, Price):
            found = remembered(found)
        if found is None or (found is not ASK_PARENT and not found.start <= self._time(at) < found.end):
            found = self._look_up(provider, model, context, self._now(at), requested)
            if at is None or found is ASK_PARENT or found.start <= self._clock() < found.end:
                lasting = found.price if found.end == inf and found.start <= self._clock() else None
                with self._lock:  # `memo` may have been replaced meanwhile: then this goes into the old one, unseen
                    keep(memo, key, lasting or found)
        if found is ASK_PARENT and self._parent is not None:
            return self._parent.price(provider, model, context, at, requested=requested)
        return found.price

    def _look_up(self, provider: str, model: str, context: Context, at: datetime, requested: str) -> Remembered:
        provider = canonical(provider)
        models = (model, requested) if requested and requested != model else (model,)
        price = stated_price(self._stated, self._catalog, provider, models, context, at)
        if price is None:
            flat = self._stated.flat(provider)
            price = Price(flat, provider, model, "host") if flat is not None else None
        if price is None and self._parent is not None:
            return ASK_PARENT
        return remembered(listed_price(self._catalog, provider, models, context, at) if price is None else price)

    def _find_host(self, base_url: str, wire: str) -> Host:
        hosts, key = self._hosts, (base_url, wire)
        found = hosts.get(key)
        if found is None and key not in hosts:
            found = self._stated.host(base_url, wire)
            if found is None and self._parent is None:
                found = identify(base_url)
            with self._lock:  # `hosts` may have been replaced meanwhile: then this goes into the old one, unseen
                keep(hosts, key, found)
        if found is None:
            assert self._parent is not None
            return self._parent.host_of(base_url, wire)
        return found

    def _most_expensive(self, provider: str, context: Context) -> Price | None:
        root = self
        while root._parent is not None:
            root = root._parent
        memo, key = root._dearest, (provider, context)
        found = memo.get(key)
        if found is None or not found.start <= self._clock() < found.end:
            found = remembered(self._catalog.most_expensive(canonical(provider), context, self._now(None)))
            with root._lock:
                keep(memo, key, found)
        return found.price

    def _warn_once(self, provider: str, model: str) -> None:
        with self._lock:
            if (provider, model) in self._warned:
                return
            keep(self._warned, (provider, model), None)
        where = f" at {provider}" if provider else ""
        _log.warning("No price is known for model %r%s: its dollars are not counted.", model, where)

    def _time(self, at: datetime | None) -> float:
        return self._clock() if at is None else self._now(at).timestamp()

    def _now(self, at: datetime | None) -> datetime:
        if at is None:
            return datetime.fromtimestamp(self._clock(), UTC)
        return at if at.tzinfo is not None else at.replace(tzinfo=UTC)

    def _restate(self, stated: Overrides) -> bool:
        """Replace what was said and forget every answer given before; whether anything is different."""
        global edition
        different = stated != self._stated
        self._stated, self._memo, self._hosts, self._dearest = stated, {}, {}, {}
        edition = object()
        return different


prices: Final = PriceBook()
"""The book that every guard reads unless it is given its own (`PriceBook(parent=prices)`)."""
