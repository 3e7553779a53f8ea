"""From a call to JSON and back, and the signatures that cannot travel."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from pydantic import BaseModel

from stem_amqp.arguments import Arguments
from stem_amqp.errors import ArgumentsError, TaskDefinitionError


class Context:
    pass


class Address(BaseModel):
    street: str


@dataclass
class Item:
    sku: str
    count: int = 1


def arguments(function):
    return Arguments(function, Context)


def test_a_call_becomes_names_and_json_values_and_comes_back_converted():
    """Positional arguments are bound to names; models, dates and ids survive the way."""

    def task(a: int, at: datetime, ident: UUID, price: Decimal, to: Address, items: list[Item]):
        raise AssertionError

    values = (
        3, datetime(2026, 1, 2, tzinfo=UTC), UUID(int=5), Decimal("1.10"),
        Address(street="x"), [Item("s")],
    )  # fmt: skip
    packed = arguments(task).pack(values, {})
    assert packed["to"] == {"street": "x"}
    assert packed["price"] == "1.10"
    assert tuple(arguments(task).unpack(packed).values()) == values


def test_defaults_are_left_to_the_function():
    """What the caller does not say does not travel, so a changed default takes effect."""

    def task(a, b=2, *, c=3):
        raise AssertionError

    assert arguments(task).pack((1,), {"c": 5}) == {"a": 1, "c": 5}


def test_the_context_does_not_travel():
    """Wherever it stands, the worker fills it in."""

    def first(ctx: Context, a: int):
        raise AssertionError

    def last(a: int, ctx: Context):
        raise AssertionError

    for function in (first, last):
        assert arguments(function).context_parameter == "ctx"
        assert arguments(function).pack((1,), {}) == {"a": 1}


def test_parameter_names_may_be_any():
    """Names that a model would refuse are fine."""

    def task(schema: int, copy: int, _private: int, json: int):
        raise AssertionError

    assert arguments(task).pack((1, 2, 3, 4), {})["_private"] == 3


def test_keyword_collectors_take_more():
    """``**`` arguments travel by their names."""

    def task(a: int, **more: str):
        raise AssertionError

    assert arguments(task).unpack(arguments(task).pack((1,), {"b": "x"})) == {"a": 1, "b": "x"}


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "missing a required argument"),
        ((1, 2, 3), {}, "too many positional"),
        ((1,), {"x": 1}, "unexpected keyword"),
        (("many",), {}, "a: Input should be a valid integer"),
    ],
)
def test_arguments_that_do_not_fit_say_which(args, kwargs, message):
    """The error names the argument, and not its value: that may be a secret."""

    def task(a: int, b: int = 0):
        raise AssertionError

    with pytest.raises(ArgumentsError, match=message) as caught:
        arguments(task).pack(args, kwargs)
    assert "many'" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [({}, "a: Field required"), ({"a": 1, "z": 2}, "z: Extra inputs"), ({"a": []}, "a: Input")],
)
def test_a_messages_arguments_are_checked_as_well(values, message):
    """A producer without the task's code can send anything."""

    def task(a: int):
        raise AssertionError

    with pytest.raises(ArgumentsError, match=message):
        arguments(task).unpack(values)


def test_signatures_that_cannot_travel_are_refused():
    """Positional-only, ``*args`` and types that JSON cannot carry."""

    def positional(a, /):
        raise AssertionError

    def collecting(*a):
        raise AssertionError

    def binary(a: memoryview):
        raise AssertionError

    def twice(a: Context, b: Context):
        raise AssertionError

    def unresolved(a: "Nowhere"):  # noqa: F821
        raise AssertionError

    for function in (positional, collecting, binary, twice, unresolved):
        with pytest.raises(TaskDefinitionError, match=function.__name__):
            arguments(function)
