"""Which events there are, and which of them a mode lets through."""

import os
from typing import Literal, NamedTuple

Mode = Literal["off", "significant", "verbose"]


class Kind(NamedTuple):
    """What is said of an event by its name alone, where who emits it says nothing else."""

    meaning: str
    severity: str = "info"
    outcome: str = "success"


SIGNIFICANT: dict[tuple[str, str], Kind] = {
    ("run", "start"): Kind("A run was entered."),
    ("run", "end"): Kind("A run was left; the payload has its duration, and the error it was left with."),
    ("llm", "usage"): Kind("A paid call, once: its model, its tokens, what it cost."),
    ("guard", "blocked"): Kind("A guard refused to run what it guards.", "error", "blocked"),
    ("guard", "intervention"): Kind("A guard changed what happened: a stored result, a shorter wait.", "warning"),
    ("budget", "limit_exceeded"): Kind("A call passed a limit; it was paid for.", "error", "blocked"),
    ("budget", "blocked"): Kind("A call, or a scope, was refused before anything was spent.", "error", "blocked"),
    ("tool", "invoke"): Kind("A guarded tool was called; only with ACTGUARD_EMIT_ALL_TOOL_RUNS."),
    ("tool", "failure"): Kind("A guarded tool failed by itself.", "error", "failed"),
}
"""The events of mode "significant"."""

VERBOSE: dict[tuple[str, str], Kind] = {
    ("budget", "cost"): Kind("External spend was counted: `add_cost`."),
}
"""What mode "verbose" adds, besides everything that programs emit themselves."""

GATEWAYS_OWN: dict[str, Kind] = {
    "reserved": Kind("A hold was granted."),
    "extended": Kind("A hold has grown."),
    "charged": Kind("A part of what a run spends was charged, or what came after its settle."),
    "settled": Kind("A hold was settled."),
    "settled_late": Kind("A hold was settled after it had expired or was released; it was charged."),
    "released": Kind("A hold was given back unused."),
    "expired": Kind("A hold's time was over before it was settled.", "warning"),
    "overrun": Kind("More was spent than was held; it was charged.", "warning"),
    "would_block": Kind("A budget that only observes would have refused this.", "warning", "observed"),
}
"""Of category "budget", by name: what the gateway alone can know."""

SPEND = ("llm", "usage")
"""Never dropped for a lesser one."""

_OTHER = Kind("")
_YES = frozenset({"1", "true", "yes", "on"})


def kind_of(category: str, name: str) -> Kind:
    return SIGNIFICANT.get((category, name)) or VERBOSE.get((category, name)) or _OTHER


def wanted(mode: Mode, category: str, name: str) -> bool:
    """Whether *mode* lets an event through."""
    if category == "tool" and name == "invoke":
        return mode != "off" and os.environ.get("ACTGUARD_EMIT_ALL_TOOL_RUNS", "").strip().lower() in _YES
    return mode == "verbose" or (mode == "significant" and (category, name) in SIGNIFICANT)
