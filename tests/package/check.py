"""Build the package, install it into clean environments, and use it: ``make package``.

The sdist is built from the tree, the wheel from the sdist, and the wheel is installed with
only its requirements, for every Python that is found on the path or in pyenv's folder.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
OLDEST = (3, 11)
CORE = {
    "aio-pika",
    "aiormq",
    "cronsim",
    "orjson",
    "pamqp",
    "pydantic",
    "pydantic-core",
    "pydantic-settings",
    "pyyaml",
    "rich",
    "tenacity",
    "typer",
    "tzdata",
    "uncalled-for",
    "yarl",
}
"""The requirements of the core. Each one makes every user's installation larger."""
EXTRAS = {
    "asyncpg",
    "cryptography",
    "django",
    "fastapi",
    "hiredis",
    "opentelemetry-api",
    "opentelemetry-semantic-conventions",
    "pytest",
    "pytest-asyncio",
    "redis",
    "sentry-sdk",
    "structlog",
    "testcontainers",
    "uvloop",
    "watchfiles",
}
"""Packages that only some users need, and that the core must not install."""
IMPORT_LIMIT = 0.150
"""Seconds that ``import stem_amqp`` may take."""
RUNS = 7

HELLO = """
import asyncio

from stem_amqp import Stem

stem = Stem(broker_url="memory://hello", backend_url="memory://hello")


@stem.task("hello.greet")
async def greet(name: str) -> str:
    return f"Hello, {name}!"


async def main() -> None:
    async with stem, stem.worker().running():
        handle = await greet.enqueue("package")
        print(await handle.result(timeout=60))


asyncio.run(main())
"""
TIMED_IMPORT = """
import time
begun = time.perf_counter()
import stem_amqp
print(time.perf_counter() - begun)
"""


def main() -> None:
    """Check the package for every Python, and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pythons", nargs="*", help="interpreters; all that are found, if none")
    pythons = [Path(p) for p in parser.parse_args().pythons] or found_pythons()
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        check_contents(wheel)
        for python in pythons:
            print(check(python, wheel, Path(folder)), flush=True)


def found_pythons() -> list[Path]:
    """Return one interpreter of each available release, the running one first."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    names = [f"python3.{minor}" for minor in range(OLDEST[1], 20)]
    candidates = [Path(sys.executable).resolve()]
    candidates += [Path(path) for name in names if (path := shutil.which(name))]
    candidates += sorted(root.glob("versions/3.*/bin/python3"))
    by_release: dict[str, Path] = {}
    for candidate in candidates:
        release = release_of(candidate)
        if release and tuple(map(int, release.split("."))) >= OLDEST:
            by_release.setdefault(release, candidate)
    return list(by_release.values())


def release_of(python: Path) -> str:
    """Return an interpreter's release such as ``3.11``, or nothing if it is unusable."""
    ask = "import ensurepip, venv, sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def build(folder: Path) -> Path:
    """Build the sdist, and from it the wheel; return the wheel."""
    tools = folder / "tools"
    venv.create(tools, with_pip=True)
    run(tools / "bin/python", "-m", "pip", "install", "--quiet", "build")
    run(tools / "bin/python", "-m", "build", "--outdir", folder / "dist", ROOT)
    (wheel,) = (folder / "dist").glob("*.whl")
    assert list((folder / "dist").glob("*.tar.gz")), "no sdist"
    return wheel


def check_contents(wheel: Path) -> None:
    """Check that the wheel has the whole package, and no other files."""
    with zipfile.ZipFile(wheel) as archive:
        there = {name for name in archive.namelist() if ".dist-info/" not in name}
    tracked = run("git", "-C", ROOT, "ls-files", "stem_amqp").split()
    assert there == set(tracked), f"not the same: {sorted(there ^ set(tracked))[:10]}"


def check(python: Path, wheel: Path, folder: Path) -> str:
    """Install the wheel for one interpreter, use it, and return a summary."""
    release = release_of(python)
    home = folder / f"python{release}"
    run(python, "-m", "venv", home)
    ours = home / "bin/python"
    run(ours, "-m", "pip", "install", "--quiet", wheel)
    check_requirements(ours)
    version = version_of_sources()
    said = run(home / "bin/stem-amqp", "--version")
    assert version in said, said
    assert "Hello, package!" in run(ours, "-W", "error", "-c", HELLO)
    run(home / "bin/stem-amqp", "topology", "validate", ROOT / "topology/default.yaml")
    seconds = statistics.median(float(run(ours, "-c", TIMED_IMPORT)) for _ in range(RUNS))
    assert seconds < IMPORT_LIMIT, f"import stem_amqp takes {seconds * 1000:.0f} ms"
    return f"Python {release}: installed and used; import stem_amqp {seconds * 1000:.0f} ms"


def check_requirements(python: Path) -> None:
    """Check that the core has exactly its requirements, and that no extra is installed with it."""
    ask = "import importlib.metadata as m; print(*m.requires('stem-amqp'), sep=chr(10))"
    asked = [line for line in run(python, "-c", ask).splitlines() if "extra ==" not in line]
    names = {re.split(r"[^\w.-]", line)[0].lower() for line in asked} - {"typing-extensions"}
    assert names == CORE, f"the core asks for {sorted(names ^ CORE)} more or less"
    listed = run(python, "-m", "pip", "list", "--format=freeze").lower().splitlines()
    extra = EXTRAS & {line.split("==")[0] for line in listed}
    assert not extra, f"comes unasked: {sorted(extra)}"


def version_of_sources() -> str:
    """Return the version in the sources."""
    source = (ROOT / "stem_amqp/__init__.py").read_text()
    found = re.search(r'__version__ = "(.+)"', source)
    assert found
    return found[1]


def run(*words: object) -> str:
    """Run a program outside the tree, and return its output; exit with its output if it fails."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=tempfile.gettempdir(),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))[:200]}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
