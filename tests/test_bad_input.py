"""Mistakes are told early, by type, with the argument and what is allowed; errors travel, and mislead no machine."""

import copy
import math
import pickle
import re
import threading
from decimal import Decimal
from fractions import Fraction

import pytest

import actguard
from actguard import ActGuardUsageError, BudgetGuard, Policy, PriceBook, Usage, exceptions
from actguard.budget.hold import Hold
from actguard.exceptions import ActGuardError, BudgetExceededError

NOT_A_LIMIT = [True, False, 0, -1, math.nan, math.inf, -math.inf, "1", b"1", [1], 1j, {}]
NOT_A_LIMIT += [Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal(0), Fraction(-1, 3), 10**400]
ERRORS = sorted(
    {
        thing
        for name in exceptions.__all__
        if isinstance(thing := getattr(exceptions, name), type) and issubclass(thing, ActGuardError)
    },
    key=lambda error: error.__name__,
)
SIGNALS = re.compile(r"429|rate limit|too many requests|maximum context length|input is too long", re.IGNORECASE)


@pytest.mark.parametrize("argument", ["usd_limit", "token_limit"])
@pytest.mark.parametrize("value", NOT_A_LIMIT, ids=repr)
def test_a_limit_is_a_positive_finite_number(argument, value):
    with pytest.raises(ActGuardUsageError, match=argument) as caught:
        BudgetGuard(**{argument: value})
    assert caught.value.argument == argument


def test_tokens_are_whole():
    with pytest.raises(ActGuardUsageError, match="whole number"):
        BudgetGuard(token_limit=10.5)


@pytest.mark.parametrize("limit", [0.05, 1, Decimal("0.05"), Fraction(1, 2), 5e-324, 1e300])
def test_a_dollar_limit_may_be_any_kind_of_number(limit):
    assert BudgetGuard(usd_limit=limit).usd_limit == pytest.approx(float(limit), abs=1e-12)


def test_a_guard_that_was_not_entered_cannot_be_left():
    with pytest.raises(ActGuardUsageError, match="enter the guard first"):
        BudgetGuard().__exit__(None, None, None)


def test_an_unset_limit_reads_infinite():
    guard = BudgetGuard()
    assert (guard.usd_limit, guard.token_limit) == (math.inf, math.inf)
    assert (guard.usd_remaining, guard.tokens_remaining) == (math.inf, math.inf)
    assert f"{guard.usd_limit:.2f}" == "inf"


async def warn(guard):
    """What nobody would await."""


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("on_warning", warn),
        ("user_id", 7),
        ("user_id", ""),
        ("name", b"x"),
        ("run_id", ""),
        ("strict", "yes"),
        ("strict", 1.5),
        ("on_warning", "print"),
        ("wait_timeout", -1),
        ("wait_timeout", True),
        ("warn_at", 0),
        ("warn_at", 1.5),
        ("warn_at", math.nan),
        ("unmetered", "ignore"),
        ("unknown_price", "free"),
        ("unknown_price", {}),
        ("unknown_price", {"input": math.nan, "output": 1}),
        ("unknown_price", {"input": 1, "outptu": 1}),
        ("unknown_host", "guess"),
        ("unbounded", "allow"),
        ("unbounded", -5),
        ("unbounded", True),
        ("on_abort", "forget"),
        ("lost_attempts", 1),
        ("include_usage", True),
        ("bypass", "shout"),
        ("prices", "cheap"),
        ("prices", PriceBook),
        ("default_max_output", 0),
    ],
)
def test_every_option_is_checked_where_it_is_written(option, value):
    with pytest.raises(ActGuardUsageError, match=option) as caught:
        BudgetGuard(usd_limit=1, **{option: value})
    assert caught.value.argument == option


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("usd_limt", "usd_limit"),
        ("tokens_limit", "token_limit"),
        ("wait_timout", "wait_timeout"),
        ("warnat", "warn_at"),
    ],
)
def test_an_unknown_option_is_an_error_that_says_what_was_meant(option, meant):
    with pytest.raises(ActGuardUsageError, match=f"Did you mean '{meant}'.*wait_timeout") as caught:
        BudgetGuard(**{option: 1})
    assert caught.value.argument == option


def test_an_option_that_is_like_no_other_is_told_all_there_are():
    with pytest.raises(ActGuardUsageError, match=r"no option 'xyz'\. There are .*usd_limit.*bypass"):
        BudgetGuard(xyz=1)
    with pytest.raises(TypeError, match="xyz"):
        Policy(xyz=1)


def test_a_wait_longer_than_any_lock_can_is_as_long_as_one_can():
    with BudgetGuard(token_limit=10, wait_timeout=threading.TIMEOUT_MAX * 2) as guard:
        admission, scope = guard.account.admission, guard.account
        first, second = Hold(scope), Hold(scope)
        first.thread, second.thread = 1, 2
        first.estimate_tokens = second.estimate_tokens = 8
        admission.hold(first)
        waiting = threading.Thread(target=admission.hold, args=(second, guard.account.policy.wait_timeout))
        waiting.start()
        admission.release(first)
        waiting.join(10)
        assert second in scope.holds


@pytest.mark.parametrize("usd", [-0.01, math.nan, math.inf, True, "1", None, Decimal("NaN"), Decimal("sNaN"), 10**400])
def test_an_external_cost_is_zero_or_more_dollars(usd):
    with BudgetGuard() as guard:
        with pytest.raises(ValueError, match="usd"):
            actguard.add_cost(name="search", usd=usd)
        with pytest.raises(ValueError, match="usd"):
            guard.add_cost(name="search", usd=usd)
    assert guard.usd_used == 0


@pytest.mark.parametrize("name", ["", None, 7, b"search", ["search"]])
def test_an_external_cost_has_a_name(name):
    with BudgetGuard() as guard:
        with pytest.raises(ActGuardUsageError, match="name"):
            actguard.add_cost(name=name, usd=0.01)
        with pytest.raises(ActGuardUsageError, match="name"):
            guard.add_cost(name=name, usd=0.01)
    assert guard.usd_used == 0


@pytest.mark.parametrize(
    ("argument", "report"),
    [
        ("model", {"model": ""}),
        ("model", {"model": 7}),
        ("usage", {"usage": None}),
        ("usage", {"usage": {"input_tokens": 1}}),
        ("usage", {"usage": Usage(input_tokens=-1)}),
        ("usage", {"usage": Usage(output_tokens=1.5)}),
        ("usage", {"usage": Usage(output_tokens=True)}),
        ("provider", {"provider": 7}),
        ("response_id", {"response_id": 7}),
        ("response_id", {"response_id": ""}),
    ],
)
def test_what_is_reported_beside_an_sdk_is_checked_and_never_gives_budget_back(argument, report):
    with BudgetGuard(usd_limit=1) as guard:
        with pytest.raises(ActGuardUsageError, match=argument) as caught:
            guard.add_usage(**{"model": "gpt-4o", "usage": Usage(1, 1), "provider": "openai"} | report)
        with pytest.raises(ValueError, match="usd"):
            guard.add_usage("gpt-4o", Usage(1, 1), usd=-1)
    assert caught.value.argument == argument
    assert (guard.usd_used, guard.tokens_used, guard.calls) == (0, 0, 0)


def test_a_guard_counts_nothing_before_it_is_entered():
    with pytest.raises(ActGuardUsageError, match="enter the guard first"):
        BudgetGuard().add_cost(name="search", usd=0.01)


def test_an_external_cost_outside_any_guard_counts_nowhere():
    actguard.add_cost(name="search", usd=0.01)


def test_an_external_cost_that_passes_the_limit_is_counted_and_told():
    with BudgetGuard(usd_limit=0.05) as guard:
        actguard.add_cost(name="search", usd=0.05)  # reached exactly is not exceeded
        with pytest.raises(BudgetExceededError) as caught:
            guard.add_cost(name="search", usd=0.01)
    assert caught.value.phase == "after"
    assert guard.usd_used == 0.06
    assert guard.by_model["search"]["usd"] == 0.06


@pytest.mark.parametrize(
    "more",
    [{}, {"usd": 0}, {"usd": math.nan}, {"usd": "1"}, {"usd": True}, {"tokens": -1}, {"tokens": 1}, {"tokens": 0.5}],
)
def test_extending_takes_a_positive_amount_of_a_limit_that_exists(more):
    with BudgetGuard(usd_limit=1) as guard, pytest.raises(ActGuardUsageError):
        guard.extend(**more)


@pytest.mark.parametrize("rate", [math.nan, math.inf, -1, True, "free", Decimal("sNaN"), 10**400, 1j])
def test_a_price_is_a_finite_number_of_dollars(rate):
    with pytest.raises(ActGuardUsageError, match="input"):
        PriceBook().set("my-model", input=rate, output=1)


def test_a_guard_is_not_nested_in_itself():
    with BudgetGuard() as guard, pytest.raises(exceptions.NestedBudgetGuardError):
        guard.__enter__()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_pickles_copies_and_speaks_to_a_model(error):
    original = error("Something about 'x' happened.", details={"what": "x"})
    for twin in (pickle.loads(pickle.dumps(original)), copy.copy(original), copy.deepcopy(original)):
        assert type(twin) is error
        assert str(twin) == str(original)
        assert vars(twin) == vars(original)
    assert original.to_prompt().strip()
    assert "\n" not in original.to_prompt()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_tells_a_model_one_sentence(error):
    told = error("Something about 'x' happened.").to_prompt()
    assert not re.search(r"[.!?]\s", told)
    assert told.endswith(".")


def test_what_a_model_is_told_is_one_sentence_also_where_there_is_more_to_say():
    late = exceptions.ToolTimeoutError(tool_name="send", timeout_s=1.0, still_running=True).to_prompt()
    unpaid = exceptions.ActGuardPaymentRequired(topup_url="https://pay.example.com/x").to_prompt()
    denied = exceptions.GuardError("'id' is unknown.", fix_hint="List them first.").to_prompt()
    for told in (late, unpaid, denied):
        assert not re.search(r"[.!?]\s", told)
    assert "check before you call it again" in late
    assert "https://pay.example.com/x" in unpaid
    assert denied == "Blocked by policy: 'id' is unknown: List them first."


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_no_error_is_mistaken_for_a_connection_a_timeout_or_an_http_answer(error):
    assert issubclass(error, TimeoutError) == (error is exceptions.ToolTimeoutError)
    assert not issubclass(error, ConnectionError)
    assert not hasattr(error("x"), "status_code")


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_no_message_contains_what_retry_logic_looks_for(error):
    told = error("429 Too Many Requests: rate limit, maximum context length, input is too long")
    assert not SIGNALS.search(str(told))
    assert not SIGNALS.search(told.to_prompt())


@pytest.mark.parametrize("spent", [429, 1_429, 42_900, 429_000, 4_290_000])
def test_no_figure_in_a_message_reads_as_an_http_status(spent):
    with (
        pytest.raises(BudgetExceededError) as caught,
        BudgetGuard(user_id="user-429", name="rate limit", token_limit=spent - 1, usd_limit=spent / 100) as guard,
    ):
        guard.add_usage("m-429", actguard.Usage(input_tokens=spent), usd=0.0429)
    assert not SIGNALS.search(str(caught.value))


def test_an_error_with_a_live_reply_travels_without_it():
    reply = open(__file__)  # noqa: SIM115 - stands for a connection: something that cannot be pickled
    with reply:
        twin = pickle.loads(pickle.dumps(BudgetExceededError("x", response=reply, usd_used=1.5)))
    assert (twin.response, twin.usd_used) == (None, 1.5)


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy])
def test_a_copy_in_the_same_process_keeps_a_reply_that_cannot_travel(way):
    reply, details = threading.Lock(), {"lists": [1]}  # stands for a connection
    original = BudgetExceededError("x", response=reply, details=details)
    original.add_note("a note")
    twin = way(original)
    assert twin.response is reply
    assert (twin.details, twin.__notes__) == (details, ["a note"])
    assert (twin.details is original.details) == (way is copy.copy)
