"""What issues directives: many at once, by one process."""

import asyncio
import uuid

from stem_amqp import Stem
from stem_amqp.directives import in_backend


async def test_of_many_revocations_at_once_each_is_stored_by_its_first_attempt(
    tmp_path, monkeypatch
):
    """They wait for each other, instead of repeating what another one has outdated."""
    monkeypatch.setattr(in_backend, "ATTEMPTS", 1)
    stem = Stem(
        broker_url=f"memory://{uuid.uuid4().hex}", backend_url=f"sqlite:///{tmp_path}/results.db"
    )
    async with stem:
        issued = await asyncio.gather(*(stem.revoke(f"id-{n}") for n in range(20)))
        stored = (await stem.connected.desk(stem.blueprint).read()).directives
    assert {one.store for one in issued} == {"sqlite"}
    assert {one.target.id for one in stored} == {f"id-{n}" for n in range(20)}
