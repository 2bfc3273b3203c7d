"""`import actguard` is free of everything that the program did not ask for."""

import json
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

import actguard
from actguard import exceptions

HEAVY = ("openai", "anthropic", "google", "pydantic", "httpx", "httpx2", "requests", "aiohttp", "genai_prices")

LOADED_BY = """
import json, sys
before = {*sys.modules}
exec(sys.argv[1])
print(json.dumps([*{*sys.modules} - before]))
"""

EVERY_MODULE_WITHOUT = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    sys.modules[name] = None  # an import of it fails, as if it were not installed
import actguard
for found in pkgutil.walk_packages(actguard.__path__, "actguard."):
    if not found.name.endswith(("__main__", ".plugin")):
        module = importlib.import_module(found.name)
        missing = [name for name in getattr(module, "__all__", ()) if not hasattr(module, name)]
        assert not missing, (found.name, missing)
"""


def run(program: str, *arguments: str) -> str:
    """What *program* prints, in an interpreter of its own."""
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_error_is_found_beside_what_raises_it() -> None:
    names = exceptions.__all__

    assert {name: getattr(actguard, name) for name in names} == {name: getattr(exceptions, name) for name in names}


@pytest.mark.parametrize("statement", ["import actguard", "from actguard import *", "import actguard.testing"])
def test_importing_actguard_loads_no_sdk_and_no_http_library(statement: str) -> None:
    loaded = json.loads(run(LOADED_BY, statement))

    assert "actguard" in loaded
    assert {name.partition(".")[0] for name in loaded}.isdisjoint(HEAVY)


def test_every_module_imports_where_no_sdk_and_no_http_library_is_installed() -> None:
    run(EVERY_MODULE_WITHOUT, *HEAVY)


def test_the_time_of_the_import_is_reported(record_property: Callable[[str, object], None]) -> None:
    def milliseconds(statement: str) -> float:
        started = time.perf_counter()
        run(statement)
        return (time.perf_counter() - started) * 1000

    best = min(milliseconds("import actguard") for _ in range(5)) - min(milliseconds("pass") for _ in range(5))

    record_property("import_milliseconds", round(best, 1))
    print(f"import actguard: {best:.1f} ms")
