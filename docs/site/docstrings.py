"""Support for this project's style of docstrings."""

from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.napoleon.docstring import GoogleDocstring


def _as_it_stands(docstring: GoogleDocstring) -> list[str]:
    return docstring._dedent(docstring._consume_to_end())  # noqa: SLF001 - there is no option for it


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx, so that a property's docstring may contain a colon.

    Otherwise napoleon reads the text before the colon as a type.
    """
    del app
    GoogleDocstring._parse_attribute_docstring = _as_it_stands  # noqa: SLF001
    return {"parallel_read_safe": True, "parallel_write_safe": True}
