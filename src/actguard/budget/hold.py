"""Hold: what one call asks of its scope, and has set aside there. Who makes the calls says what they may cost."""

from typing import TYPE_CHECKING, NamedTuple

from actguard.budget.charge import NO_CHARGE, Charge

if TYPE_CHECKING:
    from actguard.budget.scope import BudgetScope


class Lowered(NamedTuple):
    """A call made smaller to fit: the output cap to send, and the bounds that follow from it."""

    cap: int
    pico: int
    tokens: int


class Hold:
    """What one call asks for, and has set aside until it is settled or released. Changed only under the tree's lock."""

    __slots__ = (
        "around",
        "bound_pico",
        "bound_tokens",
        "cap",
        "charged",
        "estimate_pico",
        "estimate_tokens",
        "expected",
        "final",
        "measured",
        "parked",
        "reader",
        "scope",
        "stream",
        "task",
        "thread",
    )

    scope: "BudgetScope"
    """Where it was opened."""
    task: int
    """The asyncio task that opened it, by id; 0 for none."""
    thread: int
    """The thread that opened it, by ident."""
    stream: int
    """Its number, once it is a stream that its opener reads; 0 before."""
    reader: object
    """Of a stream: the worker (context.py) that opened it, or began to read it."""
    around: tuple[int, ...]
    """The streams that were open where it was opened, or where its task or thread was started, by number."""
    estimate_pico: int
    """What default scopes set aside."""
    estimate_tokens: int
    """Input and output together."""
    bound_pico: int
    """What strict scopes set aside."""
    bound_tokens: int
    cap: int | None
    """The output cap that was granted instead of the call's own."""
    final: bool
    """Settled for good."""
    parked: bool
    """Nothing runs that will end it: it ends when somebody looks at it again."""
    charged: Charge | None
    expected: Charge | None
    """What it will likely come to, once its guard was left: told to readers, and counted nowhere."""
    measured: bool
    """Whether the amounts above are known. While a call is alone in its tree nobody needs its estimate: it is made when
    a second one comes."""

    def __init__(self, scope: "BudgetScope", measured: bool = True) -> None:
        self.scope = scope
        self.task = self.thread = self.stream = 0
        self.around = ()
        self.estimate_pico = self.estimate_tokens = 0
        self.bound_pico = self.bound_tokens = 0
        self.cap = None
        self.final = self.parked = False
        self.charged = self.expected = self.reader = None
        self.measured = measured

    def measure(self) -> None:
        """Work out the estimates."""
        self.measured = True

    def lower(self, left_pico: float, left_tokens: float) -> Lowered | None:
        """The largest version of this call that fits what remains (`inf`: no limit); None if none does."""
        return None

    def likely_charge(self) -> Charge:
        """What the call will likely come to, as far as can be told now."""
        return NO_CHARGE

    def give_up(self) -> None:
        """Nobody is left to be told of its end: charge for good what is known of it."""

    def waits_in_vain_for(self, other: "Hold") -> bool:
        """Whether *other* can only end when its opener goes on, and that is who would wait.

        A synchronous caller blocks its whole thread. A task blocks only itself, and whatever runs on its thread
        outside any task. And whoever reads a stream may, before he reads on, wait for tasks or threads that he started.
        """
        if other.parked or (other.stream and other.stream in self.around):
            return True
        if self.task and other.task:
            return self.task == other.task
        return self.thread == other.thread

    def take(self, lowered: Lowered) -> None:
        self.cap, self.bound_pico, self.bound_tokens = lowered
        self.estimate_pico = min(self.estimate_pico, lowered.pico)
        self.estimate_tokens = min(self.estimate_tokens, lowered.tokens)
