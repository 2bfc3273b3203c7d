"""Which exceptions say something about the tool that raised them, and which do not.

Cancellation, an exit, a refusal of a guard further in, and the exceptions by which frameworks steer (interrupts,
deferred calls, a request that the model try again) are neutral: they spend no attempt and open no circuit. They are
known by name, so that no framework is imported.
"""

import sys

from actguard.exceptions import ActGuardToolError, ToolGuardError
from actguard.pipeline.target import Target

_STEERING = frozenset(
    {
        ("langgraph", "GraphBubbleUp"),
        ("langgraph", "GraphInterrupt"),
        ("langgraph", "NodeInterrupt"),
        ("langgraph", "ParentCommand"),
        ("pydantic_ai", "ModelRetry"),
        ("pydantic_ai", "CallDeferred"),
        ("pydantic_ai", "ApprovalRequired"),
        ("pydantic_ai", "ToolRetryError"),
        ("pydantic_ai", "SkipToolExecution"),
        ("pydantic_graph", "ModelRetry"),
        ("agno", "AgentRunException"),
        ("agno", "RetryAgentRun"),
        ("agno", "StopAgentRun"),
        ("haystack", "BreakpointException"),
        ("llama_index", "WaitingForEvent"),
        ("workflows", "WaitingForEvent"),
        ("crewai", "HumanFeedbackPending"),
        ("google", "NodeInterruptedError"),  # google.adk
        ("strands", "InterruptException"),
        ("temporalio", "ContinueAsNewError"),
        ("prefect", "Pause"),
    }
)


def is_neutral(error: BaseException) -> bool:
    """Whether *error* says nothing about the tool."""
    return not isinstance(error, Exception) or isinstance(error, ToolGuardError) or is_steering(error)


def is_steering(error: BaseException) -> bool:
    """Whether a framework raised *error* to steer: the call is not over, it will be made again."""
    # A class may say anything of its module, also nothing.
    return any((str(base.__module__).partition(".")[0], base.__name__) in _STEERING for base in type(error).__mro__)


def is_unstarted(error: BaseException | None, target: Target) -> bool:
    """Whether *error* says that this call of *target* was not even begun."""
    return isinstance(error, ActGuardToolError) and error.unstarted == target.tool_id


def is_cancelled(error: BaseException) -> bool:
    """Whether whoever called has stopped waiting."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and isinstance(error, asyncio.CancelledError)
