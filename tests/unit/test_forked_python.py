"""Programs that are forked run like those of an interpreter that was started."""

import json
import os
import signal
import subprocess
import sys

import pytest
from forked_python import parent_of_programs, start_python
from support import until

SHOW = """
import json, os, sys
import shop

def files():
    for number in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue  # the folder that is being read
        if ".so" not in name:  # libraries that ctypes keeps open, which the server has imported
            yield name

print(json.dumps({
    "argv": sys.argv, "path": sys.path[0], "name": __name__, "shop": shop.NAME,
    "folder": os.getcwd(), "X": os.environ.get("X"), "PATH": os.environ.get("PATH"),
    "parent": os.getppid(), "leads": os.getsid(0) == os.getpid(), "files": len([*files()]),
    "signals": [str(__import__("signal").getsignal(n)) for n in (2, 15, 17)],
}))
sys.exit(3)
"""


def shown(folder, start):
    """Return what the program writes when it is started, and its exit code."""
    (folder / "show.py").write_text(SHOW)
    (folder / "shop.py").write_text("NAME = 'a shop'")
    environment = {"X": "1", "PATH": "/bin"}
    with (folder / "out").open("w") as out:
        process = start(cwd=folder, env=environment, stdout=out, start_new_session=True)
    return process.wait(60), json.loads((folder / "out").read_text())


@pytest.mark.parametrize("words", [("-m", "show", "a", "b"), ("show.py", "a")])
def test_a_forked_program_is_like_one_of_its_own_interpreter(tmp_path, words):
    forked, found = shown(tmp_path, lambda **options: start_python(*words, **options))
    real, expected = shown(
        tmp_path,
        lambda **options: subprocess.Popen(
            [sys.executable, *words], stdin=subprocess.DEVNULL, **options
        ),
    )
    assert (found.pop("parent"), expected.pop("parent")) == (parent_of_programs(), os.getpid())
    assert found == expected
    assert forked == real == 3


def test_a_forked_program_can_be_killed(tmp_path):
    (tmp_path / "sleeps.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(600)\n")
    with (tmp_path / "out").open("w") as out:
        process = start_python("sleeps.py", cwd=tmp_path, stdout=out)
    until((tmp_path / "out").read_text, "its start")
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0)
    process.kill()
    assert process.wait(60) == process.poll() == -signal.SIGKILL
    process.kill()  # it has ended


def test_an_exception_ends_a_forked_program_with_a_traceback(tmp_path):
    (tmp_path / "fails.py").write_text("raise ValueError('no')\n")
    with (tmp_path / "err").open("w") as err:
        process = start_python("fails.py", cwd=tmp_path, stderr=err)
    assert process.wait(60) == 1
    assert "ValueError: no" in (tmp_path / "err").read_text()
