"""Whose prices a host charges: known by its name alone, and nobody's when it is not known."""

import re

import pytest
from genai_prices.data import providers as PROVIDERS

from actguard.budget.hosts import (
    PROVIDERS as KNOWN,
)
from actguard.budget.hosts import (
    address,
    canonical,
    identify,
    is_local,
    is_model_host,
    merged,
    provider_of_host,
)

HOSTS = {
    "https://api.openai.com/v1/": "openai",
    "https://api.anthropic.com": "anthropic",
    "https://generativelanguage.googleapis.com/": "google",
    "https://aiplatform.googleapis.com/": "google",
    "https://my-resource.openai.azure.com/openai/deployments/d": "azure",
    "https://my-resource.services.ai.azure.com/anthropic/": "azure",
    "https://my-resource.cognitiveservices.azure.com/openai": "azure",
    "https://bedrock-runtime.us-east-1.amazonaws.com": "aws",
    "https://bedrock-mantle.us-east-1.api.aws/openai/v1": "aws",
    "https://aws-external-anthropic.us-west-2.api.aws": "anthropic",
    "https://claude.googleapis.com": "anthropic",
    "https://openrouter.ai/api/v1": "openrouter",
    "https://api.groq.com/openai/v1": "groq",
    "https://api.mistral.ai/v1": "mistral",
    "https://api.deepseek.com": "deepseek",
    "https://api.together.ai/v1": "together",
    "https://router.huggingface.co/groq/openai/v1": "huggingface_groq",
    "https://api.cloudflare.com/client/v4/accounts/abc/ai/v1": "cloudflare",
    "https://dbc-1.cloud.databricks.com/serving-endpoints": "databricks",
}
# Where the pattern of genai-prices is not simply a host.
EXAMPLES = {
    "aws": "https://bedrock-runtime.eu-west-1.amazonaws.com/",
    "azure": "https://r.openai.azure.com/",
    "cloudflare": "https://api.cloudflare.com/client/v4/accounts/x/ai/run",
    "cohere": "https://api.cohere.com/",
    "databricks": "https://dbc-1.cloud.databricks.com/serving-endpoints",
    "elevenlabs": "https://api.eu.residency.elevenlabs.io/",
    "google": "https://generativelanguage.googleapis.com/",  # there, any host of Google's; here, those with models
    "minimax": "https://api.minimaxi.com/",
    "modal": "https://me--app.modal.run/",
    "moonshotai": "https://api.moonshot.cn/",
    "openrouter": "https://openrouter.ai/api",
}


@pytest.mark.parametrize(("url", "provider"), HOSTS.items())
def test_the_provider_of_a_base_url(url, provider):
    assert provider_of_host(url) == provider
    assert identify(url).known


@pytest.mark.parametrize(
    ("url", "geo"),
    [
        ("https://eu.api.openai.com/v1", "eu"),
        ("https://jp.api.openai.com/v1", "jp"),
        ("https://us.api.x.ai/v1", "us"),
        ("https://us-east5-aiplatform.googleapis.com/v1", "us-east5"),
        ("https://aiplatform.eu.rep.googleapis.com/v1", "eu"),
    ],
)
def test_a_regional_host_says_so(url, geo):
    assert identify(url).context == (("geo", geo),)


@pytest.mark.parametrize("url", ["https://api.openai.com", "https://aiplatform.googleapis.com", "https://api.x.ai"])
def test_a_global_host_says_nothing(url):
    assert identify(url).context == ()


@pytest.mark.parametrize(
    "url",
    [
        "https://llm.example.com/v1",
        "http://localhost:11434/v1",
        "https://api.openai.com.example.com/v1",
        "https://api-openai.com",
        "https://notapi.openai.com.",
        "https://storage.googleapis.com",
        "https://api.cloudflare.com/client/v4/zones",
        "https://router.huggingface.co/v1",
        "https://openai.azure.com.example.com",
        "",
        "://",
        "http://[::1]:8000",
    ],
)
def test_a_host_that_is_not_known_is_nobodys(url):
    assert provider_of_host(url) is None
    assert not identify(url).known


def test_an_unknown_host_keeps_its_address_as_its_name():
    assert identify("http://LocalHost:11434/v1").provider == "host:localhost:11434"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("https://API.OpenAI.com/v1/", "api.openai.com"),
        ("api.openai.com:443", "api.openai.com:443"),
        ("http://user:pass@proxy:8080/x", "proxy:8080"),
        ("http://[::1]:8000/v1", "[::1]:8000"),
        ("http://[::1]/v1", "[::1]"),
        ("api.openai.com.", "api.openai.com"),
        ("*.gpu.internal:8000", "*.gpu.internal:8000"),
    ],
)
def test_the_address_in_a_url(said, meant):
    assert address(said) == meant


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.id)
def test_hosts_are_those_of_genai_prices(provider):
    assert provider.id in KNOWN
    url = EXAMPLES.get(provider.id) or provider.api_pattern.replace("\\", "").removesuffix("(?:/|$)")
    assert re.match(provider.api_pattern, url)
    # OpenAI's decisions have a list of their own, and the host of the rest: the endpoint tells them apart.
    assert provider_of_host(url) == provider.id.removesuffix("-decisions")


def test_no_provider_is_known_that_genai_prices_has_no_list_of():
    assert {provider.id for provider in PROVIDERS} == KNOWN


def test_hosts_of_models_are_told_from_hosts_that_also_serve_models():
    for host in ("api.openai.com", "eu.api.openai.com", "api.anthropic.com", "r.openai.azure.com", "openrouter.ai:443"):
        assert is_model_host(host)
    for host in ("example.com", "api.cloudflare.com", "me--app.modal.run", "gateway.azure-api.net", "localhost"):
        assert not is_model_host(host)


def test_a_local_host_is_told_from_others_and_is_not_free_for_it():
    for url in ("http://localhost:11434", "http://127.0.0.1:8000", "http://[::1]:1", "192.168.1.5", "http://box.local"):
        assert is_local(url)
        assert not identify(url).known
    for url in ("https://api.openai.com", "http://localhost.example.com", "http://11.0.0.1"):
        assert not is_local(url)


def test_a_reply_is_right_about_a_region_where_it_and_its_host_differ():
    assert merged((), (("geo", "eu"),)) == (("geo", "eu"),)
    assert merged((("geo", "us"),), (("geo", "eu"),)) == (("geo", "us"),)
    assert merged((("service_tier", "flex"),), (("geo", "eu"),)) == (("geo", "eu"), ("service_tier", "flex"))
    said = (("speed", "fast"),)
    assert merged(said, ()) is said


def test_providers_are_known_by_their_other_names():
    assert canonical("Bedrock") == "aws"
    assert canonical("vertex_ai") == "google"
    assert canonical("openai") == "openai"
