"""Watching `client.interactions` of google-genai (and its agents, decisions, ...), which never touches the base client.

    1.55 to 2.8   a Stainless client of its own: the seam of openai and anthropic
    since 2.12    a Speakeasy client: `BaseSDK.do_request` and `AsyncBaseSDK.do_request_async`, one call each

The second is imported when `client.interactions` is used for the first time, and only then watched. One `create` may
send several requests (automatic continuation); each is a call of its own here, gated and billed by itself. A refusal
between two of them reaches the caller as itself, with what the ones before it made.
"""

import functools
import importlib
import importlib.machinery
import importlib.util
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from actguard.context import arun_in, current_frame, run_in
from actguard.providers.body import is_object
from actguard.providers.call import Call, current_call, deferred
from actguard.providers.deferred import settle_deferred
from actguard.providers.endpoint import Kind
from actguard.providers.gate import aadmit, admit
from actguard.providers.google.continuation import watch_interactions
from actguard.providers.google.endpoints import deferred_id
from actguard.providers.google.wire import WIRE, gate
from actguard.providers.patches import Patches
from actguard.providers.stainless import StainlessSeam
from actguard.providers.taps import tap
from actguard.providers.wire import parse_json
from actguard.steps import generators, lost_frame

_STAINLESS = "google.genai._interactions._base_client"
_SPEAKEASY = "google.genai._gaos.basesdk"
_CONTINUATION = "google.genai._interactions_continuation"


def install_with_sdk(patches: Patches) -> None:
    """What is there once google-genai is imported.

    Raises:
        ImportError: it has interactions, made of something unknown.
    """
    if _STAINLESS in sys.modules:
        StainlessSeam(WIRE).install(sys.modules[_STAINLESS], patches)
        return
    client = sys.modules["google.genai"].Client
    if hasattr(client, "interactions") and not _exists(_SPEAKEASY):
        raise ImportError(f"client.interactions is made of neither {_STAINLESS} nor {_SPEAKEASY}")


def install(patches: Patches) -> None:
    """Patch the Speakeasy client, which is imported now."""
    basesdk = sys.modules[_SPEAKEASY]
    patches.wrap(basesdk.BaseSDK, "do_request", _around_request)
    patches.wrap(basesdk.AsyncBaseSDK, "do_request_async", _around_arequest)
    if _exists(_CONTINUATION):
        watch_interactions(importlib.import_module(_CONTINUATION), patches)


def _exists(module: str) -> bool:
    """Whether there is such a module; nothing of it or its package is run to find out."""
    parent, _, _ = module.rpartition(".")
    package = sys.modules.get(parent)
    if package is not None:
        where: Any = package.__path__
    else:
        spec = importlib.util.find_spec(parent)
        where = spec.submodule_search_locations if spec is not None else None
    return where is not None and importlib.machinery.PathFinder.find_spec(module, where) is not None


# ---- one request ----------------------------------------------------------------------------------------------------


def _around_request(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def do_request(sdk: Any, hook_ctx: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        if generators and (lost := lost_frame()) is not None:
            return run_in(lost, do_request, sdk, hook_ctx, request, *args, **kwargs)
        account = current_frame().scope
        if account is None and not deferred:
            return original(sdk, hook_ctx, request, *args, **kwargs)
        body, call = _open(account, request)
        before = current_call.get()
        try:
            current_call.set((sdk, call, None))
            if call is not None:
                admit(call)
            response = original(sdk, hook_ctx, _prepared(call, request, body), *args, **kwargs)
            _read(call, response)
        except BaseException as error:
            if call is not None:
                call.failed(error)
            raise
        finally:
            current_call.set(before)
        return response

    return do_request


def _around_arequest(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def do_request_async(sdk: Any, hook_ctx: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        if generators and (lost := lost_frame()) is not None:
            return await arun_in(lost, do_request_async, sdk, hook_ctx, request, *args, **kwargs)
        account = current_frame().scope
        if account is None and not deferred:
            return await original(sdk, hook_ctx, request, *args, **kwargs)
        body, call = _open(account, request)
        before = current_call.get()
        try:
            current_call.set((sdk, call, None))
            if call is not None:
                await aadmit(call)
            response = await original(sdk, hook_ctx, _prepared(call, request, body), *args, **kwargs)
            _read(call, response)
        except BaseException as error:
            if call is not None:
                call.failed(error)
            raise
        finally:
            current_call.set(before)
        return response

    return do_request_async


def _open(account: Any, request: Any) -> tuple[Mapping[str, Any], Call | None]:
    """The body of an HTTP request, and the gate before it."""
    if account is None:
        return {}, None
    url, path = request.url, request.url.path
    endpoint = WIRE.classify(request.method, path)
    if endpoint.kind is Kind.FREE or endpoint.kind is Kind.TERMINAL:
        return {}, None
    body = _parsed(getattr(request, "_content", b""))
    return body, gate(account, endpoint, f"{url.scheme}://{url.netloc.decode()}", path, body)


def _parsed(content: bytes) -> Mapping[str, Any]:
    try:
        said: Any = parse_json(content)
    except ValueError:
        return {}  # a file
    return said if is_object(said) else {}


def _prepared(call: Call | None, request: Any, body: Mapping[str, Any]) -> Any:
    """*request*, or another one like it with the output cap that was granted."""
    if call is None or call.cap is None:
        return request
    # The length is worked out anew.
    headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"content-length"]
    content = json.dumps(call.capped(body)).encode()
    return type(request)(request.method, request.url, headers=headers, content=content, extensions=request.extensions)


# ---- one answer -----------------------------------------------------------------------------------------------------


def _read(call: Call | None, response: Any) -> None:
    """Settle by the answer, or by its body as it is read, and tell the caller if a limit is passed now.

    Raises:
        BudgetExceededError: it carries the interaction.
    """
    content = _whole(response)
    if call is None:
        if deferred and response.status_code < 400:
            _read_later(response, content)
    elif response.status_code >= 400:
        call.release()  # the error is raised later; what failed is not billed
    elif content is None:
        tap(call, response)
    else:
        call.reply_bytes(content)
        call.returned(response if call.refusal is None else _interaction(response))


def _whole(response: Any) -> bytes | None:
    """The body, if it is one document, and here. A stream is iterated over, also where it was read in advance."""
    if response.headers.get("content-type", "").lower().startswith("text/event-stream"):
        return None
    content: bytes | None = getattr(response, "_content", None)
    return content


def _read_later(response: Any, content: bytes | None) -> None:
    """A read that may find an interaction finished which was begun in the background."""
    request = response.request
    endpoint = WIRE.classify(request.method, request.url.path)
    if endpoint.kind is not Kind.TERMINAL:
        return
    said = deferred_id(request.url.path)
    if content is not None:
        try:
            settle_deferred(WIRE, endpoint, said, parse_json(content))
        except ValueError:
            return  # not JSON: it says nothing, and another read may
        return
    call = deferred.get(said) if said is not None else None
    if call is not None:
        tap(call, response)


def _interaction(response: Any) -> Any:
    """What the SDK makes of the HTTP response; that itself, where it makes something else."""
    try:
        types = importlib.import_module("google.genai._gaos.types.interactions")
        unmarshal = importlib.import_module("google.genai._gaos.utils.unmarshal_json_response").unmarshal_json_response
        return unmarshal(types.Interaction, response, response.text)
    except Exception:  # noqa: BLE001 - a reply of a shape that is not foreseen is handed over as it is
        return response
