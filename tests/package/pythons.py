"""Run the tests that need no server with every Python that is found: ``make pythons``.

The interpreters are those on the path, in pyenv's folder, and in ``STEM_TEST_PYTHONS``, separated by
colons. Each has its own virtual environment in ``.build``. Finally the supported releases that were
not found are listed.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
UV = ROOT / ".build/tools/bin/uv"
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")
SUITES = ("tests/unit", "tests/contract", "tests/integration", "tests/fuzz")


def main() -> None:
    """Run the tests, print one line for each release, and end with 1 if one failed."""
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    lines = [f"Python {own}: runs the whole suite ('make test')"]
    failed = False
    for release in SUPPORTED:
        python = None if release == own else find(release)
        if python is None:
            lines += [] if release == own else [f"Python {release}: not found, not tested"]
            continue
        begun = time.monotonic()
        passed = run(release, python)
        failed |= not passed
        said = "passed" if passed else "FAILED"
        lines.append(f"Python {release}: {said} in {time.monotonic() - begun:.0f} s, {python}")
    print("\n".join(lines), flush=True)
    sys.exit(failed)


def find(release: str) -> Path | None:
    """Return an interpreter of a release, such as ``3.12``, if there is one that runs."""
    named = os.environ.get("STEM_TEST_PYTHONS", "").split(":")
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [Path(path) for path in named if path]
    candidates += sorted(pyenv.glob(f"versions/{release}.*/bin/python3"), reverse=True)
    on_path = shutil.which(f"python{release}")
    candidates += [Path(on_path)] if on_path else []
    return next((one for one in candidates if release_of(one) == release), None)


def release_of(python: Path) -> str:
    """Return an interpreter's release such as ``3.11``, or nothing if it does not run."""
    ask = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def run(release: str, python: Path) -> bool:
    """Run the tests with one interpreter, and return whether they passed."""
    print(f"Python {release}: {python}", flush=True)
    ours = environment(release, python)
    words = ["-n", os.environ.get("WORKERS", "3"), "--dist", "loadfile", "-m", "in_memory"]
    done = subprocess.run(
        [ours, "-m", "pytest", "-p", "no:cacheprovider", *words, *SUITES, *sys.argv[1:]],
        cwd=ROOT,
        check=False,
    )
    return done.returncode == 0


def environment(release: str, python: Path) -> Path:
    """Return the interpreter of an environment with the package and its tests' requirements."""
    home = ROOT / ".build" / f"python{release}"
    ours, stamp = home / "bin/python", home / ".installed"
    project = ROOT / "pyproject.toml"
    if not stamp.exists() or stamp.stat().st_mtime < project.stat().st_mtime:
        subprocess.run([UV, "venv", "--quiet", "--clear", "--python", python, home], check=True)
        words = [
            "pip",
            "install",
            "--quiet",
            "--python",
            ours,
            "--editable",
            ".",
            "--group",
            "test",
        ]
        subprocess.run([UV, *words], cwd=ROOT, check=True)
        stamp.touch()
    return ours


if __name__ == "__main__":
    main()
