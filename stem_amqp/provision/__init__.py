"""Provisioning: the only place that declares the topology on the broker, or says what is missing."""

from stem_amqp.provision.apply import apply, ensure
from stem_amqp.provision.verify import verify, verify_arguments

__all__ = ["apply", "ensure", "verify", "verify_arguments"]
