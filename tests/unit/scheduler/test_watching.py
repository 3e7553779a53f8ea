"""The topology file is read again while the scheduler runs."""

import logging

from stem_amqp import Stem
from stem_amqp.scheduler.watching import Watched

FILE = """
    version: 1
    schedules:
      nightly: {{task: report, cron: "{line}"}}
      {more}
"""


def written(path, line="0 3 * * *", more=""):
    """Write a topology file."""
    path.write_text(FILE.format(line=line, more=more))


async def test_a_changed_file_is_used_and_an_invalid_one_changes_nothing(tmp_path, caplog):
    """The log has each difference, or why the file is not used."""
    caplog.set_level(logging.INFO, "stem_amqp.scheduler")
    path = tmp_path / "topology.yaml"
    written(path)
    stem = Stem(broker_url="memory://", topology=path)
    stem.task("report")(lambda: None)
    watched = Watched(stem.blueprint)
    assert await watched.changed() is None
    written(path, line="0 4 * * *", more="hourly: {task: report, every: 1h}")
    changed = await watched.changed()
    assert str(changed["nightly"].timing) == "0 4 * * * (UTC)"
    assert set(changed) == {"nightly", "hourly"}
    assert "schedule nightly: 0 3 * * * (UTC) → 0 4 * * * (UTC)" in caplog.text
    assert "schedule hourly: added, every 1 h for report" in caplog.text
    assert await watched.changed() is None
    written(path, line="0 25 * * *")
    assert await watched.changed() is None
    assert "the schedules stay as they are" in caplog.text
    assert watched.schedules == changed
    watched.again()
    assert await watched.changed() == changed
    written(path)
    assert set(await watched.changed()) == {"nightly"}
    assert "schedule hourly: removed" in caplog.text
