"""The graph of the topology is complete and up to date."""

import re
from pathlib import Path

import pytest
from cli_support import command_line

from stem_amqp.topology.compile import compile_topology
from stem_amqp.topology.draw.graph import graph_of
from stem_amqp.topology.draw.mermaid import mermaid_text
from stem_amqp.topology.file.load import load_topology, parse_topology
from stem_amqp.topology.names import Names

ROOT = Path(__file__).parents[2]
NAMES = Names("shop.staging")
FILES = {
    "one queue": "version: 1\nqueues: {default: }\n",
    "no queue": "version: 1\n",
    "thirty queues": "version: 1\nqueues:\n"
    + "".join(f"  queue-{index}.{'x' * (index % 9 + 1)}: {{}}\n" for index in range(30)),
    "bindings of every kind": """\
version: 1
queues:
  orders: {type: classic, priority: 3}
  mail: {ttl: 1h}
exchanges:
  "{namespace}.audit": {type: topic, arguments: {alternate-exchange: spare}}
  "{namespace}.copy": {type: headers}
  crm.events: {external: true}
bindings:
  - {source: crm.events, destination: orders, arguments: {x-match: all, n: 1}}
  - {source: crm.events, destination: mail, key: 'a."b".<c>.#'}
  - {source: "{namespace}.tasks", destination: "{namespace}.audit", key: orders, to: exchange}
  - {source: "{namespace}.dead", destination: "{namespace}.audit", key: mail, to: exchange}
  - {source: "{namespace}.events", destination: mail, key: "task.#"}
  - {source: "{namespace}.audit", destination: "{namespace}.copy", key: over, to: exchange}
  - {source: "{namespace}.unroutable", destination: "{namespace}.copy", to: exchange}
  - {source: "{namespace}.zz-delay.1", destination: "{namespace}.copy", key: "#", to: exchange}
""",
}


def graph(name, *, everything=False, names=NAMES):
    """Return the graph of one of the files."""
    entities = compile_topology(parse_topology(FILES[name]), names)
    return entities, graph_of(entities, names, everything=everything)


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Yield a command line in a directory of its own."""
    with command_line(capsys, monkeypatch, tmp_path) as line:
        yield line


@pytest.mark.parametrize("everything", [False, True], ids=["folded", "all"])
@pytest.mark.parametrize("name", FILES)
def test_the_graph_shows_every_queue_and_key(name, everything):
    """Only the delays are combined, unless all of them are requested."""
    entities, drawn = graph(name, everything=everything)
    texts = {text for node in drawn.nodes for text in (node.text, *node.text.splitlines())}
    texts |= {line for edge in drawn.edges for line in edge.text.splitlines()}
    delays = NAMES.delay_queues()
    expected = {q.name for q in entities.queues if everything or q.name not in delays}
    expected |= {
        binding.key
        for binding in entities.bindings
        if binding.key and ".zz-delay." not in binding.source
    }
    if everything:
        expected |= {exchange.name for exchange in entities.exchanges}
    assert expected - texts == set()


@pytest.mark.parametrize("everything", [False, True], ids=["folded", "all"])
@pytest.mark.parametrize("name", FILES)
def test_mermaid_has_every_node_and_edge(name, everything):
    """Each has one line, and every id is that of a node."""
    _, drawn = graph(name, everything=everything)
    lines = mermaid_text(drawn).splitlines()
    ids = [match[1] for line in lines if (match := re.match(r"\s+(n\d+)[\[{(]", line))]
    assert len(ids) == len(set(ids)) == len(drawn.nodes)
    edges = [re.match(r"\s+(n\d+) -\.?->(?:\|\"[^\"]*\"\|)? (n\d+)$", line) for line in lines]
    ends = [match.groups() for match in edges if match]
    assert len(ends) == len(drawn.edges)
    assert {end for pair in ends for end in pair} <= set(ids)


def test_mermaid_takes_the_meaning_from_signs():
    """Quotes, hashes and angle brackets in keys would end its texts."""
    text = mermaid_text(graph("bindings of every kind")[1])
    assert '|"a.#quot;b#quot;.#lt;c#gt;.#35;"|' in text


@pytest.mark.parametrize(
    ("wait", "queue"),
    [(2.0, "0000002.0s"), (0.2, "0000000.2s"), (90, "0000090.0s"), (75, "0000070.0s")],
)
def test_the_example_is_the_first_digit_of_the_first_wait(wait, queue):
    """It has one hop, so that it is readable."""
    entities = compile_topology(parse_topology(FILES["one queue"]), NAMES)
    shown = graph_of(entities, NAMES, wait=wait)
    assert [n.text for n in shown.nodes if n.key == "delay queue"] == [
        f"{NAMES.namespace}.zz-delay.{queue}"
    ]


def test_the_command_writes_the_graph(cli):
    """It needs no broker."""
    cli.write("topology.yaml", FILES["one queue"])
    shown = cli("topology", "graph", "topology.yaml")
    assert shown.code == 0
    assert cli("topology", "graph", "topology.yaml", "-o", "out.mmd").code == 0
    assert (cli.folder / "out.mmd").read_text() == shown.out
    assert shown.out.startswith("flowchart")
    assert "stem.default.dlq" in shown.out


@pytest.mark.parametrize("file", ["x.svg", "X.PNG", "x.pdf"])
def test_a_file_that_is_named_as_a_picture_is_refused(cli, file):
    """No file is written; the error says how to make the picture."""
    cli.write("topology.yaml", FILES["one queue"])
    ran = cli("topology", "graph", "topology.yaml", "-o", file)
    assert ran.code == 2
    assert f"mermaidx -i graph.mmd -o {file}" in ran.err
    assert not (cli.folder / file).exists()


@pytest.mark.parametrize("page", ["README.md", "docs/topology.md"])
def test_the_graph_on_the_pages_is_current(page):
    """Run 'stem-amqp topology graph topology/default.yaml' and put its output into the page."""
    names = Names("stem")
    topology = load_topology(ROOT / "topology" / "default.yaml")
    drawn = graph_of(compile_topology(topology, names), names)
    assert f"```mermaid\n{mermaid_text(drawn)}```\n" in (ROOT / page).read_text()
