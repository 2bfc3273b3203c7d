"""What a framework hands to a tool beside what the model chose: its context, its state, the id of the call.

It is another one with every call, and so it tells none apart. It is known by its class, or by the hint that the
framework itself goes by; no framework is imported. What a program hands in by their means (a user's id, a field of the
state) is an argument like any other.
"""

import types
import typing
from typing import Any

from actguard.pipeline import arguments
from actguard.pipeline.hints import hints_of
from actguard.pipeline.target import Target, code_of

# Classes of contexts, and of what marks a hint, by name: the modules that they, or what they are made of, come from.
_MODULES: dict[str, tuple[str, ...]] = {
    "RunContextWrapper": ("agents.",),  # OpenAI Agents SDK
    "RunContext": ("pydantic_ai.", "agno."),
    "ReadonlyContext": ("google.adk.",),
    "FunctionInvocationContext": ("agent_framework.",),
    "ToolContext": ("strands.",),
    "State": ("haystack.",),
    "Context": ("workflows.context", "llama_index.", "mcp.server", "fastmcp."),
    "CancellationToken": ("autogen_core.",),
    "RunnableConfig": ("langchain_core.",),
    "BaseRunManager": ("langchain_core.",),
    "InjectedToolCallId": ("langchain_core.",),
    "InjectedState": ("langgraph.",),
    "InjectedStore": ("langgraph.",),
    "BaseStore": ("langgraph.",),
    "Runtime": ("langgraph.",),
    "ToolRuntime": ("langgraph.", "langchain."),
}


def not_chosen(target: Target) -> frozenset[str]:
    """The parameters of *target* that tell no calls apart: for what a method belongs to, and what is handed in."""
    belongs_to = arguments.receiver(target)
    function = code_of(target.function)
    hints = {} if function is None else hints_of(function)  # not all is known yet: what comes is known by its class too
    return frozenset(
        {name for name, hint in hints.items() if _is_marked(hint)} | ({belongs_to} if belongs_to else set())
    )


def is_handed_in(kind: type[Any]) -> bool:
    """Whether objects of this class come from a framework, one with every call."""
    return any(base.__module__.startswith(_MODULES.get(base.__name__, ())) for base in kind.__mro__)


def _is_marked(hint: Any) -> bool:
    if isinstance(hint, type):
        return is_handed_in(hint)
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _is_marked(hint.__origin__) or any(_marks(mark) for mark in hint.__metadata__)
    if origin is typing.Union or origin is types.UnionType:
        return any(_is_marked(one) for one in typing.get_args(hint))
    return isinstance(origin, type) and is_handed_in(origin)


def _marks(mark: Any) -> bool:
    kind = mark if isinstance(mark, type) else type(mark)
    return is_handed_in(kind) and not getattr(mark, "field", None)  # a field of the state is the program's own
