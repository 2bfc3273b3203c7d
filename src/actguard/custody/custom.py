"""Rules of one's own: anything with `check(arguments, facts)`, or a function of the two."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from actguard.custody.rule import Call, Denial, Question, Rule, Shape
from actguard.custody.trust import LABELS, Trust, level
from actguard.custody.values import Unfit, encode
from actguard.exceptions import ActGuardUsageError
from actguard.pipeline.guard import called
from actguard.stores.facts import Known


class Facts:
    """What is known in the session, for a rule of one's own."""

    __slots__ = ("_known",)

    def __init__(self, known: Sequence[Known]) -> None:
        self._known = known

    def holds(self, kind: str, value: Any, *, min_trust: Trust = "field") -> bool:
        """Whether *value* is a known fact of *kind*, with this trust at least."""
        try:
            key = (kind, encode(value))
        except (Unfit, TypeError, ValueError):
            return False
        rank = level("min_trust", min_trust)
        return any(fact.key == key and fact.trust >= rank for fact in self._known)

    def trust(self, kind: str, value: Any) -> Trust | None:
        """The highest trust that *value* is known with; None: it is not known."""
        return next((label for label in reversed(LABELS) if self.holds(kind, value, min_trust=label)), None)


class Custom(Rule):
    """A rule of one's own. It returns None when the call is fine, else a `Denial`, a sentence, or False.

    Args:
        rule: a function of `(arguments, facts)`, or an object with such a `check`, and if it likes a
            `validate(signature)`. What it raises refuses the call.
    """

    __slots__ = ("_check", "_name", "_validate")
    lists = ("*",)

    def __init__(self, rule: Any) -> None:
        check: Any = getattr(rule, "check", None)
        if not callable(check):
            check = rule
        if not callable(check) or isinstance(rule, type):
            raise ActGuardUsageError(
                "rules must hold rules such as RequireFact('order_id', 'order'), objects with check(arguments, facts), "
                f"or functions of the two, not {rule!r}",
                argument="rules",
            )
        called("rules", check)
        self._check: Callable[[Mapping[str, Any], Facts], Any] = check
        self._validate: Any = getattr(rule, "validate", None)
        self._name: str = getattr(rule, "__name__", type(rule).__name__)

    def validate(self, shape: Shape) -> None:
        if callable(self._validate):
            self._validate(shape.target.signature)

    def ask(self, call: Call) -> Denial | Question | None:
        said = self._check(call.shape.arguments(call.args, call.kwargs), Facts(call.session.known(())))
        if said is None or said is True:
            return None
        if isinstance(said, Denial):
            return said
        return Denial("RULE_VIOLATED", said if isinstance(said, str) and said else f"{self._name} refuses this call")

    def __repr__(self) -> str:
        return f"Custom({self._name})"


def as_rule(rule: Any) -> Rule:
    return rule if isinstance(rule, Rule) else Custom(rule)
