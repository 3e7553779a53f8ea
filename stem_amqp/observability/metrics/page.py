"""The page that Prometheus scrapes: of one process, or of all processes that share a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from stem_amqp.observability.http import Answer, Page
from stem_amqp.observability.metrics.prometheus import PrometheusExporter, load_client

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


def page_of(exporter: PrometheusExporter) -> Page:
    """Return the page with the registry of an exporter."""

    def page(accept: str) -> Answer:
        exporter.flush()
        return _encoded(exporter.registry, accept)

    return page


def page_of_folder(folder: Path, before: Callable[[], object] = lambda: None) -> Page:
    """Return the page with the sums of all processes that write into a folder.

    Args:
        folder: the folder of ``prometheus_client``'s multiprocess mode.
        before: called before each scrape.

    Raises:
        ConfigurationError: ``prometheus_client`` is not installed.
    """
    client = load_client()

    def page(accept: str) -> Answer:
        from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415 an extra

        before()
        registry = client.CollectorRegistry()
        MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
        return _encoded(registry, accept)

    return page


def _encoded(registry: CollectorRegistry, accept: str) -> Answer:
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415 an extra

    encode, content_type = choose_encoder(accept)
    return Answer(body=encode(registry), content_type=content_type)
