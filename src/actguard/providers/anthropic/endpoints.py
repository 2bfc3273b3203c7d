"""Anthropic's endpoints, on its own API, Bedrock and Vertex: which request is billed how."""

import re

from actguard.providers.endpoint import Endpoint, Kind
from actguard.providers.routes import Routes, Row, bare

PRICED, FREE, DEFERRED, TERMINAL, UNMETERED = Kind


def classify(method: str, path: str) -> Endpoint:
    """How a request is billed. *path* may be relative or absolute, with any base before it and a query behind it."""
    return _COMMON.get((method, path)) or _ROUTES.find(method, path)


def deferred_id(path: str) -> str | None:
    """Which deferred call a TERMINAL path asks about."""
    found = _DEFERRED.search(bare(path))
    return found[1] if found else None


_DEFERRED = re.compile(r"(?:^|/)messages/batches/([^/]+)")

_ROUTES = Routes(
    Row(*row)
    for row in (
        ("POST", "/messages", "messages", PRICED),
        ("POST", "/messages/count_tokens", "count_tokens", FREE),
        ("POST", "/messages/batches", "messages.batches", DEFERRED),
        ("GET", "/messages/batches/{id}", "messages.batches", TERMINAL),
        ("POST", "/messages/batches/{id}/cancel", "messages.batches", TERMINAL),
        ("GET", "/messages/batches/{id}/results", "messages.batches.results", TERMINAL),
        ("POST", "/complete", "complete", UNMETERED),
        # Bedrock: the model stands in the path
        ("POST", "/model/{id}/invoke", "messages", PRICED),
        ("POST", "/model/{id}/invoke-with-response-stream", "messages", PRICED),
        ("POST", "/model/{id}/converse", "converse", PRICED),
        ("POST", "/model/{id}/converse-stream", "converse", PRICED),
        ("POST", "/model/{id}/count-tokens", "count_tokens", FREE),
        # Vertex
        ("POST", "/models/count-tokens:rawPredict", "count_tokens", FREE),
        ("POST", ":rawPredict", "messages", PRICED),
        ("POST", ":streamRawPredict", "messages", PRICED),
        # managed agents: billed by what happens in a session
        ("POST", "/sessions/**", "sessions", UNMETERED),
        ("POST", "/deployments/{id}/run", "deployments", UNMETERED),
        ("POST", "/dreams/{id}/archive", "dreams", FREE),
        ("POST", "/dreams/{id}/cancel", "dreams", FREE),
        ("POST", "/dreams", "dreams", UNMETERED),
        # storage and settings
        ("POST", "/agents/**", "agents", FREE),
        ("POST", "/deployments/**", "deployments", FREE),
        ("POST", "/environments/**", "environments", FREE),
        ("POST", "/files/**", "files", FREE),
        ("POST", "/skills/**", "skills", FREE),
        ("POST", "/memory_stores/**", "memory_stores", FREE),
        ("POST", "/vaults/**", "vaults", FREE),
        ("POST", "/tunnels/**", "tunnels", FREE),
        ("POST", "/user_profiles/**", "user_profiles", FREE),
        ("POST", "/oauth/token", "oauth", FREE),
        ("POST", "/organizations/**", "organizations", FREE),
    )
)
_COMMON = _ROUTES.exact(
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages?beta=true"),
    ("POST", "/v1/messages/count_tokens"),
)
