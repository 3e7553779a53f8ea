"""Malformed messages, which the fuzz tests send to a worker."""

import os
from datetime import UTC, datetime
from decimal import Decimal

import orjson
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("STEM_TEST_FUZZ", "0"))
"""Examples of each test in a long random run; 0 for the short run with constant examples."""
BATCH = 25
"""Messages of one example; a worker receives them together."""


def fuzzed(examples):
    """Return the settings of a fuzz test: constant examples, unless a long run is requested."""
    return settings(
        max_examples=EXAMPLES or examples,
        derandomize=not EXAMPLES,
        database=None,
        phases=[Phase.explicit, Phase.generate],  # a failing batch is reported without shrinking
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


# -- JSON ---------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | st.sampled_from(["\x00", "é" * 200, "x" * 300, "-1", "1e400", "2026-01-01T00:00:00Z"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
ODD_JSON = st.sampled_from(
    [
        b"", b"null", b"[]", b"{}", b'""', b"0", b"NaN", b"{", b"\xef\xbb\xbf{}", b"\xff\xfe",
        b"[" * 200 + b"]" * 200, b"[" * 1100, b'{"v":' * 300 + b"1" + b"}" * 300,
        b'{"v":1,"id":"a","task":"work","args":{"a":' + b"[" * 253 + b"]" * 253 + b"}}",
        b'{"v":1,"id":"a","task":"work","args":{"a":' + b"[" * 900 + b"]" * 900 + b"}}",
        b'{"v":1,"id":"a","task":"work","args":{},"meta":{"a":' + b"[" * 900 + b"]" * 900 + b"}}",
        b'{"v":1,"id":"a","task":"work","args":{"a":"\\ud800"}}',
        b'{"v":1,"id":"\\u0000","task":"work","args":{}}',
        b'{"v":1,"id":"a","task":"work","args":{"a":1' + b"0" * 400 + b"}}",
        b'{"v":1,"id":"a","id":"b","task":"work","args":{}}',
        b'{"v":1,"id":"' + b"i" * 300 + b'","task":"work","args":{}}',
        b'{"v":1,"id":"","task":"work","args":{}}',
        b'{"v":1,"id":"a","task":"' + b"t" * 9000 + b'","args":{}}',
        b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94.",
        b'[[], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]',
    ]
)  # fmt: skip

# -- messages with some invalid fields ----------------------------------------------------------

TIMES = st.sampled_from(
    [
        "", "never", "2026-01-01", "2026-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59.999999-23:59", "1970-01-01T00:00:00Z", "2026-13-45T99:00:00Z",
        "2026-01-01T00:00:00", "99999999999", "\x00",
    ]
) | TEXTS  # fmt: skip
NUMBERS = st.sampled_from(
    [0, -1, 1, True, False, 2**31, 2**63 - 1, 2**64 - 1, 1e308, -1e308, 5e-324, 0.5, "3", None]
)
RETRIES = st.dictionaries(
    st.sampled_from(["base", "factor", "max", "jitter", "stop", "x"]),
    NUMBERS | st.sampled_from(["1s", "9999999999w", "x", [], {}]),
    max_size=4,
)
OPTIONS = st.dictionaries(
    st.sampled_from(
        [
            "max_retries",
            "retry",
            "time_limit",
            "soft_time_limit",
            "result_ttl",
            "max_age",
            "ignore_result",
            "unknown",
        ]
    ),
    NUMBERS | RETRIES | VALUES,
    max_size=3,
)
TASKS = st.sampled_from(["work", "work", "typed", "fails", "odd", "snoozes", "nobody.knows"])
FIELDS = {
    "v": st.sampled_from([1, 1, 1, 2, "1", None, True, 1.0, 2**63]),
    "id": st.text(st.characters(exclude_categories=("Cs",)), max_size=300) | VALUES,
    "task": TASKS | VALUES,
    "args": st.dictionaries(st.sampled_from(["a", "order_id", "count", "ctx"]), VALUES) | VALUES,
    "meta": VALUES,
    "enqueued_at": TIMES | VALUES,
    "expires": TIMES | VALUES,
    "root": VALUES,
    "parent": VALUES,
    "group": VALUES,
    "options": OPTIONS | VALUES,
    "more": VALUES,
}


@st.composite
def spoilt(draw):
    """Draw a task message in which a few fields are replaced or missing."""
    fields = {"v": 1, "id": draw(TEXTS) or "i", "task": draw(TASKS), "args": {"a": 1}, "meta": {}}
    for name in draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=3, unique=True)):
        fields[name] = draw(FIELDS[name])
    for name in draw(st.lists(st.sampled_from(sorted(fields)), max_size=1)):
        del fields[name]
    return orjson.dumps(fields)


@st.composite
def cut(draw):
    """Draw a task message with one byte changed, possibly without its second half."""
    body = bytearray(draw(spoilt()))
    body[draw(st.integers(0, len(body) - 1))] = draw(st.integers(0, 255))
    return bytes(body[: draw(st.sampled_from([len(body), len(body) // 2]))])


BODIES = spoilt() | cut() | ODD_JSON | st.binary(max_size=40) | VALUES.map(orjson.dumps)

# -- headers and properties ---------------------------------------------------------------------

OURS = st.sampled_from(
    [
        "stem-attempt", "stem-not-before", "stem-since", "stem-replays", "stem-reason",
        "stem-error", "stem-traceback", "stem-failed-at", "stem-worker", "stem-history",
        "x-death", "x-first-death-reason", "x-first-death-queue", "x-last-death-reason",
        "x-delivery-count", "traceparent",
    ]
)  # fmt: skip
HEADER_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
    | st.binary(max_size=12)
    | st.binary(max_size=12).map(bytearray)
    | st.sampled_from([Decimal("-1.5"), Decimal(2**31 - 1), datetime(2026, 1, 1, tzinfo=UTC)])
    | TIMES
    | st.sampled_from(["9" * 5000, ["x" * 2000] * 30, "é" * 40_000, [{"queue": "work"}] * 3])
)
HEADER_VALUES = st.recursive(
    HEADER_SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
HEADERS = st.dictionaries(OURS | TEXTS.filter(bool), HEADER_VALUES, max_size=3)
SHORT = st.none() | st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "type": SHORT,
        "correlation_id": SHORT,
        "reply_to": st.sampled_from(["", "gone", "é", "amq.rabbitmq.reply-to.g1h2AA"]),
        "priority": st.integers(0, 255),
        "app_id": SHORT,
        "content_type": st.sampled_from(["", "application/json", "text/plain", "é"]),
        "headers": HEADERS,
    },
)
