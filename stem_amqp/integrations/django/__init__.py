"""The Django integration: ``INSTALLED_APPS = […, "stem_amqp.integrations.django"]``."""

from stem_amqp.errors import ConfigurationError

try:
    import django as _django  # noqa: F401 - checks that it is installed
except ModuleNotFoundError as error:
    raise ConfigurationError(
        "stem_amqp.integrations.django needs Django.\n  pip install 'stem-amqp[django]'"
    ) from error

from stem_amqp.integrations.django.commit import enqueue_on_commit
from stem_amqp.integrations.django.connections import DjangoStem

__all__ = ["DjangoStem", "enqueue_on_commit"]
