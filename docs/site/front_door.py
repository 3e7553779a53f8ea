"""The site's own address leads to its first page, which lies in docs/ as in the repository."""

from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

DOOR = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>stem-amqp</title>
<meta http-equiv="refresh" content="0; url={first}"><a href="{first}">stem-amqp</a></html>
"""


def write(app: Sphinx, error: Exception | None) -> None:
    """Write the page that leads on.

    Args:
        app: the build.
        error: what it failed with, if it did.
    """
    if error is None:
        page = DOOR.format(first=f"{app.config.root_doc}.html")
        Path(app.outdir, "index.html").write_text(page)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
