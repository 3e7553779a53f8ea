"""The CI workflows use existing targets, and have only the permissions that they need."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WRITERS = {
    "provenance": {"attestations", "id-token"},
    "publish": {"id-token"},
    "notes": {"contents"},
}
"""The jobs with write permissions, and those permissions."""
PINNED = re.compile(
    r"\./\.github/workflows/\w+\.yml|[\w./-]+@(v\d+(\.\d+)*|release/v\d+|[0-9a-f]{40})"
)


def jobs():
    """Yield each job of each workflow, with its name."""
    for path in WORKFLOWS:
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            yield f"{path.stem}: {name}", name, job


def steps():
    """Yield each step, with the name of its job."""
    for where, _, job in jobs():
        for step in job.get("steps", [job]):
            yield where, step


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read(path):
    """A job with write permission declares it itself."""
    assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}


def test_only_what_publishes_may_write():
    """A test job runs third-party code."""
    writing = {}
    for _, name, job in jobs():
        rights = {key for key, value in job.get("permissions", {}).items() if value == "write"}
        writing |= {name: rights} if rights else {}
    assert writing == WRITERS


def test_nothing_is_published_untested():
    """Every job that writes depends on the tests and the build."""
    release = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]
    assert release["test"]["uses"] == "./.github/workflows/ci.yml"
    assert {"test", "build"} <= set(release["provenance"]["needs"])
    assert {"test", "build", "provenance"} <= set(release["publish"]["needs"])
    assert release["notes"]["needs"] == ["publish"]
    assert release["publish"]["environment"] == "pypi"


def test_every_action_is_pinned():
    """The pin is at least a major release, and never a branch, which can be moved."""
    used = [step["uses"] for _, step in steps() if "uses" in step]
    assert [one for one in used if not PINNED.fullmatch(one)] == []


def test_every_target_of_make_exists():
    """A workflow with a renamed target would fail only when it is needed."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = {
        target
        for _, step in steps()
        for target in re.findall(r"^\s*make ([a-z-]+)", step.get("run", ""), re.MULTILINE)
    }
    assert called >= {"test", "floors", "dist", "sbom", "audit"}
    assert called <= targets


def test_every_job_ends():
    """A job that hangs would otherwise occupy a machine for six hours."""
    assert [
        where for where, _, job in jobs() if "steps" in job and "timeout-minutes" not in job
    ] == []
