"""An installed exporter receives the reports of every application in the process."""

import uuid

import pytest

from stem_amqp import Stem
from stem_amqp.errors import ConfigurationError
from stem_amqp.observability import (
    Exporter,
    Telemetry,
    application_telemetry,
    install_exporter,
    uninstall_exporter,
)


class Publishes(Exporter):
    def __init__(self):
        self.tasks = []

    def publishing(self, publishing):
        self.tasks.append(publishing.task)


@pytest.fixture
def installed():
    """Yield an exporter that the test may install."""
    exporter = Publishes()
    yield exporter
    uninstall_exporter(exporter)


def application(**options):
    place = f"memory://{uuid.uuid4().hex}"
    return Stem(broker_url=place, backend_url=place, **options)


async def publish(stem, name):
    stem.task(name)(lambda: None)
    async with stem:
        await stem.enqueue(name)


async def test_applications_before_and_after_the_installation_report(installed):
    """Where the tracker is set up, in relation to the application, does not matter."""
    before = application()
    install_exporter(installed)
    install_exporter(installed)
    after = application()
    await publish(before, "orders.sync")
    await publish(after, "orders.pay")
    assert installed.tasks == ["orders.sync", "orders.pay"]
    uninstall_exporter(installed)
    await publish(application(), "orders.later")
    await publish(before, "orders.after")
    assert installed.tasks == ["orders.sync", "orders.pay"]


async def test_a_reconfigured_application_reports_once(installed):
    """It shares the exporters of the application before."""
    install_exporter(installed)
    stem = application()
    stem.reconfigure(grace_period=1.0)
    await publish(stem, "orders.sync")
    assert installed.tasks == ["orders.sync"]


def test_installed_exporters_come_first_and_own_ones_stay(installed):
    """An exporter of the application may use what the others have added."""
    install_exporter(installed)
    own = Publishes()
    telemetry = application_telemetry([own, installed])
    assert telemetry.exporters == (installed, own)
    uninstall_exporter(installed)
    assert telemetry.exporters == (own,)
    assert Telemetry().exporters == ()


def test_something_else_is_refused():
    with pytest.raises(ConfigurationError, match="is not an exporter"):
        install_exporter(Publishes)
    assert application_telemetry([]).exporters == ()
