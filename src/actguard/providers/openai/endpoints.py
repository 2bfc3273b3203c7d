"""OpenAI's endpoints, Azure's and the compatible hosts': which request is billed how."""

import re

from actguard.providers.endpoint import Endpoint, Kind
from actguard.providers.routes import Routes, Row, bare

PRICED, FREE, DEFERRED, TERMINAL, UNMETERED = Kind


def classify(method: str, path: str) -> Endpoint:
    """How a request is billed. *path* may be relative or absolute, with any base before it and a query behind it."""
    return _COMMON.get((method, path)) or _ROUTES.find(method, path)


def deferred_id(path: str) -> str | None:
    """Which deferred call a TERMINAL path asks about."""
    found = _DEFERRED.findall(bare(path))
    return found[-1] if found else None


_DEFERRED = re.compile(r"(?:^|/)(?:responses|runs|batches)/([^/]+)")

# More specific rows first: `/responses/{id}` would fit `/responses/compact` too.
_ROUTES = Routes(
    Row(*row)
    for row in (
        ("POST", "/chat/completions", "chat.completions", PRICED),
        ("GET", "/chat/completions/{id}", "chat.completions", FREE),
        ("POST", "/chat/completions/{id}", "chat.completions", FREE),  # changes its metadata
        ("POST", "/completions", "completions", PRICED),
        ("POST", "/responses", "responses", PRICED),
        ("POST", "/responses/compact", "responses.compact", PRICED),
        ("POST", "/responses/input_tokens", "responses.input_tokens", FREE),
        ("POST", "/responses/{id}/cancel", "responses", TERMINAL),
        ("GET", "/responses/{id}", "responses", TERMINAL),
        ("POST", "/embeddings", "embeddings", PRICED),
        ("POST", "/decisions", "decisions", PRICED),
        ("POST", "/moderations", "moderations", FREE),
        ("POST", "/images/generations", "images", PRICED),
        ("POST", "/images/edits", "images", PRICED),
        ("POST", "/images/variations", "images", UNMETERED),  # DALL-E 2 alone: by the image
        ("POST", "/audio/transcriptions", "audio.transcriptions", PRICED),
        ("POST", "/audio/translations", "audio.translations", PRICED),
        ("POST", "/audio/speech", "audio.speech", UNMETERED),
        ("POST", "/videos/**", "videos", UNMETERED),
        # deferred
        ("POST", "/batches", "batches", DEFERRED),
        ("GET", "/batches/{id}", "batches", TERMINAL),
        ("POST", "/batches/{id}/cancel", "batches", TERMINAL),
        ("POST", "/threads/runs", "runs", DEFERRED),
        ("POST", "/threads/{id}/runs", "runs", DEFERRED),
        ("GET", "/threads/{id}/runs/{id}", "runs", TERMINAL),
        ("POST", "/threads/{id}/runs/{id}/cancel", "runs", TERMINAL),
        ("POST", "/threads/{id}/runs/{id}/submit_tool_outputs", "runs", TERMINAL),
        ("POST", "/threads/{id}/runs/{id}", "runs", FREE),
        # sessions and jobs, billed by what happens in them
        ("POST", "/evals/{id}/runs/{id}/cancel", "evals.runs", FREE),
        ("POST", "/evals/{id}/runs/{id}", "evals.runs", FREE),  # cancels it
        ("POST", "/evals/{id}/runs", "evals.runs", UNMETERED),
        ("POST", "/fine_tuning/jobs/{id}/cancel", "fine_tuning.jobs", FREE),
        ("POST", "/fine_tuning/jobs/{id}/pause", "fine_tuning.jobs", FREE),
        ("POST", "/fine_tuning/checkpoints/**", "fine_tuning.checkpoints", FREE),
        ("POST", "/fine_tuning/alpha/graders/validate", "fine_tuning.graders", FREE),
        ("POST", "/fine_tuning/**", "fine_tuning", UNMETERED),
        ("POST", "/realtime/calls/{id}/hangup", "realtime", FREE),
        ("POST", "/realtime/calls/{id}/reject", "realtime", FREE),
        ("POST", "/realtime/**", "realtime", UNMETERED),
        ("POST", "/live/sessions/{id}/hangup", "live", FREE),
        ("POST", "/live/sessions/{id}/reject", "live", FREE),
        ("POST", "/live/**", "live", UNMETERED),
        ("POST", "/chatkit/sessions/{id}/cancel", "chatkit", FREE),
        ("POST", "/chatkit/**", "chatkit", UNMETERED),
        ("POST", "/agents/**", "agents", UNMETERED),
        ("POST", "/containers/{id}/files", "containers", FREE),
        ("POST", "/containers", "containers", UNMETERED),
        # storage and settings
        ("POST", "/assistants/**", "assistants", FREE),
        ("POST", "/threads/**", "threads", FREE),
        ("POST", "/conversations/**", "conversations", FREE),
        ("POST", "/evals", "evals", FREE),
        ("POST", "/evals/{id}", "evals", FREE),
        ("POST", "/files/**", "files", FREE),
        ("POST", "/uploads/**", "uploads", FREE),
        ("POST", "/vector_stores/**", "vector_stores", FREE),
        ("POST", "/skills/**", "skills", FREE),
        ("POST", "/vaults/**", "vaults", FREE),
        ("POST", "/webhook_endpoints/**", "webhook_endpoints", FREE),
        ("POST", "/organization/**", "organization", FREE),
        ("POST", "/projects/**", "projects", FREE),
        ("POST", "/traces/ingest", "traces", FREE),  # what an agent framework tells of itself
    )
)
_COMMON = _ROUTES.exact(
    *(
        ("POST", base + path)
        for base in ("", "/v1")
        for path in ("/chat/completions", "/responses", "/embeddings", "/completions")
    )
)
