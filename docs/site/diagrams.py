"""Mermaid blocks as pictures: drawn while the site is built, so a reader's browser needs no script."""

from typing import Any, ClassVar

import mermaidx
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

OWN_ID = "my-svg"  # what mermaid calls every picture; its style sheet is scoped by it


class Mermaid(SphinxDirective):
    """A fenced block ``mermaid``, which GitHub draws as well."""

    has_content = True
    option_spec: ClassVar = {}

    def run(self) -> list[nodes.Node]:
        """Draw the block's text."""
        try:
            svg = mermaidx.render("\n".join(self.content)).svg()
        except Exception as error:
            raise self.error(f"mermaid: {error}") from error
        name = f"diagram-{self.env.new_serialno('diagram')}"
        picture = svg.replace(OWN_ID, name)
        return [nodes.raw("", f'<div class="diagram">{picture}</div>', format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("mermaid", Mermaid)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
