"""`no_repeat`: an agent that makes the same call over and over is told so."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from actguard.exceptions import ActGuardUsageError, LoopDetected, ToolGuardError
from actguard.pipeline import arguments
from actguard.pipeline.decorate import Decorator
from actguard.pipeline.guard import Answer, Ending, Guard, OnStoreError, Part, called, flag, parameters, positive, whole
from actguard.pipeline.target import Target
from actguard.stores.protocol import CounterGive, CounterSeen, CounterTake, Receipt, Refusal, UsedUp
from actguard.tools.canonical import digest
from actguard.tools.handed_in import not_chosen
from actguard.tools.max_attempts import KEPT_S, run_of, spent_nothing
from actguard.tools.scope import counted, key_prefix

_ENDLESS = 1 << 62


@dataclass(frozen=True, kw_only=True, eq=False)
class NoRepeat(Decorator):
    """At most *max_identical* calls with the same arguments in a run.

    The first call too many is not made: it returns a sentence for the model ("this exact call was made 3 times
    already"). The next one raises.

    Args:
        max_identical: how many. The order in which arguments are written does not matter.
        window: seconds after which a call that was not repeated is forgotten; None: a day.
        args: what makes calls the same: "canonical", all arguments; the names of those to leave out; or a callable that
            gets the call's arguments and returns what to compare.
        compare_results: a call that came out otherwise than the one before starts the count anew: polling that sees
            something change repeats nothing.
        exempt: gets the call's arguments; True for a call that may repeat itself (polling).
        tell: False raises on the first call too many.

    Raises:
        LoopDetected: on the second call too many; on the first one, if *tell* is False or the tool is a generator.
        MissingRuntimeContextError: on a call outside a run.
    """

    kind: ClassVar[str] = "no_repeat"
    once: ClassVar[bool] = True
    safe_store_error: ClassVar[OnStoreError] = "local"

    max_identical: int = 3
    window: float | None = None
    args: Literal["canonical"] | Sequence[str] | Callable[..., Any] = "canonical"
    compare_results: bool = False
    exempt: Callable[..., bool] | None = None
    tell: bool = True

    def __post_init__(self) -> None:
        Guard.__post_init__(self)
        whole("max_identical", self.max_identical)
        if self.window is not None:
            positive("window", self.window)
        if callable(self.args):
            called("args", self.args)
        elif self.args != "canonical":
            parameters("args", self.args, also='"canonical", a callable')
        flag("compare_results", self.compare_results)
        flag("tell", self.tell)
        if self.compare_results and self.max_identical < 2:
            raise ActGuardUsageError(
                "max_identical must be 2 or more with compare_results: one result is not compared with anything",
                argument="max_identical",
            )
        if self.exempt is not None:
            called("exempt", self.exempt)

    def bind(self, target: Target) -> Part[CounterTake]:
        if self.compare_results and target.kind in ("generator", "async_generator"):
            raise ActGuardUsageError(
                f"{target.name} is a generator: what it yields is not kept, and cannot be compared",
                argument="compare_results",
            )
        begin = key_prefix(self.kind, target.tool_id)
        compared = self._compared(target)
        limit, ttl_s = self.max_identical, self.window or KEPT_S
        exempt = self.exempt

        def step(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> CounterTake:
            run_id = run_of(self.kind, target).run_id
            if exempt is not None and exempt(*args, **kwargs):
                return CounterTake(f"{begin}{len(run_id)}:{run_id}/exempt", _ENDLESS, 1.0)
            return CounterTake(f"{begin}{len(run_id)}:{run_id}/{digest(compared(args, kwargs))}", limit, ttl_s)

        def refuse(step: CounterTake, refusal: Refusal) -> ToolGuardError | Answer:
            assert isinstance(refusal, UsedUp)
            error = LoopDetected(
                tool=target.name,
                count=refusal.used + refusal.refused,
                limit=limit,
                run_id=run_of(self.kind, target).run_id,
            )
            if not self.tell or refusal.refused > 1 or target.kind in ("generator", "async_generator"):
                return error
            return Answer(error.to_prompt(), blocked=error)

        def report(step: CounterTake, receipt: Receipt, ending: Ending) -> CounterGive | CounterSeen | None:
            if ending.error is not None and spent_nothing(ending.error):
                return CounterGive(step.key)
            if not self.compare_results or ending.neutral or step.limit == _ENDLESS:
                return None
            return CounterSeen(step.key, _mark(ending))

        return Part(
            guard=self,
            asks="counter",
            step=step,
            refuse=refuse,
            report=report,
            quiet_success=not self.compare_results,
        )

    def explain(self) -> str:
        result = " with the same result" if self.compare_results else ""
        return f"{counted(self.max_identical, 'identical call')}{result} in a run"

    def _compared(self, target: Target) -> Callable[[tuple[Any, ...], Mapping[str, Any]], Any]:
        if callable(self.args):
            return arguments.bound(target, self.args)
        named_arguments = arguments.named_arguments(target)
        named = () if self.args == "canonical" else tuple(self.args)
        for name in named:
            arguments.getter(target, name, argument="args")
        left_out = not_chosen(target) | set(named)

        def compared(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
            return {name: value for name, value in named_arguments(args, kwargs).items() if name not in left_out}

        return compared


no_repeat = NoRepeat


def _mark(ending: Ending) -> str:
    """A text for how a call came out; the same for the same results."""
    if ending.error is not None:
        return f"error {type(ending.error).__qualname__}"
    try:
        return digest(ending.result)
    except Exception:  # noqa: BLE001 - a hostile result counts as its class; the call was made
        return f"result {type(ending.result).__qualname__}"
