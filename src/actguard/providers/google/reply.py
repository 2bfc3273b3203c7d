"""What Google's replies bill, on the Gemini API and Vertex.

`thoughtsTokenCount` is output beside `candidatesTokenCount`, `toolUsePromptTokenCount` is input beside
`promptTokenCount`, and the cached tokens are within the prompt. A count of zero is left out. The details by modality
need not add up to their whole: the rest is text.
"""

from collections.abc import Callable
from typing import Any

from actguard.budget.usage import Bill, Line, MalformedUsage, Usage
from actguard.providers.body import Body, is_list, is_object, objects, part_of, text_of, utf8_length
from actguard.providers.counting import new
from actguard.providers.endpoint import Endpoint
from actguard.providers.google.counts import (
    Context,
    billed_searches,
    cached_tokens,
    content_tokens,
    context_of,
    in_camels,
    interaction_tokens,
)
from actguard.providers.reader import Reader


def read(endpoint: Endpoint, body: Body, model: str) -> Bill | None:
    """What a parsed JSON reply bills; None when it does not say.

    Args:
        model: as the request named it, for replies that name none.

    Raises:
        MalformedUsage: it says something that cannot be.
    """
    reader = _READERS.get(endpoint.name)
    return None if reader is None else reader(body, model)


class StreamReader(Reader):
    """Follows one stream, event by event. Of each count the last one said holds: they may shrink, and some chunks leave
    some out."""

    __slots__ = ("_finished", "_going", "_grounding")

    def __init__(self, endpoint: Endpoint, model: str) -> None:
        super().__init__(endpoint, model)
        self._grounding: dict[str, dict[str, Any]] = {}  # by candidate
        self._going: set[str] = set()  # candidates that have begun
        self._finished: set[str] = set()  # and ended

    def feed(self, event: Body) -> None:
        kind = event.get("event_type")
        if event.get("error") is not None or kind == "error":
            self.error = True
        if "usage_metadata" in event:
            event = in_camels(event)
        if isinstance(kind, str):
            self._interaction(kind, event)
        else:
            self._chunk(event)

    @property
    def response_id(self) -> str | None:
        return text_of(self._reply, "responseId") or text_of(self._reply, "id")

    def _bill(self) -> Bill | None:
        reply = self._reply
        if self._grounding:
            reply = {**reply, "candidates": [{"groundingMetadata": one} for one in self._grounding.values()]}
        if not self.terminal and "status" in reply and not (reply.get("agent") or reply.get("background")):
            reply = {**reply, "status": None}  # it ends with this stream; an agent goes on without
        return read(self._endpoint, reply, self._model) if reply else None

    def _chunk(self, event: Body) -> None:
        reply = self._reply
        for name in ("responseId", "modelVersion", "promptFeedback"):
            if value := event.get(name):
                reply[name] = value
        said = 0
        for place, candidate in enumerate(objects(event.get("candidates"))):
            which = repr(candidate.get("index", place))
            self._going.add(which)
            if candidate.get("finishReason"):
                self._finished.add(which)
            grounding = candidate.get("groundingMetadata")
            if is_object(grounding):  # may come in pieces, and may be repeated
                known = self._grounding.setdefault(which, {})
                known.update((key, value) for key, value in grounding.items() if value)
            content = candidate.get("content")
            if is_object(content):
                said += sum(_said(part) for part in objects(content.get("parts")))
        if said:
            self.delta_bytes += said
            self.delta_events += 1
        feedback = event.get("promptFeedback")
        blocked = is_object(feedback) and feedback.get("blockReason") is not None
        usage = event.get("usageMetadata")
        if is_object(usage):
            last = reply.get("usageMetadata")
            known = {key: value for key, value in usage.items() if value is not None}
            reply["usageMetadata"] = {**last, **known} if is_object(last) else known
        elif usage is not None:
            reply["usageMetadata"] = usage
        over = blocked or bool(self._finished and self._finished == self._going)
        self.terminal = self.terminal or (over and "usageMetadata" in reply)

    def _interaction(self, kind: str, event: Body) -> None:
        said = 0
        if kind in ("step.delta", "content.delta"):
            delta = event.get("delta")
            if is_object(delta):
                said = _said(delta)
                self.delta_events += bool(said) and delta.get("type") in ("text", "arguments_delta", "function_call")
            metadata = event.get("metadata")
            if is_object(metadata) and is_object(metadata.get("total_usage")):
                self._reply["usage"] = metadata["total_usage"]
        elif is_object(interaction := event.get("interaction")):
            self._reply = {**self._reply, **interaction}
            # A hop that ends where another one begins says so too: each is a request, and billed, by itself.
            self.terminal = kind in ("interaction.completed", "interaction.complete")
        self.delta_bytes += said


def _said(part: Body) -> int:
    said = 0
    for key in ("text", "arguments", "partial_arguments", "code"):
        value = part.get(key)
        if isinstance(value, str):
            said += utf8_length(value)
    for key in ("functionCall", "executableCode", "content", "args", "arguments"):
        value = part.get(key)
        if is_object(value):
            said += _written(value)
    return said


def _written(value: object) -> int:
    """UTF-8 bytes of the keys and texts in an argument object; a lower bound of how the model wrote it."""
    if isinstance(value, str):
        return utf8_length(value)
    if is_object(value):
        return sum(utf8_length(key) + _written(inner) for key, inner in value.items() if key not in ("id", "type"))
    if is_list(value):
        return sum(map(_written, value))
    return 1


# -- whole replies ----------------------------------------------------------------------------------------------------


def _content(body: Body, model: str) -> Bill | None:
    if "usage_metadata" in body:
        body = in_camels(body)
    usage = part_of(body, "usageMetadata")
    tokens = content_tokens(usage)
    if tokens is None:
        return None
    said, named, candidates = body.get("responseId"), body.get("modelVersion"), body.get("candidates")
    if type(named) is str and named:
        model = named
    asked = mapped = 0
    for candidate in candidates if is_list(candidates) else ():
        if is_object(candidate) and "groundingMetadata" in candidate:
            grounding = part_of(candidate, "groundingMetadata")
            asked += sum(_queries(grounding.get(key)) for key in ("webSearchQueries", "imageSearchQueries"))
            mapped = mapped or any("maps" in chunk for chunk in objects(grounding.get("groundingChunks")))
    if asked or mapped:
        tokens = tokens._replace(web_searches=billed_searches(asked, model), map_searches=int(mapped))
    context = context_of(usage.get("serviceTier") or usage.get("trafficType"))
    return new(Bill, (said if type(said) is str and said else None, (new(Line, (model, tokens, context)),), None, True))


def _queries(said: object) -> int:
    """How many searches are billed of those that are said: one that is repeated is one, and an empty one is none."""
    return len({query for query in said if query and isinstance(query, str)}) if is_list(said) else 0


def _embedding(body: Body, model: str) -> Bill | None:
    tokens = content_tokens(part_of(body, "usageMetadata"))
    return None if tokens is None else Bill(None, (Line(model, tokens),))


def _prediction(body: Body, model: str) -> Bill | None:
    """Embeddings on Vertex say what they read, each for itself; pictures and films say nothing."""
    read_in, told = 0, False
    for prediction in objects(body.get("predictions")):
        tokens = part_of(part_of(prediction, "embeddings"), "statistics").get("token_count")
        if tokens is None:
            continue
        if isinstance(tokens, bool) or not isinstance(tokens, int | float) or not tokens >= 0 or tokens % 1:
            raise MalformedUsage("token_count is no count")
        read_in, told = read_in + int(tokens), True
    if not told:
        return None
    characters = part_of(body, "metadata").get("billableCharacterCount")
    usage = Usage(read_in, input_characters=characters if type(characters) is int and characters > 0 else 0)
    return Bill(None, (Line(model, usage),))


def _cached_content(body: Body, model: str) -> Bill | None:
    """What is put into the cache is read once; its storage, by the hour, is not in any reply."""
    stored = cached_tokens(part_of(body, "usageMetadata"))
    if not stored:
        return None
    return Bill(
        text_of(body, "name"), (Line(text_of(body, "model") or model, Usage(stored, cache_write_tokens=stored)),)
    )


def _batch(body: Body, model: str) -> Bill | None:
    """An operation: running, or with the replies in it, or in a file that has to be read to know."""
    said = text_of(body, "name")
    metadata = part_of(body, "metadata")
    state = text_of(metadata, "state") or text_of(body, "state") or ""
    if body.get("done") is not True and not state.endswith(_BATCH_OVER):
        return Bill(said, (), None, final=False)
    response = part_of(body, "response") or part_of(metadata, "output")
    inlined = response.get("inlinedResponses")
    if is_object(inlined):
        inlined = inlined.get("inlinedResponses")
    model = text_of(metadata, "model") or model
    lines = [
        line._replace(context=(*_without_tier(line.context), ("processing", "batch")))
        for one in objects(inlined)
        if (bill := _content(part_of(one, "response"), model)) is not None
        for line in bill.lines
    ]
    return Bill(said, tuple(lines)) if lines else None


_BATCH_OVER = ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED", "PARTIALLY_SUCCEEDED")


def _without_tier(context: Context) -> Context:
    return tuple(pair for pair in context if pair[0] != "service_tier")


def _interaction(body: Body, model: str) -> Bill | None:
    said = text_of(body, "id")
    if body.get("status") in ("in_progress", "queued"):
        return Bill(said, (), None, final=False)
    usage = part_of(body, "usage")
    tokens = interaction_tokens(usage)
    if tokens is None:
        return None
    model = text_of(body, "model") or text_of(body, "agent") or model
    tokens = _interaction_tools(tokens, body, usage, model)
    return Bill(said, (Line(model, tokens, context_of(body.get("service_tier"))),))


def _interaction_tools(tokens: Usage, body: Body, usage: Body, model: str) -> Usage:
    asked = maps = stores = 0
    tools = usage.get("grounding_tool_count")
    if tools is None:  # an older reply: the searches stand among its steps
        for step in objects(body.get("steps") or body.get("outputs")):
            if step.get("type") == "google_search_call":
                arguments = step.get("arguments")
                queries = arguments.get("queries") if is_object(arguments) else None
                asked += len(queries) if is_list(queries) else 1
    for tool in objects(tools):
        count = tool.get("count", 0)
        if type(count) is not int or count < 0:
            raise MalformedUsage("the count of a tool is no count")
        asked += count * (tool.get("type") == "google_search")
        maps += count * (tool.get("type") == "google_maps")
        stores += count * (tool.get("type") == "retrieval")
    if not (asked or maps or stores):
        return tokens
    return tokens._replace(web_searches=billed_searches(asked, model), map_searches=maps, storage_searches=stores)


_READERS: dict[str, Callable[[Body, str], Bill | None]] = {
    "generate_content": _content,
    "stream_generate_content": _content,
    "embed_content": _embedding,
    "predict": _prediction,
    "cached_contents": _cached_content,
    "batch_generate_content": _batch,
    "interactions": _interaction,
    "decisions": _interaction,
}
