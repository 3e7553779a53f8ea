"""Exports of the topology to other tools: definitions, Kubernetes manifests, Terraform."""

import json
import re

import pytest
import yaml
from cli_support import command_line
from hypothesis import given
from hypothesis import strategies as st

from stem_amqp.topology.compile import compile_topology
from stem_amqp.topology.entities import Binding, Entities, Exchange, Policy, Queue
from stem_amqp.topology.export.definitions import definitions
from stem_amqp.topology.export.kubernetes import Target, manifests, manifests_text, object_name
from stem_amqp.topology.export.terraform import label, terraform, unrepresentable
from stem_amqp.topology.file.load import parse_topology
from stem_amqp.topology.names import Names

SHOP = """\
version: 1
namespace: Shop_1
queues:
  orders: {type: classic, priority: 3, ttl: 90m}
  Orders:
  mail_out: {single_active_consumer: true}
exchanges:
  "{namespace}.audit": {type: headers, arguments: {alternate-exchange: "{namespace}.unroutable"}}
  crm.events: {external: true}
bindings:
  - {source: crm.events, destination: orders, arguments: {x-match: all, n: 1}}
  - {source: crm.events, destination: orders, arguments: {x-match: all, n: 2}}
  - {source: "{namespace}.tasks", destination: "{namespace}.audit", key: orders, to: exchange}
"""
POLICIES = (
    Policy(name="short", pattern=r"^Shop_1\.", definition={"max-length": 5}, priority=2),
    Policy(name="limit", pattern="${x}", definition={"max-length": 9}, operator=True),
)
DNS_NAME = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"


@pytest.fixture
def entities():
    """Return entities of every kind that the formats support."""
    compiled = compile_topology(parse_topology(SHOP), Names("Shop_1"))
    return Entities(
        exchanges=compiled.exchanges,
        queues=compiled.queues,
        bindings=compiled.bindings,
        policies=POLICIES,
    )


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Yield a command line in a directory of its own."""
    with command_line(capsys, monkeypatch, tmp_path) as line:
        line.write("topology.yaml", SHOP)
        yield line


def test_definitions_for_one_virtual_host_name_none(entities):
    """The management UI can import the file into any virtual host."""
    document = definitions(entities)
    assert "vhost" not in json.dumps(document)
    assert len(document["queues"]) == len(entities.queues)
    assert len(document["bindings"]) == len(entities.bindings)
    assert [policy["name"] for policy in document["policies"]] == ["short"]
    assert [p["component"] for p in document["parameters"]] == ["operator_policy"]


def test_definitions_for_a_broker_name_the_virtual_host_everywhere(entities):
    """rabbitmqctl import_definitions needs this; the virtual host itself is not changed."""
    document = definitions(entities, "eu/1")
    assert {item["vhost"] for items in document.values() for item in items} == {"eu/1"}
    assert "vhosts" not in document


def test_manifests_have_valid_and_unique_names(entities):
    """Kubernetes allows lower case only, and two objects of a kind must not share a name."""
    found = manifests(entities, Target(cluster="rabbit"))
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in found]
    assert len(set(names)) == len(names)
    assert [name for _, name in names if not re.fullmatch(DNS_NAME, name) or len(name) > 253] == []
    assert {kind for kind, _ in names} == {
        "Exchange",
        "Queue",
        "Binding",
        "Policy",
        "OperatorPolicy",
    }


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_any_name_has_an_object_and_a_label_of_its_own(one, other):
    """This holds for any characters and any length."""
    for naming, form in ((object_name, DNS_NAME), (label, r"[A-Za-z_][A-Za-z0-9_-]*")):
        assert re.fullmatch(form, naming(one))
        assert (naming(one) == naming(other)) == (one == other)
    assert len(object_name(one)) <= 253


def test_a_valid_name_stays_as_it_is():
    """kubectl get queues then shows the names of the management UI."""
    assert object_name("stem.billing-eu.dlq") == "stem.billing-eu.dlq"
    assert label("stem.billing-eu.dlq") == "stem_billing-eu_dlq"


def test_manifests_say_what_the_topology_says(entities):
    """Each queue has all its arguments; its type is a separate key of the operator."""
    target = Target(cluster="rabbit", cluster_namespace="infra", virtual_host="eu")
    found = list(yaml.safe_load_all(manifests_text(entities, target)))
    queues = {m["spec"]["name"]: m["spec"] for m in found if m["kind"] == "Queue"}
    for queue in entities.queues:
        spec = queues[queue.name]
        assert {"x-queue-type": spec["type"], **spec["arguments"]} == dict(queue.arguments)
        assert spec["deletionPolicy"] == "retain"
        assert spec["durable"] is True
    for manifest in found:
        assert manifest["spec"]["vhost"] == "eu"
        reference = manifest["spec"]["rabbitmqClusterReference"]
        assert reference == {"name": "rabbit", "namespace": "infra"}


def test_terraform_keeps_queues_from_being_destroyed(entities):
    """A change of arguments would otherwise delete a queue with its messages."""
    document = terraform(entities, "eu")
    queues = document["resource"]["rabbitmq_queue"].values()
    assert all(queue["lifecycle"] == {"prevent_destroy": True} for queue in queues)
    arguments = {q["name"]: json.loads(q["settings"]["arguments_json"]) for q in queues}
    assert arguments == {queue.name: dict(queue.arguments) for queue in entities.queues}


def test_terraform_binds_only_what_stands(entities):
    """A binding depends on those of its ends that are in the file."""
    resources = terraform(entities)["resource"]
    bindings = resources["rabbitmq_binding"].values()
    assert len(bindings) == len(entities.bindings)
    for binding in bindings:
        for needed in binding["depends_on"]:
            kind, name = needed.split(".")
            assert name in resources[kind]
    (tap,) = [b for b in bindings if b["destination"] == "Shop_1.audit"]
    assert tap["depends_on"] == [
        f"rabbitmq_exchange.{label('Shop_1.audit')}",
        f"rabbitmq_exchange.{label('Shop_1.tasks')}",
    ]


def test_terraform_evaluates_nothing_in_names(entities):
    """Dollar and brace are escaped."""
    (policy,) = terraform(entities)["resource"]["rabbitmq_operator_policy"].values()
    assert policy["policy"]["pattern"] == "$${x}"


def test_terraform_evaluates_nothing_anywhere():
    """This holds for values of any depth and for names of arguments."""
    evil = '${file("/etc/passwd")}%{ for x in y }'
    entities = Entities(
        exchanges=(Exchange(name=evil, type="topic", arguments={evil: evil}),),
        queues=(Queue(name=evil, arguments={evil: [evil]}),),
        bindings=(Binding(source=evil, destination=evil, key=evil, arguments={evil: evil}),),
        policies=(Policy(name=evil, pattern=evil, definition={evil: [evil, {evil: evil}]}),),
    )
    text = json.dumps(terraform(entities))
    assert "file(" in text
    assert not re.search(r"(?<!\\$)\\$\{|(?<!%)%\{", text.replace("$${", "").replace("%%{", ""))


def test_what_terraform_cannot_say_is_said():
    """The provider stores an exchange's arguments as texts."""
    exchange = Exchange(name="e", type="topic", arguments={"x-n": 1, "alternate-exchange": "a"})
    policy = Policy(name="p", pattern="", definition={"flag": True, "max-length": 1})
    lines = unrepresentable(Entities(exchanges=(exchange,), policies=(policy,)))
    assert lines == [
        "argument x-n of the exchange e becomes a string",
        "flag of the policy p becomes a string",
    ]


@pytest.mark.parametrize("form", ["definitions", "kubernetes", "terraform"])
def test_export_writes_a_file_or_standard_output(cli, form):
    """Both have the same text."""
    words = ("topology", "export", "topology.yaml", "--format", form, "--cluster", "rabbit")
    shown = cli(*words)
    assert shown.code == 0
    assert cli(*words, "-o", "out").code == 0
    assert (cli.folder / "out").read_text() == shown.out


@pytest.mark.parametrize(
    ("file", "holds"),
    [
        ("x.json", '"exchanges"'),
        ("x.tf.json", '"resource"'),
        ("x.yaml", "apiVersion"),
        ("x.yml", "apiVersion"),
    ],
)
def test_the_name_of_the_file_determines_the_format(cli, file, holds):
    """Each format has its file name; if neither tells the format, the command asks for it."""
    words = ("topology", "export", "topology.yaml", "--cluster", "rabbit")
    assert cli(*words, "-o", file).code == 0
    assert holds in (cli.folder / file).read_text()
    ran = cli(*words)
    assert ran.code == 2
    assert "--format definitions, kubernetes, terraform" in ran.err
    assert cli(*words, "-f", "terraform", "-o", "x.yaml").code == 2


def test_a_manifest_needs_a_cluster(cli):
    """The reference is required, and has no default."""
    ran = cli("topology", "export", "topology.yaml", "--format", "kubernetes")
    assert ran.code == 2
    assert "--cluster NAME" in ran.err


def test_a_file_that_cannot_be_written_is_an_error(cli):
    """The error has the remedy."""
    ran = cli("topology", "export", "topology.yaml", "-f", "definitions", "-o", "no/such/place")
    assert ran.code == 2
    assert "no/such/place cannot be written" in ran.err
