"""The many spellings of a model's name: paths, ARNs, routing prefixes, versions."""

import re

_MAKERS = frozenset({"openai", "anthropic", "google"})
_LAST_OF_PATH = ("models/", "inference-profile/", "foundation-model/", "endpoints/", "deployments/")
_ROUTE = re.compile(r"^(?:(?:us|eu|apac|au|jp|in|ca|sa|me|af|us-gov|global|regional)\.)?(?=[a-z0-9]+\.[a-z])")
_VENDOR = re.compile(r"^(?:anthropic|amazon|openai|google|meta|mistral|mistralai|cohere|deepseek|qwen|xai|x-ai)[./]")
_AT_VERSION = re.compile(r"@[\w.-]+$")
_BEDROCK_VERSION = re.compile(r"-v\d+(?::\d+)?(?::\d+k)?$")
_GOOGLE_VERSION = re.compile(r"-\d{3}$")


def last_of_path(model: str) -> str:
    """`publishers/google/models/gemini-2.5-pro` and `models/gemini-2.5-pro` as `gemini-2.5-pro`; others unchanged."""
    for marker in _LAST_OF_PATH:
        _, found, rest = model.rpartition(marker)
        if found and rest:
            return rest
    return model


def candidates(provider: str, model: str) -> tuple[str, ...]:
    """*model* as it may stand in the price list of *provider*, most literal first."""
    names = [model, last_of_path(model)]
    if provider in _MAKERS:  # routers name the maker first, and so does Vertex' OpenAI-compatible endpoint
        names.append(names[-1].removeprefix(f"{provider}/"))
    if provider == "google":
        names.append(_GOOGLE_VERSION.sub("", names[-1]))
    return tuple(dict.fromkeys(names))


def bare(model: str) -> str:
    """The family's name alone, lower case: `us.anthropic.claude-opus-5-v1:0` as `claude-opus-5`."""
    name = _ROUTE.sub("", last_of_path(model.lower()))
    if name.startswith("ft:"):  # a fine-tuned model has the limits of its base: ft:gpt-4o-2024-08-06:org::id
        name = name.split(":")[1]
    name = _VENDOR.sub("", name)
    return _BEDROCK_VERSION.sub("", _AT_VERSION.sub("", name))
