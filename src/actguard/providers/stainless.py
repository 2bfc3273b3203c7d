"""The three-method seam of SDKs with a Stainless base client: openai, anthropic, google's older Interactions client.

    request            the call: classify, estimate, hold; afterwards raise if a limit was passed
    _build_request     one attempt: attach the call to the HTTP request; the gate of last resort
    _process_response  one answer: read what it billed, or tap its body

These three have kept their signatures in every release since the supported minimum (openai 1.76, anthropic 0.83). An
exception raised in the first two reaches the caller unchanged and unretried; in the HTTP library below it would become
a retried connection error.
"""

import copy
import functools
import gc
import inspect
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from actguard.budget import pricing
from actguard.budget.account import Account
from actguard.context import arun_in, current_frame, run_in
from actguard.providers.body import is_object
from actguard.providers.call import Around, Call, current_call, deferred
from actguard.providers.deferred import look_at
from actguard.providers.destination import Destinations, find
from actguard.providers.endpoint import Kind
from actguard.providers.faults import log_once
from actguard.providers.gate import aadmit, admit, again, open_at, unmetered
from actguard.providers.measure import merged
from actguard.providers.patches import Patches
from actguard.providers.shared_reply import settle_shared, withdraw
from actguard.providers.taps import tap
from actguard.providers.wire import Wire
from actguard.steps import generators, lost_frame

METHODS = ("request", "_build_request", "_process_response")
_CLOUDS = (("Bedrock", "aws"), ("Azure", "azure"), ("Vertex", "google"))
_BILLED = (Kind.PRICED, Kind.DEFERRED)
_KEY = "actguard.call"  # in the extensions of an HTTP request; HTTP libraries ignore keys they do not know
Prepare = Callable[[Call, Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any]]
_type: Callable[[Any], object] = type  # narrows nothing: what is in a body is looked at before it is used
_UNSAID = -1
_RAW = "X-Stainless-Raw-Response"  # asks the SDK for the response as it is, to be parsed by whom it is given to


class StainlessSeam:
    """Wraps the base clients of one SDK.

    Args:
        wire: the provider's side of things.
        prepare: the body to send, given the call of a stream, its body and its URL's query: asks for its usage.
    """

    def __init__(self, wire: Wire, prepare: Prepare | None = None) -> None:
        self.wire = wire
        self.prepare = prepare
        self._wires: dict[type, Wire] = {}  # by a client's class, which may say who sells the model
        self._known: Destinations = {}

    def install(self, base_client: Any, patches: Patches) -> None:
        """Patch *base_client*, the SDK's `_base_client` module."""
        self.patches = patches
        base, sync, asynchronous = base_client.BaseClient, base_client.SyncAPIClient, base_client.AsyncAPIClient
        patches.wrap(base, "_build_request", self._around_build)
        clients: set[type] = set()
        for client, around in ((sync, self._around_request), (asynchronous, self._around_arequest)):
            patches.wrap(client, "request", around)
            patches.wrap(client, "_process_response", self._around_process)
            clients |= {client} | _all_subclasses(client)
            for subclass in _all_subclasses(client):
                if "request" in vars(subclass):  # another instrumentation sits there, and calls what it found before us
                    patches.wrap(subclass, "request", around)
        alive = gc.get_objects()
        if not clients.isdisjoint(map(type, alive)):
            for made in alive:
                if type(made) in clients:
                    self._around_shadow(made)

    # ---- request ----

    def _around_request(self, original: Callable[..., Any]) -> Callable[..., Any]:
        patches = self.patches

        @functools.wraps(original)
        def request(client: Any, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None) -> Any:
            if generators and (lost := lost_frame()) is not None:
                return run_in(lost, request, client, cast_to, options, stream=stream, stream_cls=stream_cls)
            account = current_frame().scope
            if account is None or not patches.live or _is_inside(before := current_call.get(), client, original):
                return original(client, cast_to, options, stream=stream, stream_cls=stream_cls)
            call = self._open(account, client, options)
            try:
                current_call.set((client, call, original))
                if call is not None:
                    admit(call)
                    options = self._prepared(client, call, options)
                result = original(client, cast_to, options, stream=stream, stream_cls=stream_cls)
                if call is not None:
                    call.returned(result)
            except BaseException as error:
                if call is not None:
                    call.failed(error)
                raise
            finally:
                current_call.set(before)
            return result

        return request

    def _around_arequest(self, original: Callable[..., Any]) -> Callable[..., Any]:
        patches = self.patches

        @functools.wraps(original)
        async def request(
            client: Any, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None
        ) -> Any:
            if generators and (lost := lost_frame()) is not None:
                return await arun_in(lost, request, client, cast_to, options, stream=stream, stream_cls=stream_cls)
            account = current_frame().scope
            if account is None or not patches.live or _is_inside(before := current_call.get(), client, original):
                return await original(client, cast_to, options, stream=stream, stream_cls=stream_cls)
            call = self._open(account, client, options)
            try:
                current_call.set((client, call, original))
                if call is not None:
                    await aadmit(call)
                    options = self._prepared(client, call, options)
                result = await original(client, cast_to, options, stream=stream, stream_cls=stream_cls)
                if call is not None:
                    call.returned(result)
            except BaseException as error:
                if call is not None:
                    call.failed(error)
                raise
            finally:
                current_call.set(before)
            return result

        return request

    def _open(self, account: Any, client: Any, options: Any) -> Call | None:
        """The call that is about to be made; None where nothing is billed, or the policy lets it through unmetered."""
        assert isinstance(account, Account)
        body: Any = options.json_data
        extra, model = options.extra_json or None, ""
        if _type(body) is dict:
            named = body.get("model") if extra is None else None
            if type(named) is str:
                model = named
        elif not is_object(body):
            body = None
        method, path, url, kind = options.method, options.url, client._base_url, client.__class__
        key = kind, id(url), method, path, model, account.book
        found = self._known.get(key)
        if found is None or found.edition is not pricing.edition or found.url is not url:
            endpoint = self.wire.classify(method, path)
            if endpoint.kind is Kind.UNMETERED:
                unmetered(account, f"{self.wire.name} {endpoint.name}")
                return None
            if endpoint.kind not in _BILLED:
                return None
            wire = self._wires.get(kind) or self._wire_of(kind)
            found = find(self._known, key, account.book, wire, endpoint, str(url), model, url)
        return open_at(account, found, (path, body, extra))

    def _wire_of(self, client: type) -> Wire:
        names = [kind.__name__ for kind in client.__mro__]
        cloud = next((cloud for word, cloud in _CLOUDS if any(word in name for name in names)), "")
        if len(self._wires) >= 256:
            self._wires.clear()
        wire = self._wires[client] = self.wire._replace(cloud=cloud)
        return wire

    def _prepared(self, client: Any, call: Call, options: Any) -> Any:
        """*options* with the output cap that was granted, and the question for usage; never altered in place."""
        _, body, extra = call.request
        if body is None:
            return options
        if call.cap is not None or (self.prepare is not None and (extra or body.get("stream"))):
            if extra:
                body = merged(body, extra)
            before = body
            if self.prepare is not None:
                body = self.prepare(call, body, {**client._custom_query, **(options.params or {})})
            if call.cap is not None:
                body = call.capped(body)
            if body is not before:
                options = copy.copy(options)
                options.json_data = body
                options.extra_json = None
        return options

    # ---- one attempt ----

    def _around_build(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def _build_request(client: Any, options: Any, *, retries_taken: int = _UNSAID, **more: Any) -> Any:
            build = functools.partial(original, **more) if more else original
            if retries_taken == _UNSAID:
                build = functools.partial(_uncounted, build)
            inside = current_call.get()
            call: Call | None = None
            if inside is not None and inside[0] is client:
                call = inside[1]
            elif (account := current_frame().scope) is not None:
                return self._build_unannounced(build, account, client, options, retries_taken)
            if call is not None:
                if call.settled or call.streaming:
                    body = options.json_data
                    call = again(call, (options.url, body if is_object(body) else None, options.extra_json or None))
                    options = self._prepared(client, call, options)
                elif call.sent:
                    call.resend()
            request = build(client, options, retries_taken=retries_taken)
            if call is not None:
                request.extensions[_KEY] = call
                if options.files:
                    call.uploads(request.headers.get("content-length", ""))
                if call.account.bounded:
                    call.sized(getattr(request, "_content", None))
            return request

        return _build_request

    def _build_unannounced(
        self, build: Callable[..., Any], account: Any, client: Any, options: Any, retries_taken: int
    ) -> Any:
        """Somebody replaced `request` on this client, so this is the first we see of the call."""
        if not self.patches.live:
            return build(client, options, retries_taken=retries_taken)
        self._around_shadow(client)
        call = self._open(account, client, options)
        if call is None:
            return build(client, options, retries_taken=retries_taken)
        try:
            admit(call, wait=not inspect.iscoroutinefunction(client.__class__.request))
            call.announced = False
            request = build(client, self._prepared(client, call, options), retries_taken=retries_taken)
            request.extensions[_KEY] = call
            call.sized(getattr(request, "_content", None))
        except BaseException as error:
            call.failed(error)
            raise
        weakref.finalize(request, call.forgotten).atexit = False
        return request

    def _around_shadow(self, client: Any) -> None:
        """An instrumentation has given this one client a `request` of its own: be there before it from now on."""
        if "request" not in client.__dict__:
            return
        asynchronous = inspect.iscoroutinefunction(client.__class__.request)
        around = self._around_arequest if asynchronous else self._around_request

        def around_shadow(shadow: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(shadow)
            def shadowed(_: Any, *args: Any, **kwargs: Any) -> Any:
                return shadow(*args, **kwargs)

            return functools.wraps(shadow)(functools.partial(around(shadowed), client))

        self.patches.wrap(client, "request", around_shadow)

    # ---- one answer ----

    def _around_process(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def _process_response(
            client: Any,
            *,
            cast_to: Any,
            options: Any,
            response: Any,
            stream: Any,
            stream_cls: Any,
            retries_taken: int = 0,
            **more: Any,
        ) -> Any:
            process = functools.partial(original, **more) if more else original
            watched = current_frame().scope is not None or deferred
            call = self._answered(response, options, stream) if watched else None
            try:
                result = process(
                    client,
                    cast_to=cast_to,
                    options=options,
                    response=response,
                    stream=stream,
                    stream_cls=stream_cls,
                    retries_taken=retries_taken,
                )
            finally:
                if watched and "json" in response.__dict__:
                    withdraw(response)
            if call is not None and not call.announced:
                call.returned(result)
            return result

        @functools.wraps(original)
        async def _aprocess_response(
            client: Any,
            *,
            cast_to: Any,
            options: Any,
            response: Any,
            stream: Any,
            stream_cls: Any,
            retries_taken: int = 0,
            **more: Any,
        ) -> Any:
            process = functools.partial(original, **more) if more else original
            watched = current_frame().scope is not None or deferred
            call = self._answered(response, options, stream) if watched else None
            try:
                result = await process(
                    client,
                    cast_to=cast_to,
                    options=options,
                    response=response,
                    stream=stream,
                    stream_cls=stream_cls,
                    retries_taken=retries_taken,
                )
            finally:
                if watched and "json" in response.__dict__:
                    withdraw(response)
            if call is not None and not call.announced:
                call.returned(result)
            return result

        return _aprocess_response if inspect.iscoroutinefunction(original) else _process_response

    def _answered(self, response: Any, options: Any, stream: bool) -> Call | None:
        """The call that *response* answers, settled by it, or about to be.

        Args:
            stream: the SDK is about to iterate over the body, also where somebody has read it already: a hook of the
                HTTP client, a transport that answers from what was recorded.
        """
        call: Call | None = response.request.extensions.get(_KEY)
        try:
            if call is None:
                if deferred:
                    look_at(self.wire, response, stream)
                return None
            if response.status_code < 400:  # others are seen here only with a middleware; what failed is not billed
                body, headers = getattr(response, "_content", None), getattr(options, "headers", None)
                if body is None or stream:
                    tap(call, response)
                elif (type(headers) is dict and _RAW in headers) or "json" in response.__dict__:
                    call.reply_bytes(body)
                else:
                    settle_shared(call, response)
            call.sent = False  # not before: what breaks it off, as Ctrl-C does, leaves a reply that is paid for
        except Exception:  # noqa: BLE001 - ours, not the caller's: his reply is paid for and must reach him
            log_once(f"reading a response of {self.wire.name} failed", trace=True)
            if call is not None:
                call.settle(None)
                call.sent = False
        return call


def _uncounted(build: Callable[..., Any], client: Any, options: Any, *, retries_taken: int) -> Any:
    """Build as a release does that does not say there how often it has retried: Google's client before 2."""
    return build(client, options)


def _is_inside(inside: Around, client: Any, original: Callable[..., Any]) -> bool:
    """Whether this is the same call, seen again: an instrumentation between two of our wrappers.

    A call that begins at the wrapper where the one around it began is another one: a middleware, or a hook, that asks
    the client which it belongs to.
    """
    return inside is not None and inside[0] is client and inside[2] is not original


def _all_subclasses(base: type[Any]) -> set[type[Any]]:
    found: set[type[Any]] = set()
    subclass: type[Any]
    for subclass in base.__subclasses__():
        found |= {subclass} | _all_subclasses(subclass)
    return found
