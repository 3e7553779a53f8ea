"""The file that gives other terminals the broker of `stem-amqp dev`."""

import os
import subprocess

import pytest

from stem_amqp.cli.environment_file import environment_file

VARIABLES = {"STEM_BROKER_URL": "amqp://guest:a b'$x@h/", "STEM_NAMESPACE": "shop"}


def test_a_shell_reads_what_was_written(tmp_path):
    """This holds for any characters; only the owner can read the file, which is removed."""
    with environment_file(tmp_path / "dev.env", VARIABLES) as file:
        done = subprocess.run(
            ["sh", "-c", f'. {file} && printf %s "$STEM_BROKER_URL"'],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        assert done.stdout == VARIABLES["STEM_BROKER_URL"]
        assert file.stat().st_mode & 0o777 == 0o600
    assert not file.exists()


def test_two_in_a_folder_have_a_file_each(tmp_path):
    """The second command leaves the first one's file alone, also when it ends."""
    path = tmp_path / "dev.env"
    with environment_file(path, VARIABLES) as first:
        with environment_file(path, VARIABLES) as second:
            assert second != first == path
        assert first.exists()


@pytest.mark.parametrize(
    ("text", "kept"), [("# stem-amqp dev, process {}\n", False), ("MINE=1\n", True)]
)
def test_what_is_left_of_a_killed_one_is_replaced_and_nothing_else(tmp_path, text, kept):
    """A file that was written by hand is kept."""
    path = tmp_path / "dev.env"
    gone = subprocess.run(["true"], check=True) and 2**22 + 1
    with pytest.raises(ProcessLookupError):
        os.kill(gone, 0)
    path.write_text(text.format(gone))
    with environment_file(path, VARIABLES) as file:
        assert (file != path) is kept
    assert path.exists() is kept
