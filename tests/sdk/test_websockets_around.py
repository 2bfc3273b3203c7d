"""WebSockets to a provider that no SDK has opened: noticed, whichever way the `websockets` library is used."""

import inspect
import json
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import openai
import pytest
from google import genai

from actguard import BudgetGuard, BudgetWarning, UnmeteredCallError

REALTIME = "ws://api.openai.com/v1/realtime?model=gpt-realtime"

pytest.importorskip("websockets.asyncio.client", reason="this release of websockets is built otherwise")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a server that accepts every connection and sends back what it hears."""
    from websockets.sync.server import serve

    def echo(connection: Any) -> None:
        for message in connection:
            connection.send(json.dumps({"type": "echo", "heard": json.loads(message)}))

    with serve(echo, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join()


@pytest.fixture(params=["sync", "asyncio"])
def speak(request: pytest.FixtureRequest, port: int) -> Callable[[str], Awaitable[Any]]:
    """Open a WebSocket to a URL, which is the server's whatever its host, and send something."""

    async def speak(url: str) -> Any:
        there = socket.create_connection(("127.0.0.1", port))
        if request.param == "sync":
            from websockets.sync.client import connect

            with connect(url, sock=there) as connection:
                connection.send("1")
                return json.loads(connection.recv())
        from websockets.asyncio.client import connect as aconnect

        there.setblocking(False)
        async with aconnect(url, sock=there) as aconnection:
            await aconnection.send("1")
            return json.loads(await aconnection.recv())

    return speak


async def test_a_websocket_to_a_provider_is_warned_about_and_goes_through(speak):
    with BudgetGuard(usd_limit=1) as guard, pytest.warns(BudgetWarning, match=r"/v1/realtime at api\.openai\.com"):
        assert (await speak(REALTIME))["heard"] == 1

    assert (guard.calls, guard.unmetered_calls) == (0, 1)


async def test_policy_block_refuses_it_at_the_handshake(speak):
    with BudgetGuard(bypass="block") as guard, pytest.raises(UnmeteredCallError) as refused:
        await speak(REALTIME)

    assert refused.value.reason == "bypass"
    assert guard.unmetered_calls == 0


async def test_policy_allow_is_silent_and_counts(speak, recwarn):
    with BudgetGuard(bypass="allow") as guard:
        await speak(REALTIME)

    assert guard.unmetered_calls == 1
    assert not [warning for warning in recwarn if warning.category is BudgetWarning]


@pytest.mark.parametrize("url", ["ws://example.com/v1/realtime", "ws://127.0.0.1/v1/realtime", "ws://[::1]/live"])
async def test_a_websocket_to_anywhere_else_is_nobodys_business(speak, url):
    with BudgetGuard(bypass="block") as guard:
        await speak(url)

    assert guard.unmetered_calls == 0


async def test_outside_a_guard_nothing_is_said(speak):
    with BudgetGuard():
        pass

    with warnings.catch_warnings():
        warnings.simplefilter("error", BudgetWarning)
        assert (await speak(REALTIME))["heard"] == 1


def test_a_library_that_is_imported_inside_a_guard_is_observed_too(port):
    program = f"""
import socket, sys
from actguard import BudgetGuard, UnmeteredCallError
with BudgetGuard(bypass="block"):
    assert "websockets.sync.client" not in sys.modules
    from websockets.sync.client import connect
    try:
        connect({REALTIME!r}, sock=socket.create_connection(("127.0.0.1", {port})))
    except UnmeteredCallError as error:
        print(error.reason)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout == "bypass\n"


# ---- what an SDK opens is none --------------------------------------------------------------------------------------


def sock(port: int) -> Any:
    return {"sock": socket.create_connection(("127.0.0.1", port))}


def realtime(client: Any) -> Any:
    return client.realtime if hasattr(client, "realtime") else client.beta.realtime


def test_what_openai_opens_is_counted_once(port):
    client = openai.OpenAI(api_key="x", websocket_base_url="ws://api.openai.com/v1")
    with BudgetGuard(unmetered="allow", bypass="block") as guard:
        with realtime(client).connect(model="gpt-realtime", websocket_connection_options=sock(port)) as connection:
            connection.response.create()
            assert connection.recv().type == "echo"

    assert guard.unmetered_calls == 1


async def test_what_async_openai_opens_is_counted_once(port):
    client = openai.AsyncOpenAI(api_key="x", websocket_base_url="ws://api.openai.com/v1")
    async with BudgetGuard(unmetered="allow", bypass="block") as guard:
        options = sock(port)
        options["sock"].setblocking(False)
        async with realtime(client).connect(model="gpt-realtime", websocket_connection_options=options) as connection:
            await connection.response.create()
            assert (await connection.recv()).type == "echo"

    assert guard.unmetered_calls == 1


def test_what_openai_opens_again_is_none(port):
    client = openai.OpenAI(api_key="x", websocket_base_url="ws://api.openai.com/v1")
    manager = realtime(client).connect(model="gpt-realtime", websocket_connection_options=sock(port))
    if not hasattr(manager, "_connect_ws"):
        pytest.skip("this release does not reconnect")
    with BudgetGuard(unmetered="allow", bypass="block") as guard:
        given = [{} for name in inspect.signature(manager._connect_ws).parameters]
        manager._connect_ws(*given).close()  # as it does when a connection was lost

    assert guard.unmetered_calls == 0


async def test_a_live_session_of_google_is_counted_once(port, monkeypatch):
    from google.genai import live

    def plainly(url: str, **_: Any) -> Any:
        there = socket.create_connection(("127.0.0.1", port))
        there.setblocking(False)
        return connect(url.replace("wss:", "ws:"), sock=there)

    name = "ws_connect" if hasattr(live, "ws_connect") else "connect"  # as older releases call it
    connect = getattr(live, name)
    monkeypatch.setattr(live, name, plainly)
    client = genai.Client(api_key="x")

    async with BudgetGuard(unmetered="allow", bypass="block") as guard:
        with pytest.raises(KeyError, match="the caller's own"):
            async with client.aio.live.connect(model="gemini-2.0-flash-live-001", config={}) as session:
                assert isinstance(session, live.AsyncSession)
                raise KeyError("the caller's own")

    assert guard.unmetered_calls == 1
