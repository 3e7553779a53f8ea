"""What the demo is told to do, and what stands around it: broker, gateway, shop and workers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from examples.orders.board import Board
from examples.orders.crew import Crew, LocalCrew, ProcessCrew
from examples.orders.gateway import Gateway
from examples.orders.pages import show_settings
from examples.orders.payments import GATEWAY
from examples.orders.shop import make_orders
from examples.orders.tasks import TOPOLOGY
from examples.orders.tasks import stem as tasks
from examples.orders.teller import Teller
from stem_amqp import Stem
from stem_amqp.assembly import entities_of
from stem_amqp.settings import Provision, Settings, redacted


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """What the demo is told to do.

    Args:
        broker_url: the broker.
        origin: where it is from, for people.
        namespace: the namespace, which is removed afterwards.
        orders: how many orders.
        seed: decides which orders and which answers fail.
        folder: for results and logs.
    """

    broker_url: str
    origin: str
    namespace: str
    orders: int
    seed: int
    folder: Path

    @property
    def in_memory(self) -> bool:
        """Whether there is no RabbitMQ."""
        return self.broker_url.startswith("memory:")

    @property
    def backend_url(self) -> str:
        """The result backend, which the workers share."""
        return f"sqlite:///{self.folder / 'results.db'}"

    def broker(self, app: Stem) -> str:
        """Return which broker it is, for people."""
        if self.in_memory:
            return "in memory, in this process"
        return f"{app.connected.broker}: {self.origin or redacted(self.broker_url)}"

    def application(self, provision: Provision = Provision.APPLY) -> Stem:
        """Return an application of this story, without tasks.

        Args:
            provision: what it does about the topology.
        """
        settings = Settings.load(
            broker_url=self.broker_url,
            backend_url=self.backend_url,
            namespace=self.namespace,
            provision=provision,
        )
        return Stem(settings=settings, topology=TOPOLOGY)


async def tell_story(story: Story, console: Console) -> bool:
    """Run the demo, and remove its traces from the broker.

    Args:
        story: what it is told to do.
        console: where to write.

    Returns:
        Whether the account closes.

    Raises:
        StemError: the broker is lost, or a worker does not start.
        TimeoutError: a chapter is not over in time.
    """
    gateway, shop = Gateway(seed=story.seed), story.application()
    await _remove(story)
    async with gateway, shop:
        board = Board(console, gateway)
        crew = _crew(story, gateway, board)
        show_settings(
            console,
            {
                "broker": story.broker(shop),
                "workers": f"{crew.where}, 20 orders at once and 45 starts a second each",
                "gateway": "fails one request in ten, half of those after taking the money;"
                " refuses more than 80 requests a second",
            },
        )
        try:
            orders = make_orders(story.orders, story.seed)
            teller = Teller(orders, shop=shop, gateway=gateway, board=board, crew=crew)
            closes = await teller.tell()
        finally:
            await crew.stop()
            await shop.connected.transport.delete(entities_of(shop))
        console.print(f"{board.elapsed():.0f} s; nothing is left on the broker.", style="dim")
        return closes


def _crew(story: Story, gateway: Gateway, board: Board) -> Crew:
    environment = {
        "STEM_BROKER_URL": story.broker_url,
        "STEM_BACKEND_URL": story.backend_url,
        "STEM_NAMESPACE": story.namespace,
        "STEM_PROVISION": "verify",
        GATEWAY: gateway.url,
    }
    if not story.in_memory:
        return ProcessCrew(environment, story.folder, board.tell)
    app = story.application()
    for definition in tasks.registry:
        app.registry.add(definition)
    return LocalCrew(app, {GATEWAY: gateway.url}, board.tell)


async def _remove(story: Story) -> None:
    """Remove what an earlier demo left behind that was killed."""
    janitor = story.application(Provision.NONE)
    async with janitor:
        await janitor.connected.transport.delete(entities_of(janitor))
