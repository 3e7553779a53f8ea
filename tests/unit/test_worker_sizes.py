"""Concurrency and prefetch from the flag, the topology file and the settings."""

import uuid

import pytest

from stem_amqp import Stem
from stem_amqp.topology.file.load import parse_topology

TOPOLOGY = """
version: 1
queues:
  plain:
  both: {concurrency: 4, prefetch: 8}
  one: {prefetch: 1}
"""


@pytest.mark.parametrize(
    ("queue", "flags", "expected"),
    [
        ("plain", {}, (10, 10)),
        ("plain", {"concurrency": 20}, (20, 20)),
        ("plain", {"prefetch": 3}, (3, 3)),
        ("both", {}, (4, 8)),
        ("both", {"concurrency": 20}, (20, 20)),
        ("both", {"concurrency": 2}, (2, 8)),
        ("one", {}, (1, 1)),
        ("one", {"concurrency": 5}, (5, 5)),
        ("one", {"concurrency": 5, "prefetch": 7}, (5, 7)),
    ],
)
async def test_prefetch_is_the_concurrency_unless_something_says_otherwise(queue, flags, expected):
    """A flag takes precedence over the file, the file over the settings."""
    name = uuid.uuid4().hex
    stem = Stem(
        broker_url=f"memory://{name}",
        backend_url=f"memory://{name}",
        topology=parse_topology(TOPOLOGY),
    )
    stem.task("work", queue=queue)(lambda: None)
    async with stem:
        (consumer,) = stem.worker([queue], **flags)._consumers
        assert (consumer.concurrency, consumer.prefetch) == expected
