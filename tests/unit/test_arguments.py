"""Binding of call arguments, their way through JSON, and the signatures that are refused."""

import dataclasses
import functools
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, Required
from uuid import UUID

import pytest
import typer
from pydantic import BaseModel, Field
from typing_extensions import TypedDict, Unpack

from stem_amqp import Stem
from stem_amqp.errors import ArgumentsError, TaskDefinitionError
from stem_amqp.tasks.arguments import Arguments
from stem_amqp.tasks.definition import Registry, TaskDefinition
from stem_amqp.tasks.options import TaskOptions


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
    """Positional arguments are bound to names; models, dates and ids arrive as their own types."""

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
    """Arguments that the caller omits are not sent, so a changed default takes effect."""

    def task(a, b=2, *, c=3):
        raise AssertionError

    assert arguments(task).pack((1,), {"c": 5}) == {"a": 1, "c": 5}


def test_the_context_is_not_sent():
    """The worker fills in the context, at any position of the signature."""

    def first(ctx: Context, a: int):
        raise AssertionError

    def last(a: int, ctx: Context):
        raise AssertionError

    for function in (first, last):
        assert arguments(function).context_parameter == "ctx"
        assert arguments(function).pack((1,), {}) == {"a": 1}


def test_parameter_names_may_be_any():
    """Names that pydantic would refuse as model fields are accepted."""

    def task(schema: int, copy: int, _private: int, json: int):
        raise AssertionError

    assert arguments(task).pack((1, 2, 3, 4), {})["_private"] == 3


def test_keyword_collectors_take_more():
    """``**`` arguments are sent under their names."""

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
    """The error names the argument but not its value, which may be a secret."""

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
    """The worker checks arguments too: a producer without the task's code can send anything."""

    def task(a: int):
        raise AssertionError

    with pytest.raises(ArgumentsError, match=message):
        arguments(task).unpack(values)


def test_keyword_collectors_check_what_they_take():
    """Producer and worker check them against the annotation, including `Unpack`."""

    class Options(TypedDict, total=False):
        depth: Required[int]
        at: datetime

    def numbers(**more: int):
        raise AssertionError

    def unpacked(a: int, **more: Unpack[Options]):
        raise AssertionError

    assert arguments(numbers).pack((), {"x": "3"}) == {"x": 3}
    for work in (arguments(numbers).pack_named, arguments(numbers).unpack):
        with pytest.raises(ArgumentsError, match="x: Input should be a valid integer"):
            work({"x": "many"})
    at = datetime(2026, 1, 1, tzinfo=UTC)
    packed = arguments(unpacked).pack((1,), {"depth": 2, "at": at})
    assert arguments(unpacked).unpack(packed) == {"a": 1, "depth": 2, "at": at}
    with pytest.raises(ArgumentsError, match=r"dept: Extra inputs.*|depth: Field required"):
        arguments(unpacked).pack((1,), {"dept": 2})


def test_what_the_worker_fills_in_is_not_taken_from_a_caller():
    """Otherwise a ``**`` parameter would take the value, and it would be lost."""

    def task(ctx: Context, **more: int):
        raise AssertionError

    with pytest.raises(ArgumentsError, match="ctx: the context"):
        arguments(task).pack((), {"ctx": 3})
    with pytest.raises(ArgumentsError, match="ctx: the context"):
        arguments(task).unpack({"ctx": 3})


class Missing(Enum):
    VALUE = 1


@pytest.mark.parametrize(
    ("annotation", "default", "message"),
    [
        (int, Field(default=3, gt=0), r"is a FieldInfo.*Annotated\[…, Field\(…\)\] = 3"),
        (list[str], Field(default_factory=list), "is a FieldInfo"),
        (Any, Field(3), "is a FieldInfo"),
        (list[str], dataclasses.field(default_factory=list), "is a Field,"),
        (int, typer.Option(3), "a OptionInfo, does not fit its annotation int"),
        (int, "3", "a str, does not fit its annotation int"),
        (int, ..., "a ellipsis, does not fit"),
        (Literal["a"], "b", "a str, does not fit"),
        (Annotated[int, Field(gt=0)], 0, "a int, does not fit"),
    ],
)
def test_a_default_that_the_function_would_get_as_it_is_must_fit(annotation, default, message):
    """Such a default is refused at decoration; the error names the parameter and what to write."""

    def task(x=default):
        raise AssertionError

    task.__annotations__ = {"x": annotation}
    with pytest.raises(TaskDefinitionError, match=message):
        arguments(task)


@pytest.mark.parametrize(
    ("annotation", "default"),
    [
        (int, None), (int, object()), (float, 3), (list[str], ()), (Any, Missing.VALUE), (str, ""),
        (int | Missing, Missing.VALUE), (Annotated[int, Field(gt=0)], 3), (Address, Address(street="x")),
        (Decimal, 3), (set[str], frozenset()),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)  # fmt: skip
def test_defaults_that_people_write_are_taken(annotation, default):
    """None and sentinels are accepted too: the function's author knows their meaning."""

    def task(x=default):
        raise AssertionError

    task.__annotations__ = {"x": annotation}
    assert arguments(task).pack((), {}) == {}


class Holder:
    def method(self, a: int):
        raise AssertionError

    @classmethod
    def of_class(cls, a: int):
        raise AssertionError

    @staticmethod
    def static(a: int):
        raise AssertionError

    def generate(self, a: int):
        yield a

    async def generate_later(self, a: int):
        yield a

    def __call__(self, a: int, b: int = 3):
        """Do nothing."""
        raise AssertionError


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (Holder.method, r"Holder.method is a method, and its 'self'"),
        (vars(Holder)["of_class"], "class method"),
        (Holder().generate, "generator"),
        (functools.partial(Holder().generate), "generator"),
        (Holder().generate_later, "generator"),
        (functools.partial(Holder.method), "is a method"),
        (min, "the parameters of min are not known"),
        (Holder, "is not a function"),
        ("text", "is not a function"),
    ],
)
def test_what_is_no_function_of_its_own_is_refused(function, message):
    """The error gives the reason: only named values can be sent."""
    with pytest.raises(TaskDefinitionError, match=message):
        TaskDefinition.build("x", function, TaskOptions(), Context)


@pytest.mark.parametrize(
    "function",
    [
        Holder().method, Holder.of_class, vars(Holder)["static"], Holder(),
        functools.partial(Holder.static), functools.partial(Holder(), b=4),
    ],
)  # fmt: skip
def test_what_can_be_called_is_a_task(function):
    """Methods, partial applications and callable objects become tasks with a name."""
    definition = TaskDefinition.build("x", function, TaskOptions(), Context)
    assert definition.arguments.pack(("4",), {}) == {"a": 4}
    assert "Holder" in definition.arguments._where
    registry = Registry()
    registry.add(definition)
    with pytest.raises(TaskDefinitionError, match=r"taken by .*Holder"):
        registry.add(definition)


def test_attributes_of_a_function_do_not_shadow_those_of_its_task():
    """This also holds for attributes of another framework and for callable objects."""
    stem = Stem(broker_url="memory://unit")

    class Sender:
        def __init__(self):
            self.app = self.name = self.enqueue = self.definition = "own"
            self.note = "kept"

        def __call__(self, number: int) -> int:
            return number

    def plain(number: int) -> int:
        return number

    plain.__dict__.update(vars(Sender()))
    for name, function in (("object", Sender()), ("function", plain)):
        task = stem.task(name)(function)
        assert (task.app, task.name, task.note) == (stem, name, "kept")
        assert callable(task.enqueue)
        assert task.definition.name == name
        assert task(3) == 3


def test_signatures_that_json_cannot_carry_are_refused():
    """Positional-only parameters, ``*args`` and types without a JSON form are refused."""

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
