"""Watching google-genai: the Gemini API and Vertex, with their streams, embeddings and batches.

    request, async_request                     the call: classify, estimate, hold; read the reply; raise if over a limit
    request_streamed, async_request_streamed   the same, with a tap on the chunks (chunks.py)
    generate_content_stream, ...               where a stream counts: where it was asked for (streams.py)
    AsyncLive.connect                          a WebSocket: nothing can be metered, the policy decides

These have kept their signatures since 1.5, whichever HTTP library is below them. Automatic function calling and
continuation send each of their requests through them, so each is gated. `client.interactions` goes another way:
interactions.py.
"""

import copy
import functools
import json
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple, cast

from actguard.budget.account import Account
from actguard.context import arun_in, current_frame, run_in
from actguard.providers.body import is_object
from actguard.providers.call import Call, current_call, deferred
from actguard.providers.counting import new
from actguard.providers.deferred import settle_deferred
from actguard.providers.endpoint import Endpoint, Kind
from actguard.providers.gate import aadmit, admit, unmetered
from actguard.providers.google import interactions
from actguard.providers.google.chunks import ChunkTap
from actguard.providers.google.continuation import watch_contents
from actguard.providers.google.endpoints import classify, deferred_id
from actguard.providers.google.streams import watch_streams
from actguard.providers.google.wire import WIRE, gate
from actguard.providers.patches import Patches
from actguard.providers.senders import seen
from actguard.steps import frame_here, generators, lost_frame


def install(patches: Patches) -> None:
    import google.genai._api_client as api_client
    import google.genai._extra_utils as extra_utils
    import google.genai.chats as chats
    import google.genai.live as live
    import google.genai.models as models

    client = api_client.BaseApiClient
    patches.wrap(client, "request", _around_request)
    patches.wrap(client, "async_request", _around_arequest)
    patches.wrap(client, "request_streamed", _around_stream)
    patches.wrap(client, "async_request_streamed", _around_astream)
    patches.wrap(live.AsyncLive, "connect", _around_connect)
    music = sys.modules.get("google.genai.live_music")
    if music is not None:
        patches.wrap(music.AsyncLiveMusic, "connect", _around_connect)
    watch_contents(models, extra_utils, patches)
    watch_streams(models, chats, patches)
    interactions.install_with_sdk(patches)


# ---- request --------------------------------------------------------------------------------------------------------


_FREE = (Kind.FREE, Kind.TERMINAL)


class _Sent(NamedTuple):
    """What an SDK method is given to send."""

    method: str
    path: str
    body: dict[str, Any]
    options: Any

    def open(self, account: Any, client: Any) -> tuple["_Sent", Call | None]:
        """The gate before this request, and the request with its `extra_body` merged in, which the SDK does later."""
        method, path, body, options = sent = self
        endpoint = classify(method, path)
        if endpoint.kind in _FREE:
            return self, None
        extra = _option(options, client, "extra_body")
        if extra:
            sent = self._merged(extra)
            body = sent.body
        return sent, gate(account, endpoint, _option(options, client, "base_url") or "", path, body)

    def _merged(self, extra: Mapping[str, Any]) -> "_Sent":
        from google.genai import _common

        body = copy.deepcopy(self.body)
        _common.recursive_dict_update(body, copy.deepcopy(dict(extra)))
        none: dict[str, Any] = {"extra_body": {}}
        options = self.options
        if options is None or is_object(options):
            options = {**(options or {}), **none}
        else:
            options = options.model_copy(update=none)
        return self._replace(body=body, options=options)

    def prepared(self, call: Call | None) -> "_Sent":
        """With the output cap that was granted. Never altered in place."""
        if call is None:
            return self
        sent = self if call.cap is None else self._replace(body=dict(call.capped(self.body)))
        if call.account.bounded and not call.facts.sized:
            call.sized(json.dumps(sent.body, default=str).encode())
        return sent


def _around_request(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def request(
        client: Any, http_method: str, path: str, request_dict: dict[str, object], http_options: Any = None
    ) -> Any:
        if generators and (lost := lost_frame()) is not None:
            return run_in(lost, request, client, http_method, path, request_dict, http_options)
        account = current_frame().scope
        if account is None:
            result = original(client, http_method, path, request_dict, http_options)
            if deferred:
                _read_later(http_method, path, result)
            return result
        sent, call = new(_Sent, (http_method, path, request_dict, http_options)).open(account, client)
        before = current_call.get()
        try:
            current_call.set((client, call, None))
            if call is not None:
                admit(call)
            result = original(client, *sent.prepared(call))
            _read(call, http_method, path, result)
        except BaseException as error:
            if call is not None:
                call.failed(error)
            raise
        finally:
            current_call.set(before)
        return result

    return request


def _around_arequest(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def async_request(
        client: Any, http_method: str, path: str, request_dict: dict[str, object], http_options: Any = None
    ) -> Any:
        if generators and (lost := lost_frame()) is not None:
            return await arun_in(lost, async_request, client, http_method, path, request_dict, http_options)
        account = current_frame().scope
        if account is None:
            result = await original(client, http_method, path, request_dict, http_options)
            if deferred:
                _read_later(http_method, path, result)
            return result
        sent, call = new(_Sent, (http_method, path, request_dict, http_options)).open(account, client)
        before = current_call.get()
        try:
            current_call.set((client, call, None))
            if call is not None:
                await aadmit(call)
            result = await original(client, *sent.prepared(call))
            _read(call, http_method, path, result)
        except BaseException as error:
            if call is not None:
                call.failed(error)
            raise
        finally:
            current_call.set(before)
        return result

    return async_request


def _around_stream(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def request_streamed(
        client: Any, http_method: str, path: str, request_dict: dict[str, object], http_options: Any = None
    ) -> Any:
        if generators and (lost := lost_frame()) is not None:
            return run_in(lost, request_streamed, client, http_method, path, request_dict, http_options)
        account = current_frame().scope
        if account is None:
            return original(client, http_method, path, request_dict, http_options)
        sent, call = new(_Sent, (http_method, path, request_dict, http_options)).open(account, client)
        if call is None:
            return original(client, *sent)
        try:
            admit(call)
            source = original(client, *sent.prepared(call))  # a generator: nothing is sent yet
            tap = ChunkTap(call, client)
            return tap.watched(tap.passing(source))
        except BaseException as error:
            call.failed(error)
            raise

    return request_streamed


def _around_astream(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def async_request_streamed(
        client: Any, http_method: str, path: str, request_dict: dict[str, object], http_options: Any = None
    ) -> Any:
        if generators and (lost := lost_frame()) is not None:
            return await arun_in(lost, async_request_streamed, client, http_method, path, request_dict, http_options)
        account = current_frame().scope
        if account is None:
            return await original(client, http_method, path, request_dict, http_options)
        sent, call = new(_Sent, (http_method, path, request_dict, http_options)).open(account, client)
        before = current_call.get()
        try:
            current_call.set((client, call, None))
            if call is not None:
                await aadmit(call)
            source = await original(client, *sent.prepared(call))
            if call is None:
                return source
            tap = ChunkTap(call, client)
            stream = tap.watched(tap.apassing(source))
            call.opened()
        except BaseException as error:
            if call is not None:
                call.failed(error)
            raise
        finally:
            current_call.set(before)
        return stream

    return async_request_streamed


def _around_connect(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def connect(live: Any, *args: Any, **kwargs: Any) -> Any:
        account = frame_here().scope
        if account is None:
            return original(live, *args, **kwargs)
        assert isinstance(account, Account)
        unmetered(account, f"{WIRE.name} live session")
        return _opened(original(live, *args, **kwargs))

    return connect


@asynccontextmanager
async def _opened(session: AbstractAsyncContextManager[Any]) -> AsyncGenerator[Any]:
    async with AsyncExitStack() as stack:
        with seen():
            opened = await stack.enter_async_context(session)
        yield opened


# ---- reply ----------------------------------------------------------------------------------------------------------


def _read(call: Call | None, method: str, path: str, result: Any) -> None:
    """Settle by the reply, and tell the caller if a limit is passed now.

    Raises:
        BudgetExceededError: it carries the reply, as the SDK would have given it.
    """
    if call is None:
        if deferred:
            _read_later(method, path, result)
        return
    if type(result) is dict:  # in older versions
        call.reply(result)
    else:
        call.reply_bytes(result.body or "")
    call.returned(result if call.refusal is None else _as_given(call.endpoint, result))


def _read_later(method: str, path: str, result: Any) -> None:
    endpoint = classify(method, path)
    if endpoint.kind is Kind.TERMINAL:
        settle_deferred(WIRE, endpoint, deferred_id(path), _parsed(result))


_GIVEN = {"generate_content": "GenerateContentResponse", "embed_content": "EmbedContentResponse"}


def _as_given(endpoint: Endpoint, result: Any) -> Any:
    """What the SDK makes of the reply of its own request method; that reply itself, where it makes something else."""
    name, body = _GIVEN.get(endpoint.name), _parsed(result)
    if name is None or body is None:
        return result
    from google.genai import types

    try:
        return getattr(types, name)._from_response(response=copy.deepcopy(body), kwargs={})
    except Exception:  # noqa: BLE001 - a reply of a shape that is not foreseen is handed over as it is
        return result


def _parsed(result: Any) -> Any:
    """The JSON document of a reply, which older versions have parsed already."""
    if is_object(result):
        return result
    try:
        return json.loads(result.body or "null")
    except ValueError:
        return None


def _option(options: Any, client: Any, name: str) -> Any:
    """An HTTP option of this request, else of its client; objects or, in older versions, dictionaries."""
    if options is not None:
        value = cast("dict[str, Any]", options).get(name) if isinstance(options, dict) else getattr(options, name, None)
        if value is not None:
            return value
    kept = getattr(client, "_http_options", None)
    return cast("dict[str, Any]", kept).get(name) if isinstance(kept, dict) else getattr(kept, name, None)
