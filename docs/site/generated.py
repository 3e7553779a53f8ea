"""Reference text from the code, inserted where a page has `<!-- generate: … -->`.

It is generated during the build, so it is never out of date; GitHub does not show the comment.
"""

import re
from collections.abc import Callable
from typing import Any

import api_page
import cli_page
import nav
import settings_page
import topology_page
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

MARK = re.compile(r"^<!-- generate: ([a-z-]+) -->$", re.MULTILINE)
MAKERS: dict[str, Callable[[], str]] = {
    "navigation": nav.toctrees,
    "api": api_page.page,
    "settings": settings_page.page,
    "cli": cli_page.page,
    "topology-file": topology_page.page,
}


def fill_in(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace each mark of a page with the generated text.

    Args:
        app: the build.
        page: name of the page.
        source: a list with the text as its only item.

    Raises:
        ExtensionError: no generator has the name of the mark.
    """
    del app

    def made(mark: re.Match[str]) -> str:
        maker = MAKERS.get(mark[1])
        if maker is None:
            raise ExtensionError(f"{page}: nothing makes {mark[1]!r}; there are {sorted(MAKERS)}")
        return maker()

    source[0] = MARK.sub(made, source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", fill_in)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
