"""The graph as SVG. The layout is made for this one topology: columns, with buses between them.

From left to right: who publishes, exchanges, work queues, the worker, the exchange of dead letters,
dead-letter queues; each logical queue is a row. Beneath runs the way back through the delays.
"""

from __future__ import annotations

from collections.abc import Iterable

from stem_amqp.topology.delay_drawing import draw_delays, hop_width
from stem_amqp.topology.drawing import BOX_HEIGHT, SMALL_MONO, Anchor, Box, Canvas, Point, box_of
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

_MARGIN = 16.0
_TRACK = 14.0
"""Pixels between two buses in a gap."""
_PORT = 19.0
"""Pixels between two arrows into one box; a routing key stands above each."""
_ROW_GAP = 16.0
_LANE = 62.0
"""Pixels from the rows to the lane beneath them."""


def svg(graph: Graph) -> str:
    """Return the graph as an SVG document."""
    return _Picture(graph).draw()


class _Picture:
    """Places the boxes, then draws the lines between them."""

    def __init__(self, graph: Graph) -> None:
        self._graph, self._canvas = graph, Canvas()
        self._boxes = {node.key: box_of(node) for node in graph.nodes}
        self._in: dict[str, list[Edge]] = {}
        for edge in graph.edges:
            self._in.setdefault(edge.target, []).append(edge)
        names = graph.names
        self._tasks, self._dead = exchange_key(names.tasks), exchange_key(names.dead)
        self._deliver, self._control = exchange_key(names.deliver), exchange_key(names.control)
        self._lost, self._parked = exchange_key(names.unroutable), queue_key(names.unroutable)
        self._delays = delay_keys(graph)
        logical = dict.fromkeys(n.logical for n in graph.nodes if n.logical is not None)
        self._rows = [(queue_key(names.work(q)), queue_key(names.dlq(q))) for q in logical]
        elsewhere = {self._dead, self._lost, self._deliver, self._control, *self._delays}
        self._hubs = [
            node.key
            for node in graph.nodes
            if node.shape in {"exchange", "external"} and node.key not in elsewhere
        ]
        self._drawn: set[Edge] = set()
        self._bottom = 0.0

    def draw(self) -> str:
        """Place and draw everything."""
        self._columns()
        self._rows_and_hubs()
        self._lanes()
        self._lines()
        self._rest()
        for key, box in self._boxes.items():
            if key not in self._delays:
                self._canvas.box(box)
        return self._canvas.svg(f"Topology of the namespace {self._graph.names.namespace}")

    # places ------------------------------------------------------------------------------------

    def _columns(self) -> None:
        work = [row[0] for row in self._rows]
        hubs = [*self._hubs, self._deliver, self._control]
        x = self._column((PRODUCER, OPERATOR), _MARGIN)
        self._gap0 = x
        x = self._column(hubs, x + self._gap(self._hubs))
        self._gap1 = x
        x = self._column(work, x + self._gap(work))
        self._gap2 = x
        # the way back through the delays ends right of the exchanges
        back = 0.0 if self._graph.everything else hop_width(self._boxes) + 96
        worker = max(x + 74, self._gap1 + back - self._boxes[WORKER].w / 2)
        x = self._column((WORKER,), worker)
        keys = [edge.text for edge in self._in.get(DELAY_EXCHANGE, ())]
        widest = max((len(part) for text in keys for part in text.split("\n")), default=18)
        x = self._column((self._dead, self._lost), x + max(110, widest * SMALL_MONO - 50))
        self._gap4 = x
        self._column([*(row[1] for row in self._rows), self._parked], x + self._gap4_width())

    def _column(self, keys: Iterable[str], x: float) -> float:
        """Put boxes below each other's left edge, as wide as the widest; return the right edge."""
        boxes = [self._boxes[key] for key in keys]
        width = max((box.w for box in boxes), default=0.0)
        for box in boxes:
            box.x, box.w = x, width
        return x + width

    def _gap(self, targets: list[str]) -> float:
        edges = [edge for key in targets for edge in self._bus_edges(key)]
        sources = len({edge.source for edge in edges})
        widest = max((len(edge.text) for edge in edges), default=0)
        return max(44.0, 30 + sources * _TRACK + widest * SMALL_MONO + 14)

    def _gap4_width(self) -> float:
        edges = [
            e for _, dlq in self._rows for e in self._in.get(dlq, ()) if e.source == self._dead
        ]
        widest = max((len(edge.text) for edge in edges), default=0)
        return max(60.0, 42 + widest * SMALL_MONO)

    def _bus_edges(self, target: str) -> list[Edge]:
        """Return the bindings that come into a box of the second or third column by a bus."""
        sources = {*self._hubs, self._deliver, self._control}
        return [
            edge
            for edge in self._in.get(target, ())
            if edge.source in sources and edge.line == "binding"
        ]

    def _rows_and_hubs(self) -> None:
        top = _MARGIN + BOX_HEIGHT + 26
        row_heights = [self._needed(work) for work, _ in self._rows]
        hub_heights = [self._needed(hub) for hub in self._hubs]
        height = max(sum(row_heights), sum(hub_heights), 110.0)
        spare = (height - sum(row_heights)) / max(len(row_heights), 1)
        y = top
        for (work, dlq), needed in zip(self._rows, row_heights, strict=True):
            middle = y + (needed + spare) / 2
            for key in (work, dlq):
                self._boxes[key].y = middle - self._boxes[key].h / 2
            y += needed + spare
        spare = (height - sum(hub_heights)) / max(len(hub_heights), 1)
        y = top
        for hub, needed in zip(self._hubs, hub_heights, strict=True):
            box = self._boxes[hub]
            box.y = y + (needed + spare) / 2 - box.h / 2
            y += needed + spare
        middle = top + height / 2
        self._boxes[WORKER].y = self._boxes[self._dead].y = middle - BOX_HEIGHT / 2
        self._boxes[PRODUCER].y = self._boxes[self._tasks].y
        self._boxes[OPERATOR].y = self._boxes[self._control].y = _MARGIN
        self._bottom = top + height

    def _needed(self, key: str) -> float:
        """Return the height of a row, after making the box high enough for its arrows."""
        ports = len(self._bus_edges(key))
        box = self._boxes[key]
        box.h = max(BOX_HEIGHT, ports * _PORT + 6)
        return box.h + _ROW_GAP

    def _lanes(self) -> None:
        lane = self._bottom + _LANE
        for key in (self._lost, self._parked):
            self._boxes[key].y = lane
        worker, deliver = self._boxes[WORKER], self._boxes[self._deliver]
        top = lane - 24 if not self._graph.everything else lane + BOX_HEIGHT + 50
        frame = draw_delays(
            self._canvas,
            self._graph,
            self._boxes,
            right=worker.cx - 34,
            left=self._gap1 + 74,
            y=top,
        )
        deliver.y = frame.out - BOX_HEIGHT / 2
        after = f"after {self._graph.wait:g} s" if not self._graph.everything else "in the end"
        self._canvas.line([(frame.left, frame.out), (deliver.right, frame.out)])
        self._canvas.text((frame.left - 8, frame.out - 6), after, anchor="end")
        turn = frame.out if not self._graph.everything else frame.top
        points = [(worker.cx, worker.bottom), (worker.cx, turn)]
        if not self._graph.everything:
            points.append((frame.right, frame.out))
        self._canvas.line(points)
        self._way_in(worker, lane - 22)
        self._drawn.update(e for e in self._graph.edges if {e.source, e.target} & self._delays)
        self._bottom_lane = max(lane + BOX_HEIGHT, frame.bottom, deliver.bottom) + 18
        self._frame = frame

    def _way_in(self, worker: Box, y: float) -> None:
        edge = next(e for e in self._graph.edges if e.source == WORKER and e.target in self._delays)
        words, *key = edge.text.split("\n")
        self._canvas.text((worker.cx + 8, y), words)
        for part in key:
            self._canvas.text((worker.cx + 8, y + 14), part, style="key")

    # lines -------------------------------------------------------------------------------------

    def _lines(self) -> None:
        boxes, canvas = self._boxes, self._canvas
        producer, tasks, worker = boxes[PRODUCER], boxes[self._tasks], boxes[WORKER]
        canvas.line([(producer.right, producer.cy), (tasks.x, producer.cy)])
        self._drawn.add(Edge(source=PRODUCER, target=self._tasks))
        operator, control = boxes[OPERATOR], boxes[self._control]
        canvas.line([(operator.right, operator.cy), (control.x, control.cy)])
        canvas.line([(control.right, control.cy), (worker.cx, control.cy), (worker.cx, worker.y)])
        canvas.text((control.right + 10, control.cy - 6), "commands")
        self._drawn.update(
            e
            for e in self._graph.edges
            if self._control in {e.source, e.target} and e.line == "flow"
        )
        self._buses([row[0] for row in self._rows], self._gap1)
        self._buses(self._hubs, self._gap0, backwards=True)
        self._out_of_queues()
        self._dead_letters()
        self._lost_ones()

    def _buses(self, targets: list[str], left: float, *, backwards: bool = False) -> None:
        """Draw the bindings into a column: one bus for each source, an arrow for each binding."""
        taps: dict[str, list[float]] = {}
        canvas = self._canvas
        edges = [edge for key in targets for edge in self._bus_edges(key)]
        tracks = {edge.source: 0.0 for edge in edges}
        for index, source in enumerate(tracks):
            tracks[source] = left + 22 + index * _TRACK
        for key in targets:
            box, incoming = self._boxes[key], self._bus_edges(key)
            for index, edge in enumerate(incoming):
                y = box.cy + (index - (len(incoming) - 1) / 2) * _PORT
                y += 5 if incoming else 0
                x = box.x + (0 if box.node.shape == "queue" else abs(y - box.cy) / 2)
                canvas.line([(tracks[edge.source], y), (x, y)])
                canvas.text((box.x - 11, y - 4), edge.text, style="key", anchor="end")
                taps.setdefault(edge.source, []).append(y)
                self._drawn.add(edge)
        for source, ys in taps.items():
            self._bus(self._boxes[source], tracks[source], ys, backwards=backwards)

    def _bus(self, source: Box, x: float, ys: list[float], *, backwards: bool) -> None:
        start = source.cy
        if source.node.key == self._deliver:
            # the arrow out of the delays comes from the right
            start = source.y - 12
            self._canvas.line([(source.cx, source.y), (source.cx, start), (x, start)], arrow=False)
        elif backwards:
            start += 10
            self._canvas.line([(source.x + 4, start), (x, start)], arrow=False)
        else:
            self._canvas.line([(source.right, start), (x, start)], arrow=False)
        self._canvas.line([(x, min(start, *ys)), (x, max(start, *ys))], arrow=False)

    def _out_of_queues(self) -> None:
        """Draw what leaves a work queue: to the worker, and dead letters of the broker's own."""
        canvas, worker, dead = self._canvas, self._boxes[WORKER], self._boxes[self._dead]
        work = [self._boxes[row[0]] for row in self._rows]
        if not work:
            return
        runs, fails = self._gap2 + 22, self._gap2 + 40
        for box in work:
            canvas.line([(box.right, box.cy), (runs, box.cy)], arrow=False)
            canvas.line([(box.right, box.cy + 12), (fails, box.cy + 12)], "failure", arrow=False)
        ys = [box.cy for box in work]
        canvas.line([(runs, min(*ys, worker.cy)), (runs, max(*ys, worker.cy))], arrow=False)
        canvas.line([(runs, worker.cy), (worker.x, worker.cy)])
        low, into = self._bottom + 8, dead.cx - 14
        canvas.line(
            [(fails, min(ys) + 12), (fails, low), (into, low), (into, dead.bottom)],
            "failure",
        )
        canvas.text((worker.cx + 8, low - 18), "rejected, expired,")
        canvas.text((worker.cx + 8, low - 5), "delivery limit")
        canvas.line([(worker.right, worker.cy), (dead.x, dead.cy)], "failure")
        canvas.text(((worker.right + dead.x) / 2, dead.cy - 6), "failed for good", anchor="middle")
        keys = {row[0] for row in self._rows} | {WORKER}
        self._drawn.update(
            e for e in self._graph.edges if e.source in keys and e.target in {WORKER, self._dead}
        )

    def _dead_letters(self) -> None:
        dead, x = self._boxes[self._dead], self._gap4 + 18
        ys = []
        for _, dlq in self._rows:
            box = self._boxes[dlq]
            for edge in self._in.get(dlq, ()):
                if edge.source == self._dead:
                    self._canvas.line([(x, box.cy), (box.x, box.cy)])
                    at = (box.x - 11, box.cy - 4)
                    self._canvas.text(at, edge.text, style="key", anchor="end")
                    ys.append(box.cy)
                    self._drawn.add(edge)
        if ys:
            self._canvas.line([(dead.right, dead.cy), (x, dead.cy)], arrow=False)
            self._canvas.line([(x, min(*ys, dead.cy)), (x, max(*ys, dead.cy))], arrow=False)

    def _lost_ones(self) -> None:
        dead, lost = self._boxes[self._dead], self._boxes[self._lost]
        parked, deliver = self._boxes[self._parked], self._boxes[self._deliver]
        canvas, x = self._canvas, dead.cx + 14
        canvas.line([(x, dead.bottom), (x, lost.y)], "failure")
        canvas.text((x + 8, lost.y - 14), "no such queue")
        canvas.line([(lost.right, lost.cy), (parked.x, parked.cy)])
        low = self._bottom_lane
        points = [(deliver.cx, deliver.bottom), (deliver.cx, low)]
        if self._graph.everything:
            aside, above = max(self._frame.right, parked.right) + 16, self._frame.top - 20
            points += [(aside, low), (aside, above), (lost.cx, above)]
        else:
            points.append((lost.cx, low))
        canvas.line([*points, (lost.cx, lost.bottom)], "failure")
        canvas.text((deliver.cx + 10, low - 5), "no such queue")
        for source, target in (
            (self._dead, self._lost),
            (self._deliver, self._lost),
            (self._lost, self._parked),
        ):
            self._drawn.update(
                e for e in self._graph.edges if (e.source, e.target) == (source, target)
            )

    def _rest(self) -> None:
        """Draw what has no place in the layout, so that nothing is left out."""
        back = 0
        at: Point
        anchor: Anchor
        for edge in self._graph.edges:
            if edge in self._drawn or {edge.source, edge.target} & self._delays:
                continue
            source, target = self._boxes[edge.source], self._boxes[edge.target]
            if edge.source == self._dead and edge.target in self._hubs:
                points = self._over_the_top(source, target, back)
                at, anchor = (points[0][0] - 8, points[1][1] - 4), "end"
                back += 1
            else:
                points, at, anchor = _straight(source, target)
            self._canvas.line(points, edge.line)
            style = "key" if edge.line == "binding" else "note"
            self._canvas.text(at, edge.text, style=style, anchor=anchor)

    def _over_the_top(self, source: Box, target: Box, number: int) -> list[Point]:
        """Go back to the exchanges above all queues, where nothing is crossed but the commands."""
        x, y, down = source.cx + 6 * number, _MARGIN + BOX_HEIGHT + 16, target.cy - 8
        aside = self._gap1 + 5 + 4 * number
        y -= 6 * number
        edge = target.right - abs(down - target.cy) / 2
        return [(x, source.y), (x, y), (aside, y), (aside, down), (edge, down)]


def _straight(source: Box, target: Box) -> tuple[list[Point], Point, Anchor]:
    forward = source.cx < target.cx
    start = (source.right if forward else source.x, source.cy - 6)
    end = (target.x if forward else target.right, target.cy - 6)
    return [start, end], ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 - 4), "middle"
