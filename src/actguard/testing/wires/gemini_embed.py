"""Gemini's embeddings, counting, and Vertex's `:predict`."""

from collections.abc import Iterator, Mapping
from typing import Any

from actguard.testing import tokens
from actguard.testing.counts import Counts
from actguard.testing.http import Request
from actguard.testing.jsons import mapping, sequence
from actguard.testing.wires.gemini import GoogleWire
from actguard.testing.wires.route import Desk, Match, Static
from actguard.testing.wires.wire import Answer, Asked, Event

DIMENSIONS = 768


def count_tokens(request: Request, match: Match, desk: Desk) -> Static:
    """`:countTokens`; free."""
    body = request.json
    inner = mapping(body.get("generateContentRequest"))
    return Static({"totalTokens": tokens.count_input(inner or body)})


class EmbedContent(GoogleWire):
    """`:embedContent` and `:batchEmbedContents`."""

    def asked(self, request: Request, match: Match) -> Asked:
        body = request.json
        texts = [*_texts(body.get("content")), *_texts(body.get("requests"))]
        return Asked(
            provider=match["provider"],
            endpoint="embed_content",
            model=match["model"],
            input_tokens=sum(map(tokens.count, texts)) or 1,
            choices=len(sequence(body.get("requests"))) or 1,
            generates_text=False,
            body=body,
        )

    def usage(self, answer: Answer, counts: Counts) -> dict[str, Any]:
        details = [{"modality": "TEXT", "tokenCount": counts.input_tokens}]
        return {"promptTokenCount": counts.input_tokens, "promptTokenDetails": details}

    def body(self, answer: Answer) -> Mapping[str, Any]:
        asked = answer.asked
        vector = {"values": _vector(asked.body.get("outputDimensionality"))}
        usage = self.stated_usage(answer)
        many = {"embeddings": [vector for _ in range(asked.choices)]}
        embedded = many if "requests" in asked.body else {"embedding": vector}
        return {**embedded, **({"usageMetadata": usage} if usage is not None else {}), **answer.reply.fields}

    def events(self, answer: Answer) -> Iterator[Event]:
        raise NotImplementedError("embeddings do not stream")


class Predict(GoogleWire):
    """Vertex's and Imagen's `:predict`: images are billed by the image, texts embedded by their tokens."""

    def asked(self, request: Request, match: Match) -> Asked:
        body = request.json
        return Asked(
            provider=match["provider"],
            endpoint="predict",
            model=match["model"],
            input_tokens=sum(map(tokens.count, _texts(body.get("instances")))),
            choices=int(mapping(body.get("parameters")).get("sampleCount") or 1),
            generates_text=False,
            body=body,
        )

    def counted(self, answer: Answer) -> Counts:
        return Counts(image=answer.asked.choices) if _draws(answer) else answer.counts

    def usage(self, answer: Answer, counts: Counts) -> dict[str, Any]:
        return {}

    def body(self, answer: Answer) -> Mapping[str, Any]:
        if _draws(answer):
            image = {"mimeType": "image/png", "bytesBase64Encoded": "iVBORw0KGgo="}
            return {"predictions": [image for _ in range(answer.asked.choices)], **answer.reply.fields}
        predictions: list[dict[str, Any]] = []
        for instance in sequence(answer.asked.body.get("instances")):
            statistics = {"token_count": sum(map(tokens.count, _texts(instance))), "truncated": False}
            predictions.append({"embeddings": {"values": _vector(None), "statistics": statistics}})
        return {"predictions": predictions, **answer.reply.fields}

    def events(self, answer: Answer) -> Iterator[Event]:
        raise NotImplementedError("predictions do not stream")


def _draws(answer: Answer) -> bool:
    return answer.model.startswith("imagen")


def _vector(dimensions: Any) -> list[float]:
    return [1.0] + [0.0] * (int(dimensions or DIMENSIONS) - 1)


def _texts(value: object) -> list[str]:
    """Every `text`, `content` or `prompt` below *value*."""
    if below := mapping(value):
        own = [text for key in ("text", "content", "prompt") if isinstance(text := below.get(key), str)]
        return own + [text for inner in below.values() if not isinstance(inner, str) for text in _texts(inner)]
    return [text for inner in sequence(value) for text in _texts(inner)]
