"""Watching the anthropic SDK, with its Bedrock, Vertex, Foundry and AWS variants."""

from actguard.providers.anthropic.endpoints import classify
from actguard.providers.anthropic.reply import StreamReader, read
from actguard.providers.anthropic.request import facts, with_output_cap
from actguard.providers.patches import Patches
from actguard.providers.stainless import StainlessSeam
from actguard.providers.wire import Wire

WIRE = Wire(
    "anthropic",
    classify,
    facts,
    read,
    StreamReader,
    with_output_cap,
    caps=frozenset({"messages", "messages.batches", "converse"}),
)


def install(patches: Patches) -> None:
    import anthropic._base_client as base_client

    StainlessSeam(WIRE).install(base_client, patches)
