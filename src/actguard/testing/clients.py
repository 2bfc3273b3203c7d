"""How to point a program or an SDK client at the local provider. SDKs are imported only when a client is asked for."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anthropic import Anthropic, AsyncAnthropic
    from google.genai import Client as GoogleClient
    from openai import AsyncOpenAI, AzureOpenAI, OpenAI

KEY = "local-provider-key"


class Clients:
    """Mixed into the provider: everything follows from its `url`."""

    url: str

    def __init__(self) -> None:
        self._kept: list[object] = []

    def env(self) -> dict[str, str]:
        """The environment in which a program with bare `openai.OpenAI()`, ... talks to this provider."""
        return {
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "OPENAI_API_KEY": KEY,
            "ANTHROPIC_BASE_URL": self.url,
            "ANTHROPIC_API_KEY": KEY,
            "GOOGLE_GEMINI_BASE_URL": self.url,
            "GEMINI_API_KEY": KEY,
        }

    def openai_kwargs(self) -> dict[str, Any]:
        return {"base_url": f"{self.url}/v1", "api_key": KEY}

    def azure_kwargs(self) -> dict[str, Any]:
        return {"azure_endpoint": self.url, "api_key": KEY, "api_version": "2024-10-21"}

    def openrouter_kwargs(self) -> dict[str, Any]:
        return {"base_url": f"{self.url}/api/v1", "api_key": KEY}

    def anthropic_kwargs(self) -> dict[str, Any]:
        return {"base_url": self.url, "api_key": KEY}

    def bedrock_kwargs(self) -> dict[str, Any]:
        return {
            "base_url": self.url,
            "aws_access_key": "local",
            "aws_secret_key": "local",
            "aws_region": "us-east-1",
        }

    def vertex_kwargs(self) -> dict[str, Any]:
        """For `anthropic.AnthropicVertex`."""
        return {"base_url": f"{self.url}/v1", "region": "us-east5", "project_id": "local", "access_token": KEY}

    def google_kwargs(self) -> dict[str, Any]:
        return {"api_key": KEY, "http_options": {"base_url": self.url}}

    def openai(self, **options: Any) -> "OpenAI":
        import openai

        return openai.OpenAI(**{**self.openai_kwargs(), **options})

    def async_openai(self, **options: Any) -> "AsyncOpenAI":
        import openai

        return openai.AsyncOpenAI(**{**self.openai_kwargs(), **options})

    def azure(self, **options: Any) -> "AzureOpenAI":
        import openai

        return openai.AzureOpenAI(**{**self.azure_kwargs(), **options})

    def anthropic(self, **options: Any) -> "Anthropic":
        import anthropic

        return anthropic.Anthropic(**{**self.anthropic_kwargs(), **options})

    def async_anthropic(self, **options: Any) -> "AsyncAnthropic":
        import anthropic

        return anthropic.AsyncAnthropic(**{**self.anthropic_kwargs(), **options})

    def google(self, **options: Any) -> "GoogleClient":
        """Sync and, as `.aio`, async. It lives as long as the provider: one that is collected closes under its user."""
        from google import genai

        client = genai.Client(**{**self.google_kwargs(), **options})
        self._kept.append(client)
        return client
