"""The OpenAPI document, made from the endpoints and the types of their bodies."""

import re
from importlib.metadata import version
from typing import Any

import msgspec

from actguard.gateway.http.answers import REFUSALS
from actguard.gateway.http.routes import ENDPOINTS, Endpoint
from actguard.gateway.reports import BY

_MEANINGS = {
    200: "Done",
    201: "Made",
    202: "Taken",
    400: "The body or the query cannot be read",
    401: "No key, one that is not known, or one that was revoked",
    402: "The prepaid balance does not cover it",
    403: "This key may not do this",
    404: "There is no such thing here",
    409: "A budget has not enough left",
    413: "The body is too large",
    422: "A value is not valid",
    429: "Too many requests; Retry-After says when",
    503: "The store does not answer, or too much waits for it; try again, Retry-After says when",
}

_PARAMETERS = {
    "since": "a time; by default 31 days before `until`",
    "until": "a time; by default tomorrow",
    "by": f"one of {', '.join(BY)}; by default agent",
    "limit": "how many, from 1 to 1,000; by default 100",
    "run_id": "of this run only",
    "category": "of this category only",
    "user_id": "with this user's budgets",
    "plan_key": "with this plan's budgets",
    "scope": "instead of a body",
    "key": "instead of a body",
    "window": "instead of a body",
    "key_id": "as the list of keys has it",
}
"""What each parameter of a path or a query is, wherever it is one."""


def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    described = [part for endpoint in ENDPOINTS for part in (endpoint.body, endpoint.says) if part is not None]
    types = [*dict.fromkeys([*described, *REFUSALS.values()])]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    known = dict(zip(types, schemas, strict=True))
    paths: dict[str, Any] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, known)
    error = {
        "type": "object",
        "required": ["error", "code"],
        "properties": {"error": {"type": "string"}, "code": {"type": "string"}},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "actguard gateway", "version": version("actguard")},
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": error},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(endpoint: Endpoint, known: dict[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": getattr(endpoint.handler, "__name__", endpoint.path),
        "responses": {str(status): _response(status, endpoint, known) for status in sorted(endpoint.answers)},
        "security": [{"key": []}] if endpoint.role else [],
    }
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "description": _PARAMETERS[name], "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", endpoint.path)
    ]
    parameters += [
        {"name": name, "in": "query", "description": _PARAMETERS[name], "schema": {"type": "string"}}
        for name in endpoint.query
    ]
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": known[endpoint.body]}},
        }
    return operation


def _response(status: int, endpoint: Endpoint, known: dict[Any, Any]) -> dict[str, Any]:
    says = endpoint.says if status < 400 else REFUSALS.get(status)
    schema = known[says] if says is not None else {"$ref": "#/components/schemas/Error"}
    return {"description": _MEANINGS[status], "content": {"application/json": {"schema": schema}}}
