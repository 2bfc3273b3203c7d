"""No message reads as a throttled request, in whatever form it is read."""

import pytest

from actguard.exceptions import ActGuardError


@pytest.mark.parametrize("name", ["\U00064290", "\x0429", "4\u00ad29", "\x1429\n", "429", "Rate limit"])
def test_a_name_that_cannot_be_printed_does_not_read_as_a_throttled_request(name: str) -> None:
    error = ActGuardError(f"No price is known for {name}.")

    for read in (str(error), repr(error), repr(error.args), ascii(error.message), error.to_prompt()):
        assert "429" not in read
        assert "rate limit" not in read.lower()


def test_what_can_be_printed_and_what_breaks_lines_stays() -> None:
    assert str(ActGuardError("zoë 猫\nand\tmore")) == "zoë 猫\nand\tmore"
