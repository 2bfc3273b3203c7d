"""Watching the openai SDK, with its Azure, Bedrock and Vertex variants."""

from collections.abc import Mapping
from typing import Any

from actguard.providers.call import Call
from actguard.providers.openai.endpoints import classify
from actguard.providers.openai.reply import StreamReader, read
from actguard.providers.openai.request import facts, with_include_usage, with_output_cap
from actguard.providers.openai.websockets import WebSockets
from actguard.providers.patches import Patches
from actguard.providers.quote import ASKED
from actguard.providers.stainless import StainlessSeam
from actguard.providers.wire import Wire

WIRE = Wire(
    "openai",
    classify,
    facts,
    read,
    StreamReader,
    with_output_cap,
    caps=frozenset({"chat.completions", "completions", "responses"}),
)

_UNDERSTANDS = frozenset(
    {"openai", "azure", "aws", "openrouter", "groq", "deepseek", "mistral", "together", "cerebras"}
)
_SINCE = "2024-09-01"
"""The first version of Azure's API that knows the question. Others than dates are newer."""


def install(patches: Patches) -> None:
    import openai._base_client as base_client
    import openai._resource as resources

    StainlessSeam(WIRE, ask_for_usage).install(base_client, patches)
    WebSockets(patches).install(resources)


def ask_for_usage(call: Call, body: Mapping[str, Any], query: Mapping[str, Any]) -> Mapping[str, Any]:
    """Have a chat stream end with its usage, unless its caller has said what he wants himself.

    Some servers answer an unknown `stream_options` with an error, and so do older versions of Azure's API; by default
    only known hosts, and hosts that stand in for them (an address of this machine, a proxy of one's own), are asked.
    """
    if not body.get("stream") or call.endpoint.name not in ASKED:
        return body
    policy = call.account.policy.include_usage
    if call.facts.include_usage is None and (
        policy == "always"
        or (policy == "auto" and (call.native or call.provider in _UNDERSTANDS) and not _is_older(query))
    ):
        call.hide_usage = True
        return with_include_usage(body)
    return body


def _is_older(query: Mapping[str, Any]) -> bool:
    version = str(query.get("api-version", ""))
    return version.startswith("20") and version < _SINCE
