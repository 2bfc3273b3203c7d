"""What schema builders read of a guarded function: its hints, though their names are known elsewhere than here."""

from __future__ import annotations

import functools
import inspect
import sys
import textwrap
import typing
from dataclasses import dataclass

import pytest

from actguard import idempotent, rate_limit


@dataclass
class Order:
    number: int


def place(order: Order, copies: int = 1, *, idempotency_key: str = "") -> list[Order]:
    """Place an order."""
    return [order] * copies


class Shop:
    name: str = "the shop"

    def __call__(self, order: Order, *, idempotency_key: str = "") -> Order:
        """Buy something."""
        return order

    def sell(self, order: Order, *, idempotency_key: str = "") -> Order:
        """Sell something."""
        return order


SEEN = {"order": Order, "copies": int, "return": list[Order]}
KEYED = {**SEEN, "idempotency_key": str}
BOUND = {"order": Order, "return": Order}


@pytest.mark.parametrize(
    ("function", "hints", "doc"),
    [
        (idempotent(key="derived")(place), SEEN, "Place an order."),
        (idempotent(key="derived")(functools.partial(place, copies=2)), SEEN, "Place an order."),
        (
            rate_limit()(functools.partial(place, idempotency_key="k")),
            KEYED,
            "Place an order.",
        ),
        (idempotent(key="derived")(Shop()), BOUND, "Buy something."),
        (idempotent(key="derived")(functools.partial(Shop())), BOUND, "Buy something."),
        (idempotent(key="derived")(Shop().sell), BOUND, "Sell something."),
        (idempotent(key="derived")(Shop.sell), BOUND, "Sell something."),
        (idempotent(key="derived")(rate_limit()(place)), SEEN, "Place an order."),
        (rate_limit()(functools.partial(rate_limit()(place))), KEYED, "Place an order."),
    ],
    ids=["hidden", "partial", "keyword", "object", "partial object", "bound", "method", "twice", "guarded partial"],
)
def test_hints_are_resolved_where_the_function_was_written(function, hints, doc):
    assert typing.get_type_hints(function) == hints
    assert typing.get_type_hints(inspect.unwrap(function)) == hints
    assert inspect.getdoc(function) == doc
    assert [name for name in inspect.signature(function).parameters if name != "self"] == [
        name for name in hints if name != "return"
    ]
    assert inspect.signature(inspect.unwrap(function)) == inspect.signature(function)


LATE = """
    import functools
    from actguard import idempotent, rate_limit

    def place(order: ORDER, copies: int = 1, *, idempotency_key: str = "") -> list[ORDER]:
        "Place an order."
        return [order] * copies

    class Shop:
        def __call__(self, order: ORDER) -> ORDER:
            return order

    as_it_is = rate_limit()(place)
    hidden = idempotent(key="derived", scope="global")(place)
    part = rate_limit()(functools.partial(place, copies=2))
    of_an_object = rate_limit()(Shop())

    class Order:
        pass
"""


@pytest.mark.parametrize(
    "written",
    [
        "'Order'",
        pytest.param(
            "Order",
            marks=pytest.mark.skipif(sys.version_info < (3, 14), reason="looked up at once before 3.14: a NameError"),
        ),
    ],
    ids=["quoted", "plain"],
)
def test_a_function_may_be_guarded_above_the_class_that_it_names(written):
    module: dict[str, typing.Any] = {"__name__": "late"}
    exec(textwrap.dedent(LATE).replace("ORDER", written), module)
    order = module["Order"]
    seen = {"order": order, "copies": int, "return": list[order]}
    hints = {
        "as_it_is": {**seen, "idempotency_key": str},
        "hidden": seen,
        "part": {**seen, "idempotency_key": str},
        "of_an_object": {"order": order, "return": order},
    }

    for name, expected in hints.items():
        guarded = module[name]
        assert typing.get_type_hints(guarded) == expected, name
        assert typing.get_type_hints(inspect.unwrap(guarded)) == expected, name
        assert list(inspect.signature(guarded).parameters) == [hint for hint in expected if hint != "return"]
        assert guarded(one := order()) in (one, [one], [one, one])


def test_the_source_of_a_function_with_a_hidden_parameter_is_its_own():
    assert inspect.getsource(idempotent(key="derived")(place)) == inspect.getsource(place)


def test_a_partial_may_have_a_docstring_of_its_own():
    own = functools.partial(place, copies=2)
    own.__doc__ = "Order two."

    assert rate_limit()(own).__doc__ == "Order two."


def test_what_is_not_written_in_python_has_no_hints_to_resolve():
    guarded = rate_limit()(functools.partial(max, 3))

    assert guarded(5) == 5
    assert guarded.__doc__ == max.__doc__


def test_a_model_is_built_of_a_guarded_function():
    pydantic = pytest.importorskip("pydantic")
    read = pydantic.validate_call(idempotent(key="derived", scope="global")(place))

    assert read(order={"number": "7"}, copies="2") == [Order(7), Order(7)]
    with pytest.raises(pydantic.ValidationError):
        read(order={"number": "seven"})
