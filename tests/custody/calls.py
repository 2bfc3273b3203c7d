"""A write that is guarded by any rules, and what a refused call of it says."""

from collections.abc import Callable
from typing import Any

import pytest

from actguard import enforce
from actguard.exceptions import GuardError


def tool(*rules: Any, **options: Any) -> Callable[..., str]:
    @enforce(rules, **options)
    def act(value: Any = None, other: Any = None, **more: Any) -> str:
        return "done"

    return act


def refusal(function: Callable[..., Any], *args: Any, **kwargs: Any) -> GuardError:
    with pytest.raises(GuardError) as caught:
        function(*args, **kwargs)
    return caught.value
