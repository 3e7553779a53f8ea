"""A small HTTP server for metrics and probes, in threads of its own."""

from stem_amqp.observability.http.server import Answer, Page, PortUnavailableError, serve

__all__ = ["Answer", "Page", "PortUnavailableError", "serve"]
