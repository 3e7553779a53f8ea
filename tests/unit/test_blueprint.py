"""The frozen blueprint of an application: what depends on settings follows a change of settings."""

import dataclasses
import uuid

import pytest

from stem_amqp import ConfigurationError, Stem, StemError, assembly
from stem_amqp.blueprint import Blueprint
from stem_amqp.settings import Settings
from stem_amqp.testing import in_memory
from stem_amqp.topology.file.load import parse_topology

KEY = "a:" + "QUFB" * 12
OTHER_KEY = "b:" + "QkJC" * 12


def built(**values):
    """Return a blueprint."""
    return Blueprint.build(Settings.load(**values))


def memory():
    """Return the URL of a broker in memory that no other test uses."""
    return f"memory://{uuid.uuid4().hex}"


@pytest.mark.parametrize("name", ["settings", "topology", "names", "registry", "signals"])
def test_its_fields_cannot_be_assigned(name):
    """A blueprint is frozen: a change makes a new blueprint."""
    blueprint = built()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(blueprint, name, None)
    with pytest.raises(AttributeError):
        setattr(Stem(), name, None)


def test_names_follow_the_namespace():
    """Another namespace changes every name on the broker."""
    before = built(namespace="one")
    after = before.replace(namespace="other")
    assert {queue.name.split(".")[0] for queue in after.entities.queues} == {"other"}
    assert before.names.namespace == "one"


def test_the_queue_of_rejected_messages_follows_the_keys():
    """The queue exists if there are keys, and not otherwise."""
    plain = built()
    signed = plain.replace(signing_key=KEY)
    assert signed.topology.rejected is not None
    assert plain.topology.rejected is None
    assert signed.replace(signing_key=None).topology.rejected is None


def test_the_keys_follow_the_settings_that_name_them():
    """Changed key settings read the keys again; unchanged ones keep what was reloaded."""
    blueprint = built(signing_key=KEY)
    assert blueprint.keys is not None
    assert blueprint.replace(namespace="other").keys is blueprint.keys
    assert blueprint.replace(signing_key=OTHER_KEY).keys is not blueprint.keys
    assert blueprint.replace(signing_key=None).keys is None


def test_signals_are_switched_as_the_settings_say():
    """A change of other settings keeps the signals that the application has switched itself."""
    blueprint = built()
    blueprint.signals.task_failed.connect()(print)
    quiet = blueprint.replace(enabled_signals={"task-failed": False})
    assert blueprint.signals.task_failed.active
    assert not quiet.signals.task_failed.active
    blueprint.signals.configure(enabled=False)
    assert blueprint.replace(namespace="other").signals is blueprint.signals


def test_listeners_are_shared():
    """A listener that is connected or disconnected later changes in all blueprints."""
    blueprint = built()
    quiet = blueprint.replace(enabled_signals={"task-received": False})
    blueprint.signals.task_failed.connect()(print)
    assert quiet.signals.task_failed.active
    quiet.signals.task_failed.disconnect(print)
    assert not blueprint.signals.task_failed.active


def test_the_default_queue_and_the_topology_decide_where_tasks_go():
    """Tasks without a queue use the default queue; a route takes precedence over it."""
    stem = Stem()

    @stem.task("report.make")
    async def make() -> None: ...

    stem.reconfigure(default_queue="elsewhere")
    assert stem.queues == ("elsewhere",)
    text = "version: 1\nqueues:\n  reports: {}\nroutes:\n  - {match: 'report.*', queue: reports}\n"
    stem.reconfigure(topology=parse_topology(text))
    assert stem.queues == ("reports",)


def test_the_namespace_of_a_topology_counts_where_none_is_set():
    """An explicitly set namespace takes precedence over it."""
    topology = parse_topology("version: 1\nnamespace: shop\n")
    assert built().replace(topology=topology).names.namespace == "shop"
    assert built(namespace="own").replace(topology=topology).names.namespace == "own"


def test_a_topology_may_be_the_path_of_a_file(tmp_path):
    """The path is stored as the setting too."""
    path = tmp_path / "topology.yaml"
    path.write_text("version: 1\nnamespace: shop\nqueues: {orders: {}}\n")
    stem = Stem()
    stem.reconfigure(topology=str(path))
    assert (stem.queues, stem.settings.topology, stem.names.namespace) == (
        ("orders",),
        path,
        "shop",
    )


def test_tasks_listeners_and_middleware_stay():
    """What the application has added is kept in every new blueprint."""
    stem = Stem()
    before = stem.blueprint
    stem.reconfigure(namespace="other")

    @stem.task("late")
    async def late() -> None: ...

    assert before.registry is stem.registry
    assert before.middleware is stem.blueprint.middleware
    assert before.overrides is stem.blueprint.overrides


def test_a_mistake_changes_nothing():
    """Names and values of settings are checked as they are when an application is made."""
    stem = Stem()
    before = stem.blueprint
    for wrong in ({"namespace": "no name"}, {"topology": "nowhere.yaml"}, {"retries": 3}):
        with pytest.raises(ConfigurationError):
            stem.reconfigure(**wrong)
    with pytest.raises(ConfigurationError, match="did you mean publish_timeout"):
        stem.reconfigure(publish_timout=3)
    assert stem.blueprint is before


async def test_it_is_refused_while_the_application_is_connected():
    """A connected application uses the blueprint that it was connected with."""
    stem = Stem(broker_url=memory(), backend_url="memory://")
    async with stem:
        with pytest.raises(StemError, match="connected"):
            stem.reconfigure(namespace="other")
    stem.reconfigure(namespace="other")
    assert stem.names.namespace == "other"


async def test_it_is_refused_while_the_application_connects(monkeypatch):
    """An application that is connecting uses the blueprint that it began with."""
    stem = Stem(broker_url=memory(), backend_url="memory://")
    refused = []
    provision = assembly.provision

    async def reconfigure_meanwhile(*args):
        with pytest.raises(StemError, match="connected") as error:
            stem.reconfigure(namespace="other")
        refused.append(error.value)
        await provision(*args)

    monkeypatch.setattr(assembly, "provision", reconfigure_meanwhile)
    async with stem:
        assert len(refused) == 1


def test_it_is_refused_on_a_broker_in_memory():
    """The testing kit configures the application for a test, and restores it afterwards."""
    stem = Stem(namespace="one")
    before = stem.blueprint
    with in_memory(stem), pytest.raises(StemError, match="connected"):
        stem.reconfigure(namespace="other")
    assert stem.blueprint is before


def test_the_time_limit_of_blocking_calls_follows_the_settings():
    """A limit that the application gives takes precedence."""
    stem = Stem()
    stem.reconfigure(connect_timeout=5, publish_timeout=60)
    assert stem.blocking_producer.timeout == 65
    assert stem.blocking(timeout="2s").timeout == 2


def test_a_blocking_producer_reconnects_after_a_change():
    """Afterwards it enqueues to the place that the new settings name."""
    stem = Stem(broker_url=memory(), backend_url="memory://")

    @stem.task("note")
    async def note() -> None: ...

    with stem.blocking() as producer:
        assert producer.enqueue(note).queue == "default"
        stem.reconfigure(default_queue="elsewhere")
        assert producer.enqueue(note).queue == "elsewhere"
