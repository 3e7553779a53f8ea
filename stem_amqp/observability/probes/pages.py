"""The pages of the health port."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from stem_amqp.observability.http import Answer, Page
from stem_amqp.observability.probes.state import Probed


def pages_of(probed: Probed) -> dict[str, Page]:
    """Return the pages by path: 200 with ``ok``, or 503 with a line for each cause.

    Args:
        probed: the worker process, or several.
    """
    return {
        "/livez": _page(lambda: probed.not_alive),
        "/readyz": _page(lambda: probed.not_ready),
        "/startupz": _page(lambda: probed.not_started),
    }


def _page(causes: Callable[[], list[str]]) -> Page:
    def page(_accept: str) -> Answer:
        found = causes()
        if not found:
            return Answer(body=b"ok\n")
        body = "".join(f"{cause}\n" for cause in found).encode()
        return Answer(status=HTTPStatus.SERVICE_UNAVAILABLE, body=body)

    return page
