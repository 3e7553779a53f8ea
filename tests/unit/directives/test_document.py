"""Documents of directives: no change is lost, whatever the order of merges."""

import itertools
import random

import orjson
import pytest

from stem_amqp.directives import document as module
from stem_amqp.directives.document import ENTRIES, HISTORY, Document, Entry
from stem_amqp.directives.model import LONGEST, Directive, Kind, Target, new_nonce
from stem_amqp.errors import ConfigurationError, DecodeError


def directive(task="t", at=1000.0, nonce=None, **fields):
    """Return a pause of a task's name."""
    return Directive(
        kind=fields.pop("kind", Kind.PAUSE),
        target=fields.pop("target", Target(task=task)),
        at=at,
        nonce=nonce or new_nonce(),
        **fields,
    )


def entry(*args, **fields):
    """Return an unsigned entry."""
    one = directive(*args, **fields)
    return Entry(one.encode(), None, one)


def with_entries(*entries, now=1000.0):
    """Return a document of some entries."""
    document = Document()
    for one in entries:
        document = document.add(one, now)
    return document


def test_a_document_is_read_as_it_was_written():
    """Every field of a directive survives, and so does the history."""
    full = directive(
        kind=Kind.REVOKE,
        target=Target(task="a.*", queue="q", meta={"b": "2", "a": "1"}, unique_key="k"),
        value=[1, {"x": None}],
        before=999.5,
        workers=("w*",),
        terminate=True,
        reason="why é",
        by="ann@host",
        expires=2000.0,
        store="rabbitmq",
    )
    document = with_entries(Entry(full.encode(), "key hmac:x 1 n -", full), entry("other"))
    read = Document.decode(document.encode())
    assert read.encode() == document.encode()
    assert set(read.directives) == {full, *document.directives}
    assert [one.directive for one in read.history] == [one.directive for one in document.history]


@pytest.mark.parametrize("seed", range(20))
def test_any_order_of_merges_gives_the_same_document(seed):
    """Copies that were changed separately converge: union, the last one of each identity wins."""
    rng = random.Random(seed)
    entries = [
        entry(rng.choice("abc"), at=float(rng.randrange(5)), withdrawn=rng.random() < 0.3)
        for _ in range(12)
    ]
    documents = []
    for _ in range(4):
        chosen = rng.sample(entries, 5)
        documents.append(with_entries(*chosen, now=0.0))
    merged = set()
    for order in itertools.permutations(documents):
        left = Document()
        for one in order:
            left = left.merge(one)
        right = order[0].merge(order[1].merge(order[2].merge(order[3]))).merge(order[0])
        merged |= {left.encode(), right.encode()}
    assert len(merged) == 1
    result = Document.decode(merged.pop())
    used = {one for document in documents for one in document.history}
    for task in "abc":
        own = [one for one in used if one.directive.target.task == task]
        if own:
            last = max(own, key=lambda one: one.order)
            assert result.entries[last.directive.identity] == last
    assert set(result.history) == used


def test_a_later_directive_replaces_an_earlier_one_even_if_its_clock_is_behind():
    """An operator whose clock is behind by an hour can resume what another one has paused."""
    paused = entry(at=5000.0)
    document = with_entries(paused)
    resume = directive(at=document.moment(directive(), 1400.0), withdrawn=True)
    assert resume.at > 5000.0
    document = document.add(Entry(resume.encode(), None, resume), 1400.0)
    assert document.directives == (resume,)
    assert document.moment(directive("other"), 1400.0) == 1400.0


def test_a_copy_of_what_was_withdrawn_does_not_come_back():
    """A withdrawal is kept for longer than any copy lives."""
    paused, resumed = entry(at=1.0, expires=50.0), entry(at=2.0, withdrawn=True)
    now = 60.0
    kept = with_entries(resumed, now=now).merge(Document()).pruned(now)
    assert kept.merge(with_entries(paused, now=0.0)).pruned(now).directives == (resumed.directive,)
    assert kept.pruned(LONGEST + 3).directives == ()


def test_what_has_expired_is_pruned():
    """A document does not grow with what no longer holds."""
    document = with_entries(entry("a", expires=1010.0), entry("b"), entry("c", expires=1020.0))
    left = document.pruned(1015.0)
    assert {one.target.task for one in left.directives} == {"b", "c"}
    assert with_entries(entry("d"), now=2000.0).merge(left).pruned(1015.0).entries.keys() > (
        left.entries.keys()
    )


def test_a_full_document_refuses_more_and_says_what_to_do(monkeypatch):
    """A withdrawal is always possible."""
    monkeypatch.setattr(module, "ENTRIES", 3)
    first = entry("a", expires=1060.0)
    document = with_entries(first, entry("b"), entry("c"))
    with pytest.raises(ConfigurationError, match=r"there are 3.*expires in 1 min\n.*one by one"):
        document.add(entry("d"), 1000.0)
    again = document.add(entry("a", at=1001.0, expires=1061.0), 1000.0)
    assert len(again.entries) == 3
    assert len(document.add(entry("e", withdrawn=True), 1000.0).entries) == 4
    assert len(document.add(entry("d"), 1060.0).entries) == 3
    monkeypatch.setattr(module, "BYTES", 300)
    with pytest.raises(ConfigurationError, match="bytes"):
        with_entries(entry("a"), entry("b"), entry("c"))
    assert ENTRIES >= 10_000


def test_a_directive_that_is_replaced_by_a_larger_one_counts_with_its_new_size(monkeypatch):
    """Otherwise a document could become too large to be read; one that is not larger is stored."""
    document = with_entries(entry("a", reason="x" * 20), entry("b"))
    monkeypatch.setattr(module, "BYTES", sum(one.size for one in document.entries.values()))
    assert document.add(entry("a", at=1001.0, reason="y" * 20), 1000.0).directives[-1].at == 1001.0
    with pytest.raises(ConfigurationError, match="there are 2 "):
        document.add(entry("a", at=1001.0, reason="y" * 21), 1000.0)
    document.add(entry("a", at=1001.0, reason="y" * 200, withdrawn=True), 1000.0)


def test_the_history_keeps_the_last_ones():
    """It also has commands that change nothing that lasts."""
    document = Document()
    for number in range(HISTORY + 5):
        document = document.record(entry(str(number), at=float(number), kind="shutdown"))
    assert document.entries == {}
    assert len(document.history) == HISTORY
    assert document.history[0].directive.target.task == "5"
    read = Document.decode(document.encode())
    assert read.history == document.history


def test_what_a_later_release_has_stored_is_kept():
    """An older operator's change does not remove it."""
    own = entry("a")
    unknown = [
        {"body": '{"command":"directive","v":2,"kind":"pause"}'},
        {"body": own.body.decode(), "publish": None, "new": 1},
        {"sealed": "x"},
        {"body": orjson.dumps({**orjson.loads(own.body), "target": {"zone": "eu"}}).decode()},
        7,
    ]
    later = orjson.dumps(
        {
            "v": 1,
            "entries": [*unknown, own.fields(), entry("b", kind="reroute").fields()],
            "quorum": {"x": 1},
        }
    )
    read = Document.decode(later).add(entry("c"), 1000.0).merge(Document())
    assert {one.kind for one in read.directives} == {"pause", "reroute"}
    written = orjson.loads(read.encode())
    assert written["quorum"] == {"x": 1}
    for one in unknown:
        assert one in written["entries"]
    assert Document.decode(read.encode()).encode() == read.encode()


def test_an_unknown_field_of_a_directive_is_kept():
    """The body is stored as it was issued."""
    body = orjson.dumps({**orjson.loads(directive().encode()), "zone": "eu"})
    document = with_entries(Entry.of(body))
    assert b"zone" in Document.decode(document.encode()).encode()


def test_an_entry_that_is_not_accepted_does_not_replace_another():
    """A forged directive with a later time is put aside before entries are compared."""
    genuine, forged = entry("a", at=1.0), entry("a", at=9e9)
    body = with_entries(genuine).merge(Document(history=(forged,))).encode()
    data = orjson.loads(body)
    data["entries"].append(forged.fields())
    read = Document.decode(orjson.dumps(data), lambda one: one != forged)
    assert read.directives == (genuine.directive,)
    assert read.history == (genuine,)
    assert forged.fields() in orjson.loads(read.encode())["entries"]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"v":2}', b"x" * (17 * 2**20)],
    ids=["", "list", "none", "2", "big"],
)
def test_what_is_no_document_is_refused(body):
    """The caller decides what to do; nothing is guessed."""
    with pytest.raises(DecodeError):
        Document.decode(body)


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": ""},
        {"kind": 7},
        {"nonce": None},
        {"target": []},
        {"target": {"id": 7}},
        {"target": {"zone": "eu"}},
        {"target": {"meta": {"a": 1}}},
        {"at": "now"},
        {"expires": True},
        {"workers": "w"},
        {"workers": [1]},
        {"v": 2},
        {"command": "revoke"},
    ],
    ids=str,
)
def test_a_malformed_directive_is_refused(fields):
    """A condition that this release does not know must not be ignored."""
    body = orjson.dumps({**orjson.loads(directive().encode()), **fields})
    with pytest.raises(DecodeError):
        Directive.decode(body)


def test_a_directive_is_not_larger_than_a_command():
    """Every worker of the namespace reads it."""
    with pytest.raises(ConfigurationError, match="4096 are allowed"):
        directive(workers=tuple("w" * 200 for _ in range(30))).encode()
    with pytest.raises(ConfigurationError, match="JSON"):
        directive(value={1, 2}).encode()
