"""Accepted values are readable: arguments and results arrive equal, or are refused."""

import math
import re
import sys
from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from fractions import Fraction
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    AnyUrl,
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Json,
    PlainSerializer,
    PrivateAttr,
    RootModel,
    SecretBytes,
    SecretStr,
    SerializeAsAny,
    Tag,
    computed_field,
)
from pydantic_core import PydanticSerializationError
from typing_extensions import TypeAliasType, TypedDict

from stem_amqp.errors import ArgumentsError, ConfigurationError, ResultError, TaskDefinitionError
from stem_amqp.messages.message import TaskMessage, decode
from stem_amqp.tasks.arguments import Arguments
from stem_amqp.tasks.difference import difference


class Context:
    pass


class Colour(Enum):
    RED = "red"
    PAIR = (1, 2)


class Word(StrEnum):
    A = "a"


class Number(IntEnum):
    ONE = 1


class Mode(Flag):
    READ = 1
    WRITE = 2


class Plain(BaseModel):
    name: str
    at: datetime | None = None
    parts: list["Plain"] = []


class Child(Plain):
    more: int = 0


class Aliased(BaseModel):
    order_id: int = Field(alias="orderId")
    city: str = Field(default="", validation_alias=AliasChoices("city", AliasPath("to", "city")))
    note: str = Field(default="", serialization_alias="remark")


class WritesAliases(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True, extra="forbid")
    order_id: int = Field(validation_alias="orderId", serialization_alias="order-id")


class Swapped(BaseModel):
    a: int = Field(alias="b")
    b: int = Field(alias="a")


class Excluding(BaseModel):
    kept: int
    left_out: int | None = Field(default=None, exclude=True)


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    at: datetime
    ids: tuple[UUID, ...]
    tags: frozenset[str]
    colour: Colour = Colour.RED
    raw: bytes = b""
    number: float = 0.0

    @computed_field
    @property
    def size(self) -> int:
        return len(self.tags)


class Numbers(BaseModel):
    value: float
    other: float | None = None
    exact: Decimal = Decimal(0)


class Login(BaseModel):
    user: str
    password: SecretStr | None = None


class Private(BaseModel):
    value: int
    _hidden: int = PrivateAttr(default=0)


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")
    known: int


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    lives: int


class Names(RootModel[list[str]]):
    pass


T = TypeVar("T")


class Box(BaseModel, Generic[T]):
    content: T


class Point(NamedTuple):
    x: int
    y: float


@dataclass
class Item:
    sku: str
    price: Decimal = Decimal(1)
    seen: set[date] = field(default_factory=set)


@dataclass(eq=False)
class Unequal:
    value: int


@dataclass
class SubItem(Item):
    more: int = 0


@pydantic.dataclasses.dataclass
class Checked:
    value: int = Field(alias="theValue")


class Row(TypedDict, total=False):
    id: int
    at: date


Alias = TypeAliasType("Alias", "dict[str, list[Alias]] | int")
Hashed = Annotated[str, AfterValidator(lambda text: text + "!")]
Spelled = Annotated[
    SecretStr, PlainSerializer(lambda secret: secret.get_secret_value(), when_used="json")
]

numbers = st.floats(allow_nan=True, allow_infinity=True)
zones = st.sampled_from([None, UTC, timezone(timedelta(hours=-3, minutes=30))])
moments = st.datetimes(timezones=zones)
models = st.builds(Plain, name=st.text(), at=st.none() | moments)
plain_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | numbers,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CASES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, st.integers(-(2**63), 2**64 - 1)),
    (str, st.text()),
    (bool, st.booleans()),
    (None, st.none()),
    (float, numbers),
    (float | None, st.none() | numbers),
    (int | float, st.integers(-(2**53), 2**53) | numbers),
    (bool | int | str | None, st.none() | st.booleans() | st.integers(-9, 9) | st.text()),
    (Any, plain_json | st.tuples(st.integers()) | moments | st.binary() | st.just(Colour.RED)),
    (dict[str, Any], st.dictionaries(st.text(), plain_json | st.dates(), max_size=3)),
    (complex, st.complex_numbers(allow_nan=False)),
    (bytes, st.binary()),
    (Base64Bytes, st.binary().map(__import__("base64").b64encode)),
    (bytes | str, st.binary() | st.text()),
    (datetime, moments | st.just(datetime(1890, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")))),
    (date, st.dates()),
    (time, st.times(timezones=zones)),
    (timedelta, st.timedeltas()),
    (str | datetime, st.text() | moments),
    (date | datetime, st.dates() | moments),
    (int | date, st.integers(-9, 99999) | st.dates()),
    (Decimal, st.decimals(allow_nan=False)),
    (Decimal | float | int, st.decimals(allow_nan=False) | numbers | st.integers()),
    (Fraction, st.fractions()),
    (UUID, st.uuids()),
    (UUID | str, st.uuids() | st.uuids().map(str) | st.text()),
    (Path, st.just(Path("/tmp/x")) | st.just(Path())),
    (re.Pattern[str], st.just(re.compile("a+")) | st.just(re.compile("a", re.IGNORECASE))),
    (IPv4Address | IPv6Network, st.ip_addresses(v=4) | st.just(IPv6Network("::/8"))),
    (AnyUrl, st.just(AnyUrl("https://example.com/a?b=c"))),
    (Colour, st.sampled_from(Colour)),
    (Number, st.sampled_from(Number)),
    (Mode, st.sampled_from([Mode.READ, Mode.READ | Mode.WRITE, Mode(0)])),
    (str | Word, st.sampled_from(Word) | st.text()),
    (int | Number, st.sampled_from(Number) | st.integers(-5, 5)),
    (Literal["a", 1] | None, st.sampled_from(["a", 1, None])),
    (Literal[1, True], st.sampled_from([1, True])),
    (Literal[Word.A, "b"], st.sampled_from([Word.A, "b"])),
    (list[int], st.lists(st.integers(-9, 9))),
    (list[float], st.lists(numbers)),
    (set[str], st.sets(st.text())),
    (set[float], st.sets(st.floats(allow_nan=False))),
    (frozenset[tuple[int, str]], st.frozensets(st.tuples(st.integers(-9, 9), st.text()))),
    (tuple[int, str], st.tuples(st.integers(-9, 9), st.text())),
    (tuple[datetime, ...], st.lists(moments).map(tuple)),
    (list[tuple[int, ...]] | str, st.lists(st.lists(st.integers(-9, 9)).map(tuple))),
    (deque[int], st.lists(st.integers(-9, 9)).map(deque)),
    (deque[int], st.just(deque([1], maxlen=3))),
    (Sequence[int], st.lists(st.integers(-9, 9)) | st.tuples(st.integers(-9, 9))),
    (dict, st.dictionaries(st.text() | st.integers(-9, 9), plain_json, max_size=3)),
    (dict[int, str], st.dictionaries(st.integers(-9, 9), st.text())),
    (dict[date, int], st.dictionaries(st.dates(), st.integers(-9, 9))),
    (dict[tuple[int, int], int], st.just({(1, 2): 3})),
    (dict[bool | str, int], st.dictionaries(st.booleans() | st.sampled_from(["true"]), st.just(1))),
    (dict[float, int], st.dictionaries(st.floats(allow_nan=False), st.just(1), max_size=3)),
    (dict[Colour, int], st.just({Colour.RED: 1}) | st.just({Colour.PAIR: 1})),
    (Mapping[str, int], st.just({"a": 1}) | st.just(OrderedDict(b=1))),
    (defaultdict[str, list[int]], st.just(defaultdict(list, a=[1]))),
    (Plain, models | st.builds(Child, name=st.text(), more=st.integers(-9, 9))),
    (list[Plain], st.lists(models, max_size=2)),
    (SerializeAsAny[Plain], models | st.builds(Child, name=st.text(), more=st.just(3))),
    (Plain | Child, models | st.builds(Child, name=st.text(), more=st.integers(-9, 9))),
    (Aliased, st.builds(Aliased, orderId=st.integers(-9, 9), city=st.text(), note=st.text())),
    (WritesAliases, st.builds(WritesAliases, orderId=st.integers(-9, 9))),
    (Swapped, st.builds(Swapped, a=st.integers(-2, 2), b=st.integers(-2, 2))),
    (Excluding, st.builds(Excluding, kept=st.integers(-9, 9), left_out=st.none() | st.just(1))),
    (
        Strict,
        st.builds(
            Strict,
            at=moments,
            ids=st.just((UUID(int=3),)),
            tags=st.frozensets(st.text()),
            colour=st.sampled_from(Colour),
            raw=st.binary(),
            number=numbers,
        ),
    ),
    (Numbers, st.builds(Numbers, value=numbers, other=st.none() | numbers)),
    (Login, st.builds(Login, user=st.text(), password=st.none() | st.just(SecretStr("x")))),
    (Spelled, st.just(SecretStr("x")) | st.just(SecretStr(""))),
    (Private, st.builds(Private, value=st.just(1)) | st.just(Private(value=1))),
    (Extra, st.just(Extra(known=1)) | st.just(Extra(known=1, more="x", at=date(2026, 1, 1)))),
    (
        Annotated[Cat | Dog, Field(discriminator="kind")],
        st.builds(Cat, lives=st.just(9)) | st.builds(Dog, lives=st.just(1)),
    ),
    (
        Annotated[
            Annotated[Cat, Tag("c")] | Annotated[Dog, Tag("d")],
            Discriminator(lambda pet: "c" if "cat" in str(pet) else "d"),
        ],
        st.builds(Cat, lives=st.just(9)) | st.builds(Dog, lives=st.just(1)),
    ),
    (Names, st.lists(st.text()).map(Names)),
    (Box[datetime], st.builds(Box[datetime], content=moments)),
    (Box[Any], st.builds(Box[Any], content=plain_json | moments | models)),
    (Point, st.builds(Point, x=st.integers(-9, 9), y=numbers)),
    (Item, st.builds(Item, sku=st.text()) | st.builds(SubItem, sku=st.text())),
    (Unequal, st.builds(Unequal, value=st.integers(-9, 9))),
    (Checked, st.just(Checked(theValue=3))),
    (Row, st.just({}) | st.just({"id": 1, "at": date(2026, 1, 1)})),
    (Json[list[int]], st.just("[1,2]")),
    (Alias, st.just({"a": [1, {"b": []}]}) | st.just(3)),
    (Hashed, st.text()),
]


def shown(case: Any) -> str:
    """Return a name for a case, the same in each process."""
    return re.sub(r"(function )?<.* at 0x\w+>", "…", str(case))[:60]


quick = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)


def arguments(annotation: Any) -> Arguments:
    def task(value):
        raise AssertionError

    task.__annotations__ = {"value": annotation, "return": annotation}
    return Arguments(task, Context)


def sent(own: Arguments, value: Any) -> Any:
    """Return the value that the worker gets, through the bytes of a message."""
    message = TaskMessage(id="i", task="t", args=own.pack((value,), {}))
    return own.unpack(decode(message.encode()).args)["value"]


@pytest.mark.parametrize(("annotation", "values"), CASES, ids=shown)
@quick
@given(st.data())
def test_an_argument_arrives_equal_or_is_refused_where_it_is_enqueued(annotation, values, data):
    """The worker accepts what the producer accepts, with the same type and value."""
    own, value = arguments(annotation), data.draw(values)
    try:
        read = sent(own, value)
    except (ArgumentsError, ConfigurationError):
        return
    given_as = own._codec.validate({"value": value})["value"]
    assert difference(given_as, read) is None or given_as == read


@pytest.mark.parametrize(("annotation", "values"), CASES, ids=shown)
@quick
@given(st.data())
def test_a_result_is_read_equal_or_fails_the_task(annotation, values, data):
    """The result of a task that succeeded can be read."""
    returned, value = arguments(annotation).returns, data.draw(values)
    try:
        text = returned.write(value)
    except (ResultError, PydanticSerializationError):
        return
    read, given_as = returned.read(text), returned._codec.validate(value)
    assert difference(given_as, read, tuples=annotation is not Any) is None or given_as == read


ARRIVE = [
    (float, math.nan), (float, -math.inf), (float | None, math.nan), (list[float], [math.inf]),
    (Numbers, Numbers(value=math.nan, other=math.inf)), (Aliased, Aliased(orderId=1, city="x")),
    (WritesAliases, WritesAliases(orderId=1)), (Checked, Checked(theValue=2)),
    (Strict, Strict(at=datetime(2026, 1, 1), ids=(UUID(int=1),), tags=frozenset("a"))),
    (Excluding, Excluding(kept=1)), (dict[int, str], {1: "x"}), (Spelled, SecretStr("x")),
    (Alias, {"a": [1]}), (Unequal, Unequal(3)), (Point, Point(1, 2.5)),
    (Annotated[Cat | Dog, Field(discriminator="kind")], Dog(lives=1)),
    (Plain, Plain(name="a", parts=[Plain(name="b")])),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value"), ARRIVE, ids=shown)
def test_what_can_be_written_both_ways_is_accepted(annotation, value):
    """The property above does not hold because everything is refused."""
    own = arguments(annotation)
    given_as = own._codec.validate({"value": value})["value"]
    assert difference(given_as, sent(own, value)) is None
    assert difference(given_as, own.returns.read(own.returns.write(given_as))) is None


REFUSED = [
    (UUID | str, UUID(int=1), "value: a UUID would arrive as a str"),
    (str | datetime, datetime(2026, 1, 1), "value: a datetime would arrive as a str"),
    (Plain, Child(name="x"), "value: a Child would arrive as a Plain"),
    (list[Plain], [Child(name="x")], r"value\[0\]: a Child would"),
    (Item, SubItem("x"), "value: a SubItem would arrive as a Item"),
    (Excluding, Excluding(kept=1, left_out=3), "value.left_out: a int would arrive as a NoneType"),
    (Login, Login(user="a", password="hunter2"), "value.password: a SecretStr is written as asterisks"),
    (Any, date(2026, 1, 1), "value: a date would arrive as a str"),
    (Any, (1,), "value: a tuple would arrive as a list"),
    (Any, {"a": math.nan}, r"value\['a'\]: a float would"),
    (Any, {1: 2}, "value: the keys would arrive changed"),
    (str | Word, Word.A, "value: a Word would arrive as a str"),
    (Swapped, Swapped(a=1, b=2), "value.a: a int would arrive with another value"),
    (Hashed, "x", "value: a str would arrive with another value"),
    (bytes, b"\xff", "invalid utf-8"),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value", "reason"), REFUSED, ids=shown)
def test_what_would_arrive_as_something_else_is_refused_with_the_place(annotation, value, reason):
    """The error names the place and the types, and never a value, which may be a secret."""
    with pytest.raises(ArgumentsError, match=reason) as caught:
        sent(arguments(annotation), value)
    assert "hunter2" not in str(caught.value)


def test_a_private_attribute_that_would_be_lost_is_refused():
    """The serialized form of a model does not contain it."""
    value = Private(value=1)
    value._hidden = 3
    with pytest.raises(ArgumentsError, match="private attributes of a Private"):
        sent(arguments(Private), value)


@pytest.mark.parametrize(
    "annotation",
    [SecretStr, SecretBytes | None, list[SecretStr], dict[str, SecretStr], pydantic.Secret[int]],
    ids=shown,
)
def test_a_secret_is_refused_at_decoration(annotation):
    """It would be written as asterisks; the error has the remedy."""
    with pytest.raises(TaskDefinitionError, match=r"asterisks.*reference.*STEM_ENCRYPT"):
        arguments(annotation)

    def returning() -> annotation:
        raise AssertionError

    with pytest.raises(TaskDefinitionError, match=r"return type.*asterisks"):
        Arguments(returning, Context)


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (int, "many", "does not fit the return annotation"),
        (None, 3, "does not fit the return annotation"),
        (Any, {"at": date(2026, 1, 1)}, r"result\['at'\]: a date would arrive as a str"),
        (Plain, Child(name="x"), "result: a Child would arrive as a Plain"),
        (Any, (one for one in "a"), "generator"),
        (list[int], (one for one in "a"), "generator"),
    ],
    ids=shown,
)
def test_a_result_that_would_not_be_read_equal_fails_the_task(annotation, value, message):
    """The task fails with the reason, instead of a `DecodeError` for the reader."""
    with pytest.raises(ResultError, match=message):
        arguments(annotation).returns.write(value)


@pytest.mark.parametrize(
    ("annotation", "value", "read"),
    [(list[int], (1, 2), [1, 2]), (Any, (1, (2,)), [1, [2]]), (float, 3, 3.0), (int, True, 1),
     (Plain, {"name": "x"}, Plain(name="x")), (set[int], [1], {1})],
    ids=shown,
)  # fmt: skip
def test_a_result_that_fits_its_annotation_is_written_as_that(annotation, value, read):
    """Any value that the annotation accepts is valid; without one, tuples become lists."""
    returned = arguments(annotation).returns
    assert returned.read(returned.write(value)) == read


def test_a_text_that_holds_json_stays_a_text():
    """The parsed value is written as JSON text again."""
    own = arguments(Json[list[int]])
    assert own.pack(("[1, 2]",), {}) == {"value": "[1,2]"}
    assert sent(own, "[1, 2]") == [1, 2]


@pytest.mark.parametrize("annotation", [Iterable[int], Iterable[int] | None, Iterable], ids=shown)
def test_an_iterable_is_sent_as_a_list(annotation):
    """A task with an iterable parameter accepts any iterable, and can iterate over it."""
    for given_as in ([1, 2], (1, 2), {1: "x", 2: "y"}.keys(), (one for one in (1, 2))):
        own = arguments(annotation)
        assert sent(own, given_as) == [1, 2]
    assert own.returns.read(own.returns.write([1, 2])) == [1, 2]


@pytest.mark.parametrize(
    "annotation", [Iterator[int], Generator[int, None, None], AsyncIterator[int] | None], ids=shown
)
def test_what_can_be_read_only_once_is_refused_at_decoration(annotation):
    """This holds for arguments and results."""
    with pytest.raises(TaskDefinitionError, match=r"'value': a .*iterated only once.*list"):
        arguments(annotation)

    def returning() -> annotation:
        raise AssertionError

    with pytest.raises(TaskDefinitionError, match=r"return type: a .*iterated only once"):
        Arguments(returning, Context)


def test_messages_of_another_release_are_read():
    """Aliases or names, with or without computed fields, and numbers as texts are accepted."""
    own = arguments(Aliased)
    for args in ({"orderId": 1, "to": {"city": "x"}}, {"order_id": 1, "city": "x"}):
        assert own.unpack({"value": args})["value"] == Aliased(orderId=1, city="x")
    strict = {"at": "2026-01-01T00:00:00", "ids": [], "tags": []}
    assert arguments(Strict).unpack({"value": strict})["value"].tags == frozenset()
    assert math.isnan(arguments(float).unpack({"value": "NaN"})["value"])
    assert arguments(Numbers).unpack({"value": {"value": 1}})["value"].value == 1.0


def test_what_is_written_has_not_changed():
    """Workers of the previous release read what this one writes."""
    model = Plain(name="x", at=datetime(2026, 1, 2, tzinfo=UTC))
    packed = arguments(Plain).pack((model,), {})
    assert packed == {"value": {"name": "x", "at": "2026-01-02T00:00:00Z", "parts": []}}
    assert arguments(Plain).returns.write(model) == orjson.dumps(packed["value"])


def test_a_namedtuple_without_annotations_is_refused():
    """It would arrive as a list."""
    pair = namedtuple("pair", "a b")  # noqa: PYI024 - what is tested
    with pytest.raises(ArgumentsError, match="pair would arrive as a list"):
        sent(arguments(Any), pair(1, 2))


PEP_695 = """
type Ids = list[int]
type Tree = dict[str, Tree] | int
type Pair[A, B] = tuple[A, B]

class Crate[A](BaseModel):
    content: A

@dataclass
class Labelled[A]:
    content: A
    label: str = ""

class Wrapped(TypedDict):
    ids: Ids
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax is that of Python 3.12")
def test_the_type_statement_and_type_parameters_round_trip():
    """Aliases, also recursive and generic ones, and generic classes can be annotations."""
    names: dict[str, Any] = dict(globals())
    exec(PEP_695, names)
    cases = [
        (names["Ids"], [1, 2]),
        (names["Tree"], {"a": {"b": 3}}),
        (names["Pair"][int, date], (1, date(2026, 1, 1))),
        (names["Crate"][datetime], names["Crate"][datetime](content=datetime(2026, 1, 1))),
        (names["Labelled"][Decimal], names["Labelled"](Decimal("1.5"))),
        (names["Wrapped"], {"ids": [1]}),
    ]
    for annotation, value in cases:
        own = arguments(annotation)
        assert difference(value, sent(own, value)) is None
        assert difference(value, own.returns.read(own.returns.write(value))) is None
    secret = names | {"SecretStr": SecretStr}
    exec("type Hidden = SecretStr | None", secret)
    exec("type Deep[A] = dict[str, Deep[A]] | list[A] | SecretStr", secret)
    hidden: Any = secret["Hidden"]
    for annotation in (hidden, list[hidden], secret["Deep"][int]):
        with pytest.raises(TaskDefinitionError, match="asterisks"):
            arguments(annotation)
