"""Boxes, lines and texts as SVG: real text, legible on light and on dark ground."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Literal

from stem_amqp.topology.graph import Line, Node

MONO = 7.3
"""Width of one character of a name, in pixels."""
SMALL_MONO = 6.4
"""Width of one character of a routing key."""
SMALL = 5.6
"""Mean width of one character of a remark."""
BOX_HEIGHT = 38.0
_LONGEST = 44
"""Characters of a name that are shown; the whole name is in the box's title."""
_SLANT = 9.0
Anchor = Literal["start", "middle", "end"]
Point = tuple[float, float]

STYLE = """\
  .paper { fill: #ffffff; }
  text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328; }
  .name { font: 12px ui-monospace, SFMono-Regular, Menlo, "DejaVu Sans Mono", monospace; }
  .key { font: 10.5px ui-monospace, SFMono-Regular, Menlo, "DejaVu Sans Mono", monospace; }
  .key, .note { fill: #59636e; }
  .note { font-size: 10.5px; }
  .box { stroke-width: 1.3; }
  .actor { fill: #f6f8fa; stroke: #59636e; }
  .exchange, .external { fill: #ddf4ff; stroke: #0969da; }
  .external { stroke-dasharray: 4 3; }
  .queue { fill: #fff8c5; stroke: #9a6700; }
  .end { fill: none; stroke: #9a6700; stroke-width: 1.3; }
  .group { fill: none; stroke: #818b98; stroke-dasharray: 2 3; }
  .line { fill: none; stroke: #59636e; stroke-width: 1.2; }
  .failure { stroke: #cf222e; stroke-dasharray: 5 3; }
  .tip { fill: #59636e; }
  .failed { fill: #cf222e; }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117; }
    text { fill: #e6edf3; }
    .key, .note { fill: #9198a1; }
    .actor { fill: #151b23; stroke: #9198a1; }
    .exchange, .external { fill: #0c2d4d; stroke: #4493f8; }
    .queue { fill: #332700; stroke: #d29922; }
    .end { stroke: #d29922; }
    .group { stroke: #656c76; }
    .line { stroke: #9198a1; }
    .failure { stroke: #f85149; }
    .tip { fill: #9198a1; }
    .failed { fill: #f85149; }
  }
"""


@dataclass(slots=True)
class Box:
    """A node with its place; x and y are its upper left corner, in pixels."""

    node: Node
    x: float = 0.0
    y: float = 0.0
    w: float = 0.0
    h: float = BOX_HEIGHT

    @property
    def right(self) -> float:
        """The right edge."""
        return self.x + self.w

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.y + self.h

    @property
    def cx(self) -> float:
        """The middle, from left to right."""
        return self.x + self.w / 2

    @property
    def cy(self) -> float:
        """The middle, from top to bottom."""
        return self.y + self.h / 2


def box_of(node: Node) -> Box:
    """Return a box that is wide enough for its texts."""
    text = len(_shortened(node.text)) * MONO
    width = max(text, len(node.note) * SMALL) + (38 if node.shape == "queue" else 30)
    return Box(node=node, w=width)


@dataclass(slots=True)
class Canvas:
    """Collects what is drawn."""

    parts: list[str] = field(default_factory=list)
    width: float = 0.0
    height: float = 0.0

    def box(self, box: Box) -> None:
        """Draw a node: a hexagon, a queue with an open end, or a pill."""
        node = box.node
        self._grow(box.right, box.bottom)
        self.parts.append(f"<g><title>{escape(node.text)}</title>")
        x, y, r, b, c = box.x, box.y, box.right, box.bottom, box.cy
        if node.shape in {"exchange", "external"}:
            corners = (
                f"{x:.1f},{c:.1f} {x + _SLANT:.1f},{y:.1f} {r - _SLANT:.1f},{y:.1f}"
                f" {r:.1f},{c:.1f} {r - _SLANT:.1f},{b:.1f} {x + _SLANT:.1f},{b:.1f}"
            )
            self.parts.append(f'<polygon class="box {node.shape}" points="{corners}"/>')
        else:
            radius = 3 if node.shape == "queue" else BOX_HEIGHT / 2
            self.parts.append(
                f'<rect class="box {node.shape}" x="{x:.1f}" y="{y:.1f}" width="{box.w:.1f}"'
                f' height="{box.h:.1f}" rx="{radius:g}"/>'
            )
        middle = box.cx
        if node.shape == "queue":
            middle -= 5
            bars = " ".join(f"M{r - d:.1f} {y:.1f}V{b:.1f}" for d in (5, 10))
            self.parts.append(f'<path class="end" d="{bars}"/>')
        low = c + (4 if not node.note else -2)
        self.text((middle, low), _shortened(node.text), style="name", anchor="middle")
        if node.note:
            self.text((middle, c + 12), node.note, anchor="middle")
        self.parts.append("</g>")

    def cell(self, box: Box) -> None:
        """Draw a queue with its remark alone; its name is the title."""
        self._grow(box.right, box.bottom)
        self.parts.append(
            f"<g><title>{escape(box.node.text)}</title>"
            f'<rect class="box queue" x="{box.x:.1f}" y="{box.y:.1f}" width="{box.w:.1f}"'
            f' height="{box.h:.1f}" rx="3"/>'
        )
        self.text((box.cx, box.cy + 4), box.node.note, anchor="middle")
        self.parts.append("</g>")

    def line(self, points: list[Point], kind: Line = "flow", *, arrow: bool = True) -> None:
        """Draw a line through points, with a tip at its end."""
        for x, y in points:
            self._grow(x, y)
        path = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        failure = kind == "failure"
        self.parts.append(f'<path class="line{" failure" if failure else ""}" d="{path}"/>')
        if arrow:
            self._tip(points[-2], points[-1], failed=failure)

    def _tip(self, before: Point, end: Point, *, failed: bool) -> None:
        (x, y), across = end, abs(end[0] - before[0]) >= abs(end[1] - before[1])
        sign = 1 if (end[0] > before[0] if across else end[1] > before[1]) else -1
        if across:
            corners = (
                f"{x:.1f},{y:.1f} {x - 7 * sign:.1f},{y - 3.5:.1f} {x - 7 * sign:.1f},{y + 3.5:.1f}"
            )
        else:
            corners = (
                f"{x:.1f},{y:.1f} {x - 3.5:.1f},{y - 7 * sign:.1f} {x + 3.5:.1f},{y - 7 * sign:.1f}"
            )
        self.parts.append(f'<polygon class="tip{" failed" if failed else ""}" points="{corners}"/>')

    def text(self, at: Point, text: str, *, style: str = "note", anchor: Anchor = "start") -> None:
        """Write a line of text; ``at`` is on its base line."""
        width = len(text) * (SMALL if style == "note" else SMALL_MONO)
        self._grow(at[0] + (width if anchor == "start" else 0), at[1])
        self.parts.append(
            f'<text class="{style}" x="{at[0]:.1f}" y="{at[1]:.1f}" text-anchor="{anchor}">'
            f"{escape(text)}</text>"
        )

    def group(self, x: float, y: float, width: float, height: float, title: str) -> None:
        """Draw a frame around what belongs together."""
        self._grow(x + width, y + height)
        self.parts.append(
            f'<rect class="group" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}"'
            f' height="{height:.1f}" rx="8"/>'
        )
        self.text((x + 10, y + 15), title)

    def svg(self, title: str, margin: float = 16.0) -> str:
        """Return the whole picture."""
        width, height = round(self.width + margin), round(self.height + margin)
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
            f' width="{width}" height="{height}" role="img" aria-label="{escape(title)}">'
        )
        paper = f'<rect class="paper" width="{width}" height="{height}" rx="6"/>'
        body = "\n".join(self.parts)
        return f"{head}\n<title>{escape(title)}</title>\n<style>\n{STYLE}</style>\n{paper}\n{body}\n</svg>\n"

    def _grow(self, x: float, y: float) -> None:
        self.width, self.height = max(self.width, x), max(self.height, y)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
