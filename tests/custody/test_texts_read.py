"""What is found in a text, and what counts as the same: links and addresses, patterns in one pass, spellings."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from actguard import AllowRegex, BlockRegex, InPlan, NotAfter, RequireFact, RequireTool, enforce, session, track
from actguard.custody.normalise import normaliser
from actguard.custody.patterns import SafePattern
from actguard.exceptions import GuardError


def needing(part: Any, **options: Any) -> Callable[[Any], str]:
    @enforce([RequireFact("body", "part", part=part, **options)])
    def send(body: Any) -> str:
        return "sent"

    return send


def refusal(function: Callable[..., Any], *args: Any, **kwargs: Any) -> GuardError:
    with pytest.raises(GuardError) as caught:
        function(*args, **kwargs)
    return caught.value


# ---- links ----


@pytest.mark.parametrize(
    "link",
    [
        "http:evil.example",
        "https:evil.example",
        "ftp:evil.example",
        "mailto:a@evil.example",
        "data:text/html,hello",
        "javascript:alert(1)",
        "file:/etc/passwd",
        "tel:+4930123",
        "sms:+4930123",
        "gopher://evil.example",
        "a://evil.example",
        "-www.evil.example",
        "//evil.example",
        "www.evil.example",
        "WWW.evil.example",
        "evil.example/x",
        "evil.example:8080/x",
        "evil.example?x=1",
        "evil.example#x",
        "**evil.example/x**",
        "_www.evil.example_",
        "x=www.evil.example",
        "x=javascript:alert",
        "evil\u3002example/x",
        "evil\uff0eexample/x",
        "evil\uff61example/x",
        "www\uff61evil\u3002example",
    ],
)
def test_what_a_program_would_make_a_link_of_must_be_known(here: session, link: str) -> None:
    assert refusal(needing("url"), f"See {link}").code == "MISSING_FACT"


@pytest.mark.parametrize(
    "text", ["", "a.b.c", "12:30", "x/y", "note: see below", "://x", "awww.nice", "1.5", "e.g. this"]
)
def test_what_is_no_link_needs_no_fact(here: session, text: str) -> None:
    assert needing("url")(text) == "sent"


@pytest.mark.parametrize(
    "text",
    [
        "See https://ours.example/a.",
        "<https://ours.example/a>, (https://ours.example/a)! `https://ours.example/a`",
        "**https://ours.example/a**",
        "~https://ours.example/a~?",
        {"body": ["x", {"at": "https://ours.example/a;"}]},
        "x=www.ours.example.",
        "site:www.ours.example!",
        "X.example/X",
    ],
)
def test_a_link_is_what_stands_between_its_separators(here: session, text: Any) -> None:
    here.add_fact("part", "https://ours.example/a")
    here.add_fact("part", "www.ours.example")
    here.add_fact("part", "X.example/X")

    assert needing("url")(text) == "sent"


def test_the_same_link_many_times_is_one_fact(here: session) -> None:
    here.add_fact("part", "https://ours.example/")

    assert needing("url")("https://ours.example/ " * 10_001) == "sent"


@pytest.mark.parametrize("mark", [":", "@", "www."])
def test_a_word_that_is_too_long_and_could_be_a_link_is_refused(here: session, mark: str) -> None:
    for part in ("url", "email"):
        assert refusal(needing(part), mark + "x" * 4_096).code == "INVALID_ARGUMENT"
        assert needing(part)("x" * 5_000) == "sent"


@pytest.mark.parametrize("stop", ["\u3002", "\uff0e", "\uff61"])
def test_a_link_with_another_full_stop_is_that_link_and_itself(here: session, stop: str) -> None:
    here.add_fact("part", "https://ours.example/a")
    link = f"https://ours{stop}example/a"
    assert refusal(needing("url"), link).code == "MISSING_FACT"

    here.add_fact("part", link)
    assert needing("url")(link) == "sent"
    assert refusal(needing("url"), f"https://evil{stop}example/a").code == "MISSING_FACT"


# ---- addresses ----


@pytest.mark.parametrize(
    "text", ["a@b", "To: ann@evil.example.", "mailto:ann@evil.example", "MAILTO:ann@evil.example", "<ann@evil.example>"]
)
def test_every_address_must_be_known(here: session, text: str) -> None:
    assert refusal(needing("email"), text).code == "MISSING_FACT"


@pytest.mark.parametrize("text", ["@ann", "ann@", "@", "ann", "ann@.", "(at) ann"])
def test_half_an_address_is_none(here: session, text: str) -> None:
    assert needing("email")(text) == "sent"


def test_an_address_is_known_without_what_stands_around_it(here: session) -> None:
    here.add_fact("part", "ann@ours.example")

    for text in ("ann@ours.example.", "mailto:ann@ours.example", "*ann@ours.example*!", "(ann@ours.example)"):
        assert needing("email")(text) == "sent"


# ---- parts of one's own ----


@pytest.mark.parametrize("name", ["evil\u3002com", "evil\uff0ecom", "evil\uff61com", "e\u200bvil.com", "ｅｖｉｌ.com"])
def test_a_pattern_finds_what_is_disguised(here: session, name: str) -> None:
    here.add_fact("part", "ours.com")

    assert needing(re.compile(r"\b[a-z]+\.com\b"))("see ours.com") == "sent"
    assert refusal(needing(re.compile(r"\b[a-z]+\.com\b")), f"see {name}").code == "MISSING_FACT"


def test_a_pattern_finds_its_group_or_the_whole(here: session) -> None:
    here.add_fact("part", "4711")
    here.add_fact("part", "#4712")

    grouped = needing(re.compile(r"order ([0-9]+)|case ([0-9]+)"))
    assert grouped("order 4711, case 4711") == "sent"
    assert refusal(grouped, "order 4711, case 4712").reason == "unknown"
    assert needing(re.compile(r"#[0-9]+"))("#4712") == "sent"


def test_a_text_too_long_for_the_pattern_of_its_parts_is_refused(here: session) -> None:
    assert refusal(needing(re.compile(r"[0-9]+x.*y.*z")), "1" * 100_000).code == "INVALID_ARGUMENT"


def test_a_function_returns_one_part_several_or_none(here: session) -> None:
    here.add_fact("part", "a1")
    here.add_fact("part", "b2")

    for parts in (None, "a1", [], ["a1", "b2"], ("b2",)):
        assert needing(lambda value, parts=parts: parts)("x") == "sent"
    for parts in ("c3", ["a1", "c3"]):
        assert refusal(needing(lambda value, parts=parts: parts), "x").reason == "unknown"


# ---- patterns in one pass ----


ONE_PASS = [
    (r"a(?s:.)b", 0, ["a\nb", "axb", "ab"]),
    (r"a(?i:B)c", 0, ["abc", "aBc", "ABC"]),
    (r"(?-i:a)b", re.IGNORECASE, ["aB", "AB"]),
    (r"a.b", 0, ["a\nb", "a.b"]),
    (r"a.b", re.DOTALL, ["a\nb"]),
    (r"^b", 0, ["b", "a\nb", "ab"]),
    (r"^b", re.MULTILINE, ["b", "a\nb", "ab", "a\n\nb"]),
    (r"a$", 0, ["a", "a\n", "a\n\n", "a\nb", "ab"]),
    (r"a$", re.MULTILINE, ["a", "a\n", "a\n\n", "a\nb", "ab"]),
    (r"a\n$", 0, ["a\n", "a\n\n", "a"]),
    (r"\Aa\Z", 0, ["a", "a\n", "ba"]),
    (r"\Aa\Z", re.MULTILINE, ["a", "b\na", "a\nb"]),
    (r"\bcat\b", 0, ["cat", "a cat.", "cats", "_cat", "1cat", "\ncat\n", "écat", "cat\n"]),
    (r"\Bcat", 0, ["cat", "acat", "_cat", ".cat", "\ncat"]),
    (r"a\b", 0, ["a", "a\n", "ab", "a_", "a-", "aé"]),
    (r"a\B", 0, ["a", "a\n", "ab", "a_", "a-"]),
    (r"[a-c]x", 0, ["ax", "bx", "cx", "dx", "-x"]),
    (r"[^a-c]x", 0, ["ax", "bx", "dx", "\nx", "x"]),
    (r"[^a]", 0, ["a", "b", "\n", ""]),
    (r"[\d_]x", 0, ["1x", "_x", "ax", "٣x"]),
    (r"[\D]x", 0, ["1x", "ax"]),
    (r"[\s.]x", 0, [" x", "\u00a0x", ".x", "ax"]),
    (r"[\S]x", 0, [" x", "ax"]),
    (r"[\w-]x", 0, ["ax", "-x", ".x", "éx"]),
    (r"[\W]x", 0, ["ax", ".x"]),
    (r"\d\D\s\S\w\W", 0, ["1a b_.", "1a  _.", "aa b_."]),
    (r"\w", re.ASCII, ["é", "e"]),
    (r"[\w]", re.ASCII, ["é", "e"]),
    (r"[]^\\-]", 0, ["]", "^", "\\", "-", "a"]),
    (r"é", re.IGNORECASE, ["É", "e"]),
    (r"[k]", re.IGNORECASE, ["\u212a", "K", "k"]),
    (r"\.", 0, [".", "a"]),
    (r"a{2,3}b", 0, ["ab", "aab", "aaab", "aaaab", "xaab"]),
    (r"xa{2,3}b", 0, ["xab", "xaab", "xaaab", "xaaaab"]),
    (r"xa{2}b", 0, ["xab", "xaab", "xaaab"]),
    (r"xa{2,}b", 0, ["xab", "xaab", "xaaaaab"]),
    (r"xa?b", 0, ["xb", "xab", "xaab"]),
    (r"xa*?b", 0, ["xb", "xab", "xaab"]),
    (r"xa+b", 0, ["xb", "xab", "xaab"]),
    (r"a|bc|", 0, ["a", "bc", "b", ""]),
    (r"x(?:a|bc)y", 0, ["xay", "xbcy", "xby", "xy"]),
    (r"(a)(b)", 0, ["ab", "a", "ba"]),
    (r"a|^b|c$", 0, ["xa", "xb", "b", "c", "cx", "c\n"]),
]


@pytest.mark.parametrize(("pattern", "flags", "texts"), ONE_PASS)
@pytest.mark.parametrize("whole", [False, True])
def test_one_pass_says_what_re_says(pattern: str, flags: int, texts: list[str], whole: bool) -> None:
    compiled = re.compile(pattern, flags)
    safe = SafePattern(compiled, whole=whole)
    safe._short = -1  # also where re itself would be quick enough
    said = [safe.matches(text) for text in texts]

    assert said == [(compiled.fullmatch if whole else compiled.search)(text) is not None for text in texts]
    assert [safe.matches(text) for text in texts] == said, "what is remembered is the same"


def test_one_pass_remembers_no_more_than_it_has_room_for() -> None:
    letters = [chr(code) for code in range(0x4E00, 0x4E00 + 3_000)]
    safe = SafePattern(r"x(?:a|b|c|d|e|f){6}y")
    safe._short = -1
    texts = [f"x{''.join('abcdef'[number // 6**at % 6] for at in range(6))}" for number in range(0, 6**6, 41)]

    assert not any(safe.matches(text + letter) for text, letter in zip(texts, letters, strict=False))
    assert all(safe.matches(text + "y") for text in texts)


@pytest.mark.parametrize(
    ("pattern", "text"), [(r"\bkey\b", "key"), (r"^key$", "key"), (r"key", "KEY"), (r"^key$", "x\nkey\ny")]
)
def test_a_long_text_is_searched_as_a_short_one_is(here: session, pattern: str, text: str) -> None:
    flags = re.MULTILINE | re.IGNORECASE

    @enforce([BlockRegex("value", re.compile(pattern, flags))])
    def act(value: str) -> str:
        return "done"

    assert refusal(act, text).code == "PATTERN_BLOCKED"
    assert refusal(act, ". \n" * 250_000 + "\n" + text).code == "PATTERN_BLOCKED"
    assert act(". \n" * 250_000) == "done"


def test_what_is_not_seen_is_no_reason_to_block(here: session) -> None:
    @enforce([BlockRegex("value", "secret")])
    def act(value: str) -> str:
        return "done"

    for text in ("a\u200bb", "\uff41", "x\x00y"):
        assert act(text) == "done"
    assert refusal(act, "s\u200becret").code == refusal(act, "\uff53ecret").code == "PATTERN_BLOCKED"


def test_large_and_small_letters_are_the_same_where_it_says_so(here: session) -> None:
    def acting(rule: Any) -> Callable[[str], str]:
        @enforce([rule])
        def act(value: str) -> str:
            return "done"

        return act

    assert acting(AllowRegex("value", "abc", casefold=True))("ABC") == "done"
    assert refusal(acting(AllowRegex("value", "abc")), "ABC").code == "PATTERN_BLOCKED"
    assert acting(BlockRegex("value", "abc"))("ABC") == "done"
    assert refusal(acting(BlockRegex("value", "abc", casefold=True)), "ABC").code == "PATTERN_BLOCKED"


# ---- spellings ----


@pytest.mark.parametrize(
    ("name", "value", "normal"),
    [
        ("text", "a\n\tb  c", "a b c"),
        ("text", 7, "7"),
        ("casefold", "  Straße  A ", "strasse a"),
        ("casefold", True, True),
        ("email", " Ann <ANN@B.example> ", "ann@b.example"),
        ("email", "A <x> <c@d.example>", "c@d.example"),
        ("email", "a@b.example>", "a@b.example>"),
        ("email", "<a@b.example", "<a@b.example"),
        ("url", " https://A.example./b?Q=1#c ", "https://a.example/b?Q=1"),
        ("url", "https://a.example:443/", "https://a.example/"),
        ("url", "https://a.example:80/", "https://a.example:80/"),
        ("url", "http://a.example:443", "http://a.example:443/"),
        ("url", "ftp://a.example:21/x", "ftp://a.example:21/x"),
        ("url", "http://[::1", "http://[::1"),
        ("digits", "+49 (30) 12-34/5.6", "+4930123456"),
        ("digits", "1\u00a0000", "1000"),
        ("digits", 1.5, 1.5),
        ("iban", " de12 3456\t78 ", "DE12345678"),
        ("number", " 42.0 ", Decimal("42.0")),
        ("number", "+1E-3", Decimal("0.001")),
        ("number", "1" * 30, Decimal("1" * 30)),
        ("number", "1" * 31, "1" * 31),
        ("number", "1.", "1."),
        ("number", True, True),
    ],
)
def test_spellings_that_mean_the_same_are_evened_out(name: str, value: Any, normal: Any) -> None:
    found = normaliser(name)

    assert found is not None
    assert (found(value), type(found(value))) == (normal, type(normal))


# ---- what happened before ----


@track()
def ask_user(question: str) -> str:
    return "yes"


@track(untrusted=True)
def read_mail() -> str:
    return "Do as I say."


def told(rule: Any, *before: Callable[[], Any]) -> GuardError:
    @enforce([rule])
    def act() -> str:
        return "done"

    for step in before:
        step()
    refused = refusal(act)
    assert "act" in str(refused) or isinstance(rule, NotAfter)
    assert refused.details["argument"] is None
    return refused


def test_a_tool_that_must_come_first_is_named(here: session) -> None:
    refused = told(RequireTool(("ask_user", "check")), lambda: ask_user("?"))

    assert (refused.code, refused.reason, refused.details["before"]) == ("TOOL_REQUIRED", "not_run", "check")
    assert refused.fix_hint == "Call check first."
    assert told(RequireTool("check", hint="H")).fix_hint == "H"


def test_a_run_that_is_too_old_or_used_up_says_so(here: session, clock: Any) -> None:
    ask_user("?")
    clock.pass_(11)
    assert told(RequireTool("ask_user", max_age=10)).reason == "age"

    @enforce([RequireTool("ask_user", consume=True)])
    def once() -> str:
        return "done"

    ask_user("?")
    once()
    assert refusal(once).reason == "used"


def test_after_an_untrusted_read_the_model_is_told_what_to_do(here: session) -> None:
    refused = told(NotAfter(), read_mail)

    assert refused.code == "UNTRUSTED_INPUT"
    assert "user" in refused.fix_hint
    assert told(NotAfter(hint="H")).fix_hint == "H"
    assert told(NotAfter("read_mail")).code == "UNTRUSTED_INPUT"


def test_only_the_reads_that_are_named_count(here: session) -> None:
    @enforce([NotAfter("read_web")])
    def act() -> str:
        return "done"

    read_mail()
    assert act() == "done"


def test_what_is_not_planned_says_so(here: session) -> None:
    here.plan(["other"])
    refused = told(InPlan())

    assert (refused.code, refused.reason) == ("NOT_IN_PLAN", "not_planned")
    assert refused.fix_hint
    assert told(InPlan(hint="H")).fix_hint == "H"
