"""What a call answers that took too long, where it is not to raise: when every other guard has heard that it did."""

import inspect
from collections.abc import Callable
from typing import Any, cast

from actguard.exceptions import ActGuardToolError, ToolGuardError, ToolTimeoutError
from actguard.pipeline.guard import OnBlock
from actguard.pipeline.target import Target


def answering(on_block: OnBlock, kind: str, target: Target, wrapper: Callable[..., Any]) -> Callable[..., Any]:
    """*wrapper*, the function with all its guards, where a call that was too late answers as *on_block* says.

    Args:
        kind: of the guard whose errors are answered.
    """

    def answer(error: ActGuardToolError) -> Any:
        if error.guard != kind or error.tool != target.name:
            raise error
        return on_block(cast("ToolGuardError", error)) if callable(on_block) else error.to_prompt()

    async def answering_coroutine(*args: Any, **kwargs: Any) -> Any:
        return await awaited(wrapper(*args, **kwargs))

    async def awaited(result: Any) -> Any:
        try:
            return await result
        except (ToolTimeoutError, ToolGuardError) as error:
            return answer(error)

    def answering_function(*args: Any, **kwargs: Any) -> Any:
        try:
            result = wrapper(*args, **kwargs)
        except (ToolTimeoutError, ToolGuardError) as error:
            return answer(error)
        return awaited(result) if inspect.iscoroutine(result) else result

    return answering_coroutine if target.kind == "async" else answering_function
