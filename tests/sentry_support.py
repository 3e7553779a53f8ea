"""Sentry without a network: what the client sends, and an application to report."""

import contextlib
import json
import uuid

import sentry_sdk
from sentry_sdk.transport import Transport

from stem_amqp import Stem
from stem_amqp.integrations.sentry import StemIntegration, integration
from stem_amqp.observability.installed import uninstall_exporter


class Kept(Transport):
    """Keeps what the client sends of some kinds."""

    kinds = frozenset()

    def __init__(self, options=None):
        super().__init__(options)
        self.sent = []

    def capture_envelope(self, envelope):
        for item in envelope.items:
            if item.type in self.kinds:
                self.sent.append(json.loads(item.payload.get_bytes()))


def set_up(transport, **options):
    """Set Sentry up, with the integration or without; return the transport."""
    sentry_sdk.init(dsn="https://key@sentry.invalid/1", transport=transport, **options)
    if any(isinstance(one, StemIntegration) for one in options["integrations"]):
        StemIntegration.setup_once()  # Sentry calls it once in a process
    return transport


@contextlib.contextmanager
def torn_down():
    """Undo at the end of a block what `set_up` did in it."""
    with sentry_sdk.isolation_scope() as scope:
        scope.clear()
        yield
    sentry_sdk.get_client().close(timeout=0)
    sentry_sdk.get_global_scope().set_client(None)
    uninstall_exporter(integration._exporter)


def application():
    """Return an application in memory."""
    place = f"memory://{uuid.uuid4().hex}"
    return Stem(broker_url=place, backend_url=place)
