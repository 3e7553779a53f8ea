"""Groups whose stores and workers are killed in the middle of reports: every member is counted once."""

import asyncio
import contextlib
import random
import sys
import uuid
from pathlib import Path

import pytest
from faults.harness import report_members
from faults.harness.report_members import opened, report
from support import eventually, remove_keys

from stem_amqp.errors import BackendUnavailableError

SIZE = 1500
FAILED = len(range(0, SIZE, 11))


@pytest.fixture(params=["private_redis", "own_postgres"])
def server(request):
    """Return a store that can be killed, and that keeps what it has confirmed."""
    server = request.getfixturevalue(request.param)
    yield server
    server.stop()
    server.start()


async def checked(backend, group_id):
    """Check that the counts are those of the members, and that one claim succeeds."""
    group = await backend.get_group(group_id)
    assert (group.done, group.failed, group.complete) == (SIZE, FAILED, True)
    members = await backend.group_members(group_id, limit=10_000)
    assert [member.index for member in members] == list(range(SIZE))
    for member in members:
        expected = None if member.index % 11 == 0 else b"%d" % member.index
        assert member.value == expected
    failed = await backend.group_members(group_id, limit=10_000, failed=True)
    assert [member.index for member in failed] == list(range(0, SIZE, 11))
    claims = await asyncio.gather(*(backend.claim_group(group_id, f"{n}") for n in range(5)))
    assert claims.count(True) == 1


async def test_a_store_that_is_killed_counts_every_member_once(server):
    """Reports that a dying store may or may not have stored are repeated by two reporters."""
    namespace, group_id = f"t-{uuid.uuid4().hex[:8]}", "g1"
    backends = [await opened(server.url, namespace) for _ in range(3)]
    await backends[0].create_group(group_id, SIZE, ttl=3600)
    reporting = asyncio.gather(
        *(report(backend, group_id, SIZE, seed) for seed, backend in enumerate(backends[:2]))
    )
    chance = random.Random(1)
    for done in (SIZE // 5, SIZE // 2):

        async def reached(done=done):
            with contextlib.suppress(BackendUnavailableError):
                return (await backends[2].get_group(group_id)).done >= done

        await eventually(reached, f"{done} reports")
        server.stop()
        await asyncio.sleep(chance.uniform(0.0, 0.2))
        server.start()
    await reporting
    await checked(backends[2], group_id)
    for backend in backends:
        await backend.close()


@pytest.mark.parametrize("kind", ["sqlite", "redis", "postgresql"])
async def test_a_worker_that_is_killed_leaves_no_member_counted_twice(kind, request, tmp_path):
    """Two processes report the same members, as after a redelivery; one is killed meanwhile."""
    url = (
        f"sqlite:///{tmp_path}/results.db"
        if kind == "sqlite"
        else request.getfixturevalue(f"stem_{kind.removesuffix('ql')}_url")
    )
    namespace, group_id = f"t-{uuid.uuid4().hex[:8]}", "g1"
    backend = await opened(url, namespace)
    await backend.create_group(group_id, SIZE, ttl=600)
    tests = Path(report_members.__file__).parents[2]
    reporters = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "faults.harness.report_members"),
            *(url, namespace, group_id, f"{SIZE}", f"{seed}"),
            cwd=tests,
        )
        for seed in range(2)
    ]

    async def half_way():
        return (await backend.get_group(group_id)).done > SIZE // 3

    await eventually(half_way, "a third of the reports")
    reporters[0].kill()
    codes = [await process.wait() for process in reporters]
    assert codes[1] == 0
    await checked(backend, group_id)
    await backend.close()
    if kind == "redis":
        await remove_keys(url, namespace)
