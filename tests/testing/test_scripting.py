"""Which reply a request gets."""

from dataclasses import replace
from typing import Any

import pytest

from actguard.testing import Delivery, HttpError, LocalProvider, Reply, Request

openai = pytest.importorskip("openai")


def ask(provider: LocalProvider, text: str = "Hi", model: str = "gpt-4o") -> str:
    client = openai.OpenAI(**provider.openai_kwargs(), max_retries=0)
    reply = client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])
    return str(reply.choices[0].message.content)


def test_replies_come_in_the_order_they_were_queued_then_the_default(llm_provider: LocalProvider) -> None:
    llm_provider.reply("first", Reply("second"))
    llm_provider.default = Reply("default")
    assert [ask(llm_provider) for _ in range(4)] == ["first", "second", "default", "default"]
    assert llm_provider.queued == 0


def test_a_rule_goes_before_the_queue_and_the_newest_first(llm_provider: LocalProvider) -> None:
    llm_provider.reply("queued")
    llm_provider.when("to a cat", text="cat")
    llm_provider.when("to gpt-5", model="gpt-5", times=1)
    assert ask(llm_provider, "a cat?") == "to a cat"
    assert ask(llm_provider, "a cat?", "gpt-5") == "to gpt-5"
    assert ask(llm_provider, "a cat?", "gpt-5") == "to a cat"
    assert ask(llm_provider, "a dog?") == "queued"


def test_a_rule_may_be_about_a_path_or_any_property(llm_provider: LocalProvider) -> None:
    llm_provider.when("long", match=lambda request: len(request.body) > 200)
    llm_provider.when(HttpError(status=503), path="/models")
    assert ask(llm_provider, "x" * 200) == "long"
    with pytest.raises(openai.InternalServerError):
        openai.OpenAI(**llm_provider.openai_kwargs(), max_retries=0).models.list()


def test_a_step_may_be_a_function_of_the_request(llm_provider: LocalProvider) -> None:
    def echo(request: Request) -> Reply:
        return Reply(request.json["messages"][-1]["content"].upper(), output_tokens=2)

    llm_provider.when(echo)
    assert ask(llm_provider, "hello") == "HELLO"
    assert llm_provider.ledger.output_tokens == 2


def test_a_text_or_a_fault_keeps_the_rest_of_the_default(llm_provider: LocalProvider) -> None:
    llm_provider.default = Reply(input_tokens=1000, delivery=Delivery(gzip=True))
    llm_provider.reply("short")
    assert ask(llm_provider) == "short"
    assert llm_provider.ledger.last.input_tokens == 1000


def test_what_generates_nothing_takes_nothing_from_the_queue(llm_provider: LocalProvider) -> None:
    llm_provider.reply("kept")
    openai.OpenAI(**llm_provider.openai_kwargs()).models.list()
    assert ask(llm_provider) == "kept"


def test_every_request_is_remembered_as_it_came(llm_provider: LocalProvider) -> None:
    ask(llm_provider, "hello")
    (request,) = llm_provider.requests
    assert (request.method, request.path, request.model) == ("POST", "/v1/chat/completions", "gpt-4o")
    assert request.json["messages"] == [{"role": "user", "content": "hello"}]
    assert request.headers["authorization"].startswith("Bearer ")


def test_reset_forgets_script_requests_and_bills(llm_provider: LocalProvider) -> None:
    llm_provider.reply("one", "two")
    ask(llm_provider)
    llm_provider.reset()
    assert (llm_provider.queued, llm_provider.requests, llm_provider.ledger.calls) == (0, [], 0)


def test_the_default_rule_counts_text_not_structure(llm_provider: LocalProvider) -> None:
    ask(llm_provider, "x" * 400)
    assert llm_provider.ledger.input_tokens == 100 + 4 + 3
    ask(llm_provider, "ü" * 200)
    assert llm_provider.ledger.last.input_tokens == 100 + 4 + 3
    assert all(entry.input_tokens <= len(llm_provider.requests[0].body) for entry in llm_provider.ledger.entries)


@pytest.mark.parametrize(
    "wrong", [{"output_tokens": -1}, {"cached_tokens": -5}, {"input_tokens": 10, "cached_tokens": 11}]
)
def test_a_reply_that_cannot_be_is_refused_where_it_is_written(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="tokens"):
        replace(Reply(), **wrong)


def test_a_script_that_fails_is_a_500_and_logged(llm_provider: LocalProvider, caplog: pytest.LogCaptureFixture) -> None:
    llm_provider.reply(lambda request: Reply(request.json["nonesuch"]))
    with pytest.raises(openai.InternalServerError):
        ask(llm_provider)
    assert "KeyError" in caplog.text
