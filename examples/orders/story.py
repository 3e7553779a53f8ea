"""The demo's options, and its parts: broker, gateway, shop and workers."""

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
from examples.orders.steps import Steps
from examples.orders.tasks import TOPOLOGY
from examples.orders.tasks import stem as tasks
from stem_amqp import Stem
from stem_amqp.settings import Provision, Settings
from stem_amqp.text.redaction import redacted


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """The options of the demo.

    Args:
        broker_url: the broker.
        origin: a description of where the broker is from.
        namespace: the namespace, which is removed afterwards.
        orders: the number of orders.
        seed: determines which orders and answers fail.
        folder: the folder for results and logs.
    """

    broker_url: str
    origin: str
    namespace: str
    orders: int
    seed: int
    folder: Path

    @property
    def in_memory(self) -> bool:
        """Whether the broker is the in-memory one."""
        return self.broker_url.startswith("memory:")

    @property
    def backend_url(self) -> str:
        """The result backend, which the workers share."""
        return f"sqlite:///{self.folder / 'results.db'}"

    def broker(self, app: Stem) -> str:
        """Return a description of the broker."""
        if self.in_memory:
            return "in memory, in this process"
        return f"{app.connected.broker}: {self.origin or redacted(self.broker_url)}"

    def application(self, provision: Provision = Provision.APPLY) -> Stem:
        """Return an application with these options, without tasks.

        Args:
            provision: whether it declares the topology.
        """
        settings = Settings.load(
            broker_url=self.broker_url,
            backend_url=self.backend_url,
            namespace=self.namespace,
            provision=provision,
        )
        return Stem(settings=settings, topology=TOPOLOGY)


async def run_story(story: Story, console: Console) -> bool:
    """Run the demo, and remove its exchanges and queues from the broker.

    Args:
        story: the options.
        console: the console to write to.

    Returns:
        Whether every order is accounted for.

    Raises:
        StemError: the connection to the broker is lost, or a worker does not start.
        TimeoutError: a chapter takes too long.
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
            steps = Steps(orders, shop=shop, gateway=gateway, board=board, crew=crew)
            complete = await steps.run()
        finally:
            await crew.stop()
            await shop.connected.transport.delete(shop.blueprint.entities)
        console.print(f"{board.elapsed():.0f} s; nothing is left on the broker.", style="dim")
        return complete


def _crew(story: Story, gateway: Gateway, board: Board) -> Crew:
    environment = {
        "STEM_BROKER_URL": story.broker_url,
        "STEM_BACKEND_URL": story.backend_url,
        "STEM_NAMESPACE": story.namespace,
        "STEM_PROVISION": "verify",
        GATEWAY: gateway.url,
    }
    if not story.in_memory:
        return ProcessCrew(environment, story.folder, board.record)
    app = story.application()
    for definition in tasks.registry:
        app.registry.add(definition)
    return LocalCrew(app, {GATEWAY: gateway.url}, board.record)


async def _remove(story: Story) -> None:
    """Remove the exchanges and queues of an earlier demo that was killed."""
    janitor = story.application(Provision.NONE)
    async with janitor:
        await janitor.connected.transport.delete(janitor.blueprint.entities)
