"""Sizes and complexity: readers of input take time and memory in proportion to it.

Each case is a worst-case input of one parser or loop.
"""

import contextlib

import orjson
import pytest
from growth import assert_proportional

from stem_amqp import TaskContext
from stem_amqp.durations import Rate, seconds
from stem_amqp.errors import StemError
from stem_amqp.messages.headers import unwritable
from stem_amqp.messages.limits import IncomingLimits
from stem_amqp.messages.message import copied_headers, decode, shortened
from stem_amqp.tasks.arguments import Arguments
from stem_amqp.tasks.options import CallOptions, check_carried
from stem_amqp.text.redaction import redacted, without_secrets
from stem_amqp.transport.amqp.properties import UNREADABLE
from stem_amqp.transport.amqp.table import read_table, write_table
from stem_amqp.worker.follow_up.republish import fitted

pytestmark = pytest.mark.timeout(300)
LIMIT = 64_000
"""Bytes of headers in a frame."""


def takes_numbers(items: list[int]) -> None: ...


ARGUMENTS = Arguments(takes_numbers, TaskContext)


def message(**fields):
    return orjson.dumps({"v": 1, "id": "i", "task": "t", "args": {}, **fields})


CASES = {
    "headers that do not fit": (lambda n: {f"h{i}": 1 for i in range(n)}, lambda h: fitted(h, 9), 4000),
    "headers of many sizes": (lambda n: {f"h{i}": "x" * (i % 50) for i in range(n)}, lambda h: fitted(h, LIMIT), 4000),
    "headers that AMQP cannot carry": (lambda n: {f"h{i}": float("nan") for i in range(n)}, lambda h: fitted(h, LIMIT), 4000),
    "headers that RabbitMQ gave": (lambda n: {f"x-death-{i}": 1 for i in range(n)}, copied_headers, 20_000),
    "a list in a header": (lambda n: {"a": [None] * n}, unwritable, 20_000),
    "nested headers": (lambda n: {"a": [[[[[{}] * 8] * 8] * 8]] * (n // 4096)}, unwritable, 20_000),
    "a table of headers": (lambda n: write_table({f"h{i}": i for i in range(n)}), read_table, 10_000),
    "an array of headers": (lambda n: write_table({"a": [1] * n}), read_table, 20_000),
    "digits for a duration": (lambda n: "1" * n, seconds, 4000),
    "pairs for a duration": (lambda n: "1s" * n, seconds, 4000),
    "a whole number for a duration": (lambda n: 10**n, seconds, 4000),
    "digits for a rate": (lambda n: "1" * n + "/s", Rate.parse, 4000),
    "a long wait in the options": (lambda n: {"retry": {"base": "1" * n}}, check_carried, 4000),
    "unknown parts of a retry": (lambda n: {"retry": {f"k{i}": 1 for i in range(n)}}, check_carried, 20_000),
    "a call's option": (lambda n: {"delay": "1" * n}, CallOptions.build, 4000),
    "a long id": (lambda n: message(id="i" * n), decode, 100_000),
    "a long task name": (lambda n: message(task="t" * n), decode, 100_000),
    "many metadata": (lambda n: message(meta={f"k{i}": i for i in range(n)}), decode, 10_000),
    "fields that nobody knows": (lambda n: message(**{f"k{i}": i for i in range(n)}), decode, 10_000),
    "objects in a list": (lambda n: message(args={"a": [{}] * n}), decode, 20_000),
    "values of a body": (lambda n: message(args={"a": [0] * n}), IncomingLimits(values=1024).check_body, 100_000),
    "texts of a body": (lambda n: message(args={"a": ["x,y"] * n}), IncomingLimits(values=1024).check_body, 50_000),
    "texts that do not end": (lambda n: b'{"a":"' + b'\\",' * n, IncomingLimits(values=1024).check_body, 100_000),
    "depth below a limit": (lambda n: message(args={"a": [[]] * n}), lambda body: decode(body, IncomingLimits(nesting=100)), 20_000),
    "wrong items": (lambda n: {"items": ["x"] * n}, lambda values: ARGUMENTS.keywords(values, large=True), 50_000),
    "wrong values": (lambda n: {"items": ["x"] * n}, ARGUMENTS.keywords, 20_000),
    "wrong names": (lambda n: {f"k{i}": i for i in range(n)}, ARGUMENTS.keywords, 20_000),
    "brackets that open": (lambda n: b"[" * n, decode, 100_000),
    "quotes that never end": (lambda n: b'["' + b'\\"' * n, decode, 100_000),
    "a long text to cut": (lambda n: "é" * n, lambda text: shortened(text, 1024), 100_000),
    "a URL of at signs": (lambda n: "a://" + "@" * n, redacted, 100_000),
    "a text of URLs": (lambda n: "a://b:c@d " * n, without_secrets, 2_000),
    "a text of schemes": (lambda n: "a" * n + "://" * n, without_secrets, 50_000),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_time_and_memory_grow_with_the_input(case):
    """Twice the input takes about twice the time, not four times."""
    make, read, n = CASES[case]

    def run(given):
        with contextlib.suppress(StemError, *UNREADABLE):
            read(given)

    assert_proportional(make, run, n)


def test_a_header_is_read_once():
    """A table that includes surrounding bytes would otherwise double the work at each level."""
    inside = b"\1bt\1" * 5
    for kind in (b"F", b"A"):
        entries = inside if kind == b"F" else b"t\1" * 10
        reaching = b"\1a" + kind + len(entries).to_bytes(4, "big")
        data = len(reaching).to_bytes(4, "big") + reaching + entries
        with pytest.raises(ValueError, match="beyond the table"):
            read_table(data)
