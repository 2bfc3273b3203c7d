"""`no_repeat`: an agent that makes the same call over and over is told so."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from actguard.exceptions import ActGuardUsageError, LoopDetected, ToolGuardError
from actguard.pipeline import arguments
from actguard.pipeline.guard import Answer, Ending, Guard, OnStoreError, Part, positive, whole
from actguard.pipeline.target import Target
from actguard.stores.protocol import CounterGive, CounterTake, Receipt, Refusal, UsedUp
from actguard.tools.canonical import digest
from actguard.tools.max_attempts import KEPT_S, run_of, spent_nothing
from actguard.tools.scope import key_prefix


@dataclass(frozen=True, kw_only=True, eq=False)
class NoRepeat(Guard):
    """At most *max_identical* calls with the same arguments in a run.

    The first call too many is not made: it returns a sentence for the model ("this exact call was made 3 times
    already"). The next one raises.

    Args:
        max_identical: how many. The order in which arguments are written does not matter.
        window: seconds after which a call that was not repeated is forgotten; None: never in this run.
        args: what makes calls the same: "canonical", all arguments; the names of those to leave out; or a callable that
            gets the call's arguments and returns what to compare.
        exempt: gets the call's arguments; True for a call that may repeat itself (polling).
        tell: False raises on the first call too many.

    Raises:
        LoopDetected: see above.
        MissingRuntimeContextError: on a call outside a run.
    """

    kind: ClassVar[str] = "no_repeat"
    once: ClassVar[bool] = True
    safe_store_error: ClassVar[OnStoreError] = "local"

    max_identical: int = 3
    window: float | None = None
    args: Literal["canonical"] | Sequence[str] | Callable[..., Any] = "canonical"
    exempt: Callable[..., bool] | None = None
    tell: bool = True

    def __post_init__(self) -> None:
        Guard.__post_init__(self)
        whole("max_identical", self.max_identical)
        if self.window is not None:
            positive("window", self.window)
        if isinstance(self.args, str) and self.args != "canonical":
            raise ActGuardUsageError(
                f'args must be "canonical", a list of parameters to leave out, or a callable, not {self.args!r}',
                argument="args",
            )
        if self.exempt is not None and not callable(self.exempt):
            raise ActGuardUsageError("exempt must be callable", argument="exempt")

    def bind(self, target: Target) -> Part[CounterTake]:
        begin = key_prefix(self.kind, target.tool_id)
        compared = self._compared(target)
        limit, ttl_s = self.max_identical, self.window or KEPT_S
        exempt = self.exempt

        def step(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> CounterTake:
            run_id = run_of(self.kind, target).run_id
            if exempt is not None and exempt(*args, **kwargs):
                return CounterTake(f"{begin}{len(run_id)}:{run_id}/exempt", 1 << 62, 1.0)
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

        def give_back(step: CounterTake, receipt: Receipt, ending: Ending) -> CounterGive | None:
            return CounterGive(step.key) if ending.error is not None and spent_nothing(ending.error) else None

        return Part(guard=self, asks="counter", step=step, refuse=refuse, report=give_back, quiet_success=True)

    def explain(self) -> str:
        return f"{self.max_identical} identical calls in a run"

    def _compared(self, target: Target) -> Callable[[tuple[Any, ...], Mapping[str, Any]], Any]:
        if callable(self.args):
            return arguments.bound(target, self.args)
        named_arguments = arguments.named_arguments(target)
        left_out = () if self.args == "canonical" else tuple(self.args)
        for name in left_out:
            arguments.getter(target, name, argument="args")

        def compared(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
            given = named_arguments(args, kwargs)
            first = next(iter(given), None)
            return {
                name: value
                for name, value in given.items()
                if name not in left_out and not (name == first and name in ("self", "cls"))
            }

        return compared


no_repeat = NoRepeat
