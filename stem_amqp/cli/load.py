"""Load the application of a command, with the settings of the command line."""

from __future__ import annotations

from stem_amqp.app import Stem
from stem_amqp.cli.options import Overrides
from stem_amqp.cli.output import show_warning
from stem_amqp.locate import find
from stem_amqp.settings import misspelt_variables


def load(target: str | None, overrides: Overrides, *, warn: bool = True) -> Stem:
    """Return the application, or one without tasks if none is given.

    Args:
        target: ``module:attribute``; the current directory is searched first. None: no application.
        overrides: settings that take precedence over the application's own.
        warn: whether to report unknown ``STEM_`` variables.

    Raises:
        ConfigurationError: the application does not exist, or a setting is invalid.
    """
    for line in misspelt_variables() if warn else ():
        show_warning(line)
    if target is None:
        app = Stem(**overrides.connection())
        app.reconfigure(**overrides.others())
        return app
    app = find(target)
    app.reconfigure(**overrides.connection(), **overrides.others())
    return app
