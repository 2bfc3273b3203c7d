"""Google's endpoints, on the Gemini API and Vertex: which request is billed how."""

import re

from actguard.providers.endpoint import Endpoint, Kind
from actguard.providers.routes import Routes, Row, bare

PRICED, FREE, DEFERRED, TERMINAL, UNMETERED = Kind


def classify(method: str, path: str) -> Endpoint:
    """How a request is billed. *path* may be relative or absolute, with any base before it and a query behind it."""
    return _ROUTES.find(method, path)


def deferred_id(path: str) -> str | None:
    """Which deferred call a TERMINAL path asks about, as the reply to the first request named it."""
    found = _BATCH.search(bare(path)) or _INTERACTION.search(bare(path))
    return found[1] if found else None


_BATCH = re.compile(r"(?:^|/)(batches/[^/:]+)")
_INTERACTION = re.compile(r"(?:^|/)interactions/([^/:]+)")

_ROUTES = Routes(
    Row(*row)
    for row in (
        ("POST", ":generateContent", "generate_content", PRICED),
        ("POST", ":streamGenerateContent", "stream_generate_content", PRICED),
        ("POST", ":countTokens", "count_tokens", FREE),
        ("POST", ":computeTokens", "count_tokens", FREE),
        ("POST", ":embedContent", "embed_content", PRICED),
        ("POST", ":batchEmbedContents", "embed_content", PRICED),
        ("POST", ":predict", "predict", UNMETERED),
        ("POST", ":predictLongRunning", "predict_long_running", UNMETERED),
        ("POST", ":fetchPredictOperation", "predict_long_running", FREE),
        ("POST", "/interactions", "interactions", PRICED),
        ("GET", "/interactions/{id}", "interactions", TERMINAL),
        ("POST", "/interactions/{id}/cancel", "interactions", TERMINAL),
        ("POST", "/decisions", "decisions", PRICED),
        ("POST", "/cachedContents", "cached_contents", PRICED),
        ("PATCH", "/cachedContents/{id}", "cached_contents", FREE),  # how long it is stored
        # deferred
        ("POST", ":batchGenerateContent", "batch_generate_content", DEFERRED),
        ("POST", ":asyncBatchEmbedContent", "batch_generate_content", DEFERRED),
        ("GET", "/batches/{id}", "batch_generate_content", TERMINAL),
        ("POST", ":cancel", "cancel", FREE),
        # storage and settings; what is indexed into a file search store, or scheduled, is billed out of sight
        ("POST", "/agents/**", "agents", FREE),
        ("POST", "/credentials/**", "credentials", FREE),
        ("POST", "/webhooks/**", "webhooks", FREE),
        ("POST", "/files/**", "files", FREE),
        ("POST", "/files:register", "files", FREE),
        ("POST", "/fileSearchStores", "file_search_stores", FREE),
    )
)
