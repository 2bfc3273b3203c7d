"""Writes docs/protocol.md from the gateway's own routes and types; `--check` says whether it is up to date."""

import sys
from pathlib import Path
from typing import Any

from actguard.gateway.http.openapi import document

PAGE = Path(__file__).parents[1] / "docs" / "protocol.md"

HEAD = """# The protocol

Made from the gateway's code by `tools/protocol.py`; `/openapi.json` says the same to machines. Keys are snake_case,
money is whole micro-dollars, times are RFC 3339 in UTC. Unknown fields are ignored. Every error is
`{"error": "...", "code": "..."}`, and says what to do.

`Authorization: Bearer ag_live_...` names the agent. With an `Idempotency-Key`, the same reserve, settle, extend,
release or payment into the balance has the same answer, and another one under that key, or another agent's, is 422.
Everything else may be sent again as it is, but for `POST /api/v1/keys`, which makes one more key.
"""


def page() -> str:
    described = document()
    parts = [HEAD]
    schemas = described["components"]["schemas"]
    shown = {"Error"}
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            parts.append(f"\n## {method.upper()} {path}\n\n{operation['summary']}.")
            parts.append("No key is needed." if not operation["security"] else "")
            query = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"]
            parts.append(f"Query: {', '.join(f'`{name}`' for name in query)}." if query else "")
            if "requestBody" in operation:
                name = named(operation["requestBody"])
                shown.add(name)
                parts.append(table(schemas[name], "needed"))
            answers = (f"{status} {said['description'].lower()}" for status, said in operation["responses"].items())
            parts.append(f"Answers: {'; '.join(answers)}.")
            parts.append(f"A good one holds `{named(next(iter(operation['responses'].values())))}`.")
    parts.append("\n## What is in them")
    for name in sorted(schemas.keys() - shown):
        parts += [f"\n### {name}", schemas[name].get("description", ""), table(schemas[name], "always")]
    return "\n\n".join(filter(None, (part.rstrip() for part in parts))).replace("\n\n\n", "\n\n") + "\n"


def named(said: dict[str, Any]) -> str:
    """The name of the type that a request or an answer has."""
    return str(said["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2])


def table(schema: dict[str, Any], required: str) -> str:
    needed = schema.get("required", ())
    rows = [
        f"| `{name}` | {kind(said)} |{' yes' if name in needed else ''} |"
        for name, said in schema["properties"].items()
    ]
    return "\n".join([f"| field | what | {required} |", "|---|---|---|", *rows])


def kind(said: dict[str, Any]) -> str:
    if "$ref" in said:
        return f"`{said['$ref'].rpartition('/')[2]}`"
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
