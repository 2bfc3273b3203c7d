"""Which wire or handler a path belongs to. APIs are known by how a path ends, so they may be mounted anywhere."""

import re

from actguard.testing.wires import anthropic_batches, gemini_embed, openai_free
from actguard.testing.wires.anthropic import BedrockMessages, Messages
from actguard.testing.wires.anthropic_batches import MessageBatches
from actguard.testing.wires.gemini import GenerateContent
from actguard.testing.wires.gemini_embed import EmbedContent, Predict
from actguard.testing.wires.interactions import Interactions
from actguard.testing.wires.openai_chat import Chat, Completions
from actguard.testing.wires.openai_media import Embeddings, Images, Speech, Transcriptions
from actguard.testing.wires.openai_responses import Compact
from actguard.testing.wires.openai_stored import Batches, StoredResponses
from actguard.testing.wires.route import Route, Target

_MEMO = 1000


class Routes:
    """Finds the target of a request. Its targets keep what one request leaves for the next."""

    def __init__(self) -> None:
        self._table = [(method, re.compile(pattern), target) for method, pattern, target in _table()]
        self._found: dict[tuple[str, str], Route | None] = {}

    def find(self, method: str, path: str) -> Route | None:
        key = (method, path)
        if key not in self._found:
            if len(self._found) >= _MEMO:
                self._found.clear()
            self._found[key] = self._resolve(method, path)
        return self._found[key]

    def _resolve(self, method: str, path: str) -> Route | None:
        for wanted, pattern, target in self._table:
            if wanted == method and (found := pattern.search(path)):
                return Route(target, {"provider": _provider(path), **found.groupdict(), **_deployment(path)})
        return None


def _table() -> list[tuple[str, str, Target]]:
    """Method, end of the path, target. The first that fits."""
    responses, batches, message_batches, interactions = StoredResponses(), Batches(), MessageBatches(), Interactions()
    model = r"models/(?P<model>[^/:]+)"
    return [
        ("POST", r"/chat/completions$", Chat()),
        ("POST", r"/completions$", Completions()),
        ("POST", r"/responses$", responses),
        ("POST", r"/responses/compact$", Compact(responses.remembered)),
        ("POST", r"/responses/input_tokens$", openai_free.input_tokens),
        ("POST", r"/responses/(?P<id>[^/]+)/cancel$", responses.cancel),
        ("GET", r"/responses/(?P<id>[^/]+)$", responses.read),
        ("DELETE", r"/responses/(?P<id>[^/]+)$", responses.delete),
        ("POST", r"/embeddings$", Embeddings()),
        ("POST", r"/images/(generations|edits)$", Images()),
        ("POST", r"/audio/(?P<verb>transcriptions|translations)$", Transcriptions()),
        ("POST", r"/audio/speech$", Speech()),
        ("POST", r"/moderations$", openai_free.moderations),
        ("POST", r"/files$", batches.upload),
        ("GET", r"/files/(?P<id>[^/]+)/content$", batches.content),
        ("POST", r"/messages$", Messages()),
        ("POST", r"/messages/count_tokens$", anthropic_batches.count_tokens),
        ("POST", r"/messages/batches$", message_batches.create),
        ("GET", r"/messages/batches/(?P<id>[^/]+)$", message_batches.read),
        ("GET", r"/messages/batches/(?P<id>[^/]+)/results$", message_batches.results),
        ("POST", r"/batches$", batches.create),
        ("GET", r"/batches/(?P<id>[^/]+)$", batches.read),
        ("POST", r"/model/(?P<model>.+)/(?P<verb>invoke|invoke-with-response-stream)$", BedrockMessages()),
        ("POST", r"/model/(?P<model>.+)/count-tokens$", anthropic_batches.bedrock_count_tokens),
        ("POST", r"/publishers/anthropic/models/count-tokens:rawPredict$", anthropic_batches.count_tokens),
        ("POST", rf"/publishers/anthropic/{model}:(?P<verb>rawPredict|streamRawPredict)$", Messages()),
        ("POST", rf"/{model}:(?P<verb>generateContent|streamGenerateContent)$", GenerateContent()),
        ("POST", rf"/{model}:(embedContent|batchEmbedContents)$", EmbedContent()),
        ("POST", rf"/{model}:countTokens$", gemini_embed.count_tokens),
        ("POST", rf"/{model}:predict$", Predict()),
        ("POST", r"/interactions$", interactions),
        ("GET", r"/interactions/(?P<id>[^/]+)$", interactions.read),
        ("DELETE", r"/interactions/(?P<id>[^/]+)$", interactions.delete),
        ("GET", r"/models$", openai_free.models),
        ("GET", r"/models/(?P<id>[^/]+)$", openai_free.model),
    ]


_DEPLOYMENT = re.compile(r"/openai/deployments/(?P<deployment>[^/]+)/")

# The first that fits says which host would be asked with such a path.
_PROVIDERS = (
    ("azure", re.compile(r"/openai/(deployments/|v1/)")),
    ("openrouter", re.compile(r"^/api/v1/")),
    ("aws", re.compile(r"/model/")),
    ("vertex", re.compile(r"/publishers/|/projects/")),
    ("google", re.compile(r"/v1(beta|alpha)\d*/|:\w+$|/interactions")),
    ("anthropic", re.compile(r"/messages")),
)


def _provider(path: str) -> str:
    return next((name for name, pattern in _PROVIDERS if pattern.search(path)), "openai")


def _deployment(path: str) -> dict[str, str]:
    found = _DEPLOYMENT.search(path)
    return found.groupdict() if found else {}
