"""Test which results fit which arguments."""

from datetime import date, datetime
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from stem_amqp.composition.fit import fits, shown


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Point(BaseModel):
    x: int
    y: int = 0


class Place(BaseModel):
    x: int
    name: str


class Node(BaseModel):
    value: int
    below: "list[Node]" = []


class Corner(TypedDict):
    x: int


class Unknown:
    """A type that pydantic does not know."""


@pytest.mark.parametrize(
    ("returned", "taken"),
    [
        (int, int),
        (int, float),
        (int, int | None),
        (int, Any),
        (Any, int),
        (list[int], list[float]),
        (tuple[int, str], tuple[int, str]),
        (list[int], tuple[int, int]),
        (tuple[int, int], list[int]),
        (datetime, str),
        (UUID, str),
        (Color, str),
        (Color, Color),
        (Literal["red"], Color),
        (Point, dict[str, int]),
        (dict[str, int], Point),
        (Point, Corner),
        (Place, Point),
        (Node, Node),
        (Annotated[int, Field(ge=0)], int),
        (str, object),
        (Unknown, int),
        (dict[str, int], dict[str, float]),
        (None, None),
        (None, int | None),
    ],
)
def test_a_value_that_may_fit_is_accepted(returned, taken):
    """Also if it is not known whether it fits."""
    assert fits(returned, taken)


@pytest.mark.parametrize(
    ("returned", "taken"),
    [
        (int, str),
        (str, int),
        (float, int),
        (bool, int),
        (None, int),
        (int | None, int),
        (list[int], int),
        (list[int], list[str]),
        (tuple[int, str], list[int]),
        (tuple[int, int], tuple[int, int, int]),
        (dict[str, int], dict[str, str]),
        (str, datetime),
        (datetime, date),
        (str, Color),
        (Color, Literal["red"]),
        (Point, Place),
        (Point, dict[str, str]),
        (Place, Node),
        (list[Point], list[Place]),
        (str, Point),
    ],
)
def test_a_value_that_cannot_fit_is_refused(returned, taken):
    """One arm of a union that does not fit is enough."""
    assert not fits(returned, taken)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [(int, "int"), (list[int], "list[int]"), (None, "None"), (Point, "Point"), (Any, "Any")],
)
def test_annotations_are_shown_as_they_are_written(annotation, text):
    """An error names them."""
    assert shown(annotation) == text
