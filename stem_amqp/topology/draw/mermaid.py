"""Write the graph as Mermaid, which GitHub, GitLab and many wikis render."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stem_amqp.durations import format_seconds
from stem_amqp.text import escaped_lines
from stem_amqp.topology.draw.graph import Edge, Graph, Node, delay_keys

_SHAPES = {
    "actor": ("([", "])"),
    "exchange": ("{{", "}}"),
    "external": ("{{", "}}"),
    "queue": ("[(", ")]"),
}
_ENTITIES = {
    "#": "#35;",
    "&": "#38;",
    "`": "#96;",
    '"': "#quot;",
    "<": "#lt;",
    ">": "#gt;",
    "\n": "<br/>",
}


def mermaid_text(graph: Graph) -> str:
    """Return a flowchart: pills are processes, hexagons exchanges, cylinders queues.

    Dotted arrows are the paths of failed and unroutable messages.
    """
    ids = {node.key: f"n{index}" for index, node in enumerate(graph.nodes)}
    inside = delay_keys(graph)
    lines = ["flowchart LR"]
    lines += [f"    {_node(ids, node)}" for node in graph.nodes if node.key not in inside]
    lines.append(f'    subgraph delays["{_text(_title(graph))}"]')
    lines += [f"        {_node(ids, node)}" for node in graph.nodes if node.key in inside]
    lines.append("    end")
    lines += [f"    {line}" for line in _edges(ids, graph.edges)]
    external = [ids[node.key] for node in graph.nodes if node.shape == "external"]
    if external:
        lines.append("    classDef external stroke-dasharray: 4 3")
        lines.append(f"    class {','.join(external)} external")
    return "\n".join(lines) + "\n"


def _title(graph: Graph) -> str:
    if graph.everything:
        return "delays"
    return f"delays, here a wait of {format_seconds(graph.wait)}"


def _node(ids: dict[str, str], node: Node) -> str:
    before, after = _SHAPES[node.shape]
    text = f"{node.text}\n{node.note}" if node.note else node.text
    return f'{ids[node.key]}{before}"{_text(text)}"{after}'


def _edges(ids: dict[str, str], edges: Iterable[Edge]) -> Iterator[str]:
    for edge in edges:
        arrow = "-.->" if edge.line == "failure" else "-->"
        label = f'|"{_text(edge.text)}"|' if edge.text else ""
        yield f"{ids[edge.source]} {arrow}{label} {ids[edge.target]}"


def _text(text: str) -> str:
    return "".join(_ENTITIES.get(character, character) for character in escaped_lines(text))
