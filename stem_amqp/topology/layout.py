"""Where the boxes of the picture are: columns, with room for buses between them.

From left to right: who publishes, exchanges, work queues, the worker, the exchange of dead letters,
dead-letter queues; each logical queue is a row. Beneath is a lane for what lost its queue.
"""

from __future__ import annotations

from collections.abc import Iterable

from stem_amqp.topology.delay_drawing import hop_width
from stem_amqp.topology.drawing import BOX_HEIGHT, SMALL_MONO, box_of
from stem_amqp.topology.graph import (
    DELAY_EXCHANGE,
    OPERATOR,
    PRODUCER,
    WORKER,
    Edge,
    Graph,
    delay_keys,
    exchange_key,
    queue_key,
)

MARGIN = 16.0
TRACK = 14.0
"""Pixels between two buses in a gap."""
PORT = 19.0
"""Pixels between two arrows into one box; a routing key stands above each."""
LANE = 62.0
"""Pixels from the rows to the lane beneath them."""
_ROW_GAP = 16.0


class Layout:
    """The places of all boxes but those of delays.

    Args:
        graph: what is drawn.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.boxes = {node.key: box_of(node) for node in graph.nodes}
        self.incoming: dict[str, list[Edge]] = {}
        for edge in graph.edges:
            self.incoming.setdefault(edge.target, []).append(edge)
        names = graph.names
        self.tasks, self.dead = exchange_key(names.tasks), exchange_key(names.dead)
        self.deliver, self.control = exchange_key(names.deliver), exchange_key(names.control)
        self.lost, self.parked = exchange_key(names.unroutable), queue_key(names.unroutable)
        self.delays = delay_keys(graph)
        logical = dict.fromkeys(n.logical for n in graph.nodes if n.logical is not None)
        self.rows = [(queue_key(names.work(q)), queue_key(names.dlq(q))) for q in logical]
        elsewhere = {self.dead, self.lost, self.deliver, self.control, *self.delays}
        self.hubs = [
            node.key
            for node in graph.nodes
            if node.shape in {"exchange", "external"} and node.key not in elsewhere
        ]
        self._columns()
        self._rows_and_hubs()
        self.lane = self.bottom + LANE
        for key in (self.lost, self.parked):
            self.boxes[key].y = self.lane

    def _columns(self) -> None:
        work = [row[0] for row in self.rows]
        hubs = [*self.hubs, self.deliver, self.control]
        x = self._column((PRODUCER, OPERATOR), MARGIN)
        self.gap0 = x
        x = self._column(hubs, x + self._gap(self.hubs))
        self.gap1 = x
        x = self._column(work, x + self._gap(work))
        self.gap2 = x
        # the way back through the delays ends right of the exchanges
        back = 0.0 if self.graph.everything else hop_width(self.boxes) + 96
        worker = max(x + 74, self.gap1 + back - self.boxes[WORKER].w / 2)
        x = self._column((WORKER,), worker)
        keys = [edge.text for edge in self.incoming.get(DELAY_EXCHANGE, ())]
        widest = max((len(part) for text in keys for part in text.split("\n")), default=18)
        x = self._column((self.dead, self.lost), x + max(110, widest * SMALL_MONO - 50))
        self.gap4 = x
        self._column([*(row[1] for row in self.rows), self.parked], x + self._gap4_width())

    def _column(self, keys: Iterable[str], x: float) -> float:
        """Put boxes below each other's left edge, as wide as the widest; return the right edge."""
        boxes = [self.boxes[key] for key in keys]
        width = max((box.w for box in boxes), default=0.0)
        for box in boxes:
            box.x, box.w = x, width
        return x + width

    def _gap(self, targets: list[str]) -> float:
        edges = [edge for key in targets for edge in self.bus_edges(key)]
        sources = len({(edge.source, edge.line) for edge in edges})
        widest = max((len(edge.text) for edge in edges), default=0)
        return max(44.0, 30 + sources * TRACK + widest * SMALL_MONO + 14)

    def _gap4_width(self) -> float:
        edges = [
            e for _, dlq in self.rows for e in self.incoming.get(dlq, ()) if e.source == self.dead
        ]
        widest = max((len(edge.text) for edge in edges), default=0)
        return max(60.0, 42 + widest * SMALL_MONO)

    def bus_edges(self, target: str) -> list[Edge]:
        """Return the edges that come into a box of the second or third column by a bus."""
        sources = {*self.hubs, self.deliver, self.control}
        return [
            edge
            for edge in self.incoming.get(target, ())
            if edge.source in sources and edge.line != "flow"
        ]

    def _rows_and_hubs(self) -> None:
        top = MARGIN + BOX_HEIGHT + 26
        row_heights = [self._needed(work) for work, _ in self.rows]
        hub_heights = [self._needed(hub) for hub in self.hubs]
        height = max(sum(row_heights), sum(hub_heights), 110.0)
        spare = (height - sum(row_heights)) / max(len(row_heights), 1)
        y = top
        for (work, dlq), needed in zip(self.rows, row_heights, strict=True):
            middle = y + (needed + spare) / 2
            for key in (work, dlq):
                self.boxes[key].y = middle - self.boxes[key].h / 2
            y += needed + spare
        spare = (height - sum(hub_heights)) / max(len(hub_heights), 1)
        y = top
        for hub, needed in zip(self.hubs, hub_heights, strict=True):
            box = self.boxes[hub]
            box.y = y + (needed + spare) / 2 - box.h / 2
            y += needed + spare
        middle = top + height / 2
        self.boxes[WORKER].y = self.boxes[self.dead].y = middle - BOX_HEIGHT / 2
        self.boxes[PRODUCER].y = self.boxes[self.tasks].y
        self.boxes[OPERATOR].y = self.boxes[self.control].y = MARGIN
        self.bottom = top + height

    def _needed(self, key: str) -> float:
        """Return the height of a row, after making the box high enough for its arrows."""
        ports = len(self.bus_edges(key))
        box = self.boxes[key]
        box.h = max(BOX_HEIGHT, ports * PORT + 6)
        return box.h + _ROW_GAP
