"""What a framework hands to a tool beside what the model chose is another one with every call, and tells none apart."""

import functools
import itertools
import sys
import types
from typing import Annotated, Any, Generic, Optional, TypedDict, TypeVar

import pytest

from actguard import BudgetGuard, IdempotencyPayloadMismatch, LoopDetected, idempotent, no_repeat
from actguard.tools.canonical import digest

T = TypeVar("T")
_calls = itertools.count()


def of(module: str) -> Any:
    """As if the class were *module*'s."""

    def moved(kind: type[Any]) -> type[Any]:
        kind.__module__ = module
        kind.__qualname__ = kind.__name__
        return kind

    return moved


class _PerCall:
    """What stand-ins of contexts have in common: something that is never the same again, and leads to itself."""

    def __init__(self) -> None:
        self.call = next(_calls)
        self.around = self


@of("agents.run_context")
class RunContextWrapper(_PerCall, Generic[T]): ...


@of("agents.tool_context")
class ToolContext(RunContextWrapper[T]): ...


@of("pydantic_ai._run_context")
class RunContext(_PerCall, Generic[T]): ...


@of("google.adk.agents.readonly_context")
class ReadonlyContext(_PerCall): ...


@of("workflows.context.context")
class Context(_PerCall): ...


@of("autogen_core._cancellation_token")
class CancellationToken(_PerCall): ...


@of("langgraph.prebuilt.tool_node")
class ToolRuntime(_PerCall, Generic[T]): ...


@of("langchain_core.runnables.config")
class RunnableConfig(TypedDict, total=False):
    callbacks: Any


@of("langchain_core.tools.base")
class InjectedToolArg:
    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


@of("langchain_core.tools.base")
class InjectedToolCallId(InjectedToolArg): ...


@of("langgraph.prebuilt.tool_node")
class InjectedState(InjectedToolArg):
    def __init__(self, field: str | None = None) -> None:
        self.field = field


@of("langgraph.prebuilt.tool_node")
class InjectedStore(InjectedToolArg): ...


@of("agent_framework._middleware")
class FunctionInvocationContext(_PerCall): ...


McpContext = of("mcp.server.mcpserver.context")(type("Context", (_PerCall,), {}))
FastMcpContext = of("fastmcp.server.context")(type("Context", (_PerCall,), {}))
LlamaIndexContext = of("llama_index.core.workflow.context")(type("Context", (_PerCall,), {}))
LangChainRuntime = of("langchain.tools.tool_node")(type("ToolRuntime", (_PerCall,), {}))
LangGraphRuntime = of("langgraph.runtime")(type("Runtime", (_PerCall,), {}))
Store = of("langgraph.store.base")(type("BaseStore", (_PerCall,), {}))
Callbacks = of("langchain_core.callbacks.manager")(type("BaseRunManager", (_PerCall,), {}))
CallbacksForTool = of("langchain_core.callbacks.manager")(type("CallbackManagerForToolRun", (Callbacks,), {}))
StrandsContext = of("strands.types.tools")(type("ToolContext", (_PerCall,), {}))
AgnoContext = of("agno.run.base")(type("RunContext", (_PerCall,), {}))
HaystackState = of("haystack.components.agents.state.state")(type("State", (_PerCall,), {}))


def config() -> Any:
    return {"callbacks": next(_calls)}


def call_id() -> str:
    return f"call_{next(_calls)}"


HANDED_IN = [
    (RunContextWrapper[str], RunContextWrapper),
    (ToolContext[str], ToolContext),
    (RunContext[str], RunContext),
    (ReadonlyContext, ReadonlyContext),
    (FunctionInvocationContext, FunctionInvocationContext),
    (StrandsContext, StrandsContext),
    (AgnoContext, AgnoContext),
    (HaystackState | None, HaystackState),
    (Context, Context),
    (McpContext, McpContext),
    (FastMcpContext, FastMcpContext),
    (LlamaIndexContext, LlamaIndexContext),
    (LangChainRuntime, LangChainRuntime),
    (LangGraphRuntime, LangGraphRuntime),
    (Store, Store),
    (CallbacksForTool | None, CallbacksForTool),
    (CancellationToken, CancellationToken),
    (ToolRuntime, ToolRuntime),
    (ToolRuntime[str] | None, ToolRuntime),
    (RunnableConfig, config),
    (Optional[RunnableConfig], config),  # noqa: UP045 - as it is also written
    (Annotated[str, InjectedToolCallId], call_id),
    (Annotated[str, InjectedToolCallId()], call_id),
    (Annotated[dict[str, Any], InjectedState], config),
    (Annotated[dict[str, Any], InjectedState()], config),
    (Annotated[Any, InjectedStore], config),
    (Annotated[RunContext[str], "of the run"], RunContext),
    (Annotated[RunnableConfig, "of the run"], config),
]


@pytest.fixture(params=HANDED_IN, ids=lambda given: str(given[0]).rpartition(".")[2])
def handed_in(request):
    return request.param


@pytest.fixture(params=["resolved", "as text"])
def tool(request, handed_in):
    """A tool that the framework hands something to, as *hint* says."""
    hint, _ = handed_in

    def pay(context, to, idempotency_key=""):
        return next(_calls)

    pay.__annotations__ = {"context": hint, "to": str}
    if request.param == "as text":  # as under `from __future__ import annotations`
        module = types.ModuleType("hinted")
        vars(module)["Hint"] = hint
        pay = types.FunctionType(pay.__code__, {**vars(module), "_calls": _calls, "next": next}, "pay", ("",))
        pay.__annotations__ = {"context": "Hint", "to": "str"}
    return pay


def test_a_derived_key_is_the_same_whatever_is_handed_in(tool, handed_in):
    _, make = handed_in
    pay = idempotent(key="derived")(tool)

    with BudgetGuard():
        assert pay(make(), "bob") == pay(make(), "bob") != pay(make(), "eve")


def test_a_further_call_agrees_with_the_first_whatever_is_handed_in(tool, handed_in):
    _, make = handed_in
    pay = idempotent()(tool)

    with BudgetGuard():
        assert pay(make(), "bob", idempotency_key="k") == pay(make(), "bob", idempotency_key="k")
        with pytest.raises(IdempotencyPayloadMismatch):
            pay(make(), "eve", idempotency_key="k")


def test_a_loop_is_seen_whatever_is_handed_in(tool, handed_in):
    _, make = handed_in
    look = no_repeat(max_identical=1, tell=False)(tool)

    with BudgetGuard():
        look(make(), "bob")
        look(make(), "eve")
        with pytest.raises(LoopDetected):
            look(make(), "bob")


@pytest.mark.parametrize("kind", [RunContextWrapper, RunContext, ReadonlyContext, Context, CancellationToken])
def test_a_context_without_a_hint_is_known_by_its_class(kind):
    assert digest({"context": kind(), "to": "bob"}) == digest({"context": kind(), "to": "bob"})
    assert digest({"context": kind()}) != digest({"context": None})


def test_hints_that_cannot_be_resolved_are_no_error():
    def pay(context: "Elsewhere", to: str) -> str:  # type: ignore[name-defined]  # noqa: F821
        return to

    with BudgetGuard():
        guarded = no_repeat(max_identical=1, tell=False)(pay)
        guarded(RunContext(), "bob")
        with pytest.raises(LoopDetected):
            guarded(RunContext(), "bob")


def test_a_hint_that_cannot_be_resolved_hides_no_other():
    def pay(context: RunnableConfig, to: str) -> int:
        return next(_calls)

    pay.__annotations__ = {"context": RunnableConfig, "to": "Elsewhere"}
    guarded = idempotent(key="derived")(pay)

    with BudgetGuard():
        assert guarded(config(), "bob") == guarded(config(), "bob") != guarded(config(), "eve")


@pytest.mark.parametrize(
    "hint", [Annotated[str, InjectedToolArg], Annotated[str, InjectedState("user")], str, dict[str, ReadonlyContext]]
)
def test_what_the_program_itself_hands_in_tells_calls_apart(hint):
    """A user's name, say: the same order by somebody else is another order."""

    def order(user, what):
        return f"{what} for {user}"

    order.__annotations__ = {"user": hint, "what": str}
    guarded = idempotent(key="derived")(order)

    with BudgetGuard():
        assert (guarded("ann", "tea"), guarded("bob", "tea")) == ("tea for ann", "tea for bob")


def test_what_is_asked_for_by_name_is_compared():
    def pay(config: RunnableConfig, to: str, idempotency_key: str) -> str:
        return to

    guarded = idempotent(fingerprint=["config"])(pay)

    with BudgetGuard():
        guarded({"callbacks": 1}, "bob", "k")
        assert guarded({"callbacks": 1}, "eve", "k") == "bob"
        with pytest.raises(IdempotencyPayloadMismatch):
            guarded({"callbacks": 2}, "bob", "k")


def test_methods_and_partials_are_handed_things_too():
    class Shop:
        def buy(self, context: RunContext[str], what: str) -> int:
            return next(_calls)

    with BudgetGuard():
        for buy in (
            idempotent(key="derived")(Shop.buy),
            idempotent(key="derived")(functools.partial(Shop.buy)),
        ):
            assert buy(Shop(), RunContext(), "tea") == buy(Shop(), RunContext(), "tea")


def test_no_framework_is_imported_for_it():
    assert not {"agents", "pydantic_ai", "langchain_core", "langgraph", "autogen_core"} & set(sys.modules)
