"""Test compositions with other backends, with keys, and with tasks in child processes."""

import base64
import contextlib
import importlib
import sys
import textwrap
import uuid

import pytest
from composing import (
    QUEUE,
    compose,
    end_of,
    failure_of,
    group,
    link,
    replay_all,
    result_of,
    settled,
)
from support import eventually, remove_keys

from stem_amqp import Settings, TaskState
from stem_amqp.dead_letter import DeadLetters

ADDS = tuple(link("add", args={"a": number}) for number in range(5))


def with_tasks(stem, broken):
    """Add the tasks of these tests; ``break`` fails while the list has an entry."""

    @stem.task("add", queue=QUEUE)
    async def add(a: int) -> int:
        return a + 1

    @stem.task("total", queue=QUEUE)
    async def total(values: list[int]) -> int:
        return sum(values)

    @stem.task("break", queue=QUEUE, max_retries=0)
    async def fail(a: int) -> int:
        if broken:
            raise ValueError("it is broken")
        return a


@contextlib.asynccontextmanager
async def working(stem, broken):
    """Run a worker with the tasks of these tests during the block."""
    with_tasks(stem, broken)
    async with stem, stem.worker(concurrency=10).running():
        yield


@pytest.fixture(params=["rpc", "redis", "sqlite"])
def backend_url(request, tmp_path):
    """Return the URL of each kind of backend for several processes but PostgreSQL."""
    if request.param == "redis":
        return request.getfixturevalue("stem_redis_url")
    return "rpc://" if request.param == "rpc" else f"sqlite:///{tmp_path}/results.db"


async def check(stem, broken):
    """Check a chain with groups, a failure and its replay."""
    inner = (group(*ADDS[:2]), link("total", "values"))
    await compose(
        stem,
        link("add", args={"a": 1}),
        link("add", "a"),
        group(*ADDS, inner),
        link("total", "values"),
    )
    assert await result_of(stem, "c.3") == b"18"
    broken.append(True)
    await compose(
        stem,
        group(link("break", args={"a": 7}), ADDS[0]),
        link("total", "values"),
        link("add", "a"),
        id="f",
    )
    assert (await failure_of(stem, "f.2")).reason == "link-failed"
    assert "it is broken" in (await failure_of(stem, "f.1")).error
    broken.clear()
    await replay_all(stem)

    async def mended():
        record = await stem.connected.backend.get("f.2")
        return record.state is TaskState.SUCCEEDED and record

    assert (await eventually(mended, "the end of the chain")).result == b"9"


async def test_compositions_work_on_each_backend(make_stem, backend_url):
    stem, broken = make_stem(backend_url=backend_url), []
    async with working(stem, broken):
        await check(stem, broken)
    if backend_url.startswith("redis"):
        await remove_keys(backend_url, stem.names.namespace)


KEY = base64.b64encode(b"k" * 32).decode()


async def test_compositions_work_with_signatures_and_encryption(make_stem):
    settings = Settings.load(signing_key=f"k1:{KEY}", encryption_key=f"k2:{KEY}", encrypt=True)
    stem, broken = make_stem(settings=settings, backend_url=f"memory://{uuid.uuid4().hex}"), []
    async with working(stem, broken):
        await check(stem, broken)
        group_of_failure = await stem.connected.backend.inner.get_group("f.0")
        assert b"total" not in group_of_failure.plan


async def test_an_unsigned_message_of_a_composition_is_refused(make_stem):
    """The worker would sign what follows it, also while it accepts unsigned tasks."""
    key = f"k1:{KEY}"
    backend_url = f"memory://{uuid.uuid4().hex}"
    forged = make_stem(backend_url=backend_url)
    settings = Settings.load(signing_key=key, signatures="bodies", require_signature=False)
    stem = make_stem(settings=settings, backend_url=backend_url, clock=forged.blueprint.clock)
    with_tasks(forged, [])
    with_tasks(stem, [])
    async with forged, stem, stem.worker().running():
        await compose(forged, link("add", args={"a": 1}), link("add", "a"))
        letters = DeadLetters(stem, "rejected")
        await eventually(letters.count, "the dead letter")
        [letter] = await letters.list()
        assert "a message of a composition must be signed" in letter.error
        await settled(stem)
        assert await stem.connected.backend.get("c.1") is None


APPLICATION = """
    import os
    from stem_amqp import Stem
    from stem_amqp.producer.linking.results import GroupResults

    stem = Stem()

    @stem.task("add", queue="q")
    async def add(a: int) -> int:
        return a + 1

    @stem.task("total", queue="q", executor="process")
    def total(values: list[int]) -> list[int]:
        return [os.getpid(), sum(values)]

    @stem.task("stream", queue="q", executor="process")
    def stream(values: GroupResults[int]) -> list[int]:
        return [os.getpid(), sum(values)]
"""


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
async def test_tasks_in_child_processes_take_results_and_are_followed(
    make_stem, tmp_path, monkeypatch
):
    name = f"composed_{uuid.uuid4().hex[:8]}"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(APPLICATION))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    made = make_stem()
    stem = importlib.import_module(name).stem
    stem.reconfigure(
        broker_url=made.settings.broker_url,
        namespace=made.settings.namespace,
        backend_url=f"sqlite:///{tmp_path}/results.db",
        pool_processes=1,
    )
    try:
        async with stem, stem.worker().running():
            await compose(
                stem, group(*ADDS), link("total", "values"), group(link("add", args={"a": 1}))
            )
            await compose(stem, group(*ADDS, results="stream"), link("stream", "values"), id="s")
            assert (await result_of(stem, "c.1")).endswith(b",15]")
            assert (await result_of(stem, "s.1")).endswith(b",15]")
            assert await result_of(stem, "c.2.0") == b"2"
            assert (await end_of(stem, "c.1")).state is TaskState.SUCCEEDED
    finally:
        del sys.modules[name]
