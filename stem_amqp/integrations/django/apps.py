"""The Django application, which imports the tasks of all installed applications."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class StemConfig(AppConfig):  # type: ignore[misc] # Django has no types of its own
    """Imports the module ``tasks`` of every installed application that has one."""

    name = "stem_amqp.integrations.django"
    label = "stem_amqp"
    verbose_name = "stem-amqp"

    def ready(self) -> None:
        """Import the modules; Django calls this once all models are loaded."""
        autodiscover_modules("tasks")
