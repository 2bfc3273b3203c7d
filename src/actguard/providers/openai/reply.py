"""What OpenAI's replies bill, and those of the hosts that speak its wire.

Details are parts of the two main counts: cached and written tokens of the input, reasoning of the output. What a tool
of the provider used is billed beside `usage`, in `tool_usage`; it becomes lines and searches of its own.
"""

from collections.abc import Callable
from typing import cast

from actguard.budget.usage import NOTHING, Bill, Line, MalformedUsage, Usage
from actguard.money import PICO_PER_USD, from_usd
from actguard.providers.body import Body, count_of, is_object, objects, part_of, utf8_length
from actguard.providers.counting import SLOT, new
from actguard.providers.endpoint import Endpoint
from actguard.providers.openai.counts import (
    CONTEXTS,
    context_of,
    identity_of,
    model_of,
    reported_cost,
    tokens_of,
    usage_of,
)
from actguard.providers.reader import Reader


def read(endpoint: Endpoint, body: Body, model: str) -> Bill | None:
    """What a parsed JSON reply bills; None when it does not say.

    Args:
        model: as the request named it, for replies that name none.

    Raises:
        MalformedUsage: it says something that cannot be.
    """
    if endpoint.name == "chat.completions":
        return _plain_chat(body) or _completion(body, model)
    reader = _READERS.get(endpoint.name)
    return None if reader is None else reader(body, model)


def usage_chunk_only(event: Body) -> bool:
    """Whether this is the chunk that `include_usage` adds: without choices, with a usage object."""
    return event.get("choices") == [] and is_object(event.get("usage"))


class StreamReader(Reader):
    """Follows one stream, event by event. Counts are cumulative on this wire: a later report replaces an earlier."""

    __slots__ = ("_finished", "_going", "_images")

    def __init__(self, endpoint: Endpoint, model: str) -> None:
        super().__init__(endpoint, model)
        self._images: list[Body] = []  # they come one by one, each with its own usage
        self._going: set[str] = set()  # choices that have begun
        self._finished: set[str] = set()  # and ended

    def feed(self, event: Body) -> None:
        kind = event.get("type")
        if event.get("error") is not None or kind == "error":
            self.error = True
        if isinstance(kind, str):
            self._typed(kind, event)
            return
        what = event.get("object")
        if isinstance(what, str) and what.startswith("thread."):
            self._thread(what, event)
        else:
            self._chunk(event)

    def _bill(self) -> Bill | None:
        if self._images:
            bills = [read(self._endpoint, image, self._model) for image in self._images]
            lines = tuple(line for bill in bills if bill is not None for line in bill.lines)
            return Bill(None, lines) if lines else None
        reply = self._reply
        if reply.get("object") == "response" and not self.terminal and reply.get("background") is not True:
            return None  # unfinished, and it ends with this stream
        return read(self._endpoint, reply, self._model) if reply else None

    def _chunk(self, event: Body) -> None:
        reply = self._reply
        for key in ("id", "model", "service_tier"):
            if value := event.get(key):
                reply[key] = value
        for choice in objects(event.get("choices")):
            which = repr(choice.get("index"))
            self._going.add(which)
            if choice.get("finish_reason"):
                self._finished.add(which)
            said = _said(choice["delta"] if "delta" in choice else choice.get("text"))
            if said:
                self.delta_bytes += said
                self.delta_events += 1
        for key in ("usage", "x_groq"):
            if event.get(key):
                reply[key] = event[key]
        if usage_chunk_only(event) or (self._finished and self._finished == self._going):
            groq = reply.get("x_groq")
            self.terminal = bool(reply.get("usage") or (is_object(groq) and groq.get("usage")))

    def _typed(self, kind: str, event: Body) -> None:
        if kind in _RESPONSE_STATES or kind in _RESPONSE_ENDS:
            response = event.get("response")
            if is_object(response):
                self._reply = {"object": "response", **response}
                self.terminal = self.terminal or kind in _RESPONSE_ENDS
                self.error = self.error or response.get("error") is not None
        elif kind in _ENDS_WITH_USAGE:
            if kind.startswith("image"):
                self._images.append(event)
                self.terminal = len(self._images) >= self.replies
            else:
                self.terminal = True
                self._reply["usage"] = event.get("usage")
        elif kind.endswith(".delta") and kind not in _NO_TEXT:
            said = _said(event.get("delta"))
            if said:
                self.delta_bytes += said
                # A summary of reasoning is written by another model: no token of this one.
                self.delta_events += "summary" not in kind

    def _thread(self, what: str, event: Body) -> None:
        if what == "thread.run":
            self._reply = dict(event)
            self.terminal = event.get("status") in _RUN_OVER
        elif what.endswith(".delta") and (said := _said(event.get("delta"))):
            self.delta_bytes += said
            self.delta_events += 1


_RESPONSE_STATES = frozenset({"response.created", "response.queued", "response.in_progress"})
_RESPONSE_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_ENDS_WITH_USAGE = frozenset(
    {"image_generation.completed", "image_edit.completed", "transcript.text.done", "speech.audio.done"}
)
# Base64, or a tool's words instead of the model's.
_NO_TEXT = frozenset({"response.audio.delta", "speech.audio.delta", "response.shell_call_output_content.delta"})
# A tuple, because what stands in a reply need not be hashable.
_RUN_OVER = ("completed", "incomplete", "failed", "cancelled", "expired")
_NOT_SAID = frozenset(
    {"role", "id", "type", "index", "object", "status", "data", "expires_at", "file_id", "call_id", "format"}
)


def _said(delta: object) -> int:
    """UTF-8 bytes of what a delta says: every text in it but names of roles, types and ids, and base64 data."""
    if isinstance(delta, str):
        return utf8_length(delta)
    if is_object(delta):
        return sum(_said(value) for key, value in delta.items() if value and key not in _NOT_SAID)
    if isinstance(delta, list):
        return sum(_said(item) for item in cast("list[object]", delta))
    return 0


# -- whole replies ----------------------------------------------------------------------------------------------------

_NO_PARTS = tuple(NOTHING)[2:]
_NOTHING_READ = {"cached_tokens": 0, "audio_tokens": 0}
_NOTHING_WRITTEN = {
    **dict.fromkeys(("reasoning_tokens", "audio_tokens"), 0),
    **dict.fromkeys(("accepted_prediction_tokens", "rejected_prediction_tokens"), 0),
}
_BETWEEN = (0,) * (SLOT["output_reasoning_tokens"] - SLOT["cache_read_tokens"] - 1)
_BEHIND = (0,) * (len(NOTHING) - SLOT["output_reasoning_tokens"] - 1)


def _plain_chat(body: Body) -> Bill | None:
    """The everyday reply, cut short: cached and reasoning tokens at most. None for what needs a closer look."""
    cached = reasoning = 0
    try:
        model, identity, usage = body["model"], body["id"], body["usage"]
        read_in, written = usage["prompt_tokens"], usage["completion_tokens"]
        if usage["total_tokens"] != read_in + written:
            return None
        keys = len(usage)
        if keys == 5:
            said_in, said_out = usage["prompt_tokens_details"], usage["completion_tokens_details"]
            if said_in != _NOTHING_READ or said_out != _NOTHING_WRITTEN:
                cached, reasoning = said_in["cached_tokens"], said_out["reasoning_tokens"]
                zeros = [*said_in.values(), *said_out.values()].count(0)
                if zeros + (cached != 0) + (reasoning != 0) != len(said_in) + len(said_out):
                    return None
                if not (
                    type(cached) is type(reasoning) is int and 0 <= cached <= read_in and 0 <= reasoning <= written
                ):
                    return None
        elif keys != 3:
            return None
        context = CONTEXTS[body.get("service_tier")]
    except (KeyError, TypeError, AttributeError):
        return None
    if type(read_in) is not int or type(written) is not int or read_in <= 0 or written < 0:
        return None
    if type(model) is not str or type(identity) is not str or not model or len(identity) <= 12:
        return None
    if cached or reasoning:
        counts = (read_in, written, cached) + _BETWEEN + (reasoning,) + _BEHIND  # noqa: RUF005 - unpacking is slower
    else:
        counts = (read_in, written) + _NO_PARTS  # noqa: RUF005
    return new(Bill, (identity, (new(Line, (model, new(Usage, counts), context)),), None, True))


def _completion(body: Body, model: str, *, writes: bool = True) -> Bill | None:
    usage = usage_of(body)
    if usage is None:
        return None
    tokens, cost = tokens_of(usage, writes=writes), reported_cost(usage)
    if tokens is None:
        if not cost:
            return None
        tokens = NOTHING  # billed by something else, and it is said for how much
    line = new(Line, (model_of(body, model), tokens, context_of(body)))
    return new(Bill, (identity_of(body), (line,), cost, True))


def _embedding(body: Body, model: str) -> Bill | None:
    return _completion(body, model, writes=False)


def _response(body: Body, model: str) -> Bill | None:
    if body.get("status") in ("queued", "in_progress"):
        return Bill(identity_of(body), (), None, final=False)
    bill = _completion(body, model)
    if bill is None:
        return None
    tools = part_of(body, "tool_usage")
    items = [item for item in objects(body.get("output")) if item.get("type") in _BILLED_CALLS]
    if not tools and not items:
        return bill
    line = bill.lines[0]
    searches = _searches(tools, items) or line.usage.web_searches
    stored = sum(item["type"] == "file_search_call" for item in items)
    if searches or stored:
        line = line._replace(usage=line.usage._replace(web_searches=searches, storage_searches=stored))
    return bill._replace(lines=(line, *_image_tool(body, tools, items)))


_BILLED_CALLS = ("web_search_call", "file_search_call", "image_generation_call")


def _searches(tools: Body, items: list[Body]) -> int:
    if tools.get("web_search") is not None:
        return count_of(part_of(tools, "web_search"), "num_requests")
    found = 0  # a reply from before `tool_usage`: a search is billed, opening a page is not
    for item in items:
        if item.get("type") == "web_search_call":
            action = item.get("action")
            found += not is_object(action) or action.get("type", "search") == "search"
    return found


def _image_tool(body: Body, tools: Body, items: list[Body]) -> tuple[Line, ...]:
    if tools.get("image_gen") is not None:
        drawn = part_of(tools, "image_gen")
        tokens = _pictures(drawn, tokens_of(drawn) or NOTHING)
    else:  # a reply from before `tool_usage`
        tokens = Usage(output_images=sum(item.get("type") == "image_generation_call" for item in items))
    if tokens == NOTHING:
        return ()
    declared = [tool for tool in objects(body.get("tools")) if tool.get("type") == "image_generation"]
    return (Line(model_of(declared[0] if declared else {}, "image_generation"), tokens),)


def _pictures(usage: Body, tokens: Usage) -> Usage:
    """*tokens*, as *usage* of a model that draws states them: output of which no kinds are told is pictures."""
    if usage.get("output_tokens_details") is not None:
        return tokens
    return tokens._replace(output_image_tokens=tokens.output_tokens)


def _image(body: Body, model: str) -> Bill | None:
    bill = _completion(body, model)
    if bill is not None:
        line = bill.lines[0]
        bill = bill._replace(lines=(line._replace(usage=_pictures(usage_of(body) or {}, line.usage)),))
    drawn = part_of(body, "svg_usage")
    tokens = tokens_of(drawn)
    if tokens is None:
        return bill
    drawing = Line(model_of(drawn, model), tokens, context_of(body))
    return Bill(identity_of(body), (drawing,)) if bill is None else bill._replace(lines=(*bill.lines, drawing))


def _transcription(body: Body, model: str) -> Bill | None:
    usage = usage_of(body)
    if usage is not None and usage.get("type") != "duration":
        return _completion(body, model)
    seconds = body.get("duration") if usage is None else usage.get("seconds")  # verbose replies say how long it was
    if usage is None and seconds is None:
        return None
    line = Line(model_of(body, model), Usage(input_audio_milliseconds=_milliseconds(seconds)), context_of(body))
    return Bill(identity_of(body), (line,))


def _milliseconds(seconds: object) -> int:
    try:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float | str):
            raise TypeError
        heard = from_usd(float(seconds))  # in parts of 10**12, decimal: exact where a product of floats is not
    except (TypeError, ValueError, OverflowError):
        raise MalformedUsage("the duration of the audio is no number of seconds") from None
    if heard < 0:
        raise MalformedUsage("the duration of the audio is negative")
    return -(-heard * 1000 // PICO_PER_USD)


def _batch(body: Body, model: str) -> Bill | None:
    status = body.get("status")
    if status not in _BATCH_OVER:
        return Bill(identity_of(body), (), None, final=False)
    usage = usage_of(body)
    tokens = None if usage is None else tokens_of(usage)
    if tokens is None:
        # What failed validation, or was never begun, costs nothing; else it is not said what it costs.
        begun = part_of(body, "request_counts").get("completed") != 0
        return None if begun else Bill(identity_of(body), ())
    return Bill(identity_of(body), (Line(model_of(body, model), tokens, (("processing", "batch"),)),))


_BATCH_OVER = ("failed", "completed", "expired", "cancelled")


def _run(body: Body, model: str) -> Bill | None:
    if body.get("status") not in _RUN_OVER:
        return Bill(identity_of(body), (), None, final=False)
    return _completion(body, model)


_READERS: dict[str, Callable[[Body, str], Bill | None]] = {
    "chat.completions": _completion,
    "completions": _completion,
    "embeddings": _embedding,
    "decisions": _completion,
    "responses": _response,
    "responses.compact": _response,
    "images": _image,
    "audio.transcriptions": _transcription,
    "audio.translations": _transcription,
    "audio.speech": _completion,
    "batches": _batch,
    "runs": _run,
}
