"""A worker that must not declare compares arguments if the API gives them, and works without."""

import logging

import pytest

from stem_amqp import Stem
from stem_amqp.assembly import check_before_work
from stem_amqp.cli.exit_codes import ExitCode, code_of
from stem_amqp.errors import ManagementError, TopologyMismatchError
from stem_amqp.provision.verify import _LOGGED, verify, verify_arguments
from stem_amqp.topology.compile import compile_topology
from stem_amqp.topology.entities import Entities
from stem_amqp.topology.file.load import parse_topology
from stem_amqp.topology.names import Names

NAMES = Names("stem")


def compiled(text=""):
    """Return a compiled topology given without its first line, with the queue orders."""
    return compile_topology(parse_topology("version: 1\n" + text), NAMES, ["orders"])


class Api:
    """A management API that lists entities or fails; its other methods are not used."""

    def __init__(self, entities, error=None):
        self.entities, self.error = entities, error
        self.asked = []

    async def listing(self, kind, prefix, columns):
        """Return the entities as RabbitMQ lists them."""
        self.asked.append((kind, prefix))
        if self.error is not None:
            raise self.error
        if kind == "queues":
            return [{"name": q.name, "arguments": q.arguments} for q in self.entities.queues]
        return [
            {"name": x.name, "type": x.type, "arguments": x.arguments}
            for x in self.entities.exchanges
        ]


class Idle:
    """A transport on which everything exists, and which refuses to declare."""

    async def missing(self, entities):
        """Return that nothing is missing."""
        return []

    async def status(self, names):
        """Return that there is no other version."""
        return dict.fromkeys(names)


@pytest.fixture(autouse=True)
def _nothing_reported():
    _LOGGED.clear()


async def test_the_same_arguments_are_no_error_and_only_the_namespace_is_asked_for():
    """One pass has one request for the queues and one for the exchanges."""
    api = Api(compiled())
    await verify_arguments(Idle(), compiled(), NAMES, api)
    assert sorted(api.asked) == [("exchanges", "stem."), ("queues", "stem.")]


async def test_what_differs_is_shown_with_both_values_and_the_command():
    """The exit code is that of other errors of the topology."""
    wanted = compiled("queues: {orders: {max_length: 9}}\n")
    api = Api(compiled("queues: {orders: {max_length: 5}}\n"))
    await verify(Idle(), wanted)
    with pytest.raises(TopologyMismatchError) as caught:
        await verify_arguments(Idle(), wanted, NAMES, api, "shop.yaml")
    assert str(caught.value) == (
        "1 of 94 exchanges and queues on the broker differ from the topology:\n"
        "  queue stem.orders: x-max-length is 5, wanted 9\n"
        "    RabbitMQ cannot change a queue. stem-amqp topology migrate shop.yaml -Q orders\n"
        "    With settings: policies in the file, the next change of max-length needs only an apply.\n"
        "  See all differences: stem-amqp topology plan shop.yaml"
    )
    assert code_of(caught.value) is ExitCode.REFUSED


async def test_many_differences_are_still_one_screen():
    """Otherwise the topology of another namespace would be a hundred lines."""
    other = compiled()
    for queue in other.queues:
        queue.arguments["x-queue-type"] = "classic"
    with pytest.raises(
        TopologyMismatchError, match=r"and \d+ more\n  See all differences"
    ) as caught:
        await verify_arguments(Idle(), compiled(), NAMES, Api(other))
    assert len(str(caught.value).splitlines()) <= 24


async def test_what_the_api_does_not_list_is_not_held_against_the_broker():
    """AMQP has checked already that it exists."""
    await verify_arguments(Idle(), compiled(), NAMES, Api(Entities()))


@pytest.mark.parametrize("reason", ["refused the user 'w' (401)", "does not answer (refused)"])
async def test_a_worker_without_rights_to_the_api_works_and_says_so_once(caplog, reason):
    """It is logged at debug level: the entities exist, and nothing is wrong."""
    api = Api(compiled(), ManagementError(f"the management API {reason}\n  remedy"))
    wanted = compiled("queues: {orders: {max_length: 9}}\n")
    with caplog.at_level(logging.DEBUG, "stem_amqp.provision"):
        await verify_arguments(Idle(), wanted, NAMES, api)
        await verify_arguments(Idle(), wanted, NAMES, api)
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert record.getMessage().endswith(f"are not compared: the management API {reason}")


@pytest.mark.parametrize(
    ("settings", "asks"),
    [
        ({"broker_url": "amqp://mq", "provision": "verify"}, True),
        ({"broker_url": "amqps://mq", "provision": "verify"}, False),
        (
            {"broker_url": "amqps://mq", "provision": "verify", "management_url": "https://mq"},
            True,
        ),
        ({"broker_url": "amqp://mq", "provision": "apply"}, None),
        ({"broker_url": "amqp://mq", "provision": "none"}, None),
        ({"broker_url": "memory://", "provision": "verify"}, None),
    ],
)
async def test_the_password_of_a_broker_with_tls_goes_nowhere_unasked(monkeypatch, settings, asks):
    """The API's address is guessed only without TLS, and the API is used in verify mode only."""
    asked = []

    async def keep(transport, entities, names, management, file):
        asked.append(management is not None)

    class Connected:
        transport = Idle()

    monkeypatch.setattr("stem_amqp.assembly.verify_arguments", keep)
    stem = Stem()
    stem.reconfigure(**settings)
    await check_before_work(stem.blueprint, Connected)
    assert asked == ([] if asks is None else [asks])
