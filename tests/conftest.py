"""What every test may ask for."""

import os
import re
from collections.abc import Generator
from pathlib import Path

import coverage
import pytest
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).parent

settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile(
    "ci",
    max_examples=200,
    deadline=None,
    derandomize=True,  # a red run is about the change, not about the dice; `dev` rolls them anew
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("long", max_examples=2_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(TESTS / "providers") or item.path.is_relative_to(TESTS / "sdk"):
            item.add_marker("sdk")


def pytest_sessionfinish() -> None:
    """Write what was covered while there is time: a worker that takes ten seconds to end is killed by xdist."""
    measuring = coverage.Coverage.current()
    if measuring is not None:
        measuring.save()


OLDER = ("sdks-oldest", "sdks-last-1", "sdks-last-2")

# How an SDK says that it does not know an argument yet.
_LACKS = re.compile(
    r"\b(?:create|retrieve|cancel|parse|stream)\(\) got an unexpected keyword argument|"
    r"Missing required arguments; Expected|To use the aiohttp client you must have installed"
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """On the older sets of SDKs, a test of what a version does not have is skipped, with what it lacks for a reason."""
    try:
        yield
    except (TypeError, RuntimeError) as error:
        if os.environ.get("ACTGUARD_SDKS", "sdks-newest") in OLDER and _LACKS.search(str(error)):
            pytest.skip(f"not in this version: {error}")
        raise


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the project."""
    return TESTS.parent


@pytest.fixture(scope="session")
def recorded() -> Path:
    """A folder of recorded provider traffic: an `index.json`, and a file for each exchange. Data, kept elsewhere."""
    named = os.environ.get("ACTGUARD_RECORDED")
    if not named:
        pytest.skip("no recorded traffic: ACTGUARD_RECORDED does not name a folder")
    folder = Path(named)
    if not (folder / "index.json").is_file():
        pytest.fail(f"ACTGUARD_RECORDED names {named}, which holds no index.json")
    return folder
