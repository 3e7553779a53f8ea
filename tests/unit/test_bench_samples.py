"""The benchmark's evaluation of samples: medians, ratios, gaps, tables, JSON and the chart."""

import io
import json
from xml.etree import ElementTree as ET

import pytest
from bench.cases.base import RATE, Case, Metric
from bench.machine import Conditions
from bench.report.document import document
from bench.report.markdown import markdown
from bench.report.svg import svg
from bench.report.table import show
from bench.samples import Sample, rows
from rich.console import Console


async def _never(bench):
    raise AssertionError("nothing is measured here")


LATE = Metric(key="late", title="late", unit="ms")
DRAIN = Case(name="drain", title="Drain <tasks>", size=100, measure=_never)
STORM = Case(name="storm", title="A storm", size=50, measure=_never, metrics=(LATE,))
NAMES = ("stem", "peer", "client")
FOUND = Conditions(
    cpu="a CPU",
    cores=2,
    python="3.13.1",
    system="Linux",
    broker="RabbitMQ 4.3.6",
    rounds=3,
    scale=1.0,
    versions={"stem-amqp": "1.0"},
    durability={"stem": "always", "peer": "asked for"},
    settings={"stem": ("Defaults.",)},
)


def drained(contender, *rates):
    return [
        Sample(case="drain", contender=contender, round=n, size=100, values={"rate": rate})
        for n, rate in enumerate(rates)
    ]


@pytest.fixture
def samples():
    """Return three rounds of a drain, and one of a storm that one contender lacks and one fails."""
    storm = {"case": "storm", "round": 0, "size": 50}
    return [
        *drained("stem", 300.0, 100.0, 200.0),
        *drained("peer", 50.0, 150.0, 100.0),
        *drained("client", 400.0, 400.0, 400.0),
        Sample(contender="stem", values={"late": 4.0}, **storm),
        Sample(contender="peer", error="boom | bang\nand its log", **storm),
        Sample(contender="client", blank="a client: no retries", **storm),
    ]


@pytest.fixture
def table(samples):
    """Return the rows of the samples."""
    return rows(samples, [DRAIN, STORM], NAMES, "stem")


def test_a_figure_is_the_median_of_its_rounds(table):
    stem, peer, client = table[0].cells

    assert (stem.median, stem.low, stem.high) == (200.0, 100.0, 300.0)
    assert (peer.median, client.median) == (100.0, 400.0)


def test_a_ratio_says_how_many_times_better_the_base_is_where_more_is_better(table):
    assert [cell.ratio for cell in table[0].cells] == [1.0, 2.0, 0.5]


def test_a_ratio_says_how_many_times_better_the_base_is_where_less_is_better():
    words = {"case": "storm", "round": 0, "size": 50}
    samples = [
        Sample(contender="stem", values={"late": 2.0}, **words),
        Sample(contender="peer", values={"late": 8.0}, **words),
    ]

    (row,) = rows(samples, [STORM], ["stem", "peer"], "stem")

    assert row.cells[1].ratio == 4.0


def test_without_a_figure_of_the_base_there_is_no_ratio():
    (row,) = rows(drained("peer", 5.0), [DRAIN], ["stem", "peer"], "stem")

    assert row.cells[0].missing == "not measured"
    assert row.cells[1].ratio is None


def test_a_case_of_which_nothing_was_measured_has_no_row(samples):
    other = Case(name="other", title="Other", size=1, measure=_never)

    assert [row.case.name for row in rows(samples, [other, STORM], NAMES, "stem")] == ["storm"]


def test_a_gap_keeps_its_reason(table):
    _, peer, client = table[1].cells

    assert client.missing == "a client: no retries"
    assert peer.median is None
    assert "boom" in peer.missing


def test_a_size_is_scaled_but_stays_within_its_bounds():
    case = Case(name="x", title="X", size=1000, measure=_never, floor=200)

    assert [case.scaled(scale) for scale in (0.001, 0.5, 2)] == [200, 500, 1000]


def test_the_document_holds_the_raw_samples_and_the_conditions(table, samples):
    read = json.loads(document(FOUND, table, samples, "stem"))

    assert [s["values"] for s in read["samples"][:2]] == [{"rate": 300.0}, {"rate": 100.0}]
    assert read["conditions"]["durability"]["peer"] == "asked for"
    assert read["rows"][1]["cells"][2]["missing"] == "a client: no retries"


def test_the_table_shows_figures_ratios_and_gaps(table):
    output = io.StringIO()

    show(Console(file=output, width=140), FOUND, table, "stem")

    said = output.getvalue()
    assert "x2.00" in said
    assert "100-300" in said
    assert "a client: no retries" in said
    assert "boom | bang" in said
    assert "RabbitMQ 4.3.6" in said


def test_the_markdown_has_a_whole_row_for_each_contender(table):
    written = markdown(FOUND, table, "stem").splitlines()

    drain = [line for line in written if line.startswith(("| stem | 200", "| peer | 100"))]
    assert drain == ["| stem | 200 | 100-300 | x1.00 |", "| peer | 100 | 50-150 | x2.00 |"]
    assert "| peer | | boom \\| bang | |" in written


def test_the_chart_is_well_formed_and_has_a_bar_for_each_rate(table):
    root = ET.fromstring(svg(table, "stem"))

    bars = root.findall("{http://www.w3.org/2000/svg}rect")
    widths = [float(bar.get("width")) for bar in bars]
    assert [bar.get("class") for bar in bars] == ["bar base", "bar", "bar"]
    assert widths[2] == pytest.approx(2 * widths[0], rel=0.01)
    assert "prefers-color-scheme: dark" in root.findtext("{http://www.w3.org/2000/svg}style")


def test_the_chart_says_why_a_bar_is_missing():
    sample = Sample(case="drain", contender="peer", round=0, size=1, blank="cannot & will not")

    drawn = svg(rows([sample], [DRAIN], ["peer"], "stem"), "stem")

    assert "cannot & will not" in ET.tostring(
        ET.fromstring(drawn), encoding="unicode", method="text"
    )


def test_the_rate_is_the_metric_of_a_case_that_names_none():
    assert DRAIN.metrics == (RATE,)
