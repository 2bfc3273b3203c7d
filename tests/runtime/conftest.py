"""A gateway that answers as it is told, a provider, and clients that leave nothing behind."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from actguard import Client
from actguard.context import OUTSIDE, enter_frame
from actguard.testing import LocalProvider
from tests.fake_gateway import FakeGateway, fake_gateway


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with fake_gateway() as running:
        yield running


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Makes clients, and closes them."""
    made: list[Client] = []

    def client(gateway: FakeGateway | None = None, **options: Any) -> Client:
        if gateway is not None:
            options = gateway.options(**{"spool_dir": tmp_path / "spool", **options})
        made.append(Client(**options))
        return made[-1]

    yield client
    for client_ in made:
        client_.close()


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalProvider]:
    with LocalProvider() as running:
        for name, value in running.env().items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def ask(provider: LocalProvider) -> Callable[..., Any]:
    """One paid call: $0.000220."""
    client = openai.OpenAI(max_retries=0)

    def create(**options: Any) -> Any:
        messages: Any = [{"role": "user", "content": "Hi"}]
        return client.chat.completions.create(model="gpt-4o", messages=messages, **options)

    return create


@pytest.fixture(autouse=True)
def outside() -> Iterator[None]:
    """A test that fails inside a guard leaves it behind for nobody."""
    yield
    enter_frame(OUTSIDE)
