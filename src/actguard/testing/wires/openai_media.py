"""OpenAI's embeddings, images, transcription and speech: billed by tokens, images, seconds or characters."""

import base64
import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from actguard.testing import tokens
from actguard.testing.counts import Counts
from actguard.testing.http import Request
from actguard.testing.jsons import sequence
from actguard.testing.multipart import form
from actguard.testing.script import Reply
from actguard.testing.wires.openai_chat import OpenAIWire
from actguard.testing.wires.route import Match
from actguard.testing.wires.wire import Answer, Asked, Event

IMAGE_TOKENS = 1056
"""Output tokens of one generated image, unless scripted."""
AUDIO_TOKENS_PER_SECOND = 10
BYTES_PER_SECOND = 16_000
"""How long a sound is, by this server's rule: its bytes at this rate, at least a second."""

_PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


class Embeddings(OpenAIWire):
    """`POST /embeddings`."""

    def asked(self, request: Request, match: Match) -> Asked:
        body = request.json
        return Asked(
            provider=match["provider"],
            endpoint="embeddings",
            model=match.get("deployment") or request.model,
            input_tokens=_embedded_tokens(body.get("input")),
            generates_text=False,
            body=body,
        )

    def usage(self, answer: Answer, counts: Counts) -> dict[str, Any]:
        usage: dict[str, Any] = {"prompt_tokens": counts.input_tokens, "total_tokens": counts.input_tokens}
        return usage if answer.usd is None else {**usage, "cost": float(answer.usd)}

    def body(self, answer: Answer) -> Mapping[str, Any]:
        asked = answer.asked.body
        vector = [1.0] + [0.0] * (int(asked.get("dimensions") or 1536) - 1)
        embedding: Any = vector
        if asked.get("encoding_format") == "base64":
            embedding = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        usage = self.stated_usage(answer)
        count = len(_inputs(asked.get("input")))
        return {
            "object": "list",
            "data": [{"object": "embedding", "index": i, "embedding": embedding} for i in range(count)],
            "model": answer.model,
            **({"usage": usage} if usage is not None else {}),
            **answer.reply.fields,
        }

    def events(self, answer: Answer) -> Iterator[Event]:
        raise NotImplementedError("embeddings do not stream")


class Images(OpenAIWire):
    """`POST /images/generations` and `/images/edits`. GPT Image models bill tokens, DALL-E bills images."""

    def asked(self, request: Request, match: Match) -> Asked:
        body = request.json or form(request)
        return Asked(
            provider=match["provider"],
            endpoint="images",
            model=match.get("deployment") or str(body.get("model", "dall-e-2")),
            input_tokens=tokens.count_input(body),
            choices=int(body.get("n") or 1),
            stream=str(body.get("stream")).lower() == "true",
            generates_text=False,
            body=body,
        )

    def defaults(self, asked: Asked, reply: Reply) -> Reply:
        if not reply.image_output_tokens and not _by_image(asked.model):
            return replace(reply, image_output_tokens=IMAGE_TOKENS * asked.choices)
        return reply

    def counted(self, answer: Answer) -> Counts:
        if not _by_image(answer.model):
            return answer.counts
        return Counts(image=answer.asked.choices)

    def usage(self, answer: Answer, counts: Counts) -> dict[str, Any]:
        if _by_image(answer.model):
            return {}
        text = counts.input_tokens - counts.image_input
        return {
            "input_tokens": counts.input_tokens,
            "input_tokens_details": {"text_tokens": text, "image_tokens": counts.image_input},
            "output_tokens": counts.output_tokens,
            "output_tokens_details": {"text_tokens": 0, "image_tokens": counts.image_output},
            "total_tokens": counts.tokens,
        }

    def body(self, answer: Answer) -> Mapping[str, Any]:
        usage = self.stated_usage(answer)
        return {
            "created": answer.created,
            "data": [{"b64_json": _PNG} for _ in range(answer.asked.choices)],
            **({"usage": usage} if usage else {}),
            **answer.reply.fields,
        }

    def events(self, answer: Answer) -> Iterator[Event]:
        about = {"created_at": answer.created, "size": "1024x1024", "quality": "medium", "output_format": "png"}
        image = {"b64_json": _PNG, "background": "opaque", **about}
        partial = "image_generation.partial_image"
        yield Event({"type": partial, "partial_image_index": 0, **image}, name=partial)
        usage = self.stated_usage(answer)
        done = {"type": "image_generation.completed", **image, **({"usage": usage} if usage else {})}
        yield Event(done, name="image_generation.completed")


class Transcriptions(OpenAIWire):
    """`POST /audio/transcriptions` and `/audio/translations`: by tokens, or for whisper by duration."""

    def asked(self, request: Request, match: Match) -> Asked:
        fields = form(request)
        return Asked(
            provider=match["provider"],
            endpoint=f"audio.{match['verb']}",
            model=match.get("deployment") or str(fields.get("model", "")),
            input_tokens=tokens.count_input(fields),
            stream=fields.get("stream") in ("true", "True"),
            body={**fields, "seconds": max(1, -(-len(request.body) // BYTES_PER_SECOND))},
        )

    def defaults(self, asked: Asked, reply: Reply) -> Reply:
        seconds = reply.audio_seconds or int(asked.body["seconds"])
        reply = replace(reply, audio_seconds=seconds)
        if not reply.audio_input_tokens and not asked.model.startswith("whisper"):
            return replace(reply, audio_input_tokens=seconds * AUDIO_TOKENS_PER_SECOND)
        return reply

    def counted(self, answer: Answer) -> Counts:
        if answer.model.startswith("whisper"):
            return Counts(audio_second=answer.reply.audio_seconds or 0)
        return answer.counts._replace(audio_second=0)

    def usage(self, answer: Answer, counts: Counts) -> dict[str, Any]:
        if answer.model.startswith("whisper"):
            return {"type": "duration", "seconds": answer.reply.audio_seconds}
        text = counts.input_tokens - counts.audio_input
        return {
            "type": "tokens",
            "input_tokens": counts.input_tokens,
            "input_token_details": {"text_tokens": text, "audio_tokens": counts.audio_input},
            "output_tokens": counts.output_tokens,
            "total_tokens": counts.tokens,
        }

    def body(self, answer: Answer) -> Mapping[str, Any] | bytes:
        if answer.asked.body.get("response_format") in ("text", "srt", "vtt"):
            return f"{answer.text}\n".encode()
        usage = self.stated_usage(answer)
        verbose: dict[str, Any] = {}
        if answer.asked.body.get("response_format") == "verbose_json":
            verbose = {"task": "transcribe", "language": "english", "duration": answer.reply.audio_seconds}
        return {"text": answer.text, **verbose, **({"usage": usage} if usage else {}), **answer.reply.fields}

    def events(self, answer: Answer) -> Iterator[Event]:
        for text, count in answer.groups(answer.pieces):
            yield Event({"type": "transcript.text.delta", "delta": text}, tokens=count)
        usage = self.stated_usage(answer)
        yield Event({"type": "transcript.text.done", "text": answer.text, **({"usage": usage} if usage else {})})


class Speech(OpenAIWire):
    """`POST /audio/speech`: sound, and (unless streamed as events) no word of what it cost."""

    content_type: ClassVar[str] = "audio/mpeg"

    def asked(self, request: Request, match: Match) -> Asked:
        body = request.json
        return Asked(
            provider=match["provider"],
            endpoint="audio.speech",
            model=match.get("deployment") or request.model,
            input_tokens=tokens.count(str(body.get("input", ""))),
            stream=body.get("stream_format") == "sse",
            generates_text=False,
            body=body,
        )

    def defaults(self, asked: Asked, reply: Reply) -> Reply:
        if not reply.audio_output_tokens:  # about twelve characters are spoken in a second, at 20 tokens
            return replace(reply, audio_output_tokens=-(-len(str(asked.body.get("input", ""))) * 5 // 3))
        return reply

    def counted(self, answer: Answer) -> Counts:
        if answer.model.startswith("tts-"):
            return Counts(character=len(str(answer.asked.body.get("input", ""))))
        return answer.counts

    def usage(self, answer: Answer, counts: Counts) -> dict[str, Any]:
        return {
            "input_tokens": counts.input_tokens,
            "output_tokens": counts.output_tokens,
            "total_tokens": counts.tokens,
        }

    def body(self, answer: Answer) -> bytes:
        return b"ID3" + bytes(answer.counts.output_tokens)

    def events(self, answer: Answer) -> Iterator[Event]:
        sound = base64.b64encode(self.body(answer)).decode()
        yield Event({"type": "speech.audio.delta", "audio": sound})
        yield Event({"type": "speech.audio.done", "usage": self.stated_usage(answer)})


def _by_image(model: str) -> bool:
    return model.startswith("dall-e")


def _inputs(value: Any) -> list[Any]:
    """The separate inputs of an embedding request: strings or token arrays, one or many."""
    many = sequence(value)
    return list(many) if many and not isinstance(many[0], int) else [value]


def _embedded_tokens(value: Any) -> int:
    return sum(tokens.count(one) if isinstance(one, str) else len(sequence(one)) for one in _inputs(value)) or 1
