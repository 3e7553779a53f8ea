"""Topology files that would take for ever to read are refused with the reason."""

import itertools
import re

import pytest
from growth import assert_proportional, cpu_seconds
from hypothesis import given
from hypothesis import strategies as st

from stem_amqp.errors import ConfigurationError, TopologyError
from stem_amqp.results.filters import query_of
from stem_amqp.topology import name_pattern
from stem_amqp.topology.adopt.definitions import read_definitions
from stem_amqp.topology.file.load import load_topology, parse_topology
from stem_amqp.topology.lint.patterns import overlap
from stem_amqp.topology.lint.run import lint
from stem_amqp.topology.name_pattern import SlowPatternError, found, pattern_problem

POLICY = """\
version: 1
queues: {%s: {}}
policies:
  slow: {pattern: '%s', definition: {max-length: 5}}
"""
SLOW = [
    "(a+)+$", "(a|a)*$", "(a|aa)+$", "(.*)*x", "([a-z]+)*1", "(a*)*(a*)*$", "a?" * 40 + "a" * 40 + "$",
    ".*.*.*.*.*.*.*.*x", "(?:a{1,60}){1,60}$",
]  # fmt: skip
QUICK = [
    r"^stem\.orders$", r"^stem\.(orders|emails)\..*$", "(?!stem[.](delay[.]|unroutable$|.*[.]dlq)).*",
    r"^stem\.([a-z]+\.)+dlq$", r"[*+?]{2}\*\+\?\{", ".*",
]  # fmt: skip


@pytest.mark.parametrize("pattern", SLOW)
def test_a_pattern_that_would_match_for_ever_is_given_up(pattern, monkeypatch):
    """Each has a name that would take Python's engine years; the next pattern works again."""
    monkeypatch.setattr(name_pattern, "PATIENCE", 0.3)
    assert pattern_problem(pattern) is None
    with pytest.raises(SlowPatternError, match="takes longer than"):
        found(pattern, "a" * 120 + "!" + "y" * 60)
    assert found("(b+)+$", "abbb")


@pytest.mark.parametrize("pattern", QUICK)
def test_a_pattern_means_what_it_means(pattern):
    """The result is that of `re.search`, in each process that matches."""
    for name in ("stem.orders", "stem.emails.eu", "stem.a.b.dlq", "stem.delay.3", "**x*+?{", ""):
        assert found(pattern, name) is (re.search(pattern, name) is not None)


@pytest.mark.parametrize(
    ("pattern", "says"),
    [("a" * 1001, "1001 characters"), ("(", "not a valid regular"), ("(" * 900, "not a valid regular"), ("a{9999999999}", "not a valid regular")],
)  # fmt: skip
def test_a_text_that_is_no_pattern_is_refused(pattern, says):
    """The error has the reason."""
    assert says in pattern_problem(pattern)


def test_a_slow_policy_is_refused(monkeypatch, tmp_path):
    """The topology's check, its warnings and an import all end in time."""
    monkeypatch.setattr(name_pattern, "PATIENCE", 0.3)
    queue = "a" * 100
    text = POLICY % (f"{queue}-", "(a+)+$")
    with pytest.raises(TopologyError, match=r"takes longer than.*(?s:.*)Avoid nested repeats"):
        lint(parse_topology(text))
    text = POLICY % ("orders", "(a+)+$")
    assert parse_topology(text).policies, "it is quick for these names"


BOMB = "version: 1\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "more than 100000 values"),
        ("a: " + "[" * 5000, "nested too deep"),
        ("a: " + "{a: " * 2000, "nested too deep"),
        ("version: 1\n" + "#" * 5_000_000, "5000011 characters"),
        ("version: 1\nqueues: {orders: {prefetch: " + "1" * 5000 + "}}", "must be an integer"),
        ("version: 1\nqueues: {orders: {ttl: " + "1" * 16_000 + "}}", "not a valid duration|integer|number|must"),
        ("version: " + "1" * 5000, "must be"),
    ],
)  # fmt: skip
def test_a_file_that_grows_when_it_is_read_is_refused(text, says):
    """The refusal is readable, and takes a second or two."""

    def run(text):
        with pytest.raises(TopologyError, match=says) as caught:
            parse_topology(text)
        assert len(str(caught.value)) < 2000

    assert cpu_seconds(run, text) < 10


def test_an_overlay_is_laid_in_proportion(tmp_path):
    """The test merges many keys into many keys."""

    def make(n):
        queues = "".join(f"  q{i}: {{prefetch: 1}}\n" for i in range(n))
        (tmp_path / f"base{n}.yaml").write_text(f"version: 1\nqueues:\n{queues}")
        over = tmp_path / f"over{n}.yaml"
        over.write_text(f"extends: base{n}.yaml\nqueues:\n" + queues.replace("1", "2"))
        return over

    from stem_amqp.topology.file.overlay import compose, read

    assert_proportional(make, lambda path: compose(read(path), str(path), {}), 100)


def test_deep_definitions_are_no_definitions():
    """The JSON is nested deeper than the reader allows."""
    with pytest.raises(ConfigurationError, match="not JSON"):
        read_definitions("[" * 100_000, file="x.json")


def test_patterns_of_many_hashes_are_compared_in_proportion():
    """Each pair of words is compared once."""
    one, other = ".".join(["#", "a"] * 60), ".".join(["a", "#"] * 60)
    assert cpu_seconds(lambda _: overlap.__wrapped__(one, other), None) < 1
    assert overlap(one, other)
    assert not overlap(".".join(["#", "a"] * 60), ".".join(["#", "b"] * 60))


WORDS = st.lists(st.sampled_from(["a", "b", "*", "#"]), max_size=4)


@given(WORDS, WORDS)
def test_overlap_finds_every_common_key(one, other):
    """The result equals a comparison with all keys of a few words."""

    def fits(pattern, key):
        if not pattern:
            return not key
        if pattern[0] == "#":
            return any(fits(pattern[1:], key[n:]) for n in range(len(key) + 1))
        return bool(key) and pattern[0] in {"*", key[0]} and fits(pattern[1:], key[1:])

    keys = [key for n in range(9) for key in itertools.product("ab", repeat=n)] if len(one) + len(other) < 5 else [
        key for n in range(6) for key in itertools.product("ab", repeat=n)
    ]  # fmt: skip
    common = any(fits(one, key) and fits(other, key) for key in keys)
    assert overlap(".".join(one), ".".join(other)) or not common
    if len(one) + len(other) < 5:
        assert overlap(".".join(one), ".".join(other)) is common


def test_load_says_which_file_is_slow(tmp_path):
    """A worker reads the file from disk in this way."""
    file = tmp_path / "bomb.yaml"
    file.write_text(BOMB)
    with pytest.raises(TopologyError, match=r"bomb\.yaml"):
        load_topology(file)


def test_a_route_of_endless_brackets_is_refused():
    """Each bracket would search for its end."""
    text = "version: 1\nroutes: [{match: '" + "[" * 50_000 + "', queue: a}]\n"
    with pytest.raises(TopologyError, match="more than 500 characters"):
        parse_topology(text)


@pytest.mark.parametrize("glob", ["[" * 100_000, "*a" * 20, "x" * 300])
def test_a_glob_of_any_length_is_refused_in_a_query(glob):
    """Queries come from users of a web page too."""
    with pytest.raises(ConfigurationError, match="at most 255 characters and 16 stars"):
        query_of(task=glob)
    with pytest.raises(ConfigurationError, match="is not a state"):
        query_of(state="x" * 1_000_000)
