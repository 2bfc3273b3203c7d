"""A guard whose options all have defaults may be written without parentheses, or be called with the function."""

import asyncio
import copy
import pickle
from typing import Any

import pytest

import actguard
from actguard import Client, RateLimitExceeded
from actguard.exceptions import MissingIdempotencyKeyError, TimeoutUsageError

limit: Any = actguard.rate_limit
once: Any = actguard.idempotent
unrepeated: Any = actguard.no_repeat
tracked: Any = actguard.track


def test_a_bare_guard_guards_with_its_defaults() -> None:
    @limit
    def search(query: str) -> str:
        """Search."""
        return query

    assert (search.__name__, search.__doc__) == ("search", "Search.")
    assert [search("x") for _ in range(10)] == ["x"] * 10
    with pytest.raises(RateLimitExceeded):
        search("x")


def test_bare_guards_stack_on_methods_and_coroutines() -> None:
    class Mail:
        @limit
        @once
        async def send(self, text: str, idempotency_key: str) -> str:
            return text

        @unrepeated
        @staticmethod
        def read() -> str:
            return "read"

    with Client() as client, client.run():
        assert asyncio.run(Mail().send("hi", idempotency_key="k")) == "hi"
        with pytest.raises(MissingIdempotencyKeyError):
            asyncio.run(Mail().send("hi", idempotency_key=""))
        assert Mail.read() == "read"


def test_a_tracked_tool_counts_as_run() -> None:
    @tracked
    def ask(question: str) -> str:
        return "yes"

    listed = tracked(lambda: ["mail"], untrusted=True)

    @actguard.enforce([actguard.RequireTool(before="ask"), actguard.NotAfter()])
    def send() -> str:
        return "sent"

    with actguard.session():
        with pytest.raises(actguard.GuardError):
            send()
        assert ask("May I?") == "yes"
        assert send() == "sent"
        assert listed() == ["mail"]
        with pytest.raises(actguard.GuardError):
            send()


def test_a_guard_may_be_called_with_the_function_and_its_options() -> None:
    guarded = limit(lambda: "done", max_calls=1)

    assert guarded() == "done"
    with pytest.raises(RateLimitExceeded):
        guarded()


@pytest.mark.parametrize(
    ("guard", "missing", "error"),
    [
        (actguard.circuit_breaker, "name", TypeError),
        (actguard.max_attempts, "calls", TypeError),
        (actguard.timeout, "seconds", TimeoutUsageError),
    ],
)
def test_a_bare_guard_that_needs_an_option_says_which(guard: Any, missing: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=missing):

        @guard
        def search() -> None: ...


def test_a_guards_options_are_still_data() -> None:
    made = actguard.rate_limit(max_calls=3)

    assert copy.copy(made).max_calls == pickle.loads(pickle.dumps(made)).max_calls == 3
