"""Tests against a changed module, each time in a process of its own that is forked from one which has loaded everything
but actguard: a mutant takes tenths of a second, and constants and class bodies can be changed as well as functions.

A survey first runs the tests on the module as it is: which test walks over which line, and how long it takes. A mutant
then meets the tests that walk over its lines, the quickest first, until one of them fails.
"""

import contextlib
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import math
import os
import resource
import select
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import coverage
import pytest
from hypothesis import Phase, settings

from tools.mutation.mutants import Mutant

Outcome = Literal["killed", "timeout", "survived", "uncovered", "broken"]
"""uncovered: no test walks over its lines. broken: the module cannot be imported any more, so it says nothing."""

OPTIONS = ["-q", "--no-header", "--tb=no", "--timeout=0", "-n", "0"]
_LEFT_OUT = ("cacheprovider", "rerunfailures", "randomly", "anyio", "unraisableexception", "threadexception")
OPTIONS += [option for plugin in _LEFT_OUT for option in ("-p", f"no:{plugin}")]
_SLOWEST = 5.0
"""Seconds: a test that takes longer is not run on mutants."""
_STILL = 12.0
"""Seconds without any work after which a mutant waits for something that never comes; no test here waits as long."""
_FAILED = 70
"""The exit code of a process in which not even pytest could be run."""
_FIRST = 20
"""So many tests say which file is read first."""
_LONGEST = 12.0
"""Seconds of tests that one mutant meets at most."""


class Survey(NamedTuple):
    """What is known of the tests of a module. lines: to the tests that walk over each."""

    lines: dict[int, set[str]]
    seconds: dict[str, float]


def prepare() -> None:
    """Examples that are the same in every process, and few; no looking for the smallest that fails."""
    phases = (Phase.explicit, Phase.generate)
    settings.register_profile(
        "mutation",
        max_examples=40,
        stateful_step_count=40,
        derandomize=True,
        database=None,
        deadline=None,
        phases=phases,
    )
    os.environ["HYPOTHESIS_PROFILE"] = "mutation"


def survey(modules: Sequence[Path], tests: Sequence[str]) -> dict[Path, Survey]:
    """Run *tests* on the modules as they are. What fails then, because measuring takes time, is not asked later.

    Raises:
        RuntimeError: they could not be run.
    """
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder, "survey.json")
        code, _ = _forked(lambda tell: _look(modules, tests, kept), 600)
        if code not in (0, 1):
            raise RuntimeError(f"the tests could not be run: pytest ended with {code}")
        told = json.loads(kept.read_text())
    for name in told["failed"]:
        print(f"left out, because it fails while it is measured: {name}", flush=True)
        del told["seconds"][name]
    for name in told["loaded"]:  # once, here, instead of in every process
        if name not in sys.modules and not name.startswith(("actguard", "tests", "conftest", "__")):
            try:
                importlib.import_module(name)
            except Exception:  # noqa: BLE001 - then each loads it for itself
                continue
    return {
        module: Survey({int(line): set(names) for line, names in told["lines"][str(module)].items()}, told["seconds"])
        for module in modules
    }


def _look(modules: Sequence[Path], tests: Sequence[str], kept: Path) -> int:
    measured = coverage.Coverage(
        data_file=None, include=[str(module.absolute()) for module in modules], config_file=False
    )
    watcher = _Watcher(measured)
    measured.start()
    code = pytest.main([*OPTIONS, *tests], plugins=[watcher])
    measured.stop()
    data = measured.get_data()
    lines = {str(module): data.contexts_by_lineno(str(module.absolute())) for module in modules}
    kept.write_text(
        json.dumps(
            {"lines": lines, "seconds": watcher.seconds, "failed": sorted(watcher.failed), "loaded": list(sys.modules)}
        )
    )
    return int(code)


class _Watcher:
    """Names what is covered by the test that is running."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self._measured = measured
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        self._measured.switch_context(item.nodeid)
        begin, delayed = time.perf_counter(), _delayed()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.perf_counter() - begin - (_delayed() - delayed)
            self._measured.switch_context("")


def _delayed() -> float:
    """Seconds in which this process could have run, and others did: without them, a test takes as long on a busy
    machine as on any."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


@dataclass
class Runner:
    """Runs mutants of one module; remembers which tests killed, and asks those first."""

    module: Path
    name: str
    known: Survey

    def __post_init__(self) -> None:
        self._kills: Counter[str] = Counter()

    def settle(self, source: str) -> list[str]:
        """Run everything on the module as it is, as if it were changed. What fails then is not asked, and returned."""
        lines = [line for line in self.known.lines if any(self.known.lines[line])]
        unsure: list[str] = []
        for _ in range(3):
            outcome = self.run(Mutant(min(lines, default=1), max(lines, default=1), False, "", "", source))
            if outcome != "killed":
                break
            (name,) = self._kills
            if not name:
                raise RuntimeError(f"the tests of {self.module} could not be read")
            unsure.append(name)
            del self.known.seconds[name]
            self._kills.clear()
        return unsure

    def run(self, mutant: Mutant) -> Outcome:
        """What became of the mutant."""
        wanted = self._tests(mutant)
        if not wanted:
            return "uncovered"
        usual = sum(self.known.seconds[test] for test in wanted)

        def work(tell: Callable[[str], None]) -> int:
            busy = int(5 + 3 * usual)  # seconds of CPU, so that a busy machine kills nothing
            resource.setrlimit(resource.RLIMIT_CPU, (busy, busy))
            return _try(self.module, self.name, mutant.source, wanted, tell)

        code, said = _forked(work, 40 + 5 * usual, _STILL)
        if code is None or (code < 0 and not said):
            return "timeout"
        if code == _FAILED:
            raise RuntimeError("the tests could not be run, whatever the change: is the environment whole?")
        if said == "broken":
            return "broken"
        if code == 0:
            return "survived"
        self._kills[said] += 1
        return "killed"

    def _tests(self, mutant: Mutant) -> list[str]:
        if mutant.at_import:
            covering = set(self.known.seconds)  # a default shows in a signature, which walks over no line
        else:
            lines = range(mutant.first, mutant.last + 1)
            covering = set().union(*(self.known.lines.get(line, ()) for line in lines))
        seconds = self.known.seconds
        usable = [test for test in covering if seconds.get(test, _SLOWEST) < _SLOWEST]
        usable.sort(key=lambda test: (seconds[test] > 0.1, -self._kills[test], seconds[test]))
        chosen, total = [], 0.0
        for test in usable:
            total += seconds[test]
            if total > _LONGEST:
                break
            chosen.append(test)
        return chosen


def _try(module: Path, name: str, source: str, wanted: Sequence[str], tell: Callable[[str], None]) -> int:
    sys.meta_path.insert(0, _Changed(name, module, source))
    try:
        importlib.import_module(name)
    except BaseException:  # noqa: BLE001 - whatever it is, the change is one that nobody could make
        tell("broken")
        return 1
    for files in _stages(wanted):
        code = int(pytest.main(["-x", *OPTIONS, *files], plugins=[_Chosen(wanted, tell)]))
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            return code
    return 0


def _stages(wanted: Sequence[str]) -> list[list[str]]:
    """The files of the tests: first the one that most of the first tests are in, then the others. Reading a file takes
    longer than most of its tests, and most mutants do not get past the first."""
    files = Counter(test.partition("::")[0] for test in wanted[:_FIRST])
    (first, _), *_ = files.most_common(1)
    others = dict.fromkeys(test.partition("::")[0] for test in wanted)
    del others[first]
    return [stage for stage in ([first], list(others)) if stage]


class _Chosen:
    """Runs the chosen tests, in their order, and tells the first that fails."""

    def __init__(self, wanted: Iterable[str], tell: Callable[[str], None]) -> None:
        self._order = {test: at for at, test in enumerate(wanted)}
        self._tell = tell

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        chosen = [item for item in items if item.nodeid in self._order]
        items[:] = sorted(chosen, key=lambda item: self._order[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._tell(report.nodeid)


class _Changed(importlib.abc.MetaPathFinder, importlib.machinery.SourceFileLoader):
    """Finds the module, with another text than the file has."""

    def __init__(self, name: str, module: Path, source: str) -> None:
        importlib.machinery.SourceFileLoader.__init__(self, name, str(module.absolute()))
        self._source = source

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        return (
            importlib.util.spec_from_file_location(fullname, self.path, loader=self) if fullname == self.name else None
        )

    def get_code(self, fullname: str) -> Any:
        return compile(self._source, self.path, "exec", dont_inherit=True)


def _forked(
    work: Callable[[Callable[[str], None]], int], seconds: float, still: float = math.inf
) -> tuple[int | None, str]:
    """The exit code of *work* in a process of its own, and what it told. None: it was not done in *seconds*, or did
    nothing for *still* seconds."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    gc.collect()
    gc.freeze()  # what is loaded by now is never looked through again
    child = os.fork()
    if child == 0:
        code = _FAILED
        try:
            os.setsid()
            os.close(reading)
            nothing = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nothing, stream)
            code = work(lambda said: os.write(writing, said.encode()) and None)
        finally:
            os._exit(code)
    os.close(writing)
    said = b""
    begun = moved = time.monotonic()
    worked = -1
    try:
        while True:
            ready, _, _ = select.select([reading], [], [], 1.0)
            if not ready:
                now, ticks = time.monotonic(), _ticks(child)
                if ticks is None or ticks != worked:
                    worked, moved = ticks or 0, now
                if now - begun > seconds or now - moved > still:
                    return None, said.decode()
                continue
            part = os.read(reading, 65536)
            if not part:
                break
            said += part
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status), said.decode()
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)


def _ticks(process: int) -> int | None:
    """How long *process* has worked, in the kernel's ticks; while it only waits for its turn, it counts as working.
    None: nobody knows, here."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "R" else int(fields[11]) + int(fields[12])
