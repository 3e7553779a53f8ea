"""Renders Mermaid blocks as SVG during the build, so that a reader's browser needs no script."""

from typing import Any, ClassVar

import mermaidx
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

OWN_ID = "my-svg"  # the id that mermaid gives every picture, which scopes its style sheet
THEMES = {"light": "default", "dark": "dark"}  # a theme of the site, and mermaid's theme for it


class Mermaid(SphinxDirective):
    """A fenced block ``mermaid``, which GitHub renders too."""

    has_content = True
    option_spec: ClassVar = {}

    def run(self) -> list[nodes.Node]:
        """Render the block for each theme of the site, which shows the matching picture."""
        name = f"diagram-{self.env.new_serialno('diagram')}"
        pictures = [
            f'<div class="diagram only-{theme}">{self._drawn(mermaid, f"{name}-{theme}")}</div>'
            for theme, mermaid in THEMES.items()
        ]
        return [nodes.raw("", "".join(pictures), format="html")]

    def _drawn(self, theme: str, name: str) -> str:
        try:
            svg = mermaidx.render("\n".join(self.content), theme=theme).svg()
        except Exception as error:
            raise self.error(f"mermaid: {error}") from error
        return str(svg.replace(OWN_ID, name))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("mermaid", Mermaid)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
