"""Adoption of a broker's entities as a topology file: nothing is lost silently."""

import dataclasses
import json

import pytest
from cli_support import command_line
from hypothesis import given
from hypothesis import strategies as st

from stem_amqp.topology.adopt.definitions import existing_of, read_definitions
from stem_amqp.topology.adopt.file import adopted_text
from stem_amqp.topology.adopt.topology import Adopted, adopt
from stem_amqp.topology.compile import compile_topology
from stem_amqp.topology.delays import delays
from stem_amqp.topology.entities import Binding, Entities, Exchange, Policy, Queue
from stem_amqp.topology.export.definitions import definitions, definitions_text
from stem_amqp.topology.file.document import parse
from stem_amqp.topology.file.load import load_topology, parse_topology
from stem_amqp.topology.names import FormerNames, Names

NAMES = Names("shop")
FILES = {
    "defaults": "version: 1\nqueues: {default: }\n",
    "no queue": "version: 1\n",
    "every key": """\
version: 1
defaults: {delivery_limit: 50, dead_letter: {ttl: 14d}}
queues:
  orders: {type: classic, priority: 3, ttl: 90m, max_length: 1000}
  "1e3": {single_active_consumer: true, dead_letter: {max_length: null, max_length_bytes: null}}
  "true": {ttl: 1500ms}
  billing.eu: {delivery_limit: 100, dead_letter: {overflow: drop-oldest, max_length: 5, ttl: 1d}}
exchanges:
  "{namespace}.audit": {type: headers, arguments: {alternate-exchange: "{namespace}.unroutable"}}
  "{namespace}.crm": {type: topic}
  other.events: {external: true}
  amq.topic: {external: true}
bindings:
  - {source: "{namespace}.tasks", destination: "{namespace}.audit", key: orders, to: exchange}
  - {source: "{namespace}.crm", destination: other.events, key: "#", to: exchange}
  - {source: other.events, destination: "1e3", key: "on"}
  - {source: other.events, destination: orders, arguments: {x-match: all, n: 1, t: "010", b: true}}
  - {source: amq.topic, destination: orders, key: "1e3"}
policies:
  "{namespace}.short":
    pattern: '^{namespace}\\.orders$'
    definition: {message-ttl: 1h, dead-letter-exchange: "{namespace}.dead"}
    priority: 3
  x: {pattern: "^{namespace}\\\\.crm", apply_to: exchanges, definition: {alternate-exchange: other.events}}
operator_policies:
  cap: {pattern: "orders", definition: {max-length-bytes: 5000000}}
""",
}


def compiled(text):
    """Return the entities that a file declares."""
    return compile_topology(parse_topology(text), NAMES)


def adopted(entities, **more):
    """Return the adoption of these entities and of further ones of each kind."""
    all_of_it = dataclasses.replace(
        entities, **{kind: (*getattr(entities, kind), *extra) for kind, extra in more.items()}
    )
    return adopt(existing_of(definitions(all_of_it)), NAMES)


def as_sets(entities):
    """Return the entities without their order."""
    return {
        kind: {
            repr(dataclasses.replace(e, arguments=dict(sorted(e.arguments.items())))) for e in es
        }
        for kind, es in (
            ("exchanges", entities.exchanges),
            ("queues", entities.queues),
            ("bindings", entities.bindings),
        )
    }


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Yield a command line in a directory of its own."""
    with command_line(capsys, monkeypatch, tmp_path) as line:
        yield line


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_an_adopted_file_compiles_to_the_same_entities(text):
    """The test goes from a file to the broker and back, through the written text."""
    entities = compiled(text)
    found = adopted(entities)
    assert found.remarks == ()
    again = parse_topology(adopted_text(found, "a test"))
    assert again.namespace == "shop"
    assert as_sets(compile_topology(again, NAMES)) == as_sets(entities)


def test_only_what_differs_from_the_defaults_is_written():
    """A queue with the defaults has only its name."""
    found = adopted(compiled(FILES["defaults"]))
    assert found.data["queues"] == {"default": {}}
    assert found.data.keys() == {"version", "namespace", "queues"}


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"exchanges": (Exchange(name="other.x", type="topic"),)}, "exchange other.x"),
        ({"exchanges": (Exchange(name="shop.reply.x", type="topic"),)}, "exchange shop.reply.x"),
        ({"queues": (Queue(name="other.q"),)}, "queue other.q"),
        ({"queues": (Queue(name="shop.plain"),)}, "queue shop.plain"),
        ({"queues": (Queue(name="shop.group.1"),)}, "1 queue(s) of replies and groups"),
        (
            {"bindings": (Binding(source="shop.tasks", destination="tap", key="#"),)},
            "binding of shop.tasks to the queue tap with the key #",
        ),
        (
            {"bindings": (Binding(source="shop.dead", destination="shop.default", key="a"),)},
            "dead letters would return",
        ),
        (
            {"bindings": (Binding(source="a{b}", destination="shop.default"),)},
            "one of its names is not valid",
        ),
        (
            {"policies": (Policy(name="short", pattern="^crm", definition={"max-length": 1}),)},
            "policy short: pattern ^crm",
        ),
        (
            {"policies": (Policy(name="new", pattern="^shop", definition={"new-key": 1}),)},
            "policy new: pattern ^shop",
        ),
        (
            {"policies": (Policy(name="cap", pattern="", operator=True),)},
            "operator policy cap",
        ),
    ],
)
def test_what_a_file_cannot_say_is_a_remark(more, named):
    """The rest of the file is not affected."""
    found = adopted(compiled(FILES["defaults"]), **more)
    assert [remark for remark in found.remarks if named in remark], found.remarks
    assert found.data["queues"] == {"default": {}}
    text = adopted_text(found, "a test")
    comment = " ".join(line.removeprefix("#").strip() for line in text.splitlines())
    assert named in comment
    parse_topology(text)


def test_a_queue_with_arguments_of_its_own_is_adopted_with_a_remark():
    """Apply would fail at it, so the file has to mention it."""
    entities = compiled(FILES["defaults"])
    queues = tuple(
        dataclasses.replace(q, arguments={**q.arguments, "x-max-in-memory-length": 5})
        if q.name == "shop.default"
        else q
        for q in entities.queues
    )
    found = adopt(existing_of(definitions(dataclasses.replace(entities, queues=queues))), NAMES)
    assert found.remarks == (
        "queue shop.default: x-max-in-memory-length is 5 on the broker and not set in this file",
    )


def test_what_is_missing_on_the_broker_is_said():
    """Dead-letter queues that were not declared yet are an example."""
    entities = compiled(FILES["defaults"])
    queues = tuple(q for q in entities.queues if not q.name.endswith(".dlq"))
    found = adopt(existing_of(definitions(dataclasses.replace(entities, queues=queues))), NAMES)
    assert found.remarks == ("not on the broker; apply will declare 1 queue(s): shop.default.dlq",)


def test_an_exchange_that_a_file_cannot_declare_becomes_external():
    """A binding may still name it."""
    document = definitions(compiled(FILES["defaults"]))
    odd = {"name": "crm.late", "type": "x-delayed-message", "durable": True}
    document["exchanges"].append(odd)
    document["bindings"].append(
        {
            "source": "crm.late",
            "destination": "shop.default",
            "destination_type": "queue",
            "routing_key": "k",
        }
    )
    found = adopt(existing_of(document), NAMES)
    assert found.data["exchanges"] == {"crm.late": {"external": True}}
    assert found.remarks == ("exchange crm.late: has the type x-delayed-message",)


def test_a_name_with_a_line_break_stays_in_its_comment():
    """No name on a broker can write keys into the file."""
    found = adopted(compiled(FILES["defaults"]), queues=(Queue(name="a\nqueues: {evil: }"),))
    assert parse_topology(adopted_text(found, "a\nb")).declared == ("default",)


FORMER = FormerNames("shop").delay_parts()
_words = st.sampled_from(
    [
        "a",
        "b.c",
        "b.c.dlq",
        "tasks",
        "dead",
        "reply.x",
        "delay.1",
        "",
        " x",
        "{n}",
        "Ü\n",
        "1",
        "null",
    ]
)
_names = st.builds(
    str.__add__, st.sampled_from(["shop.", "shop.", "", "amq.", "shop.a"]), _words
) | st.text(max_size=140)
_values = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
_arguments = st.dictionaries(
    st.sampled_from(
        [
            "x-delivery-limit",
            "x-max-priority",
            "x-message-ttl",
            "x-max-length",
            "x-max-length-bytes",
            "x-overflow",
            "x-single-active-consumer",
            "x-dead-letter-exchange",
            "x-other",
        ]
    ),
    _values,
    max_size=4,
)
_queues = st.builds(
    lambda name, kind, arguments: Queue(name=name, arguments={"x-queue-type": kind, **arguments}),
    _names,
    st.sampled_from(["quorum", "classic", "stream"]),
    _arguments,
)
_exchanges = st.builds(
    Exchange,
    name=_names,
    type=st.sampled_from(["topic", "direct", "fanout", "headers"]),
    arguments=st.dictionaries(st.sampled_from(["alternate-exchange", "x"]), _values, max_size=2),
)
_bindings = st.builds(
    Binding,
    source=_names,
    destination=_names,
    key=_words,
    to_exchange=st.booleans(),
    arguments=st.dictionaries(_words, _values, max_size=2),
)


@given(
    st.lists(_queues, max_size=4, unique_by=lambda queue: queue.name),
    st.lists(_exchanges, max_size=4, unique_by=lambda exchange: exchange.name),
    st.lists(_bindings, max_size=4),
)
def test_any_existing_topology_gives_a_valid_file_that_names_it(queues, exchanges, bindings):
    """The file declares each queue and exchange, or names it in a comment."""
    more = {"queues": queues, "exchanges": exchanges, "bindings": bindings}
    found = adopt(existing_of(definitions(Entities(**more))), NAMES)
    topology = parse_topology(adopted_text(found, "a test"))
    again = compile_topology(topology, NAMES)
    declared = {entity.name for entity in (*again.queues, *again.exchanges)}
    external = {name.replace("{namespace}", "shop") for name in topology.exchanges}
    remarks = "\n".join(found.remarks)
    for entity in (*queues, *exchanges):
        passing = entity.name.startswith(("shop.reply.", "shop.group.", "amq."))
        known = entity.name in declared | external | {""} or f" {entity.name}: " in remarks
        former = entity.name in FORMER and "shop.delay.*: " in remarks
        assert known or passing or former, entity
    for binding in bindings:
        made = any(
            (b.source, b.destination, b.key) == (binding.source, binding.destination, binding.key)
            for b in again.bindings
        )
        former = {binding.source, binding.destination} & FORMER and "shop.delay.*: " in remarks
        named = f"binding of {binding.source} to the" in remarks
        assert made or not binding.source or named or former


def test_the_delays_of_an_earlier_version_are_one_remark():
    """They are 72 queues and 8 exchanges that the current version does not declare."""
    now = compiled("version: 1\nqueues: {orders: }")
    former = delays(FormerNames("shop"))
    both = Entities(
        exchanges=now.exchanges + former.exchanges,
        queues=now.queues + former.queues,
        bindings=now.bindings + former.bindings,
    )
    found = adopt(existing_of(definitions(both)), NAMES)
    assert [remark.partition(":")[0] for remark in found.remarks] == ["shop.delay.*"]
    assert "apply --prune" in found.remarks[0]


def test_one_of_several_virtual_hosts_must_be_named():
    """A broker's whole export has all of them."""
    one = definitions(compiled(FILES["defaults"]), "one")
    other = definitions(compiled(FILES["no queue"]), "other")
    text = json.dumps({kind: one[kind] + other[kind] for kind in one})
    with pytest.raises(Exception, match="several virtual hosts: one, other"):
        read_definitions(text, None, "all.json")
    with pytest.raises(Exception, match="no virtual host third"):
        read_definitions(text, "third", "all.json")
    assert adopt(read_definitions(text, "one", "all.json"), NAMES).queues == 1
    assert adopt(read_definitions(text, "other", "all.json"), NAMES).queues == 0


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"queues": [1]}', '{"queues": [{}]}', '{"bindings": [{"source": 1}]}']
)
def test_what_is_no_definitions_file_is_an_error(cli, text):
    """The error says how to export one."""
    cli.write("wrong.json", text)
    ran = cli("topology", "import", "wrong.json")
    assert ran.code == 2
    assert "export_definitions FILE" in ran.err


def test_import_writes_a_file_that_is_valid(cli):
    """The definitions file is converted; the remarks are printed on standard error too."""
    cli.write("all.json", definitions_text(compiled(FILES["every key"]), "/"))
    ran = cli("topology", "import", "all.json", "--namespace", "shop", "-o", "topology.yaml")
    assert ran.code == 0
    assert "4 queues in the namespace shop" in ran.err
    assert cli("topology", "validate", "topology.yaml").code == 0
    assert "created from all.json" in (cli.folder / "topology.yaml").read_text()
    assert load_topology(cli.folder / "topology.yaml").declared == (
        "1e3",
        "billing.eu",
        "orders",
        "true",
    )


def test_import_of_another_namespace_names_the_existing_ones(cli):
    """A wrong namespace is the most likely mistake."""
    cli.write("all.json", definitions_text(compiled(FILES["defaults"]), "/"))
    ran = cli("topology", "import", "all.json")
    assert "Namespaces of stem-amqp: shop;" in ran.err


def test_import_needs_one_source(cli):
    """The source is a file or a broker, not both."""
    assert cli("topology", "import").code == 2
    assert cli("topology", "import", "x.json", "--management", "http://localhost").code == 2


def test_a_management_api_that_does_not_answer_is_an_error(cli):
    """The message does not have the password."""
    ran = cli("topology", "import", "--management", "http://me:secret@127.0.0.1:9")
    assert ran.code == 3
    assert "does not answer" in ran.err
    assert "secret" not in ran.err


def test_what_looks_like_a_variable_is_none():
    """Text of a broker must not be replaced by values of the environment."""
    evil = "${HOME} $${HOME} $$${X} ${file(x)} $HOME"
    adopted = Adopted(
        data={"version": 1, "exchanges": {"x": {"arguments": {"a": evil, "b": [evil]}}}},
        remarks=(),
        queues=0,
    )
    text = adopted_text(adopted, "here")
    read = parse(text, "x.yaml", {"HOME": "hunter2", "X": "hunter2"})
    assert read.mistakes == ()
    assert read.data == adopted.data


def test_an_import_with_such_texts_is_valid(cli, monkeypatch):
    """The test covers the whole way from a definitions file to a topology."""
    monkeypatch.setenv("HOME", "hunter2")
    exchange = {
        "name": "stem.audit", "vhost": "/", "type": "topic", "durable": True, "auto_delete": False,
        "internal": False, "arguments": {"note": "${HOME} ${file('x')}"},
    }  # fmt: skip
    binding = {
        "source": "stem.audit", "vhost": "/", "destination": "stem.orders", "arguments": {},
        "destination_type": "queue", "routing_key": "${HOME}",
    }  # fmt: skip
    queue = {
        "name": "stem.orders", "vhost": "/", "durable": True, "auto_delete": False,
        "arguments": {"x-dead-letter-exchange": "stem.dead"},
    }  # fmt: skip
    document = {"exchanges": [exchange], "queues": [queue], "bindings": [binding]}
    cli.write("d.json", json.dumps(document))
    assert cli("topology", "import", "d.json", "-o", "t.yaml").code == 0
    text = (cli.folder / "t.yaml").read_text()
    assert "$${HOME}" in text
    ran = cli("topology", "validate", "t.yaml")
    assert "hunter2" not in ran.out + ran.err
    assert "is not a valid reference" not in ran.err
