"""A pytest plugin for other people's tests: runs each one inside a guard, and writes down what came of it.

    python -m pytest -p benchmarks.guarded

`ACTGUARD_GUARDED` says in which: "none", "open" (a guard as it comes, without limits) or "limited" (limits far away,
and what they would refuse as unpriced or unmetered let through). `ACTGUARD_OUTCOMES` names the file to write.
"""

import json
import os
from collections.abc import Generator
from contextlib import nullcontext
from pathlib import Path

import pytest

MODE = os.environ.get("ACTGUARD_GUARDED", "none")
LIMITS = {"usd_limit": 1e9, "token_limit": 10**15, "unknown_price": "zero", "unmetered": "allow", "bypass": "allow"}

_outcomes: dict[str, str] = {}
_calls: dict[str, int] = {}


def pytest_configure(config: pytest.Config) -> None:
    if MODE != "none":  # a suite that makes errors of warnings would see ours; they are no part of what is compared
        config.addinivalue_line("filterwarnings", "ignore::actguard.BudgetWarning")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Around the test function itself, so that it and the tasks it begins inherit the guard."""
    if MODE == "none":
        with nullcontext():
            return (yield)
    from actguard import BudgetGuard

    guard = BudgetGuard(name=pyfuncitem.name, **(LIMITS if MODE == "limited" else {}))
    try:
        with guard:
            return (yield)
    finally:
        pyfuncitem.user_properties.append(("guarded calls", guard.calls))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.outcome != "passed":
        outcome = "xfailed" if hasattr(report, "wasxfail") else report.outcome
        _outcomes[report.nodeid] = outcome if report.when == "call" else f"{outcome} in {report.when}"
    _calls[report.nodeid] = dict(report.user_properties).get("guarded calls", 0)


def pytest_sessionfinish(session: pytest.Session) -> None:
    named = os.environ.get("ACTGUARD_OUTCOMES")
    if named and not hasattr(session.config, "workerinput"):  # not in the workers of pytest-xdist
        Path(named).write_text(json.dumps({"outcomes": _outcomes, "calls": sum(_calls.values())}), encoding="utf-8")
