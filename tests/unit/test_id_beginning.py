"""Beginnings of ids: the one matching task, or why there is none."""

import pytest

from stem_amqp.errors import ConfigurationError
from stem_amqp.text.id_prefix import resolve_id

IDS = [
    "0199aa11-0000-7000-8000-000000000001",
    "0199aa11-0000-7000-8000-000000000002",
    "order-42",
    "order-423",
]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (IDS[0], IDS[0]),
        ("order-42", "order-42"),
        ("order-423", "order-423"),
        ("0199bb", None),
        ("ord", None),
        ("", None),
    ],
)
def test_a_whole_id_comes_before_a_beginning(given, meant):
    """A beginning of fewer than four characters matches nothing."""
    assert resolve_id(given, IDS) == meant


def test_what_several_have_is_asked_back_with_their_ids():
    """The error shows what to type."""
    with pytest.raises(ConfigurationError, match="2 ids begin with '0199'") as caught:
        resolve_id("0199", IDS)
    assert all(one in str(caught.value) for one in IDS[:2])
    with pytest.raises(ConfigurationError, match="and 7 more"):
        resolve_id("abcd", [f"abcd{number:02d}" for number in range(12)])
