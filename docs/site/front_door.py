"""Redirects from the site's root to its first page, which is in docs/ as in the repository."""

from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

DOOR = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>stem-amqp</title>
<meta http-equiv="refresh" content="0; url={first}"><a href="{first}">stem-amqp</a></html>
"""


def write(app: Sphinx, error: Exception | None) -> None:
    """Write the page that redirects.

    Args:
        app: the build.
        error: the exception of the build, or None.
    """
    if error is None:
        page = DOOR.format(first=f"{app.config.root_doc}.html")
        Path(app.outdir, "index.html").write_text(page)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
