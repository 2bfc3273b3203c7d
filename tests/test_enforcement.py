"""What is billed when calls want more than the limit: three SDKs, in every formation, against the provider's ledger.

`python -m benchmarks.enforcement` prints the same figures as a table.
"""

from collections.abc import Iterator

import pytest

from actguard.testing import LocalProvider
from benchmarks.enforcement import HUGE, SCENARIOS, SDKS, SHARE, Mode, Outcome, measure, table

AT_ONCE = ("50 tasks", "50 threads", "50 streams")

every_sdk = pytest.mark.parametrize("sdk", SDKS)
every_scenario = pytest.mark.parametrize("scenario", SCENARIOS)


class Measured:
    """Each scenario runs once; the tests look at what came of it."""

    def __init__(self, provider: LocalProvider) -> None:
        self._provider = provider
        self.outcomes: dict[tuple[str, str, Mode], Outcome] = {}

    def __call__(self, sdk: str, scenario: str, mode: Mode) -> Outcome:
        key = scenario, sdk, mode
        if key not in self.outcomes:
            self.outcomes[key] = measure(self._provider, sdk, scenario, mode)
        return self.outcomes[key]


@pytest.fixture(scope="module")
def measured() -> Iterator[Measured]:
    with LocalProvider() as provider:
        measured = Measured(provider)
        yield measured
        print(f"\n{table(measured.outcomes)}")


# ---- strict ----------------------------------------------------------------------------------------------------------


@every_scenario
@every_sdk
def test_a_strict_limit_is_never_passed_and_nine_tenths_of_it_are_usable(
    measured: Measured, sdk: str, scenario: str
) -> None:
    outcome = measured(sdk, scenario, "strict")

    assert 0.90 <= outcome.ratio <= 1.00
    assert outcome.said == pytest.approx(outcome.billed, abs=1e-12)
    assert not outcome.estimated


@every_scenario
@every_sdk
def test_in_strict_mode_no_reply_is_paid_for_and_lost(measured: Measured, sdk: str, scenario: str) -> None:
    outcome = measured(sdk, scenario, "strict")

    assert outcome.lost == 0
    assert all(error.phase == "before" for error in outcome.errors)


# ---- default ---------------------------------------------------------------------------------------------------------


@every_sdk
def test_by_default_the_call_that_passes_the_limit_is_completed_and_hands_over_its_reply(
    measured: Measured, sdk: str
) -> None:
    outcome = measured(sdk, "sequential", "default")

    assert outcome.paid == len(outcome.replies) == 3
    assert outcome.ratio == pytest.approx(3 * SHARE, rel=0.01)
    [error] = outcome.errors
    assert error.phase == "after"
    assert error.response is outcome.replies[-1]
    assert type(error.response) is type(outcome.replies[0])


@pytest.mark.parametrize("scenario", AT_ONCE)
@every_sdk
def test_by_default_fifty_at_once_pass_the_limit_by_less_than_a_quarter(
    measured: Measured, sdk: str, scenario: str
) -> None:
    outcome = measured(sdk, scenario, "default")

    assert 1.00 <= outcome.ratio <= 1.25
    assert outcome.lost == 0
    if not outcome.estimated:  # Gemini tells as it goes what it has used: the last stream is cut in time
        assert outcome.said == pytest.approx(outcome.billed, abs=1e-12)


@every_sdk
def test_by_default_one_huge_call_is_completed_and_its_reply_is_in_the_error(measured: Measured, sdk: str) -> None:
    outcome = measured(sdk, "one call of 20x", "default")

    assert outcome.ratio == pytest.approx(HUGE, rel=0.01)
    assert outcome.lost == 0
    assert [error.phase for error in outcome.errors] == ["after"]


@every_sdk
def test_by_default_one_huge_stream_is_cut_when_it_is_certain_to_pass_the_limit(measured: Measured, sdk: str) -> None:
    outcome = measured(sdk, "one stream of 20x", "default")

    assert [error.phase for error in outcome.errors] == ["during"]
    assert 1.00 <= outcome.ratio <= 2.00  # the provider is a little ahead of its reader
    assert outcome.said >= outcome.limit
    assert outcome.estimated
