"""Watching google.generativeai 0.8, whose last release was in 2025: best effort.

`GenerativeModel.generate_content` and its async twin are the call; chats and automatic function calling go through
them. Embeddings do not say what they read, so the `unmetered` policy decides on them. What speaks to Gemini through
`google.ai.generativelanguage` without a `GenerativeModel` is not seen, nor are retries inside gRPC.
"""

import functools
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from importlib import import_module
from typing import Any

from actguard.budget.account import Account
from actguard.context import arun_in, current_frame, run_in
from actguard.providers.call import Call, current_call
from actguard.providers.gate import aadmit, admit, unmetered
from actguard.providers.google.chunks import ChunkTap
from actguard.providers.google.wire import WIRE, gate
from actguard.providers.patches import Patches
from actguard.steps import frame_here, generators, lost_frame


def install(patches: Patches) -> None:
    model = import_module("google.generativeai").GenerativeModel
    patches.wrap(model, "generate_content", _around_generate)
    patches.wrap(model, "generate_content_async", _around_agenerate)
    service = import_module("google.ai.generativelanguage")
    for client in (service.GenerativeServiceClient, service.GenerativeServiceAsyncClient):
        for method in ("embed_content", "batch_embed_contents"):
            patches.wrap(client, method, _around_embed)


def _around_generate(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def generate_content(
        model: Any, contents: Any, *, generation_config: Any = None, stream: bool = False, **kwargs: Any
    ) -> Any:
        if generators and (lost := lost_frame()) is not None:
            options = {"generation_config": generation_config, "stream": stream, **kwargs}
            return run_in(lost, generate_content, model, contents, **options)
        account = current_frame().scope
        if account is None or not contents:
            return original(model, contents, generation_config=generation_config, stream=stream, **kwargs)
        service = model._client or _module("client").get_default_generative_client()
        contents, call = _open(account, model, service, contents, generation_config, stream, kwargs)
        admit(call)
        before = current_call.get()
        try:
            current_call.set((model, call, None))
            config = _capped(call, generation_config)
            response = original(model, contents, generation_config=config, stream=stream, **kwargs)
            if not stream:
                call.reply(_as_json(response._result))
                call.returned(response)
                return response
        except BaseException as error:
            _failed(call, error)
            raise
        finally:
            current_call.set(before)
        tap = _tap(call, model)
        chunks = tap.watched(tap.passing(itertools.chain((response._result,), response._iterator)))
        next(chunks)  # the response holds the first one already
        response._iterator = chunks
        return response

    return generate_content


def _around_agenerate(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def generate_content_async(
        model: Any, contents: Any, *, generation_config: Any = None, stream: bool = False, **kwargs: Any
    ) -> Any:
        if generators and (lost := lost_frame()) is not None:
            options = {"generation_config": generation_config, "stream": stream, **kwargs}
            return await arun_in(lost, generate_content_async, model, contents, **options)
        account = current_frame().scope
        if account is None or not contents:
            return await original(model, contents, generation_config=generation_config, stream=stream, **kwargs)
        service = model._async_client or _module("client").get_default_generative_async_client()
        contents, call = _open(account, model, service, contents, generation_config, stream, kwargs)
        await aadmit(call)
        before = current_call.get()
        try:
            current_call.set((model, call, None))
            config = _capped(call, generation_config)
            response = await original(model, contents, generation_config=config, stream=stream, **kwargs)
            if not stream:
                call.reply(_as_json(response._result))
                call.returned(response)
                return response
        except BaseException as error:
            _failed(call, error)
            raise
        finally:
            current_call.set(before)
        tap = _tap(call, model)
        chunks = tap.watched(tap.apassing(_chain(response._result, response._iterator)))
        await anext(chunks)
        response._iterator = chunks
        return response

    return generate_content_async


def _around_embed(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def embed(service: Any, *args: Any, **kwargs: Any) -> Any:
        account = frame_here().scope
        if account is not None:
            assert isinstance(account, Account)
            unmetered(account, f"{WIRE.name} embed_content through google.generativeai")
        return original(service, *args, **kwargs)

    return embed


def _open(
    account: Any, model: Any, service: Any, contents: Any, config: Any, stream: bool, kwargs: Mapping[str, Any]
) -> tuple[Any, Call]:
    """The gate before a request, and its contents in a form that can be read twice."""
    contents = _module("types.content_types").to_contents(contents)
    options = {name: kwargs.get(name) for name in ("safety_settings", "tools", "tool_config")}
    body = _as_json(model._prepare_request(contents=contents, generation_config=config, **options))
    path = f"{body.pop('model', '')}:{'streamGenerateContent' if stream else 'generateContent'}"
    call = gate(account, WIRE.classify("POST", path), service.api_endpoint, path, body)
    assert call is not None
    return contents, call


def _capped(call: Call, config: Any) -> Any:
    """*config* with the output cap that was granted."""
    if call.cap is None:
        return config
    stated: dict[str, Any] = _module("types.generation_types").to_generation_config_dict(config)
    return {**stated, "max_output_tokens": call.cap}


def _module(name: str) -> Any:
    return import_module(f"google.generativeai.{name}")


def _failed(call: Call, error: BaseException) -> None:
    """Over HTTP, the sender has seen what became of the attempt. Over gRPC only the error tells."""
    if not isinstance(error, Exception) or type(error).__name__ in _LOST:
        call.sent = True
    call.failed(error)


_LOST = frozenset({"DeadlineExceeded", "RetryError", "Cancelled"})


def _tap(call: Call, model: Any) -> ChunkTap:
    call.opened()
    return ChunkTap(call, model, _as_json)


async def _chain(first: Any, rest: AsyncIterator[Any]) -> AsyncIterator[Any]:
    yield first
    async for chunk in rest:
        yield chunk


def _as_json(message: Any) -> dict[str, Any]:
    """A protocol buffer, as the wire would say it in JSON."""
    said: dict[str, Any] = message.__class__.to_dict(
        message,
        use_integers_for_enums=False,
        preserving_proto_field_name=False,
        including_default_value_fields=False,
    )
    return said
