"""The ports of several worker processes, without processes."""

import logging
import os

import pytest

from stem_amqp.cli.supervision import ports
from stem_amqp.cli.supervision.ports import SharedPorts
from stem_amqp.observability.metrics import FOLDER_VARIABLE
from stem_amqp.settings import Settings


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setattr(ports.tempfile, "tempdir", str(tmp_path))
    return tmp_path


def shared_ports(**settings):
    return SharedPorts(Settings(_env_file=None, http_address="127.0.0.1", **settings), 2)


def test_without_ports_nothing_is_made(folder):
    """And the processes do not serve the ports of the environment."""
    shared = shared_ports()
    with shared.served():
        assert list(folder.iterdir()) == []
        assert shared.arguments(1) == ["--metrics-port", "0", "--health-port", "0"]


def test_a_folder_that_cannot_be_made_is_one_line(monkeypatch, caplog):
    """The processes start without the ports."""

    def refuse(**_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(ports.tempfile, "mkdtemp", refuse)
    shared = shared_ports(metrics_port=1, health_port=2)
    with shared.served():
        assert shared.arguments(1) == ["--metrics-port", "0", "--health-port", "0"]
    (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert "set TMPDIR" in record.getMessage()


def test_files_of_an_exited_process_are_its_counters(folder, unused_tcp_port):
    """Gauges and state are of a running process; a file of another process stays."""
    shared = shared_ports(metrics_port=unused_tcp_port)
    with shared.served():
        (made,) = folder.iterdir()
        assert os.environ[FOLDER_VARIABLE] == str(made)
        for name in ("counter_w1.db", "gauge_livesum_w1.db", "gauge_livesum_w2.db", "w1.json"):
            (made / name).touch()
        shared.exited(1)
        assert sorted(file.name for file in made.iterdir()) == [
            "counter_w1.db",
            "gauge_livesum_w2.db",
        ]
        assert shared.arguments(2)[-2:] == ["--shared", str(made / "w2")]
    assert FOLDER_VARIABLE not in os.environ
    assert list(folder.iterdir()) == []
