"""Automatic continuation, in later versions of google-genai: one call sends several requests, each going on where the
last one stopped. Its loops catch what a request raises, to try again or to wrap it, and drop what was paid for before.
A refusal is not to be tried again: it reaches the caller as itself, with the replies until then.
"""

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from actguard.exceptions import BudgetExceededError, ToolGuardError
from actguard.providers.patches import Patches

_hops: ContextVar[list[Any] | None] = ContextVar("actguard.hops", default=None)
"""The replies so far of the call that is being continued."""


def watch_contents(models: Any, extra_utils: Any, patches: Patches) -> None:
    """Patch the loops of `generate_content`; versions that have none need nothing."""
    _let_refusals_through(extra_utils, patches)
    if hasattr(extra_utils, "should_continue_generation") and hasattr(extra_utils, "merge_continuation_responses"):
        patches.wrap(extra_utils, "should_continue_generation", _around_should_continue)
        merge = extra_utils.merge_continuation_responses
        patches.wrap(models.Models, "_generate_content_with_continuation", functools.partial(_around_loop, merge))
        patches.wrap(models.AsyncModels, "_generate_content_with_continuation", functools.partial(_around_aloop, merge))


def watch_interactions(module: Any, patches: Patches) -> None:
    """Patch the loops of `interactions.create`; versions that have none need nothing."""
    _let_refusals_through(module, patches)
    if hasattr(module, "_interrupted_unary"):
        patches.wrap(module, "_interrupted_unary", _around_interrupted)


def _let_refusals_through(module: Any, patches: Patches) -> None:
    if hasattr(module, "StreamContinuation"):
        patches.wrap(module.StreamContinuation, "end_hop", _around_end_hop)


def _around_end_hop(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def end_hop(state: Any, error: Exception | None = None) -> Any:
        if isinstance(error, ToolGuardError):
            raise error
        return original(state, error)

    return end_hop


def _around_interrupted(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def _interrupted_unary(error: Exception, *args: Any, **kwargs: Any) -> Any:
        interrupted = original(error, *args, **kwargs)
        if isinstance(error, BudgetExceededError) and error.response is None:
            error.response = getattr(interrupted, "partial_interaction", None)
        if isinstance(error, ToolGuardError):
            raise error
        return interrupted

    return _interrupted_unary


def _around_should_continue(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def should_continue_generation(response: Any) -> Any:
        hops = _hops.get()
        if hops is not None:
            hops.append(response)
        return original(response)

    return should_continue_generation


def _around_loop(merge: Callable[[list[Any]], Any], original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def _generate_content_with_continuation(*args: Any, **kwargs: Any) -> Any:
        hops: list[Any] = []
        token = _hops.set(hops)
        try:
            return original(*args, **kwargs)
        except BudgetExceededError as error:
            _hand_over(error, hops, merge)
            raise
        finally:
            _hops.reset(token)

    return _generate_content_with_continuation


def _around_aloop(merge: Callable[[list[Any]], Any], original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def _generate_content_with_continuation(*args: Any, **kwargs: Any) -> Any:
        hops: list[Any] = []
        token = _hops.set(hops)
        try:
            return await original(*args, **kwargs)
        except BudgetExceededError as error:
            _hand_over(error, hops, merge)
            raise
        finally:
            _hops.reset(token)

    return _generate_content_with_continuation


def _hand_over(error: BudgetExceededError, hops: list[Any], merge: Callable[[list[Any]], Any]) -> None:
    """Add to *error* what the requests before the refused one were answered."""
    if hops:
        last = [] if error.response is None else [error.response]
        error.response = merge([*hops, *last])
