"""From what was asked and what is scripted to an answer with every figure settled. Pure."""

import time
from dataclasses import replace
from typing import Literal

from actguard.testing import tokens
from actguard.testing.counts import Counts
from actguard.testing.jsons import dumps
from actguard.testing.script import Reply, ToolCall
from actguard.testing.wires.wire import Answer, Asked, Call, Wire, new_id


def answer(wire: Wire, asked: Asked, reply: Reply, *, default_tokens: int) -> Answer:
    """Fill in what is not scripted, obey the cap, and count everything once."""
    reply = wire.defaults(asked, _as_asked(asked, reply))
    pieces, calls = _generated(asked, reply, default_tokens)
    finish: Literal["stop", "length", "tool_calls"] = "tool_calls" if calls else "stop"
    left = _Allowance(asked.cap)
    reasoning = left.take(reply.reasoning_tokens)
    pieces = pieces[: left.take(len(pieces))]
    for call in calls:
        call.pieces = call.pieces[: left.take(len(call.pieces))]
    audio = left.take(reply.audio_output_tokens)
    image = left.take(reply.image_output_tokens)
    if left.exceeded:
        finish = "length"
        calls = [call for call in calls if call.pieces]
    visible = len(pieces) + sum(len(call.pieces) for call in calls)
    settled = Answer(
        asked=asked,
        reply=reply,
        id=wire.new_id(),
        created=int(time.time()),
        model=reply.model or asked.model,
        pieces=pieces,
        calls=calls,
        finish=finish,
        counts=Counts(
            input=asked.input_tokens if reply.input_tokens is None else reply.input_tokens - reply.special_input,
            cached=reply.cached_tokens,
            cached_audio=reply.cached_audio_tokens,
            cache_write=reply.cache_write_tokens,
            cache_write_1h=reply.cache_write_1h_tokens,
            audio_input=reply.audio_input_tokens,
            image_input=reply.image_input_tokens,
            tool_prompt=reply.tool_prompt_tokens,
            output=visible * asked.choices,
            reasoning=reasoning * asked.choices,
            audio_output=audio * asked.choices,
            image_output=image,
            web_search=reply.web_searches,
        ),
    )
    settled.counts = wire.counted(settled)
    return settled


def _as_asked(asked: Asked, reply: Reply) -> Reply:
    if asked.service_tier is None and asked.speed is None and asked.geo is None:
        return reply
    return replace(
        reply,
        service_tier=reply.service_tier or asked.service_tier,
        speed=reply.speed or asked.speed,
        geo=reply.geo or asked.geo,
    )


class _Allowance:
    """How many output tokens the cap still allows."""

    def __init__(self, cap: int | None) -> None:
        self._left = cap
        self.exceeded = False

    def take(self, wanted: int) -> int:
        if self._left is None:
            return wanted
        granted = min(wanted, self._left)
        self._left -= granted
        self.exceeded = self.exceeded or granted < wanted
        return granted


def _generated(asked: Asked, reply: Reply, default_tokens: int) -> tuple[list[str], list[Call]]:
    """The visible pieces before any cap: one string for each token of text and of tool arguments."""
    if not asked.generates_text:
        return [], []
    text, tool_calls = reply.text, list(reply.tool_calls)
    if text is None and not tool_calls:
        if asked.forced_tool is not None:
            name, schema = asked.forced_tool
            tool_calls = [ToolCall(name, tokens.instance(schema))]
        elif asked.schema is not None:
            text = dumps(tokens.instance(asked.schema))
        else:
            return tokens.words(default_tokens if reply.output_tokens is None else reply.output_tokens), []
    parts = ([text] if text else []) + [dumps(call.arguments) for call in tool_calls]
    if reply.output_tokens is None:
        sizes = [tokens.count(part) for part in parts]
    else:
        sizes = [len(share) for share in tokens.split("." * reply.output_tokens, len(parts))]
    split = [tokens.split(part, size) for part, size in zip(parts, sizes, strict=True)]
    pieces = split.pop(0) if text else []
    calls = [Call(call.id or new_id("call_"), call.name, part) for call, part in zip(tool_calls, split, strict=True)]
    return pieces, calls
