"""The graph as SVG: the lines between the boxes. Lines that belong together share a bus."""

from __future__ import annotations

from stem_amqp.topology.delay_drawing import draw_delays
from stem_amqp.topology.drawing import BOX_HEIGHT, Anchor, Box, Canvas, Point
from stem_amqp.topology.graph import OPERATOR, PRODUCER, WORKER, Edge, Graph, Line
from stem_amqp.topology.layout import MARGIN, PORT, TRACK, Layout


def svg(graph: Graph) -> str:
    """Return the graph as an SVG document."""
    return _Picture(graph).draw()


class _Picture:
    """Draws the lines, then the boxes over them."""

    def __init__(self, graph: Graph) -> None:
        self._graph, self._canvas, self._at = graph, Canvas(), Layout(graph)
        self._drawn: set[Edge] = set()

    def draw(self) -> str:
        """Draw everything."""
        self._lanes()
        self._lines()
        self._rest()
        for key, box in self._at.boxes.items():
            if key not in self._at.delays:
                self._canvas.box(box)
        return self._canvas.svg(f"Topology of the namespace {self._graph.names.namespace}")

    def _lanes(self) -> None:
        lane = self._at.lane
        worker, deliver = self._at.boxes[WORKER], self._at.boxes[self._at.deliver]
        top = lane - 24 if not self._graph.everything else lane + BOX_HEIGHT + 50
        frame = draw_delays(
            self._canvas,
            self._graph,
            self._at.boxes,
            right=worker.cx - 34,
            left=self._at.gap1 + 74,
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
        inside = {*self._at.delays, WORKER, self._at.deliver}
        self._drawn.update(
            e
            for e in self._graph.edges
            if {e.source, e.target} <= inside and {e.source, e.target} & self._at.delays
        )
        self._bottom_lane = max(lane + BOX_HEIGHT, frame.bottom, deliver.bottom) + 18
        self._frame = frame

    def _way_in(self, worker: Box, y: float) -> None:
        edge = next(
            e for e in self._graph.edges if e.source == WORKER and e.target in self._at.delays
        )
        words, *key = edge.text.split("\n")
        self._canvas.text((worker.cx + 8, y), words)
        for part in key:
            self._canvas.text((worker.cx + 8, y + 14), part, style="key")

    def _lines(self) -> None:
        boxes, canvas = self._at.boxes, self._canvas
        producer, tasks, worker = boxes[PRODUCER], boxes[self._at.tasks], boxes[WORKER]
        canvas.line([(producer.right, producer.cy), (tasks.x, producer.cy)])
        self._drawn.add(Edge(source=PRODUCER, target=self._at.tasks))
        operator, control = boxes[OPERATOR], boxes[self._at.control]
        canvas.line([(operator.right, operator.cy), (control.x, control.cy)])
        canvas.line([(control.right, control.cy), (worker.cx, control.cy), (worker.cx, worker.y)])
        canvas.text((control.right + 10, control.cy - 6), "commands")
        self._drawn.update(
            e
            for e in self._graph.edges
            if self._at.control in {e.source, e.target} and e.line == "flow"
        )
        self._buses([row[0] for row in self._at.rows], self._at.gap1)
        self._buses(self._at.hubs, self._at.gap0, backwards=True)
        self._out_of_queues()
        self._dead_letters()
        self._lost_ones()

    def _buses(self, targets: list[str], left: float, *, backwards: bool = False) -> None:
        """Draw the bindings into a column: one bus for each source, an arrow for each binding."""
        taps: dict[tuple[str, Line], list[float]] = {}
        canvas = self._canvas
        edges = [edge for key in targets for edge in self._at.bus_edges(key)]
        tracks = {(edge.source, edge.line): 0.0 for edge in edges}
        for index, bus in enumerate(tracks):
            tracks[bus] = left + 22 + index * TRACK
        for key in targets:
            box, incoming = self._at.boxes[key], self._at.bus_edges(key)
            for index, edge in enumerate(incoming):
                y = box.cy + (index - (len(incoming) - 1) / 2) * PORT
                y += 5 if incoming else 0
                x = box.x + (0 if box.node.shape == "queue" else abs(y - box.cy) / 2)
                bus = edge.source, edge.line
                canvas.line([(tracks[bus], y), (x, y)], edge.line)
                canvas.text((box.x - 11, y - 4), edge.text, style="key", anchor="end")
                taps.setdefault(bus, []).append(y)
                self._drawn.add(edge)
        for bus, ys in taps.items():
            self._bus(bus, tracks[bus], ys, backwards=backwards)

    def _bus(self, bus: tuple[str, Line], x: float, ys: list[float], *, backwards: bool) -> None:
        source, kind = self._at.boxes[bus[0]], bus[1]
        start = source.cy
        if source.node.key == self._at.deliver:
            # the arrow out of the delays comes from the right
            start = source.y - 12
            self._canvas.line(
                [(source.cx, source.y), (source.cx, start), (x, start)], kind, arrow=False
            )
        elif backwards:
            start += 10
            self._canvas.line([(source.x + 4, start), (x, start)], kind, arrow=False)
        else:
            self._canvas.line([(source.right, start), (x, start)], kind, arrow=False)
        self._canvas.line([(x, min(start, *ys)), (x, max(start, *ys))], kind, arrow=False)

    def _out_of_queues(self) -> None:
        """Draw what leaves a work queue: to the worker, and dead letters of the broker's own."""
        canvas, worker, dead = self._canvas, self._at.boxes[WORKER], self._at.boxes[self._at.dead]
        work = [self._at.boxes[row[0]] for row in self._at.rows]
        if not work:
            return
        runs, fails = self._at.gap2 + 22, self._at.gap2 + 40
        for box in work:
            canvas.line([(box.right, box.cy), (runs, box.cy)], arrow=False)
            canvas.line([(box.right, box.cy + 12), (fails, box.cy + 12)], "failure", arrow=False)
        ys = [box.cy for box in work]
        canvas.line([(runs, min(*ys, worker.cy)), (runs, max(*ys, worker.cy))], arrow=False)
        canvas.line([(runs, worker.cy), (worker.x, worker.cy)])
        low, into = self._at.bottom + 8, dead.cx - 14
        canvas.line(
            [(fails, min(ys) + 12), (fails, low), (into, low), (into, dead.bottom)],
            "failure",
        )
        canvas.text((worker.cx + 8, low - 18), "rejected, expired,")
        canvas.text((worker.cx + 8, low - 5), "delivery limit")
        canvas.line([(worker.right, worker.cy), (dead.x, dead.cy)], "failure")
        canvas.text(((worker.right + dead.x) / 2, dead.cy - 6), "failed for good", anchor="middle")
        keys = {row[0] for row in self._at.rows} | {WORKER}
        self._drawn.update(
            e for e in self._graph.edges if e.source in keys and e.target in {WORKER, self._at.dead}
        )

    def _dead_letters(self) -> None:
        dead, x = self._at.boxes[self._at.dead], self._at.gap4 + 18
        ys = []
        for _, dlq in self._at.rows:
            box = self._at.boxes[dlq]
            for edge in self._at.incoming.get(dlq, ()):
                if edge.source == self._at.dead:
                    self._canvas.line([(x, box.cy), (box.x, box.cy)])
                    at = (box.x - 11, box.cy - 4)
                    self._canvas.text(at, edge.text, style="key", anchor="end")
                    ys.append(box.cy)
                    self._drawn.add(edge)
        if ys:
            self._canvas.line([(dead.right, dead.cy), (x, dead.cy)], arrow=False)
            self._canvas.line([(x, min(*ys, dead.cy)), (x, max(*ys, dead.cy))], arrow=False)

    def _lost_ones(self) -> None:
        dead, lost = self._at.boxes[self._at.dead], self._at.boxes[self._at.lost]
        parked, deliver = self._at.boxes[self._at.parked], self._at.boxes[self._at.deliver]
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
            (self._at.dead, self._at.lost),
            (self._at.deliver, self._at.lost),
            (self._at.lost, self._at.parked),
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
            if edge in self._drawn:
                continue
            source, target = self._at.boxes[edge.source], self._at.boxes[edge.target]
            if edge.source == self._at.dead and edge.target in self._at.hubs:
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
        x, y, down = source.cx + 6 * number, MARGIN + BOX_HEIGHT + 16, target.cy - 8
        aside = self._at.gap1 + 5 + 4 * number
        y -= 6 * number
        edge = target.right - abs(down - target.cy) / 2
        return [(x, source.y), (x, y), (aside, y), (aside, down), (edge, down)]


def _straight(source: Box, target: Box) -> tuple[list[Point], Point, Anchor]:
    forward = source.cx < target.cx
    start = (source.right if forward else source.x, source.cy - 6)
    end = (target.x if forward else target.right, target.cy - 6)
    return [start, end], ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 - 4), "middle"
