"""Whose prices a host charges: the provider behind a base URL, in genai-prices' words, and the region it bills as.

Only the name of a host is looked at; nothing is resolved or connected to. A host that is not listed here is nobody's:
a model called `gpt-4o` at `llm.example.com` may be OpenAI's, a copy with a margin on top, or a toy. `PriceBook.host`
is where a program says which.
"""

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

Context = tuple[tuple[str, str], ...]

UNKNOWN = "host:"
"""Begins the provider id of a host that is not known."""


class Host(NamedTuple):
    """Who answers at a base URL."""

    provider: str
    """genai-prices' id of the provider; `host:<name>` for a host that is not known."""
    context: Context = ()
    """What the host itself says about the price: `geo`."""

    @property
    def known(self) -> bool:
        return not self.provider.startswith(UNKNOWN)


class _Rule(NamedTuple):
    pattern: str
    provider: str
    dedicated: bool
    """Whether the host serves models only, so that an unguarded request to it is a call past the guard."""


def _rule(pattern: str, provider: str, *, dedicated: bool = True) -> _Rule:
    return _Rule(pattern, provider, dedicated)


# Hosts by their exact name.
_EXACT = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "claude.googleapis.com": "anthropic",  # Claude Platform on Google Cloud: Anthropic's own list
    "generativelanguage.googleapis.com": "google",
    "aiplatform.googleapis.com": "google",
    "api.arcee.ai": "arcee",
    "api.avian.io": "avian",
    "inference.baseten.co": "baseten",
    "api.cerebras.ai": "cerebras",
    "api.cohere.ai": "cohere",
    "api.cohere.com": "cohere",
    "api.cursor.com": "cursor",
    "api.deepseek.com": "deepseek",
    "api.doubleword.ai": "doubleword",
    "api.elevenlabs.io": "elevenlabs",
    "api.us.elevenlabs.io": "elevenlabs",
    "api.fireworks.ai": "fireworks",
    "api.githubcopilot.com": "github-copilot",
    "api.groq.com": "groq",
    "api.meta.ai": "meta",
    "api.minimax.com": "minimax",
    "api.minimax.io": "minimax",
    "api.minimaxi.com": "minimax",
    "api.mistral.ai": "mistral",
    "api.moonshot.ai": "moonshotai",
    "api.moonshot.cn": "moonshotai",
    "api.novita.ai": "novita",
    "openrouter.ai": "openrouter",
    "api.openrouter.ai": "openrouter",
    "oai.endpoints.kepler.ai.cloud.ovh.net": "ovhcloud",
    "api.perplexity.ai": "perplexity",
    "api.quicksilverpro.io": "quicksilverpro",
    "api.together.ai": "together",
    "api.together.xyz": "together",
    "api.typesafe.ai": "typesafe",
    "api.voyageai.com": "voyageai",
    "api.x.ai": "x-ai",
    "api.z.ai": "zai",
    "open.bigmodel.cn": "zhipuai",
}

# Hosts by their shape. A group named `geo` is the region that the host bills as.
_SHAPES = (
    _rule(r"(?P<geo>[a-z]{2,3})\.api\.openai\.com", "openai"),
    _rule(r"(?P<geo>us)\.api\.x\.ai", "x-ai"),
    _rule(r"[^.]+\.openai\.azure\.(?:com|us|cn)", "azure"),
    _rule(r"[^.]+\.services\.ai\.azure\.com", "azure"),
    _rule(r"[^.]+\.cognitiveservices\.azure\.com", "azure", dedicated=False),
    _rule(r"[^.]+\.azure-api\.net", "azure", dedicated=False),
    _rule(r"bedrock-runtime(?:-fips)?\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?", "aws"),
    _rule(r"bedrock-mantle\.[a-z0-9-]+\.api\.aws", "aws"),
    _rule(r"aws-external-anthropic\.[a-z0-9-]+\.api\.aws", "anthropic"),  # Claude Platform on AWS: Anthropic's own list
    _rule(r"(?P<geo>[a-z0-9-]+)-aiplatform(?:\.mtls)?\.googleapis\.com", "google"),
    _rule(r"aiplatform\.(?P<geo>us|eu)\.rep\.googleapis\.com", "google"),
    _rule(r"(?:aiplatform|generativelanguage)\.mtls\.googleapis\.com", "google"),
    _rule(r"api\.(?:eu|in|sg)\.residency\.elevenlabs\.io", "elevenlabs"),
    _rule(
        r"[^/]+\.(?:cloud\.databricks\.com|azuredatabricks\.net|gcp\.databricks\.com)", "databricks", dedicated=False
    ),
    _rule(r"[^/]+\.modal\.(?:run|direct)", "modal", dedicated=False),
)

# Every provider that a price list can be of, and other words for it. Checked against genai-prices by a test.
PROVIDERS = frozenset({*_EXACT.values(), *(rule.provider for rule in _SHAPES), "cloudflare", "openai-decisions"}) | {
    f"huggingface_{route}"
    for route in (
        *("cerebras", "fireworks-ai", "groq", "hyperbolic", "nebius", "novita"),
        *("nscale", "ovhcloud", "publicai", "sambanova", "together"),
    )
}
_ALSO_CALLED = {
    **dict.fromkeys(("azure-openai", "azure_openai", "azure-ai", "azure_ai", "foundry"), "azure"),
    **dict.fromkeys(("bedrock", "aws-bedrock", "aws_bedrock", "amazon"), "aws"),
    **dict.fromkeys(("gemini", "vertex", "vertexai", "vertex_ai", "vertex-ai", "google-vertex"), "google"),
    **dict.fromkeys(("xai", "grok"), "x-ai"),
    **dict.fromkeys(("together_ai", "together-ai"), "together"),
    **dict.fromkeys(("fireworks_ai", "fireworks-ai"), "fireworks"),
    "moonshot": "moonshotai",
    "copilot": "github-copilot",
}

# Hosts that serve several providers, or more than models, by the beginning of the path.
_ROUTERS = {
    "router.huggingface.co": re.compile(r"/(?P<route>(?!v\d)[a-z0-9-]+)(?:/|$)"),
    "api.cloudflare.com": re.compile(r"/client/v4/accounts/[^/]+/ai(?:/|$)"),
}
_LOCAL = (
    r"localhost|[^.]+\.localhost|127(?:\.\d{1,3}){3}|\[?::1\]?|0\.0\.0\.0|host\.docker\.internal"
    r"|10(?:\.\d{1,3}){3}|192\.168(?:\.\d{1,3}){2}|172\.(?:1[6-9]|2\d|3[01])(?:\.\d{1,3}){2}|[^.]+\.(?:local|internal|lan)"
)


def identify(base_url: str) -> Host:
    """Who answers at *base_url*: a URL, or a host with or without a port.

    Never an error: an unknown or malformed address is a `Host` that is not `known`.
    """
    host = _identify(base_url)
    return host if host is not None else Host(UNKNOWN + address(base_url))


def provider_of_host(base_url: str) -> str | None:
    """genai-prices' id of the provider at *base_url*, or None for a host that is not known."""
    host = _identify(base_url)
    return host.provider if host is not None else None


def canonical(provider: str) -> str:
    """A provider's id in genai-prices, of that id or of another common word for it; others unchanged."""
    name = provider.strip().lower()
    return _ALSO_CALLED.get(name, name)


def is_model_host(host: str) -> bool:
    """Whether *host* is known to serve nothing but models, so that every request to it should pass a guard."""
    name = without_port(address(host))
    if name in _EXACT or name == "router.huggingface.co":
        return True
    return any(rule.dedicated and re.fullmatch(rule.pattern, name) for rule in _SHAPES)


def is_local(base_url: str) -> bool:
    """Whether *base_url* is this machine or its private network. Says nothing about what calls there cost."""
    return re.fullmatch(_LOCAL, without_port(address(base_url))) is not None


def address(base_url: str) -> str:
    """`host[:port]`, lower case, of a URL or of what already is one; without a trailing dot or user info."""
    text = base_url.strip().lower()
    netloc = urlsplit(text).netloc if "://" in text else text.partition("/")[0]
    netloc = netloc.rpartition("@")[2]
    name, colon, port = netloc.rpartition(":") if not netloc.endswith("]") else (netloc, "", "")
    if not colon or not port.isdigit():
        return netloc.rstrip(".")
    return f"{name.rstrip('.')}:{port}"


def merged(said: Context, host: Context) -> Context:
    """The context of a reply with what its host adds; where both speak of a key, the reply is right."""
    if not host:
        return said
    return tuple(sorted({**dict(host), **dict(said)}.items())) if said else host


@lru_cache(maxsize=512)
def _identify(base_url: str) -> Host | None:
    where = address(base_url)
    name = without_port(where)
    provider = _EXACT.get(name)
    if provider is not None:
        return Host(provider)
    router = _ROUTERS.get(name)
    if router is not None:
        text = base_url.strip()
        route = router.match(urlsplit(text if "://" in text else f"https://{text}").path.lower())
        if route is None:
            return None
        return Host("cloudflare" if name == "api.cloudflare.com" else f"huggingface_{route['route']}")
    for rule in _SHAPES:
        found = re.fullmatch(rule.pattern, name)
        if found is not None:
            geo = found.groupdict().get("geo")
            return Host(rule.provider, (("geo", geo),) if geo and geo != "global" else ())
    return None


def without_port(where: str) -> str:
    """The name in an `address`."""
    if where.startswith("["):
        return where.partition("]")[0] + "]"
    return where.rpartition(":")[0] if where.count(":") == 1 else where
