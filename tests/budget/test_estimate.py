"""What a call may cost in tokens: bounds that hold, estimates that learn."""

import pickle
import threading
from typing import Any

import pytest

from actguard.budget.estimate import Estimate, estimate, input_bound, output_bound
from actguard.budget.families import profile_of
from actguard.budget.kept import KeptReplies
from actguard.budget.media_tokens import media_tokens
from actguard.budget.ratios import InputRatios
from actguard.budget.request import CapTooSmall, Media, RequestFacts


def chat(body_bytes: int = 1000, model: str = "gpt-4o", **more: object) -> RequestFacts:
    return RequestFacts(model, body_bytes, endpoint="chat.completions", **more)  # type: ignore[arg-type]


# -- bounds


def test_the_input_bound_is_the_body_and_a_little_framing() -> None:
    assert input_bound("openai", chat(1000), strict=True) == 1016


def test_client_tools_of_claude_bring_a_hidden_prompt() -> None:
    facts = RequestFacts("claude-sonnet-4-5", 1000, tools=True, endpoint="messages")

    assert input_bound("anthropic", facts, strict=False) == 1700


def test_strict_allows_claude_two_and_a_half_tokens_a_byte() -> None:
    facts = RequestFacts("claude-sonnet-4-5", 1000, endpoint="messages")

    assert input_bound("anthropic", facts, strict=False) == 1016
    assert input_bound("anthropic", facts, strict=True) == 2516


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openrouter", "anthropic/claude-sonnet-4.5"),
        ("aws", "us.anthropic.claude-opus-4-6-v1:0"),
        ("google", "claude-sonnet-4-5@20250929"),
        (None, "claude-3-5-haiku-latest"),
    ],
)
def test_claude_counts_like_claude_wherever_it_is_served(provider: str | None, model: str) -> None:
    assert input_bound(provider, chat(1000, model), strict=True) == 2516


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("aws", "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc"),
        ("azure", "my-deployment"),
        (None, "kimi"),
    ],
)
def test_an_unknown_name_on_claudes_own_endpoint_counts_as_claude(provider: str | None, model: str) -> None:
    assert input_bound(provider, RequestFacts(model, 1000, endpoint="messages"), strict=True) == 2516


def test_what_is_not_known_to_be_openais_has_more_room_for_framing() -> None:
    assert input_bound("azure", chat(1000, "my-deployment"), strict=True) == 1256
    assert input_bound("groq", chat(1000, "llama-9", tools=True), strict=True) == 1512
    assert input_bound("x-ai", chat(1000, "grok-4"), strict=True) == 2500


@pytest.mark.parametrize(
    "unknown",
    [
        {"unbounded": ("server tool web_search",)},
        {"server_tools": ("web_search_20250305",)},
        {"sized": False},
    ],
)
def test_there_is_no_bound_where_the_request_does_not_say_what_is_read(unknown: dict[str, object]) -> None:
    assert input_bound("openai", chat(**unknown), strict=True) is None


def test_state_kept_by_the_provider_is_bounded_by_the_context_window() -> None:
    facts = chat(model="gpt-4o-2024-08-06", state=("resp_1",))

    assert input_bound("openai", facts, strict=True) == 128_000


def test_replies_are_remembered_by_id_for_the_model_that_made_them() -> None:
    kept = KeptReplies()
    kept.remember("resp_1", "gpt-4o", 300)
    kept.remember("resp_2", "gpt-4o", 50)

    assert kept.tokens(("resp_1",), "gpt-4o") == 300
    assert kept.tokens(("resp_1", "resp_2"), "gpt-4o") == 350
    assert kept.tokens(("resp_1", "file_1"), "gpt-4o") is None
    assert kept.tokens(("resp_1",), "gpt-5") is None


def test_of_many_replies_the_oldest_are_forgotten() -> None:
    kept = KeptReplies()
    for number in range(20_000):
        kept.remember(f"resp_{number}", "gpt-4o", 1)

    assert kept.tokens(("resp_19999",), "gpt-4o") == 1
    assert kept.tokens(("resp_0",), "gpt-4o") is None
    assert len(kept._kept) + len(kept._kept_before) <= 8192


def test_state_that_is_remembered_is_added_instead() -> None:
    assert input_bound("openai", chat(1000, state=("resp_1",)), strict=True, state_tokens=300) == 1316


def test_a_pdf_is_bounded_by_the_context_window() -> None:
    facts = RequestFacts("claude-haiku-4-5", 1000, (Media("pdf", "inline", 90_000),), endpoint="messages")

    assert input_bound("anthropic", facts, strict=True) == 200_000


def test_without_a_known_window_there_is_no_bound() -> None:
    assert input_bound("groq", chat(model="llama-9", state=("resp_1",)), strict=True) is None


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"output_cap": 100}, 100),
        ({"output_cap": 100, "choices": 6}, 600),
        ({}, 16_384),
        ({"choices": 2}, 32_768),
        ({"model": "someone-elses-model"}, None),
    ],
)
def test_output_is_bounded_by_the_cap_or_by_the_model(more: dict[str, object], expected: int | None) -> None:
    assert output_bound(chat(**more)) == expected  # type: ignore[arg-type]


def test_embeddings_put_nothing_out_and_images_take_no_cap() -> None:
    assert output_bound(RequestFacts("text-embedding-3-small", 10, endpoint="embeddings")) == 0
    assert output_bound(RequestFacts("gpt-image-1", 10, endpoint="images")) is None


# -- media


@pytest.mark.parametrize(
    ("model", "item", "tokens"),
    [
        ("gpt-4o", Media("image", "url", detail="high"), 85 + 8 * 170),
        ("gpt-4o", Media("image", "url", detail="low"), 85),
        ("gpt-4o-mini", Media("image", "url", detail="auto"), 2833 + 8 * 5667),
        ("ft:gpt-4o-mini-2024-07-18:org::id", Media("image", "url"), 2833 + 8 * 5667),
        ("gpt-4.1-mini", Media("image", "inline", 9, "auto", 1024, 1024), 1024 * 162 // 100 + 16),
        ("o4-mini", Media("image", "url"), 1536 * 172 // 100 + 16),
        ("gpt-5", Media("image", "url"), 70 + 8 * 140),
        ("gpt-5.5", Media("image", "inline", 9, "original", 4000, 3000), 125 * 94 * 13 // 10 + 128),
        ("claude-sonnet-4-5", Media("image", "url"), 1700),
        ("claude-opus-4-8", Media("image", "url"), 5000),
        ("claude-sonnet-4-5", Media("image", "inline", 9, "", 200, 200), 64 + 32),
        ("claude-sonnet-4-5", Media("image", "inline", 9, "", 4000, 3000), 1700),
        ("gemini-2.5-flash", Media("image", "inline", 9, "", 300, 200), 300),
        ("gemini-2.5-flash", Media("image", "inline", 9, "", 960, 540), 7 * 258 + 32),
        ("gemini-3-flash-preview", Media("image", "url"), 1250),
        ("gemini-3-flash-preview", Media("image", "url", detail="MEDIA_RESOLUTION_ULTRA_HIGH"), 2400),
        ("gpt-4o-audio-preview", Media("audio", "inline", 9, seconds=60), 60 * 12 + 64),
        ("gemini-2.5-flash", Media("audio", "inline", 9, seconds=60), 60 * 33 + 64),
        ("gpt-5", Media("file", "inline", 1000, "text/csv"), 1064),
    ],
)
def test_each_family_counts_media_in_its_own_way(model: str, item: Media, tokens: int) -> None:
    assert media_tokens(profile_of(None, model), item).bound == tokens


@pytest.mark.parametrize("size", [(4000, 3000), (0, 0), (800, 600)])
def test_an_azure_deployment_may_hide_the_dearest_way_of_counting(size: tuple[int, int]) -> None:
    hidden = media_tokens(profile_of("azure", "my-deployment"), Media("image", "url", 0, "auto", *size)).bound
    mini = media_tokens(profile_of("azure", "gpt-4o-mini"), Media("image", "url")).bound

    assert hidden is not None
    assert mini is not None
    assert hidden >= mini


@pytest.mark.parametrize("kind", ["pdf", "video", "file"])
def test_what_cannot_be_bounded_still_has_an_estimate(kind: str) -> None:
    tokens = media_tokens(profile_of("google", "gemini-2.5-flash"), Media(kind, "url"))  # type: ignore[arg-type]

    assert tokens.bound is None
    assert tokens.estimate > 0


def test_images_of_unknown_models_have_no_bound() -> None:
    assert media_tokens(profile_of("groq", "llama-4-scout"), Media("image", "url")).bound is None


# -- names


@pytest.mark.parametrize(
    ("model", "family", "dialect"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o", "openai"),
        ("openai/gpt-5-mini", "gpt-5-mini", "openai"),
        ("claude-3-5-sonnet-20241022", "claude-3-5-sonnet", "claude"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5", "claude"),
        ("eu.anthropic.claude-sonnet-4-20250514-v1:0", "claude-sonnet-4", "claude"),
        ("models/gemini-2.5-pro", "gemini-2.5-pro", "gemini"),
        ("publishers/google/models/gemini-2.0-flash-001", "gemini-2.0-flash", "gemini"),
        ("us.amazon.nova-lite-v1:0", "nova-lite", "nova"),
        ("x-ai/grok-4", "grok-4", "grok"),
        ("meta-llama/llama-3.1-8b-instruct", "llama-3.1-8b-instruct", "other"),
    ],
)
def test_a_family_is_what_is_left_of_a_name(model: str, family: str, dialect: str) -> None:
    profile = profile_of(None, model)

    assert (profile.family, profile.dialect) == (family, dialect)


# -- learning


def test_the_first_estimate_rests_on_what_is_usual() -> None:
    assert InputRatios().estimate("openai", chat(1000)) == int(1000 * 0.45 * 1.2) + 16


def test_an_estimate_follows_what_was_billed() -> None:
    ratios = InputRatios()
    for _ in range(200):
        ratios.observe("openai", chat(1000), 216)

    assert 240 <= ratios.estimate("openai", chat(1000)) <= 270


def test_one_dense_request_raises_the_estimate_at_once() -> None:
    ratios = InputRatios()
    ratios.observe("openai", chat(1000), 816)

    assert ratios.estimate("openai", chat(1000)) == int(1000 * 0.8 * 1.2) + 16


def test_a_finalizer_may_teach_in_the_middle_of_a_lesson(monkeypatch: pytest.MonkeyPatch) -> None:
    ratios = InputRatios()

    class Interrupted(dict[Any, float]):
        def pop(self, *args: Any) -> Any:
            monkeypatch.setattr(Interrupted, "pop", dict.pop)
            ratios.observe("openai", chat(1000), 716)  # where the collector may close a stream that was left
            return super().pop(*args)

    monkeypatch.setattr(ratios, "_learned", Interrupted())
    learning = threading.Thread(target=ratios.observe, args=("openai", chat(1000), 816), daemon=True)
    learning.start()
    learning.join(10)

    assert not learning.is_alive()
    assert ratios.estimate("openai", chat(1000)) == int(1000 * 0.8 * 1.2) + 16


def test_families_and_tools_are_learned_apart() -> None:
    ratios = InputRatios()
    ratios.observe("openai", chat(1000), 916)

    assert ratios.estimate("openai", chat(1000, "gpt-5")) == InputRatios().estimate("openai", chat(1000, "gpt-5"))
    assert ratios.estimate("openai", chat(1000, tools=True)) == InputRatios().estimate("openai", chat(1000, tools=True))
    assert ratios.estimate("openai", chat(1000, "gpt-4o-2024-08-06")) > 900


def test_a_learned_ratio_stays_between_a_tenth_and_the_bound() -> None:
    ratios = InputRatios()
    for _ in range(500):
        ratios.observe("openai", chat(1_000_000), 17)
    assert ratios.estimate("openai", chat(1000)) >= 100

    ratios.observe("openai", chat(10), 10_000)
    assert ratios.estimate("openai", chat(1000)) <= 1016


def test_what_server_tools_read_is_learned_as_tokens_beside_the_text() -> None:
    ratios = InputRatios()
    searching = chat(1000, server_tools=("web_search",), unbounded=("server tool web_search",))
    ratios.observe("openai", searching, 60_000)

    assert ratios.estimate("openai", searching) == 60_000
    assert ratios.estimate("openai", chat(1000)) < 1016


def test_media_teach_nothing_about_text() -> None:
    ratios = InputRatios()
    ratios.observe("openai", chat(1000, media=(Media("image", "url"),)), 9_000)

    assert ratios.estimate("openai", chat(1000)) == InputRatios().estimate("openai", chat(1000))


def test_only_so_many_families_are_remembered() -> None:
    ratios = InputRatios(families=8)
    for number in range(100):
        ratios.observe("openai", chat(1000, f"tuned-{number}x"), 900)
        ratios.observe("openai", chat(1000), 900)

    assert len(ratios._learned) == 8
    assert ratios.estimate("openai", chat(1000)) > 900  # taught last, kept


def test_of_a_model_that_is_known_every_eighth_reply_is_worth_a_look() -> None:
    ratios = InputRatios()

    assert all(ratios.due("gpt-4o") for _ in range(31))
    assert [ratios.due("gpt-4o") for _ in range(17)] == [True, *[False] * 7, True, *[False] * 7, True]
    assert ratios.due("gpt-5")  # of which none came yet


def test_only_so_many_models_are_counted() -> None:
    ratios = InputRatios(families=8)
    for number in range(100):
        assert ratios.due(f"tuned-{number}")

    assert len(ratios._replies) <= 8


def test_many_threads_may_learn_and_estimate_at_once() -> None:
    ratios = InputRatios(families=4)
    failed: list[Exception] = []

    def work(number: int) -> None:
        try:
            for turn in range(500):
                ratios.observe("openai", chat(1000, f"model-{(number + turn) % 9}x"), 500)
                ratios.estimate("openai", chat(1000, f"model-{turn % 9}x"))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not failed
    assert len(ratios._learned) <= 4


def test_one_call_answers_all_four_numbers() -> None:
    assert estimate("openai", chat(1000, output_cap=50), InputRatios(), strict=True) == Estimate(1016, 556, 50, 50)
    unknown = estimate("groq", chat(1000, "llama-9", unbounded=("server tool x",)), InputRatios())
    assert unknown.input_bound is None
    assert unknown.output_bound is None
    assert unknown.input_estimate > 0
    assert unknown.output_estimate > 0


def test_a_refused_cap_says_what_the_least_is_and_pickles() -> None:
    refused = CapTooSmall(5, 16, "the least the API accepts")

    assert "16" in str(refused)
    assert pickle.loads(pickle.dumps(refused)).minimum == 16
