"""Writes docs/protocol.md from the gateway's own routes and types; `--check` says whether it is up to date."""

import sys
from pathlib import Path
from typing import Any

from actguard.gateway.http.openapi import document

PAGE = Path(__file__).parents[1] / "docs" / "protocol.md"

HEAD = """# The protocol

Made from the gateway's code by `tools/protocol.py`; `/openapi.json` says the same to machines. Keys are snake_case,
money is whole micro-dollars, times are RFC 3339 in UTC. Unknown fields are ignored.

`Authorization: Bearer ag_live_...` names the agent. With an `Idempotency-Key` (up to 255 printable ASCII characters),
the same reserve, settle, extend, release or payment into the balance has the same answer, also a refusal for want of
money, and another one under that key, or another agent's, is 422. Everything else may be sent again as it is, but for
`POST /api/v1/keys`, which makes one more key. Without an `Idempotency-Key` and a `reserve_id` of its own, the same
reserve again is given the same hold, while that is open. The final settle of a `reserve_id` is charged once; where
several reserves were given one hold, once for each of them.

`/healthz`, `/readyz` and `/metrics` are [for who watches the gateway](operations.md#watching-it).

## Refusals

Every refusal is `{"error": "...", "code": "..."}`: a sentence that says what to do, and a word for programs.

| status | `code` | when |
|---|---|---|
| 400 | `malformed` | the request, its query or its body cannot be read |
| 401 | `unauthorized` | no key, one that is not known, or one that was revoked |
| 402 | `payment_required` | the prepaid balance does not cover it: [`PaymentRequired`](#paymentrequired) |
| 403 | `forbidden` | this key may not do this: it takes an admin's |
| 404 | `not_found`, `unknown_reserve_id` | there is no such thing here |
| 405 | `method_not_allowed` | the path takes others, as `Allow` says |
| 408 | `too_slow` | the request took longer than a minute to arrive |
| 409 | `budget_exceeded` | a budget has not enough left: [`BudgetExceeded`](#budgetexceeded) |
| 413, 431 | `too_large` | a body of more than 1 MiB or 1,000 events; a head of more than 64 KiB |
| 422 | `invalid` | a value is not valid |
| 422 | `idempotency_mismatch` | another request had this `Idempotency-Key`, or this `reserve_id` |
| 422 | `hold_closed` | what is to be extended has ended; `status` says how |
| 429 | `too_many_requests` | from this key; `Retry-After` says when it may again |
| 500 | `internal` | a mistake of the gateway's; its log says which, under the answer's `X-Request-Id` |
| 503 | `unavailable`, `overloaded` | the store does not answer, or too much waits for it; `Retry-After` says when |
"""


def page() -> str:
    described = document()
    parts = [HEAD]
    schemas = described["components"]["schemas"]
    asked = {"Error"}
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            parts.append(f"\n## {method.upper()} {path}\n\n{operation['summary']}.")
            parts.append("No key is needed." if not operation["security"] else "")
            query = [p for p in operation.get("parameters", ()) if p["in"] == "query"]
            parts.append(parameters(query) if query else "")
            name = ""
            if "requestBody" in operation:
                name = named(operation["requestBody"])
                asked.add(name)
                parts.append(fields(schemas[name], "needed"))
            parts.append(answers(operation["responses"], name))
    parts.append("\n## What is in them")
    for name in sorted(schemas.keys() - asked):
        column = "needed" if name == "UsageEntry" else "always"
        parts += [f"\n### {name}", schemas[name].get("description", ""), fields(schemas[name], column)]
    return "\n\n".join(filter(None, (part.rstrip() for part in parts))).replace("\n\n\n", "\n\n") + "\n"


def answers(responses: dict[str, Any], body: str) -> str:
    """What an endpoint says, to which *body* may have been sent."""
    good, *refusals = responses
    name = named(responses[good])
    said = "what was sent" if name == body else f"[`{name}`](#{name.lower()})"
    return f"Answers {good} with {said}{', or ' if refusals else ''}{', '.join(refusals)}."


def named(said: dict[str, Any]) -> str:
    """The name of the type that a request or an answer has."""
    return str(said["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2])


def fields(schema: dict[str, Any], required: str) -> str:
    needed = schema.get("required", ())
    found = [
        f"| `{name}` | {what(said, null=required == 'always')} |{' yes' if name in needed else ''} |"
        for name, said in schema["properties"].items()
    ]
    return "\n".join([f"| field | what | {required} |", "|---|---|---|", *found])


def parameters(found: list[dict[str, Any]]) -> str:
    return "\n".join(["| query | what |", "|---|---|", *(f"| `{p['name']}` | {p['description']} |" for p in found)])


def what(said: dict[str, Any], *, null: bool) -> str:
    """The type of a field, what it is unless it is given, and what it means."""
    parts = [kind(said)]
    options = said.get("anyOf", ())
    if null and any(option.get("type") == "null" for option in options):
        parts[0] += " or null"
    if said.get("default"):
        parts[0] += f", by default `{str(said['default']).lower()}`"
    described = [place["description"] for place in (said, *options) if "description" in place]
    return ": ".join(parts + described[:1])


def kind(said: dict[str, Any]) -> str:
    if "$ref" in said:
        return f"[`{(name := said['$ref'].rpartition('/')[2])}`](#{name.lower()})"
    if "anyOf" in said:
        return " or ".join(kind(option) for option in said["anyOf"] if option.get("type") != "null")
    if "enum" in said:
        return ", ".join(f"`{value}`" for value in said["enum"])
    if said.get("type") == "array":
        return f"list of {kind(said['items']) if said.get('items') else 'objects'}"
    limits = [f"{word} {said[key]:,}" for word, key in (("from", "minimum"), ("to", "maximum")) if key in said]
    limits += [f"up to {said['maxLength']} characters"] if "maxLength" in said else []
    return " ".join([said.get("type", "anything"), *limits])


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(PAGE.read_text() != page() and "docs/protocol.md is not what the code says: run tools/protocol.py")
    PAGE.write_text(page())
