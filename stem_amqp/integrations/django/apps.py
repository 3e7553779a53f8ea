"""The Django application: it imports the tasks of all the others."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class StemConfig(AppConfig):  # type: ignore[misc] # Django has no types of its own
    """Imports the module ``tasks`` of every installed application, where it has one."""

    name = "stem_amqp.integrations.django"
    label = "stem_amqp"
    verbose_name = "stem-amqp"

    def ready(self) -> None:
        """Import them, when all models are there."""
        autodiscover_modules("tasks")
