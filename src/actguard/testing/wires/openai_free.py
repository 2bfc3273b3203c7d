"""OpenAI's endpoints that cost nothing."""

from typing import Any

from actguard.testing import tokens
from actguard.testing.http import Request
from actguard.testing.jsons import sequence
from actguard.testing.prices import PRICES
from actguard.testing.wires.route import Desk, Match, Static
from actguard.testing.wires.wire import new_id


def models(request: Request, match: Match, desk: Desk) -> Static:
    """`GET /models`, in the shape of the API that asks: all three have this path."""
    if _from_google(request):
        return Static({"models": [_google_model(name) for name in PRICES]})
    if _from_anthropic(request):
        claude = [_anthropic_model(name) for name in PRICES if name.startswith("claude")]
        ends = {"first_id": claude[0]["id"], "last_id": claude[-1]["id"]}
        return Static({"data": claude, "has_more": False, **ends})
    return Static({"object": "list", "data": [_openai_model(name) for name in PRICES]})


def model(request: Request, match: Match, desk: Desk) -> Static:
    """`GET /models/{id}`."""
    if _from_google(request):
        return Static(_google_model(match["id"]))
    return Static(_anthropic_model(match["id"]) if _from_anthropic(request) else _openai_model(match["id"]))


def _from_google(request: Request) -> bool:
    return "x-goog-api-key" in request.headers or "x-goog-api-client" in request.headers


def _from_anthropic(request: Request) -> bool:
    return "anthropic-version" in request.headers


def _openai_model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "local"}


def _anthropic_model(name: str) -> dict[str, Any]:
    return {"id": name, "display_name": name, "type": "model", "created_at": "2025-01-01T00:00:00Z"}


def _google_model(name: str) -> dict[str, Any]:
    return {"name": f"models/{name}", "displayName": name}


def moderations(request: Request, match: Match, desk: Desk) -> Static:
    """`POST /moderations`: nothing is ever flagged."""
    asked = request.json.get("input")
    count = len(sequence(asked)) or 1
    clean: dict[str, Any] = {
        "flagged": False,
        "categories": {},
        "category_scores": {},
        "category_applied_input_types": {},
    }
    model = request.model or "omni-moderation-latest"
    return Static({"id": new_id("modr-"), "model": model, "results": [clean for _ in range(count)]})


def input_tokens(request: Request, match: Match, desk: Desk) -> Static:
    """`POST /responses/input_tokens`."""
    return Static({"object": "response.input_tokens", "input_tokens": tokens.count_input(request.json)})
