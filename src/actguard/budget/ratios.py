"""Tokens per byte of a prompt, learned from the replies of the same family of models."""

import threading
from typing import Final

from actguard.budget.families import Dialect, Key, Profile, profile_for
from actguard.budget.media_tokens import media_tokens
from actguard.budget.request import RequestFacts

_SEEDS: Final[dict[Dialect, float]] = {
    "openai": 0.45,
    "gemini": 0.45,
    "claude": 0.6,
    "nova": 0.6,
    "grok": 0.6,
    "other": 0.6,
}
_LEAST_RATIO: Final = 0.1
_DECAY: Final = 0.05
"""How far a learned maximum sinks towards each smaller observation: half of the way in 14."""
_EXTRA_SEED: Final = {"server": 10_000.0, "state": 2_000.0}
_LEARNED: Final = 32
"""Replies of a model after which another one like them teaches little."""
_EVERY: Final = 8


class InputRatios:
    """Tokens per byte, learned while running: for each family of models, with and without tools, a maximum that decays.

    Also what server-side tools and server-side state add to a prompt, in tokens. Safe to use from many threads.
    """

    def __init__(self, *, families: int = 256) -> None:
        self._families = families
        self._learned: dict[Key, float] = {}
        self._replies: dict[str, int] = {}
        self._lock = threading.RLock()  # a finalizer may interrupt one who learns, to teach something itself

    def estimate(self, provider: str | None, facts: RequestFacts, *, state_tokens: int | None = None) -> int:
        """Input tokens as they are likely to be billed, with a fifth to spare."""
        profile = profile_for(provider, facts)
        tokens = self._text(profile, facts)
        kind = _kind(facts, state_tokens)
        if kind:
            tokens += int(self._learned.get((provider, profile.family, kind), _EXTRA_SEED[kind]))
        return tokens + (state_tokens or 0)

    def due(self, model: str) -> bool:
        """Whether one more reply of *model* is worth measuring its request for: each of the first, then every eighth.

        Two threads may count one reply: it is a sample, and needs no lock.
        """
        replies = self._replies.get(model, 0) + 1
        if replies == 1 and len(self._replies) >= self._families:
            self._replies.clear()
        self._replies[model] = replies
        return replies < _LEARNED or not replies % _EVERY

    def observe(
        self, provider: str | None, facts: RequestFacts, input_tokens: int, *, state_tokens: int | None = None
    ) -> None:
        """Learn from what a provider billed for the request of *facts*; an estimate would only teach itself."""
        profile = profile_for(provider, facts)
        kind = _kind(facts, state_tokens)
        if kind:
            extra = input_tokens - self._text(profile, facts)
            self._learn((provider, profile.family, kind), max(0.0, float(extra)), _EXTRA_SEED[kind])
        elif not (facts.media or facts.unsized or facts.state) and facts.sized and facts.body_bytes > 0:
            overhead = facts.hidden_tokens + (profile.tools_overhead if facts.tools else profile.overhead)
            ratio = max(_LEAST_RATIO, (input_tokens - overhead) / facts.body_bytes)
            self._learn(profile.keys[facts.tools], ratio, _SEEDS[profile.dialect])

    def _text(self, profile: Profile, facts: RequestFacts) -> int:
        """What the request itself comes to, without what the provider adds to it."""
        ratio = self._learned.get(profile.keys[facts.tools], _SEEDS[profile.dialect])
        overhead = facts.hidden_tokens + (profile.tools_overhead if facts.tools else profile.overhead)
        most = 2.5 if profile.dialect == "claude" else 1.0
        tokens = int(facts.body_bytes * min(most, ratio * 1.2)) + overhead
        for item in facts.media:
            tokens += media_tokens(profile, item).estimate
        return tokens

    def _learn(self, key: Key, seen: float, seed: float) -> None:
        with self._lock:
            known = self._learned.pop(key, seed)
            self._learned[key] = seen if seen > known else known + (seen - known) * _DECAY
            if len(self._learned) > self._families:  # the first is the one not taught for the longest time
                del self._learned[next(iter(self._learned))]


def _kind(facts: RequestFacts, state_tokens: int | None) -> str:
    if facts.server_tools or facts.unbounded:
        return "server"
    return "state" if facts.state and state_tokens is None else ""
