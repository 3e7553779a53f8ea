"""Graphs that depend on links which were enqueued before."""

import pytest

from stem_amqp import ConfigurationError, Stem, TaskFailedError, graph, group
from stem_amqp.producer.linking.dependents import Dependents
from stem_amqp.results.rpc.backend import RpcBackend


class Shop:
    """Tasks that write down in which order they ran."""

    def __init__(self, stem):
        self.stem = stem
        self.runs = []
        self.broken = set()

        @stem.task("pay", max_retries=0)
        async def pay(name: str) -> str:
            self.runs.append(name)
            if name in self.broken:
                raise ValueError(f"no {name}")
            return name

        @stem.task("ship")
        async def ship(done: list[str]) -> list[str]:
            self.runs.append("ship")
            return done

        self.pay, self.ship = pay, ship

    def shipping(self, *needs, **options):
        """Return a graph whose member depends on handles, and on a member."""
        members = {"pick": self.pay.s("pick"), "ship": self.ship.s()}
        return graph(members, depends_on={"ship": [*needs, "pick"]}, **options)


@pytest.fixture
def stem_app():
    return Stem(broker_url="amqp://nobody@nowhere.invalid/")


@pytest.fixture
def shop(stem_app):
    return Shop(stem_app)


@pytest.mark.parametrize("ended", [False, True])
async def test_a_member_waits_for_a_link_that_was_enqueued_before(shop, stem_memory, ended):
    """And does not wait if that has ended; it gets the results of members first."""
    paid = await shop.pay.s("paid").allow_dependents().enqueue()
    if ended:
        await stem_memory.run_due()
    handle = await shop.shipping(paid).enqueue()
    await stem_memory.run_due()
    assert (await handle.result())[1] == ["pick", "paid"]
    assert shop.runs.count("ship") == 1
    assert shop.runs.index("paid") < shop.runs.index("ship")
    (waits,) = [one for one in (await handle.tree()).nodes[0].children if one.after]
    assert waits.after == (f"{handle.id}.0.0", paid.task_id)
    assert waits.group.done == 2


async def test_links_on_which_many_depend(shop, stem_memory):
    """By its handle or its id."""
    paid = await shop.pay.s("paid").allow_dependents().enqueue(id="order-1")
    handles = [await shop.shipping(one).enqueue() for one in (paid, "order-1.0", paid)]
    await stem_memory.run_due()
    assert [(await one.result())[1] for one in handles] == [["pick", "paid"]] * 3
    assert shop.runs.count("ship") == 3


async def test_a_failed_link_stops_the_member_until_it_is_replayed(shop, stem_memory):
    """Whether it fails before or after the graph is enqueued."""
    shop.broken = {"paid"}
    paid = await shop.pay.s("paid").allow_dependents().enqueue()
    before = await shop.shipping(paid).enqueue()
    await stem_memory.run_due()
    after = await shop.shipping(paid).enqueue()
    ignoring = await shop.shipping(paid, policy="ignore").enqueue()
    await stem_memory.run_due()
    for one in (before, after):
        with pytest.raises(TaskFailedError, match=r"no paid"):
            await one.members[1].result()
    assert (await ignoring.result())[1] == ["pick"]
    shop.broken = set()
    assert await paid.retry_failed() == 1
    await stem_memory.run_due()
    assert [(await one.result())[1] for one in (before, after)] == [["pick", "paid"]] * 2
    assert shop.runs.count("ship") == 3


async def test_the_stored_result_is_asked_if_nothing_is_known_of_the_end(
    shop, stem_app, stem_memory
):
    """The key of the task is kept for a day, the state of the task perhaps longer."""
    paid = await shop.pay.s("paid").enqueue()
    with pytest.raises(ConfigurationError, match=r"allow_dependents\(\)"):
        await shop.shipping(paid).enqueue()
    await stem_memory.run_due()
    assert shop.runs == ["paid"]
    handle = await shop.shipping(paid).enqueue()
    await stem_memory.run_due()
    assert (await handle.result())[1] == ["pick", "paid"]


async def test_blocking_code_uses_its_handles(shop, stem_memory):
    """In a synchronous task."""
    found = []

    @shop.stem.task("blocking")
    def blocking() -> None:
        paid = shop.pay.s("paid").allow_dependents().enqueue_blocking()
        found.append(shop.shipping(paid).enqueue_blocking().id)

    await blocking.enqueue()
    await stem_memory.run_due()
    assert len(found) == 1
    assert shop.runs.count("ship") == 1


async def test_wrong_use_is_refused(shop, stem_memory):
    """With the remedy."""
    with pytest.raises(ConfigurationError, match=r"neither .* nor the handle.*\n.*allow_dep"):
        shop.shipping(7)
    watched = shop.pay.s("a").allow_dependents()
    for one in (watched | shop.ship.si([]), group([watched]), shop.pay.s("b").on_success(watched)):
        with pytest.raises(ConfigurationError, match="must be enqueued alone"):
            await one.enqueue()
    many = await group(shop.pay.s("a"), shop.pay.s("b")).enqueue()
    with pytest.raises(ConfigurationError, match="nothing can depend on task"):
        await shop.shipping(many).enqueue()
    with pytest.raises(ConfigurationError, match=r"nothing can depend on task nowhere\.0"):
        await shop.shipping("nowhere.0").enqueue()
    with pytest.raises(ConfigurationError, match=r"RpcBackend.*\n.*redis://"):
        await Dependents(RpcBackend.__new__(RpcBackend), None, None).open("x.0")
