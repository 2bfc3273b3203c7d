"""What a program itself has said about prices: of models, by name or pattern, and of hosts. Immutable; no lists here.

Names are compared in lower case. An exact name goes before a pattern, and of patterns the latest said goes first.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import NamedTuple

from actguard.budget.hosts import UNKNOWN, Context, Host, address, without_port
from actguard.budget.names import last_of_path
from actguard.budget.price import Price
from actguard.budget.price_input import Amount
from actguard.budget.rates import RateCard

NATIVE = "native"
"""As provider of a host: whose prices it charges depends on the SDK that calls it, which is the provider's own."""

Resolver = Callable[[str, str, Context], "Price | Mapping[str, Amount] | None"]
"""A function of provider, model and context that may know a price: as `set` takes it, per million tokens."""


class Override(NamedTuple):
    """The price of a model, or of all whose names match."""

    provider: str | None
    name: str
    card: RateCard | None
    same_as: str | None
    """Without a card: the model that this one costs as much as."""


class Declared(NamedTuple):
    """What a host charges, or all whose addresses match."""

    name: str
    provider: str | None
    card: RateCard | None
    """Without a provider: the same for all its models."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """Everything said in one book. `with_` and `without` give a new one, so that readers need no lock."""

    exact: Mapping[tuple[str | None, str], Override] = field(
        default_factory=lambda: dict[tuple[str | None, str], Override]()
    )
    patterns: tuple[Override, ...] = ()
    resolvers: tuple[Resolver, ...] = ()
    exact_hosts: Mapping[str, Declared] = field(default_factory=lambda: dict[str, Declared]())
    host_patterns: tuple[Declared, ...] = ()

    def find(self, provider: str, models: tuple[str, ...]) -> Override | None:
        """What was said of the first of *models* that anything was said of, at *provider* or anywhere."""
        if not (self.exact or self.patterns):
            return None
        names = dict.fromkeys(name for model in models for name in (model.lower(), last_of_path(model.lower())))
        for name in names:
            for where in (provider, None):
                found = self.exact.get((where, name))
                if found is not None:
                    return found
        for override in self.patterns:
            if override.provider in (None, provider) and any(fnmatchcase(name, override.name) for name in names):
                return override
        return None

    def host(self, base_url: str, wire: str) -> Host | None:
        """Who was said to answer at *base_url*, when it is called through the SDK of *wire*."""
        where = address(base_url)
        declared = self._declared(where)
        if declared is None:
            return None
        if declared.provider == NATIVE:
            return Host(wire) if wire else None
        return Host(declared.provider or UNKNOWN + where)

    def flat(self, provider: str) -> RateCard | None:
        """The one price of everything at a host, if such was said; *provider* is `host:<address>`."""
        declared = self._declared(provider.removeprefix(UNKNOWN)) if provider.startswith(UNKNOWN) else None
        return declared.card if declared is not None else None

    def with_override(self, override: Override) -> "Overrides":
        rest = self.without(override.provider, override.name)
        if is_pattern(override.name):
            return replace(rest, patterns=(override, *rest.patterns))
        return replace(rest, exact={**rest.exact, (override.provider, override.name): override})

    def without(self, provider: str | None, name: str) -> "Overrides":
        exact = {key: override for key, override in self.exact.items() if key != (provider, name)}
        patterns = tuple(o for o in self.patterns if (o.provider, o.name) != (provider, name))
        return replace(self, exact=exact, patterns=patterns)

    def with_host(self, declared: Declared) -> "Overrides":
        rest = self.without_host(declared.name)
        if is_pattern(declared.name):
            return replace(rest, host_patterns=(declared, *rest.host_patterns))
        return replace(rest, exact_hosts={**rest.exact_hosts, declared.name: declared})

    def without_host(self, name: str) -> "Overrides":
        exact = {key: declared for key, declared in self.exact_hosts.items() if key != name}
        return replace(self, exact_hosts=exact, host_patterns=tuple(d for d in self.host_patterns if d.name != name))

    def with_resolver(self, resolver: Resolver) -> "Overrides":
        return replace(self, resolvers=(resolver, *self.resolvers))

    def lines(self) -> list[str]:
        """For people, one line for each thing said."""
        said: list[str] = []
        for override in (*self.exact.values(), *self.patterns):
            where = f" at {override.provider}" if override.provider else ""
            price = Price(override.card, model=override.name) if override.card is not None else None
            said.append(f"{override.name}{where}: " + (price.rates() if price else f"as {override.same_as}"))
        for declared in (*self.exact_hosts.values(), *self.host_patterns):
            price = Price(declared.card) if declared.card is not None else None
            said.append(f"{declared.name}: " + (price.rates() if price else f"the prices of {declared.provider}"))
        return said

    def _declared(self, where: str) -> Declared | None:
        name = without_port(where)
        found = self.exact_hosts.get(where) or self.exact_hosts.get(name)
        if found is not None:
            return found
        return next(
            (d for d in self.host_patterns if fnmatchcase(where, d.name) or fnmatchcase(name, d.name)), None
        )  # fmt: skip


def is_pattern(text: str) -> bool:
    return any(mark in text for mark in "*?[")
