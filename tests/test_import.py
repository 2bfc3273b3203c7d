"""`import actguard` is free of everything that the program did not ask for."""

import json
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

HEAVY = ("openai", "anthropic", "google", "pydantic", "httpx", "httpx2", "requests", "aiohttp", "genai_prices")


def fresh(statement: str) -> list[str]:
    """The modules that *statement* loads in an interpreter of its own, without what site hooks have loaded before."""
    program = (
        f"import json, sys; before = {{*sys.modules}}; {statement}; print(json.dumps([*{{*sys.modules}} - before]))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def test_importing_actguard_loads_no_sdk_and_no_http_library() -> None:
    loaded = fresh("import actguard")

    assert "actguard" in loaded
    assert {name.partition(".")[0] for name in loaded}.isdisjoint(HEAVY)


def test_the_time_of_the_import_is_reported(record_property: Callable[[str, object], None]) -> None:
    def milliseconds(statement: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True)
        return (time.perf_counter() - started) * 1000

    best = min(milliseconds("import actguard") for _ in range(5)) - min(milliseconds("pass") for _ in range(5))

    record_property("import_milliseconds", round(best, 1))
    print(f"import actguard: {best:.1f} ms")


@pytest.mark.parametrize("name", ["actguard", "actguard.money", "actguard.budget.usage"])
def test_every_public_name_of_a_module_exists(name: str) -> None:
    module = __import__(name, fromlist=["*"])

    missing = [public for public in getattr(module, "__all__", ()) if not hasattr(module, public)]

    assert missing == []
