"""The delays as SVG: one hop as an example, or all eight levels with their nine queues each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stem_amqp.delay import LEVELS
from stem_amqp.durations import format_seconds
from stem_amqp.topology.drawing import BOX_HEIGHT, Box, Canvas
from stem_amqp.topology.graph import DELAY_EXCHANGE, DELAY_QUEUE, Graph, exchange_key, queue_key

_PAD = 14.0
_TITLE = 22.0
_ROW = BOX_HEIGHT + 30
_CELL = 76.0
_ARROW = 40.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """The place of the delays; ``out`` is the height at which they are left."""

    left: float
    top: float
    right: float
    bottom: float
    out: float


def hop_width(boxes: Mapping[str, Box]) -> float:
    """Return the width of the frame around one hop, in pixels."""
    return boxes[DELAY_EXCHANGE].w + boxes[DELAY_QUEUE].w + _ARROW + 2 * _PAD


def draw_delays(
    canvas: Canvas,
    graph: Graph,
    boxes: Mapping[str, Box],
    *,
    right: float,
    left: float,
    y: float,
) -> Frame:
    """Draw the delays and return their frame.

    Args:
        canvas: what to draw on.
        graph: the graph.
        boxes: the boxes of its nodes, by key.
        right: the right edge of the frame for one hop, in pixels.
        left: the left edge of the frame for all levels.
        y: the upper edge.
    """
    if graph.everything:
        return _levels(canvas, graph, boxes, left, y)
    return _one_hop(canvas, graph, boxes, right, y)


def _one_hop(
    canvas: Canvas, graph: Graph, boxes: Mapping[str, Box], right: float, y: float
) -> Frame:
    exchange, queue = boxes[DELAY_EXCHANGE], boxes[DELAY_QUEUE]
    exchange.x = right - _PAD - exchange.w
    queue.x = exchange.x - _ARROW - queue.w
    exchange.y = queue.y = y + _TITLE
    left = queue.x - _PAD
    height = _TITLE + BOX_HEIGHT + 12
    canvas.group(
        left, y, right - left, height, f"delays: here a wait of {format_seconds(graph.wait)}"
    )
    canvas.line([(right, exchange.cy), (exchange.right, exchange.cy)])
    canvas.line([(exchange.x, exchange.cy), (queue.right, queue.cy)])
    canvas.line([(queue.x, queue.cy), (left, queue.cy)], arrow=False)
    canvas.box(exchange)
    canvas.box(queue)
    return Frame(left=left, top=y, right=right, bottom=y + height, out=exchange.cy)


def _levels(canvas: Canvas, graph: Graph, boxes: Mapping[str, Box], left: float, y: float) -> Frame:
    names = graph.names
    width = max(boxes[exchange_key(names.delay_exchange(level))].w for level in range(LEVELS))
    first = left + _PAD
    cells = first + width + 34
    right = cells + 9 * _CELL + _PAD
    height = _TITLE + LEVELS * _ROW + 8
    title = (
        "delays: an exchange for each digit of the wait, in units of 100 ms; a digit waits in its"
        " queue, 0 passes on at once"
    )
    canvas.group(left, y, right - left, height, title)
    for row, level in enumerate(reversed(range(LEVELS))):
        exchange = boxes[exchange_key(names.delay_exchange(level))]
        exchange.x, exchange.y, exchange.w = first, y + _TITLE + row * _ROW, width
        low = exchange.bottom + 10
        canvas.line([(exchange.right, exchange.cy), (cells, exchange.cy)])
        canvas.line(
            [(exchange.cx, exchange.bottom), (exchange.cx, exchange.bottom + 30)], arrow=level > 0
        )
        canvas.text((exchange.cx + 6, exchange.bottom + 25), "0")
        last = cells + 8 * _CELL + _CELL / 2 - 4
        canvas.line([(last, low), (exchange.cx, low)], arrow=False)
        for digit in range(1, 10):
            _cell(
                canvas,
                boxes[queue_key(names.delay_queue(level, digit))],
                cells + (digit - 1) * _CELL,
                exchange.y,
            )
        canvas.box(exchange)
    out = y + _TITLE + LEVELS * _ROW
    canvas.line([(first + width / 2, out), (left, out)], arrow=False)
    return Frame(left=left, top=y, right=right, bottom=y + height, out=out)


def _cell(canvas: Canvas, box: Box, x: float, y: float) -> None:
    """Draw a delay queue by its wait alone; the whole name is its title."""
    box.x, box.y, box.w = x, y, _CELL - 8
    canvas.line([(box.cx, box.bottom), (box.cx, box.bottom + 10)], arrow=False)
    canvas.cell(box)
