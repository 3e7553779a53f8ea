"""The picture of the topology: whole, current, and readable with many queues."""

import itertools
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from cli_support import command_line

from stem_amqp.topology.compile import compile_topology
from stem_amqp.topology.graph import graph_of
from stem_amqp.topology.load import load_topology, parse_topology
from stem_amqp.topology.mermaid import mermaid
from stem_amqp.topology.names import Names
from stem_amqp.topology.svg import svg

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"
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
  - {source: "{namespace}.delay.1", destination: "{namespace}.copy", key: "#", to: exchange}
""",
}


def graph(name, *, everything=False, names=NAMES):
    """Return the graph of one of the files."""
    entities = compile_topology(parse_topology(FILES[name]), names)
    return entities, graph_of(entities, names, everything=everything)


def boxes(root):
    """Return the left, top, right and bottom edges of every box of a picture."""
    found = []
    for group in root.iter(f"{SVG}g"):
        rect, polygon = group.find(f"{SVG}rect"), group.find(f"{SVG}polygon")
        if rect is not None:
            x, y, w, h = (float(rect.get(name)) for name in ("x", "y", "width", "height"))
            found.append((x, y, x + w, y + h))
        else:
            points = [point.split(",") for point in polygon.get("points").split()]
            xs, ys = ([float(point[axis]) for point in points] for axis in (0, 1))
            found.append((min(xs), min(ys), max(xs), max(ys)))
    return found


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Run commands in a directory of their own."""
    with command_line(capsys, monkeypatch, tmp_path) as line:
        yield line


@pytest.mark.parametrize("everything", [False, True], ids=["folded", "all"])
@pytest.mark.parametrize("name", FILES)
def test_the_picture_shows_every_queue_and_key(name, everything):
    """As text that can be searched; delay queues by their title."""
    entities, drawn = graph(name, everything=everything)
    root = ET.fromstring(svg(drawn))
    texts = {element.text for element in root.iter() if element.text}
    delays = NAMES.delay_queues()
    expected = {q.name for q in entities.queues if everything or q.name not in delays}
    expected |= {
        binding.key
        for binding in entities.bindings
        if binding.key and ".delay." not in binding.source
    }
    if everything:
        expected |= {exchange.name for exchange in entities.exchanges}
    assert expected - texts == set()


@pytest.mark.parametrize("everything", [False, True], ids=["folded", "all"])
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("namespace", ["s", "shop", "a-rather.long-name.of-staging"])
def test_boxes_lie_apart_and_within_the_picture(name, everything, namespace):
    """Nothing covers anything, however long the names."""
    drawn = graph(name, everything=everything, names=Names(namespace))[1]
    root = ET.fromstring(svg(drawn))
    found = boxes(root)
    assert len(found) > 8
    for a, b in itertools.combinations(found, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b)
    (frame,) = [rect for rect in root.iter(f"{SVG}rect") if rect.get("class") == "group"]
    left, top = float(frame.get("x")), float(frame.get("y"))
    right, bottom = left + float(frame.get("width")), top + float(frame.get("height"))
    for box in found:
        inside = left <= box[0] and box[2] <= right and top <= box[1] and box[3] <= bottom
        assert inside or box[2] < left or right < box[0] or box[3] < top or bottom < box[1], box
    width, height = float(root.get("width")), float(root.get("height"))
    assert min(box[0] for box in found) >= 0
    assert min(box[1] for box in found) >= 0
    assert max(box[2] for box in found) <= width
    assert max(box[3] for box in found) <= height
    for text in root.iter(f"{SVG}text"):
        assert 0 <= float(text.get("x")) <= width
        assert 0 <= float(text.get("y")) <= height


@pytest.mark.parametrize("name", FILES)
def test_every_edge_is_drawn(name):
    """A binding has an arrow of its own; what has no place in the layout gets a straight line."""
    _, drawn = graph(name)
    flows = {(edge.source, edge.target) for edge in drawn.edges if edge.line == "flow"}
    shared = {pair for pair in flows if pair[0].startswith("queue ") and pair[1] == "worker"}
    bindings = sum(edge.line == "binding" for edge in drawn.edges)
    alternates = sum(edge.text == "no such queue" for edge in drawn.edges)
    arrows = svg(drawn).count('class="tip')
    failures = bool(shared) + 1
    # the arrow into the delays has a second tip at its exchange
    assert arrows == len(flows - shared) + bool(shared) + bindings + alternates + failures + 1


@pytest.mark.parametrize("everything", [False, True], ids=["folded", "all"])
@pytest.mark.parametrize("name", FILES)
def test_mermaid_has_every_node_and_edge(name, everything):
    """One line for each, and every id is that of a node."""
    _, drawn = graph(name, everything=everything)
    lines = mermaid(drawn).splitlines()
    ids = [match[1] for line in lines if (match := re.match(r"\s+(n\d+)[\[{(]", line))]
    assert len(ids) == len(set(ids)) == len(drawn.nodes)
    edges = [re.match(r"\s+(n\d+) -\.?->(?:\|\"[^\"]*\"\|)? (n\d+)$", line) for line in lines]
    ends = [match.groups() for match in edges if match]
    assert len(ends) == len(drawn.edges)
    assert {end for pair in ends for end in pair} <= set(ids)


def test_mermaid_takes_the_meaning_from_signs():
    """Quotes, hashes and angle brackets of keys would end its texts."""
    text = mermaid(graph("bindings of every kind")[1])
    assert '|"a.#quot;b#quot;.#lt;c#gt;.#35;"|' in text


def test_names_of_entities_are_escaped_in_the_picture():
    """A key is no markup."""
    assert "&lt;c&gt;" in svg(graph("bindings of every kind")[1])


@pytest.mark.parametrize(
    ("wait", "queue"),
    [(2.0, "0000002.0s"), (0.2, "0000000.2s"), (90, "0000090.0s"), (75, "0000070.0s")],
)
def test_the_example_is_the_first_digit_of_the_first_wait(wait, queue):
    """One hop, so that it can be read."""
    entities = compile_topology(parse_topology(FILES["one queue"]), NAMES)
    shown = graph_of(entities, NAMES, wait=wait)
    assert [n.text for n in shown.nodes if n.key == "delay queue"] == [
        f"{NAMES.namespace}.delay.{queue}"
    ]


@pytest.mark.parametrize("form", ["mermaid", "svg"])
def test_the_command_writes_the_graph(cli, form):
    """Without a broker."""
    cli.write("topology.yaml", FILES["one queue"])
    shown = cli("topology", "graph", "topology.yaml", "--format", form)
    assert shown.code == 0
    assert cli("topology", "graph", "topology.yaml", "-f", form, "-o", "out").code == 0
    assert (cli.folder / "out").read_text() == shown.out
    assert "stem.default.dlq" in shown.out


def test_the_committed_picture_is_current():
    """Run 'make graph' and commit docs/topology.svg."""
    names = Names("stem")
    topology = load_topology(ROOT / "topology" / "default.yaml")
    drawn = graph_of(compile_topology(topology, names), names)
    assert (ROOT / "docs" / "topology.svg").read_text() == svg(drawn)
