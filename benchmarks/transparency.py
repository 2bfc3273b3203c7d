"""Does a guard stand in the way? The SDKs' own tests, without a guard and inside one, have to come out the same.

    python -m benchmarks.transparency [openai] [anthropic]

Takes the source distributions of the newest SDKs (as `sdks-newest` in pyproject.toml pins them), and of their tests
those that drive the client: requests, retries, raw responses, streams, helpers and tool loops over them. Nothing leaves
the machine, as the SDKs' tests mock HTTP. What wants their mock server, or snapshots that are not in the distribution,
fails in every mode alike. A test whose outcome differs is run again by itself, and counts if it differs again.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from benchmarks.venvs import HOME, ROOT, environment

FOLDER = HOME / "transparency"
MODES = ("none", "open", "limited")
TIMEOUT = 900


@dataclass(frozen=True)
class Suite:
    """The tests of one SDK, and what they import beside it."""

    extras: str
    packages: tuple[str, ...]
    tests: tuple[str, ...]
    """Below `tests/`; those that a version does not have are left out."""


def _names(several: str) -> tuple[str, ...]:
    return tuple(several.split())


SUITES = {
    "openai": Suite(
        "aiohttp,realtime,bedrock",
        ("azure-identity", "trio", "Pillow"),
        _names(
            "test_client.py test_streaming.py test_response.py test_legacy_response.py test_module_client.py "
            "test_stream_mode.py test_sse_framing.py test_debug_logging.py test_status_error_messages.py "
            "test_httpx2_respx.py test_httpx_compat.py test_retry_after_overflow.py "
            "lib/chat lib/responses/test_responses.py lib/test_azure.py lib/test_embeddings.py lib/test_bedrock.py "
            "lib/test_audio_response_format.py lib/test_runner_idempotency.py lib/test_runner_eager_control.py"
        ),
    ),
    "anthropic": Suite(
        "aiohttp,aws,bedrock,vertex,mcp",
        ("respx", "time-machine", "dirty-equals", "importlib-metadata", "http-snapshot[httpx]", "opentelemetry-sdk"),
        _names(
            "test_client.py test_streaming.py test_response.py test_middleware.py test_prepare.py test_exceptions.py "
            "test_tracing.py test_header_case_sensitivity.py decoders lib/streaming lib/_parse "
            "lib/test_refusal_fallback.py lib/test_refusal_fallback_streaming.py lib/test_azure.py lib/test_aws.py "
            "lib/test_bedrock.py lib/test_vertex.py lib/tools/test_runners.py lib/tools/test_runner_eager_tools.py "
            "lib/tools/test_functions.py"
        ),
    ),
}
COMMON = (
    "pytest>=9",
    "pytest-asyncio>=1.4",
    "pytest-xdist>=3.8",
    "pytest-timeout",
    "inline-snapshot",
    "rich",
    "griffe",
)


@dataclass
class Run:
    outcomes: dict[str, str]
    calls: int
    """Calls that guards have counted."""

    def count(self, outcome: str) -> int:
        return sum(found.partition(" ")[0] == outcome for found in self.outcomes.values())


def source(name: str) -> Path:
    """The unpacked source distribution of SDK *name*, in the version that is under test."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    wanted = next(one for one in groups["sdks-newest"] if isinstance(one, str) and re.match(rf"{name}\b", one))
    folder = FOLDER / "sources" / re.sub(r"[^\w.]+", "_", wanted)
    if not folder.is_dir():
        packed = FOLDER / "packed"
        shutil.rmtree(packed, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
        subprocess.run([*pip, "--no-deps", "--no-binary", name, "--dest", packed, wanted], check=True)
        with tarfile.open(next(packed.glob("*.tar.gz"))) as archive:
            archive.extractall(FOLDER / "unpacked", filter="data")
            top = archive.getnames()[0].split("/")[0]
        folder.parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / "unpacked" / top).rename(folder)
    return folder


def prepare(names: list[str]) -> tuple[dict[str, Path], Path]:
    """The sources of these SDKs, and the interpreter of an environment with all that their tests need."""
    sources = {name: source(name) for name in names}
    wanted = [f"{folder}[{SUITES[name].extras}]" for name, folder in sources.items()]
    wanted += [*COMMON, *(package for name in names for package in SUITES[name].packages)]
    print("an environment with the SDKs, and what their tests import ...", flush=True)
    return sources, environment(FOLDER / "-".join(names), "--editable", str(ROOT), *wanted)


def run(python: Path, name: str, folder: Path, mode: str, tests: list[str]) -> Run:
    """Run *tests* of an SDK in *mode*."""
    found = FOLDER / f"{name}-{mode}.json"
    found.unlink(missing_ok=True)
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("OPENAI_", "ANTHROPIC_"))}
    variables |= {
        "ACTGUARD_GUARDED": mode,
        "ACTGUARD_OUTCOMES": str(found),
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "0",  # tests parametrised over sets have the same names in all workers
        "CI": "true",  # snapshots are compared, not written
    }
    with (FOLDER / f"{name}-{mode}.log").open("w") as log:
        subprocess.run(
            [
                python,
                "-m",
                "pytest",
                "-p",
                "benchmarks.guarded",
                "-p",
                "no:cacheprovider",
                "-q",
                "--timeout=60",
                *tests,
            ],
            cwd=folder,
            env=variables,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT,
            check=False,  # some fail without us, too
        )
    if not found.is_file():
        sys.exit(f"the tests of {name} did not run: see {log.name}")
    return Run(**json.loads(found.read_text(encoding="utf-8")))


def different(one: Run, other: Run) -> list[str]:
    return sorted(
        test
        for test in one.outcomes.keys() | other.outcomes.keys()
        if one.outcomes.get(test) != other.outcomes.get(test)
    )


def compare(python: Path, name: str, folder: Path) -> dict[str, list[str]]:
    """The tests that come out otherwise inside a guard, by mode."""
    tests = [f"tests/{test}" for test in SUITES[name].tests if (folder / "tests" / test).exists()]
    runs: dict[str, Run] = {}
    differing: dict[str, list[str]] = {}
    for mode in MODES:
        runs[mode] = run(python, name, folder, mode, tests)
        suspects = different(runs["none"], runs[mode])
        if suspects:  # by a guard, or by a busy machine
            again = {each: run(python, name, folder, each, suspects) for each in ("none", mode)}
            suspects = different(again["none"], again[mode])
        differing[mode] = suspects
        counts = (runs[mode].count(outcome) for outcome in ("passed", "failed", "skipped"))
        cells = (name, mode, *counts, runs[mode].calls, len(suspects))
        print(ROW.format(*cells), flush=True)
    return differing


ROW = "{:<10} {:<8} {:>7} {:>7} {:>8} {:>8} {:>10}"


def main(names: list[str] | None = None) -> None:
    sources, python = prepare(list(names or SUITES))
    print(ROW.format("tests of", "guard", "passed", "failed", "skipped", "metered", "differing"))
    differing = {name: compare(python, name, folder) for name, folder in sources.items()}
    for name, modes in differing.items():
        for mode, tests in modes.items():
            for test in tests:
                print(f"differs with {mode}: {name} {test}")
    if any(tests for modes in differing.values() for tests in modes.values()):
        sys.exit(1)
    print("A guard changes the outcome of none of them.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transparency", description=__doc__)
    parser.add_argument("names", nargs="*", choices=(*SUITES, []), metavar="sdk", help=", ".join(SUITES))
    main(parser.parse_args().names)
