"""How many small changes to the guards do the tests notice? See docs/mutation.md.

python -m tools.mutation                                      every module, every change: hours
python -m tools.mutation --sample 60 src/actguard/custody     60 changes to each module, the same each time
python -m tools.mutation --again src/actguard/custody/prove.py    those that survived the last time
"""

import argparse
import datetime
import json
import multiprocessing
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tools.mutation import runs
from tools.mutation.mutants import Mutant, mutants
from tools.mutation.plan import PLAN, tests_of

KEPT = Path(".mutation")
"""What survived, for `--again`, and a row of the table for each module."""
ENOUGH = 90.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.mutation", description="Do the tests notice small changes?")
    parser.add_argument("paths", nargs="*", type=Path, help="modules, or folders of them")
    parser.add_argument("--sample", type=int, help="changes to each module, by chance; all if it has no more")
    parser.add_argument("--seed", type=int, default=1, help="of the chance")
    parser.add_argument("--jobs", type=int, default=1, help="modules at once")
    parser.add_argument("--again", action="store_true", help="only those that survived the last time")
    options = parser.parse_args()
    runs.prepare()
    KEPT.mkdir(exist_ok=True)
    found = {module: mutants(module.read_text(encoding="utf-8")) for module in _modules(options.paths)}
    wanted = [module for module in found if found[module]]
    scores: list[float] = []
    for tests in dict.fromkeys(tests_of(module) for module in wanted):
        together = [module for module in wanted if tests_of(module) == tests]
        known = runs.survey(together, tests)
        asked = [(module, found[module], known[module], options) for module in together]
        with multiprocessing.get_context("fork").Pool(options.jobs) as pool:
            for score, told in pool.imap_unordered(_run, asked):
                scores.append(score)
                print(told, flush=True)
    sys.exit(min(scores, default=100.0) < ENOUGH)


def _modules(paths: Iterable[Path]) -> list[Path]:
    named = list(paths) or [Path(folder) for folder in PLAN]
    files = [file for path in named for file in (sorted(path.glob("*.py")) if path.is_dir() else [path])]
    return list(dict.fromkeys(files))


def _run(asked: tuple[Path, list[Mutant], runs.Survey, argparse.Namespace]) -> tuple[float, str]:
    """The score of a module, and what to print: its survivors, and a row of the table."""
    module, every, known, options = asked
    name = ".".join(module.with_suffix("").parts[1:])
    kept = KEPT / f"{name}.json"
    chosen = every
    if options.again:
        last = {tuple(each) for each in json.loads(kept.read_text())}
        chosen = [mutant for mutant in every if (mutant.before, mutant.after) in last]
    elif options.sample is not None and options.sample < len(every):
        chosen = random.Random(f"{options.seed} {module.name}").sample(every, options.sample)
    begin = time.monotonic()
    outcomes: Counter[runs.Outcome] = Counter()
    survived: list[Mutant] = []
    runner = runs.Runner(module, name, known)
    unsure = runner.settle(module.read_text(encoding="utf-8"))
    told = [f"left out, because it failed without a change: {test}" for test in unsure]
    for mutant in sorted(chosen):
        outcome = runner.run(mutant)
        outcomes[outcome] += 1
        if outcome in ("survived", "uncovered"):
            survived.append(mutant)
            told.append(f"{module}:{mutant.first} {outcome}\n  - {mutant.before}\n  + {mutant.after}")
    tried = outcomes.total() - outcomes["broken"]
    noticed = outcomes["killed"] + outcomes["timeout"]
    score = 100 * noticed / max(1, tried)
    shown = Path(*module.parts[2:])
    told.append(f"{dict(outcomes)} in {time.monotonic() - begin:.0f} s")
    today = datetime.datetime.now(datetime.UTC).date()
    told.append(f"| `{shown}` | {len(every)} | {tried} | {noticed} | {score:.1f} % | {today} |")
    kept.write_text(json.dumps([(mutant.before, mutant.after) for mutant in survived]))
    return score, "\n".join(told)


if __name__ == "__main__":
    main()
