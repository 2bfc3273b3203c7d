"""The SDKs in this environment are the ones that the project says it supports."""

import os
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

SDKS = ("openai", "anthropic", "google-genai")


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text())


def stated(lines: list[Any]) -> dict[str, Requirement]:
    found = [Requirement(line) for line in lines if isinstance(line, str)]
    return {requirement.name: requirement for requirement in found}


@pytest.mark.parametrize("sdk", SDKS)
def test_an_extra_allows_the_installed_sdk(project: dict[str, Any], sdk: str) -> None:
    extras = project["project"]["optional-dependencies"].values()

    ranges = [requirement.specifier for lines in extras for name, requirement in stated(lines).items() if name == sdk]

    assert ranges
    assert all(version(sdk) in allowed for allowed in ranges)


@pytest.mark.parametrize("sdk", SDKS)
def test_the_installed_sdk_is_of_the_set_under_test(project: dict[str, Any], sdk: str) -> None:
    named = os.environ.get("ACTGUARD_SDKS", "sdks-newest")

    assert version(sdk) in stated(project["dependency-groups"][named])[sdk].specifier
