"""A worker that must not declare compares arguments where it is told them, and works where it is not."""

import logging

import pytest

from stem_amqp import Stem
from stem_amqp.assembly import check_before_work
from stem_amqp.cli.exit_codes import ExitCode, code_of
from stem_amqp.errors import ManagementError, TopologyMismatchError
from stem_amqp.provision import verify, verify_arguments
from stem_amqp.provision.verify import _TOLD
from stem_amqp.topology.compile import compile_topology
from stem_amqp.topology.entities import Entities
from stem_amqp.topology.load import parse_topology
from stem_amqp.topology.names import Names

NAMES = Names("stem")


def compiled(text=""):
    """Compile a topology given without its first line, with the queue orders."""
    return compile_topology(parse_topology("version: 1\n" + text), NAMES, ["orders"])


class Api:
    """A management API on which entities stand, or which fails; other methods are not to be used."""

    def __init__(self, entities, error=None):
        self.entities, self.error = entities, error
        self.asked = []

    async def listing(self, kind, prefix, columns):
        """List them as RabbitMQ does."""
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
    """A transport on which everything is there, and which refuses to declare."""

    async def missing(self, entities):
        """Nothing is missing."""
        return []

    async def status(self, names):
        """No other version is there."""
        return dict.fromkeys(names)


@pytest.fixture(autouse=True)
def _nothing_told():
    _TOLD.clear()


async def test_the_same_arguments_are_no_error_and_only_the_namespace_is_asked_for():
    """One pass: one question for the queues, one for the exchanges."""
    api = Api(compiled())
    await verify_arguments(Idle(), compiled(), NAMES, api)
    assert sorted(api.asked) == [("exchanges", "stem."), ("queues", "stem.")]


async def test_what_differs_is_shown_with_both_values_and_the_command():
    """The exit code is that of the other errors of the topology."""
    wanted = compiled("queues: {orders: {max_length: 9}}\n")
    api = Api(compiled("queues: {orders: {max_length: 5}}\n"))
    await verify(Idle(), wanted)
    with pytest.raises(TopologyMismatchError) as caught:
        await verify_arguments(Idle(), wanted, NAMES, api, "shop.yaml")
    assert str(caught.value) == (
        "1 of 89 exchanges and queues are on the broker otherwise than in the topology:\n"
        "  queue stem.orders: x-max-length is 5, wanted 9\n"
        "    RabbitMQ cannot change a queue. stem-amqp topology migrate shop.yaml -Q orders\n"
        "    With settings: policies in the file, the next change of max-length is an apply.\n"
        "  All that differs: stem-amqp topology plan shop.yaml"
    )
    assert code_of(caught.value) is ExitCode.REFUSED


async def test_many_differences_are_still_one_screen():
    """Another namespace's whole topology would be a hundred lines."""
    other = compiled()
    for queue in other.queues:
        queue.arguments["x-queue-type"] = "classic"
    with pytest.raises(TopologyMismatchError, match=r"and \d+ more\n  All that differs") as caught:
        await verify_arguments(Idle(), compiled(), NAMES, Api(other))
    assert len(str(caught.value).splitlines()) <= 24


async def test_what_the_api_does_not_list_is_not_held_against_the_broker():
    """Whether it is there, AMQP was asked already."""
    await verify_arguments(Idle(), compiled(), NAMES, Api(Entities()))


@pytest.mark.parametrize("reason", ["refused the user 'w' (401)", "does not answer (refused)"])
async def test_a_worker_without_rights_to_the_api_works_and_says_so_once(caplog, reason):
    """At debug level: presence is checked, and nothing is wrong."""
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
    """The API is guessed beside a broker without TLS only, and asked in verify mode only."""
    asked = []

    async def keep(transport, entities, names, management, file):
        asked.append(management is not None)

    class Connected:
        transport = Idle()

    monkeypatch.setattr("stem_amqp.assembly.verify_arguments", keep)
    monkeypatch.setattr(Stem, "connected", Connected)
    stem = Stem()
    stem.settings = stem.settings.replace(**settings)
    await check_before_work(stem)
    assert asked == ([] if asks is None else [asks])
