"""What Anthropic's replies bill, on its own API, Bedrock and Vertex.

Cached tokens stand beside `input_tokens`, not in it. Streams report cumulatively, twice: `message_start` and then
`message_delta`, which wins. Some of what is billed is not in the top-level counts but in `iterations`: a compaction, an
advisor (another model), an attempt of another model that declined after it had begun to answer.
"""

from actguard.budget.usage import NOTHING, Bill, Line, MalformedUsage, Usage
from actguard.providers.body import NOTHING_SAID, Body, is_list, is_object, objects, part_of, text_of, utf8_length
from actguard.providers.counting import SHORT_LIVED, SLOT, Table, collect, new, no_counts, usage_from
from actguard.providers.endpoint import Endpoint
from actguard.providers.reader import Reader

Context = tuple[tuple[str, str], ...]


def read(endpoint: Endpoint, body: Body, model: str) -> Bill | None:
    """What a parsed JSON reply bills; None when it does not say.

    Args:
        model: as the request named it, for replies that name none.

    Raises:
        MalformedUsage: it says something that cannot be.
    """
    if endpoint.name == "messages":
        return _plain_message(body) or _message(body, model)
    if endpoint.name == "messages.batches":
        return _batch(body)
    if endpoint.name == "messages.batches.results":
        lines = _batch_result(body, model)
        return Bill(None, lines) if lines else None
    return None


class StreamReader(Reader):
    """Follows one stream, event by event; or the lines of a message batch's results, which add up."""

    __slots__ = ("_ended", "_results", "_start")

    def __init__(self, endpoint: Endpoint, model: str) -> None:
        super().__init__(endpoint, model)
        self._start: Body = NOTHING_SAID  # the usage it began with
        self._results: list[Body] | None = [] if endpoint.name == "messages.batches.results" else None
        self._ended = False

    def feed(self, event: Body) -> None:
        if self._results is not None:
            self._results.append(event)
            return
        kind = event.get("type")
        if kind == "content_block_delta":
            self._delta(event.get("delta"))
        elif kind == "message_start":
            message = event.get("message")
            if is_object(message):
                self._reply = dict(message)
                usage = message.get("usage")
                self._start = usage if is_object(usage) else NOTHING_SAID
        elif kind == "message_delta":
            self._message_delta(event)
        elif kind == "message_stop":
            self._ended = True
        elif kind == "error":
            self.error = True

    def _bill(self) -> Bill | None:
        if self._results is None:
            return _message(self._reply, self._model)
        lines: list[Line] = []
        for result in self._results:
            try:
                lines += _batch_result(result, self._model)
            except MalformedUsage as malformed:
                self.malformed = str(malformed)
        return Bill(None, tuple(lines)) if lines else None

    def _delta(self, delta: object) -> None:
        if not is_object(delta):
            return
        said = 0
        for key in ("text", "partial_json", "thinking", "content"):  # the last is a compaction's
            value = delta.get(key)
            if isinstance(value, str):
                said += utf8_length(value)
        if said:
            self.delta_bytes += said
            # Thinking arrives as a summary, by another model; a compaction is billed as its own iteration.
            self.delta_events += delta.get("type") in ("text_delta", "input_json_delta")

    def _message_delta(self, event: Body) -> None:
        delta = event.get("delta")
        if is_object(delta) and delta.get("stop_reason") is not None:
            self._reply["stop_reason"] = delta["stop_reason"]
            self._ended = True
        usage = event.get("usage")
        if is_object(usage):
            self._reply["usage"] = _replaced(self._start, usage)
            self.terminal = self._ended
        elif usage is not None:
            self._reply["usage"] = usage


def _replaced(start: Body, delta: Body) -> Body:
    """The usage after a `message_delta`: what it reports replaces what the start did.

    Some vendors of this wire (Kimi, Qwen) begin with all of the prompt as `input_tokens`, and tell only at the end how
    much of it came from the cache; some of them without correcting the first figure.
    """
    said = {key: value for key, value in delta.items() if value is not None}
    merged = {**start, **said}
    stored = said.get("cache_creation_input_tokens")
    lifetimes = start.get("cache_creation")
    if isinstance(stored, int) and is_object(lifetimes) and "cache_creation" not in said:
        # Only the start tells the lifetimes; when less was stored in the end, the dearer of them is assumed.
        longer = lifetimes.get("ephemeral_1h_input_tokens")
        merged["cache_creation"] = {
            "ephemeral_1h_input_tokens": min(longer, stored) if isinstance(longer, int) else longer
        }
    cached = [said.get(key) for key in _CACHED]
    if any(cached) and not any(start.get(key) for key in _CACHED):
        began = start.get("input_tokens")
        if merged.get("input_tokens") == began and isinstance(began, int):
            within = sum(count for count in cached if isinstance(count, int))
            if within <= began:
                merged["input_tokens"] = began - within
    return merged


_CACHED = ("cache_read_input_tokens", "cache_creation_input_tokens")


# -- whole replies ----------------------------------------------------------------------------------------------------


def _plain_message(body: Body) -> Bill | None:
    """The everyday reply, cut short: input and output alone, at standard rates. None for what needs a closer look."""
    try:
        model, identity, usage = body["model"], body["id"], body["usage"]
        read_in, written = usage["input_tokens"], usage["output_tokens"]
        for key, value in usage.items():
            if value and key not in _MAIN and _USUAL.get(key) != value:
                return None
    except (KeyError, TypeError, AttributeError):
        return None
    if type(read_in) is not int or type(written) is not int or read_in <= 0 or written <= 0:
        return None
    if type(model) is not str or type(identity) is not str or not model or not identity:
        return None
    tokens = new(Usage, (read_in, written) + _NO_PARTS)  # noqa: RUF005 - unpacking is slower
    return new(Bill, (identity, (new(Line, (model, tokens, ())),), None, True))


_MAIN = frozenset(("input_tokens", "output_tokens"))
_USUAL = {
    "service_tier": "standard",
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
}
"""What may stand in a usage beside the main counts, and bill nothing; as may whatever is empty, or zero."""


def _message(body: Body, model: str) -> Bill | None:
    usage = part_of(body, "usage")
    if usage.get("input_tokens") is None and usage.get("output_tokens") is None:
        return None
    named = body.get("model")
    if type(named) is str and named:
        model = named
    context = _context(usage)
    tokens = _tokens(usage)
    if not tokens.tokens:
        return None  # nothing cannot be right
    if not tokens.output_tokens and body.get("stop_reason") == "refusal":
        # Declined before anything was generated: not billed. What a server tool did before that is.
        tokens = Usage(web_searches=tokens.web_searches, code_executions=tokens.code_executions)
    line = new(Line, (model, tokens, context))
    iterations = usage.get("iterations")
    if iterations and not is_list(iterations):
        raise MalformedUsage("iterations is no list")
    lines = _with_iterations(line, objects(iterations)) if iterations else (line,)
    said = body.get("id")
    return new(Bill, (said if type(said) is str and said else None, lines, None, True))


_KEYS: Table = {
    "input_tokens": SLOT["input_tokens"],
    "output_tokens": SLOT["output_tokens"],
    "cache_read_input_tokens": SLOT["cache_read_tokens"],
    "cache_creation_input_tokens": SLOT["cache_write_tokens"],
    "cache_creation": {
        "ephemeral_5m_input_tokens": SHORT_LIVED,
        "ephemeral_1h_input_tokens": SLOT["cache_write_1h_tokens"],
    },
    "output_tokens_details": {"thinking_tokens": SLOT["output_reasoning_tokens"]},
    "server_tool_use": {
        "web_search_requests": SLOT["web_searches"],
        "code_execution_requests": SLOT["code_executions"],
    },
}
_READ_IN, _WRITTEN, _CACHE_READ, _STORED, _STORED_1H = (
    SLOT[f"{kind}_tokens"] for kind in ("input", "output", "cache_read", "cache_write", "cache_write_1h")
)


def _tokens(usage: Body) -> Usage:
    """Raises:
    MalformedUsage: the counts cannot be, or one of the two main ones is missing.
    """
    read_in, written = usage.get("input_tokens"), usage.get("output_tokens")
    if type(read_in) is int and type(written) is int and read_in > 0 < written and _nothing_special(usage):
        return new(Usage, (read_in, written) + _NO_PARTS)  # noqa: RUF005 - unpacking is slower
    counts = no_counts()
    collect(usage, _KEYS, counts)
    if type(read_in) is not int or type(written) is not int:
        raise MalformedUsage("one count without the other")
    by_lifetime = counts[SHORT_LIVED] + counts[_STORED_1H]
    if by_lifetime > counts[_STORED]:
        if usage.get("cache_creation_input_tokens") is not None:
            raise MalformedUsage("more was written to the cache by lifetime than in all")
        counts[_STORED] = by_lifetime
    counts[_READ_IN] += counts[_CACHE_READ] + counts[_STORED]
    return usage_from(counts)


def _nothing_special(usage: Body) -> bool:
    """Whether every count but the two main ones is missing or zero."""
    for key, value in usage.items():
        if value and key in _PARTS and (not is_object(value) or any(value.values())):
            return False
    return True


_PARTS = _KEYS.keys() - {"input_tokens", "output_tokens"}
_NO_PARTS = tuple(NOTHING)[2:]


def _with_iterations(line: Line, iterations: list[Body]) -> tuple[Line, ...]:
    """*line* is what the top-level counts say; here is what they leave out."""
    lines: list[Line] = []
    attempts = [one for one in iterations if one.get("type") in ("message", "fallback_message")]
    if any(one["type"] == "fallback_message" or text_of(one, "model") not in (None, line.model) for one in attempts):
        # More than one model had a go at it, and the top level counts the last one's. One that declined before it
        # generated anything is not billed.
        billed = [_iteration(one, line.model, line.context) for one in attempts]
        lines += [one for one in billed if one.usage.output_tokens]
        beside = Usage(web_searches=line.usage.web_searches, code_executions=line.usage.code_executions)
        if beside != NOTHING:
            lines.append(Line(line.model, beside, line.context))
    else:
        lines.append(line)
    # The advisor is another model with a speed of its own.
    elsewhere = tuple(pair for pair in line.context if pair[0] != "speed")
    for one in iterations:
        if one.get("type") == "compaction":
            lines.append(_iteration(one, line.model, line.context))
        elif one.get("type") == "advisor_message":
            lines.append(_iteration(one, line.model, elsewhere))
    return tuple(lines) or (Line(line.model, NOTHING, line.context),)


def _iteration(one: Body, model: str, context: Context) -> Line:
    return Line(text_of(one, "model") or model, _tokens(one), context)


def _context(usage: Body) -> Context:
    """What a price may depend on; the ordinary is no context at all."""
    tier, speed, geo = usage.get("service_tier"), usage.get("speed"), usage.get("inference_geo")
    if tier in _ORDINARY and speed in _ORDINARY and geo in _ORDINARY:
        return ()
    context: list[tuple[str, str]] = []
    for key, value in (("geo", geo), ("service_tier", tier), ("speed", speed)):
        if isinstance(value, str) and value.lower() not in _ORDINARY:
            value = value.lower()
            context.append(("processing", "batch") if value == "batch" else (key, value))
    return tuple(sorted(context))


# A tuple, because what stands in a reply need not be hashable.
_ORDINARY = (None, "standard", "global", "not_available", "", "default", "auto", "unspecified")


# -- batches ----------------------------------------------------------------------------------------------------------


def _batch(body: Body) -> Bill | None:
    """The state of a batch. It never says what was used; that is in the results, unless there is nothing in them."""
    said = text_of(body, "id")
    if body.get("processing_status") == "ended" and part_of(body, "request_counts").get("succeeded") == 0:
        return Bill(said, ())  # only what succeeded is billed
    return Bill(said, (), None, final=False)


def _batch_result(result: Body, model: str) -> tuple[Line, ...]:
    outcome = part_of(result, "result")
    if outcome.get("type") != "succeeded":
        return ()  # and is not billed
    bill = _message(part_of(outcome, "message"), model)
    if bill is None:
        raise MalformedUsage("a result that does not say what it used")
    return tuple(line._replace(context=_as_batch(line.context)) for line in bill.lines)


def _as_batch(context: Context) -> Context:
    return tuple(sorted({**dict(context), "processing": "batch"}.items()))
