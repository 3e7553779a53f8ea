"""What map, starmap and chunks refuse: the error names what was given, and what to write instead."""

import pytest

from stem_amqp import Stem
from stem_amqp.errors import ArgumentsError, ConfigurationError

stem = Stem()


@stem.task("add")
async def add(first: int, second: int = 0) -> int:
    return first + second


@stem.task("count")
def count(word: str) -> int:
    return len(word)


@stem.task("total")
def total(numbers: list[int]) -> int:
    return sum(numbers)


async def numbers():
    yield 1


@pytest.mark.parametrize(
    ("items", "words"),
    [
        (3, r"takes an iterable of items, not 3 \(int\)\n  For a single one"),
        (None, r"not None \(NoneType\)"),
        ("ab", r"not 'ab' \(str\)\n  For one call, write \['ab'\]; .* list\('ab'\)"),
        (b"ab", r"not b'ab' \(bytes\)"),
        ({"a": 1}, r"\(dict\)\n  Write which part of it is meant: list\(…\) for its keys"),
        (numbers(), r"async_generator.*Collect it first: \[item async for item in …\]"),
    ],
)
@pytest.mark.parametrize(
    ("make", "where"),
    [
        (add.map, "add.map"),
        (count.map, "count.map"),
        (add.starmap, "add.starmap"),
        (lambda items: total.chunks(items, 2), "total.chunks"),
    ],
)
def test_items_that_are_not_what_is_meant(make, where, items, words):
    """A number has no items, and each letter of a text is hardly meant."""
    with pytest.raises(ArgumentsError, match=f"(?s)^{where} .*{words}"):
        make(items)


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (3, r"not 3 \(int\)\n  For a single one"),
        ("ab", r"not 'ab' \(str\)\n  For a single argument, write \('ab',\), or use map"),
        ({"first": 1}, r"\(dict\)"),
    ],
)
def test_arguments_of_one_call_that_are_no_tuple(item, words):
    """The error names the position of the call."""
    with pytest.raises(
        ArgumentsError, match=f"call 1 of the group: starmap takes a tuple.*{words}"
    ):
        add.starmap([(1, 2), item])


@pytest.mark.parametrize("size", [0, -1, "2", 2.0, True, None])
def test_a_size_that_is_no_number_of_items(size):
    """A chunk has at least one item."""
    words = rf"total.chunks: the size of a chunk is a whole number, at least 1 item, not {size!r}"
    with pytest.raises(ConfigurationError, match=words):
        total.chunks([1], size)


def test_an_error_of_the_iterable_is_its_own():
    """A TypeError inside a generator is not taken for a wrong argument."""

    def broken():
        yield 1
        raise TypeError("broken")

    with pytest.raises(TypeError, match=r"^broken$"):
        add.map(broken())


def test_any_other_iterable_is_fine():
    """Sets, ranges, generators, views of a mapping."""
    for items in (range(2), {1, 2}, iter([1, 2]), {"a": 1, "b": 2}.values()):
        assert len(add.map(items).steps[0].branches) == 2
    assert len(add.starmap([[1, 2], iter([1, 2])]).steps[0].branches) == 2
