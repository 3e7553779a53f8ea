"""Settings: their sources, and secrets that are never printed."""

import pytest

from stem_amqp.errors import ConfigurationError
from stem_amqp.settings import Settings, misspelt_variables


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"STEM_{name.upper()}", raising=False)


def test_variables_and_the_env_file_are_read(monkeypatch, tmp_path):
    """A variable takes precedence over the .env file, a keyword over both."""
    (tmp_path / ".env").write_text("STEM_NAMESPACE=file\nSTEM_CONCURRENCY=7\nOTHER=1\n")
    monkeypatch.setenv("STEM_NAMESPACE", "variable")
    assert Settings.load().namespace == "variable"
    assert Settings.load().concurrency == 7
    assert Settings.load(namespace="keyword").namespace == "keyword"


def test_several_broker_urls_are_separated_by_commas(monkeypatch):
    """Failover needs no JSON in the environment."""
    monkeypatch.setenv("STEM_BROKER_URL", "amqp://a/, amqp://b/")
    urls = [url.get_secret_value() for url in Settings.load().broker_url]
    assert urls == ["amqp://a/", "amqp://b/"]


def test_durations_are_written_with_units(monkeypatch):
    """30s, 5m and numbers of seconds are accepted."""
    monkeypatch.setenv("STEM_GRACE_PERIOD", "2m")
    monkeypatch.setenv("STEM_PUBLISH_TIMEOUT", "5")
    with pytest.raises(ConfigurationError, match="STEM_PUBLISH_TIMEOUT"):
        Settings.load()
    monkeypatch.setenv("STEM_PUBLISH_TIMEOUT", "5s")
    settings = Settings.load()
    assert (settings.grace_period, settings.publish_timeout) == (120, 5)


def test_secrets_are_never_printed():
    """Neither repr nor an error shows a password."""
    settings = Settings.load(broker_url="amqp://user:hunter2@host/")
    assert "hunter2" not in repr(settings) + str(settings)
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(broker_url="http://user:hunter2@host/")
    assert "hunter2" not in str(caught.value)
    assert "STEM_BROKER_URL" in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"concurrency": 0}, {"prefetch": 0}, {"namespace": "a b"}, {"namespace": ""},
        {"broker_url": "host"}, {"broker_url": ""}, {"broker_url": "memory://,amqp://h/"},
        {"log_level": "LOUD"}, {"heartbeat_interval": "-1s"}, {"backend_url": "nothing"},
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_used_names_its_variable(values):
    """The error names the variable."""
    with pytest.raises(ConfigurationError, match="STEM_" + next(iter(values)).upper()):
        Settings.load(**values)


def test_a_misspelt_variable_is_noticed():
    """A typo in the environment would otherwise be silently ignored."""
    environment = {
        "STEM_BROKR_URL": "x",
        "STEM_NAMESPACE": "y",
        "PATH": "z",
        "STEM_TEST_BROKER_URL": "t",
    }
    assert misspelt_variables(environment) == [
        "STEM_BROKR_URL is not a setting; did you mean STEM_BROKER_URL?"
    ]
