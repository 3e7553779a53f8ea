"""Errors of an integration whose framework is not installed."""

import importlib
import sys

import pytest

from stem_amqp import ConfigurationError


@pytest.mark.parametrize(
    ("name", "package"),
    [("django", "django"), ("fastapi", "fastapi"), ("sentry", "sentry_sdk")],
)
def test_a_framework_that_is_missing_is_named_with_the_remedy(monkeypatch, name, package):
    """The error is raised when the integration is imported, and nowhere else."""
    own = f"stem_amqp.integrations.{name}"
    for module in [one for one in sys.modules if one == own or one.startswith(f"{own}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigurationError, match=rf"pip install 'stem-amqp\[{name}\]'"):
        importlib.import_module(own)


@pytest.mark.parametrize("name", ["logs", "request_id"])
def test_logging_and_request_ids_need_no_framework(monkeypatch, name):
    """The standard library is enough."""
    for missing in ("django", "fastapi", "starlette", "structlog"):
        monkeypatch.setitem(sys.modules, missing, None)
    own = f"stem_amqp.integrations.{name}"
    monkeypatch.delitem(sys.modules, own, raising=False)
    assert importlib.import_module(own)
