"""What Bedrock's replies bill: Converse in AWS's own shape, Invoke in the shape of whichever model was invoked.

The body is all there is to go by. AWS also puts token counts into response headers; models that report them nowhere
else (Cohere, Mistral's first ones) are left to an estimate.
"""

from actguard.budget.usage import Bill, Line, MalformedUsage, Usage
from actguard.providers.anthropic import reply as anthropic
from actguard.providers.body import Body, is_list, is_object, objects, part_of, text_of, utf8_length
from actguard.providers.counting import SLOT, TOTAL, Table, collect, no_counts, usage_from
from actguard.providers.endpoint import Endpoint, Kind
from actguard.providers.openai import reply as openai
from actguard.providers.reader import Reader

_MESSAGES = Endpoint("messages", Kind.PRICED)
_CHAT = Endpoint("chat.completions", Kind.PRICED)


def read(endpoint: Endpoint, body: Body, model: str) -> Bill | None:
    """What a parsed JSON reply bills; None when it does not say.

    Args:
        model: as the request named it; Bedrock's replies name the model's maker's, if any.

    Raises:
        MalformedUsage: it says something that cannot be.
    """
    usage = body.get("usage")
    if is_object(usage):
        if "input_tokens" in usage:
            bill = anthropic.read(_MESSAGES, body, model)
        elif "prompt_tokens" in usage:
            bill = openai.read(_CHAT, body, model)
        else:
            return _bill(model, _converse(usage), _context(body))
        # By what AWS sells it as: the same model costs more in some regions, which its own name does not tell.
        return bill and bill._replace(lines=tuple(line._replace(model=model) for line in bill.lines))
    return _bill(model, _titan(body) or _llama(body) or _jurassic(body), ())


class StreamReader(Reader):
    """Follows one event stream: the events of `converse-stream`, or those of the model behind
    `invoke-with-response-stream`."""

    __slots__ = ("_messages", "_metrics")

    def __init__(self, endpoint: Endpoint, model: str) -> None:
        super().__init__(endpoint, model)
        self._messages: anthropic.StreamReader | None = None
        self._metrics: Body | None = None

    def feed(self, event: Body) -> None:
        if event.get("type") == "error":
            self.error = True
        elif "type" in event:
            self._message(event)
        else:
            self._event(event)
        metrics = event.get("amazon-bedrock-invocationMetrics")
        if is_object(metrics):
            self._metrics = metrics
            self.terminal = True

    def _bill(self) -> Bill | None:
        if self._messages is not None:
            bill = self._messages.bill()
            self.malformed = self._messages.malformed
            return bill and bill._replace(lines=tuple(line._replace(model=self._model) for line in bill.lines))
        if "usage" in self._reply:
            return read(self._endpoint, self._reply, self._model)
        return _bill(self._model, None if self._metrics is None else _metrics(self._metrics), ())

    def _message(self, event: Body) -> None:
        """An event of a Claude model. Its own usage holds; AWS's metrics leave some of a tool call out."""
        if self._messages is None:
            self._messages = anthropic.StreamReader(_MESSAGES, self._model)
        reader = self._messages
        reader.feed(event)
        self.terminal, self.delta_bytes, self.delta_events = reader.terminal, reader.delta_bytes, reader.delta_events

    def _event(self, event: Body) -> None:
        said = 0
        block = event.get("contentBlockDelta")
        if is_object(block):
            said = _said(block.get("delta"))
        for key in ("outputText", "generation", "completion", "text"):  # Titan, Llama, the older Claude, Cohere
            value = event.get(key)
            if isinstance(value, str):
                said += utf8_length(value)
        if said:
            self.delta_bytes += said
            self.delta_events += 1
        metadata = event.get("metadata")
        if is_object(metadata) and metadata.get("usage") is not None:
            self._reply = dict(metadata)
            self.terminal = True
        if any(key.endswith(("Exception", "Error")) for key in event):
            self.error = True


def _said(delta: object) -> int:
    if isinstance(delta, str):
        return utf8_length(delta)
    if is_object(delta):
        return sum(_said(value) for key, value in delta.items() if key not in ("signature", "redactedContent"))
    return 0


# -- usage ------------------------------------------------------------------------------------------------------------

_KEYS: Table = {
    "inputTokens": SLOT["input_tokens"],
    "outputTokens": SLOT["output_tokens"],
    "totalTokens": TOTAL,
    "cacheReadInputTokens": SLOT["cache_read_tokens"],
    "cacheReadInputTokenCount": SLOT["cache_read_tokens"],
    "cacheWriteInputTokens": SLOT["cache_write_tokens"],
    "cacheWriteInputTokenCount": SLOT["cache_write_tokens"],
}
_METRIC_KEYS: Table = {
    **_KEYS,
    "inputTokenCount": SLOT["input_tokens"],
    "outputTokenCount": SLOT["output_tokens"],
}
_READ_IN, _WRITTEN, _CACHE_READ, _STORED, _STORED_1H = (
    SLOT[f"{kind}_tokens"] for kind in ("input", "output", "cache_read", "cache_write", "cache_write_1h")
)


def _converse(usage: Body) -> Usage | None:
    if usage.get("inputTokens") is None and usage.get("outputTokens") is None:
        return None
    if usage.get("inputTokens") is None:
        raise MalformedUsage("output without input")
    counts = no_counts()
    collect(usage, _KEYS, counts)
    details = usage.get("cacheDetails")
    for detail in objects(details) if is_list(details) else ():
        if detail.get("ttl") == "1h":
            collect(detail, {"inputTokens": _STORED_1H}, counts)
    counts[_READ_IN] += counts[_CACHE_READ] + counts[_STORED]
    if counts[TOTAL] and counts[TOTAL] != counts[_READ_IN] + counts[_WRITTEN]:
        raise MalformedUsage("a total that is not the sum of its parts")
    return usage_from(counts)


def _metrics(metrics: Body) -> Usage:
    counts = no_counts()
    collect(metrics, _METRIC_KEYS, counts)
    counts[_READ_IN] += counts[_CACHE_READ] + counts[_STORED]
    return usage_from(counts)


def _titan(body: Body) -> Usage | None:
    """Amazon Titan, text and embeddings."""
    if body.get("inputTextTokenCount") is None:
        return None
    counts = no_counts()
    collect(body, {"inputTextTokenCount": _READ_IN}, counts)
    for result in objects(body.get("results")):
        written = no_counts()
        collect(result, {"tokenCount": _WRITTEN}, written)
        counts[_WRITTEN] += written[_WRITTEN]
    return usage_from(counts)


def _llama(body: Body) -> Usage | None:
    if body.get("prompt_token_count") is None:
        return None
    counts = no_counts()
    collect(body, {"prompt_token_count": _READ_IN, "generation_token_count": _WRITTEN}, counts)
    return usage_from(counts)


def _jurassic(body: Body) -> Usage | None:
    """AI21's Jurassic lists every token, of prompt and completions."""
    prompt = body.get("prompt")
    if not is_object(prompt) or not is_list(prompt.get("tokens")):
        return None
    written = 0
    for completion in objects(body.get("completions")):
        tokens = part_of(completion, "data").get("tokens")
        written += len(tokens) if is_list(tokens) else 0
    return Usage(len(prompt["tokens"]), written)


def _bill(model: str, tokens: Usage | None, context: tuple[tuple[str, str], ...]) -> Bill | None:
    if tokens is None or not tokens.tokens:
        return None  # nothing cannot be right
    return Bill(None, (Line(model, tokens, context),))


def _context(body: Body) -> tuple[tuple[str, str], ...]:
    tier = text_of(part_of(body, "serviceTier"), "type")
    speed = text_of(part_of(body, "performanceConfig"), "latency")
    context = [("service_tier", tier)] if tier not in (None, "default", "standard") else []
    if speed not in (None, "standard"):
        context.append(("speed", str(speed)))
    return tuple((key, str(value)) for key, value in context)
