"""Rules about what happened before: a plan, a tool that must have run, an untrusted read that must not have.

The session remembers the runs of tools that carry `prove` or `track`.
"""

from dataclasses import dataclass, field

from actguard.custody.amounts import positive
from actguard.custody.kinds import PLAN, RAN, UNTRUSTED
from actguard.custody.rule import Answer, Call, Denial, Question, Rule, flag, hinted, names
from actguard.custody.values import encode
from actguard.stores.facts import Need

required: set[str] = set()
"""Tools that a `RequireTool` names: whose runs are worth remembering."""

ANY = "*"


@dataclass(frozen=True, slots=True)
class RequireTool(Rule):
    """These tools ran before, in this session, and did not fail.

    Args:
        before: the tool, or several of which all must have run.
        max_age: seconds since the last run, at most.
        consume: each run allows one call.
        hint: what to do instead, for the model.
    """

    before: str | tuple[str, ...]
    max_age: float | None = field(default=None, kw_only=True)
    consume: bool = field(default=False, kw_only=True)
    hint: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        tools = names(RequireTool, "before", self.before)
        object.__setattr__(self, "before", tools)
        flag(RequireTool, "consume", self.consume)
        hinted(RequireTool, self.hint)
        if self.max_age is not None:
            positive(RequireTool, "max_age", self.max_age)
        required.update(tools)

    def ask(self, call: Call) -> Denial | Question | None:
        return Question(
            tuple(Need((RAN, encode(tool)), max_age=self.max_age, consume=self.consume) for tool in self.before)
        )

    def judge(self, call: Call, answer: Answer) -> Denial | None:
        for tool, why in zip(self.before, answer.needs, strict=True):
            if why is not None:
                return Denial(
                    "TOOL_REQUIRED",
                    f"{call.shape.name} may be called only after {tool}",
                    None,
                    "not_run" if why == "unknown" else why,
                    self.hint or f"Call {tool} first.",
                    {"before": tool},
                )
        return None


@dataclass(frozen=True, slots=True, init=False)
class NotAfter(Rule):
    """No untrusted read came before, in this session: what somebody else wrote may not lead to this call.

    Untrusted are the reads marked so: `prove(..., trust="text")` and `track(untrusted=True)`.

    Args:
        tools: the reads that count; all if none is named.
        hint: what to do instead, for the model.
    """

    tools: tuple[str, ...]
    hint: str

    def __init__(self, *tools: str, hint: str = "") -> None:
        object.__setattr__(self, "tools", names(NotAfter, "tools", tools) if tools else ())
        hinted(NotAfter, hint)
        object.__setattr__(self, "hint", hint)

    def ask(self, call: Call) -> Denial | Question | None:
        return Question(tuple(Need((UNTRUSTED, encode(tool)), absent=True) for tool in self.tools or (ANY,)))

    def judge(self, call: Call, answer: Answer) -> Denial | None:
        if not any(answer.needs):
            return None
        return Denial(
            "UNTRUSTED_INPUT",
            f"{call.shape.name} may not be called any more, because text that others wrote was read in this session",
            None,
            "present",
            self.hint or "Tell the user what you wanted to do, and let him do it.",
        )


@dataclass(frozen=True, slots=True)
class InPlan(Rule):
    """The tool is in the plan that the program made with `session.plan([...])`. Without a plan, nothing is in it.

    Args:
        hint: what to do instead, for the model.
    """

    hint: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        hinted(InPlan, self.hint)

    def ask(self, call: Call) -> Denial | Question | None:
        return Question((Need((PLAN, encode(call.shape.name))),))

    def judge(self, call: Call, answer: Answer) -> Denial | None:
        if answer.needs[0] is None:
            return None
        return Denial(
            "NOT_IN_PLAN",
            f"{call.shape.name} is not part of this task",
            None,
            "not_planned",
            self.hint or "Do what was asked for, and nothing else.",
        )
