"""`report.html`: what it shows, that texts never become markup, and that it opens without a network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import report_labels
from job_runs import made_up_pairs, manifest_of, report_of, run_inline, run_main, write_pairs

from albert_infer import storage
from albert_infer.common.logs import lines_on_stderr
from albert_infer.engine.kernel_use import KernelState, KernelUse
from albert_infer.job import pictures
from albert_infer.job.pace import MAX_POINTS, Pace, PacePoint
from albert_infer.job.report import Report
from albert_infer.job.report_file import reported
from albert_infer.job.report_page import ReportPage
from albert_infer.output.distribution import CONFIDENCE_EDGES, TOKEN_EDGES, distribution_of, drawn_files
from albert_infer.output.manifest import PublishedFile, published_at
from albert_infer.pipeline.progress import RunProgress, UnitProgress
from albert_infer.schema import PROBABILITIES

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>&quot;"


@pytest.fixture(scope="module")
def run(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published run with rejected rows, and with texts and names that are markup."""
    folder = tmp_path_factory.mktemp("page")
    pairs = made_up_pairs(60, seed=81).to_pydict()
    pairs["premise"] = [f"<i>{premise}</i>" for premise in pairs["premise"]]
    pairs["premise"][3], pairs["premise"][4], pairs["pair_id"][5] = None, f"<i>{HOSTILE}</i>", HOSTILE
    pairs["premise"][5] = " "
    write_pairs(folder / "in & <b>" / "a.parquet", pairs_of(pairs))
    outcome = run_inline(
        *("--input", folder / "in & <b>", "--output", folder / "out", "--model", checkpoint, "--unit-rows", 16),
        *("--max-rejected-share", 0.5),
    )
    assert outcome.exit_code == 0, outcome.stderr
    return folder / "out"


def pairs_of(columns: dict[str, list[object]]) -> pa.Table:
    texts = {name: [None if value is None else str(value) for value in values] for name, values in columns.items()}
    return pa.table({name: pa.array(values, pa.string()) for name, values in texts.items()})


def page_of(output: Path) -> str:
    return next(output.glob("_runs/*/report.html")).read_text("utf-8")


def made(*argv: object) -> str:
    """What the job says."""
    outcome = run_main(report_labels.main, *argv)
    assert outcome.exit_code == 0, outcome.stderr
    return outcome.stdout


def test_each_run_leaves_a_page_with_its_result_first(run: Path) -> None:
    page = page_of(run)
    assert "Published: 58 of 60 pairs labelled; 2 pairs rejected." in page
    assert page.index("Published: 58") < page.index("Input, checkpoint and plan")
    assert "60 rows of the input: 58 labelled, 2 rejected." in page
    for reason in ("null_text", "empty_text"):
        assert reason in page


def test_the_page_shows_what_was_estimated_and_what_came(run: Path) -> None:
    page = page_of(run)
    section = page[page.index("Estimate and outcome") :]
    assert "<td>58</td><td>58</td><td>+0.0%</td>" in section
    assert "Estimated before labelling, from 60 rows." in section


def test_the_page_shows_ids_of_rejected_rows_and_no_text(run: Path) -> None:
    page = page_of(run)
    ids = pq.read_table(run / "_rejected").to_pylist()
    assert all(f"id {row['pair_id']}"[:20].replace("<", "&lt;").replace(">", "&gt;") in page for row in ids)
    for premise in pq.read_table(run)["premise"].to_pylist():
        assert premise not in page


@pytest.mark.parametrize("more", [(), ("--include-texts",)])
def test_texts_and_names_are_never_markup_and_nothing_is_loaded(run: Path, tmp_path: Path, more: tuple[str]) -> None:
    # A copy has other times of modification, so other versions than the manifest says.
    output = Path(shutil.copytree(run, tmp_path / "out", copy_function=shutil.copyfile))
    made("--output", output, *more)
    page = page_of(output)
    assert ("&lt;script&gt;" in page, "<script" in page, "<img" in page) == (True, False, False)
    assert "in &amp; &lt;b&gt;" in page
    assert re.findall(r'(?:src|href|xlink:href)="|url\(|@import|https?://', page) == []
    assert "default-src 'none'" in page
    assert page.count("&lt;i&gt;") == (50 if more else 0) == page.count("&lt;/i&gt;")
    assert "<i>" not in page


def test_a_run_that_is_not_published_has_a_page_that_says_why(checkpoint: Path, tmp_path: Path) -> None:
    pairs = made_up_pairs(20, seed=82).to_pydict()
    pairs["premise"][:10] = [None] * 10
    write_pairs(tmp_path / "in" / "a.parquet", pairs_of(pairs))
    outcome = run_inline("--input", tmp_path / "in", "--output", tmp_path / "out", "--model", checkpoint)
    assert outcome.exit_code == 3
    page = page_of(tmp_path / "out")
    assert "Not published: exit code 3." in page
    assert "--max-rejected-share" in page
    assert report_of(tmp_path / "out")["error"] in outcome.stderr


def test_a_page_that_cannot_be_made_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(plan_id="0" * 16, labelled=3)
    setattr(report, "model", {})  # noqa: B010  (a type checker would refuse it: nothing that a page could show)
    with lines_on_stderr("text"), reported(report, storage.open_folder(str(tmp_path))):
        pass
    assert "report.html was not written: " in capsys.readouterr().err
    assert json.loads((tmp_path / "_runs" / ("0" * 16) / "report.json").read_text())["labelled"] == 3


def test_an_index_has_every_published_run_below_a_folder(run: Path, tmp_path: Path) -> None:
    for night in ("dt=2024-03-01", "dt=2024-03-02"):
        shutil.copytree(run, tmp_path / "out" / night)
    (tmp_path / "out" / "dt=2024-03-03" / "_runs" / ("0" * 16)).mkdir(parents=True)
    said = made("--output", tmp_path / "out", "--index")
    assert "2 published runs" in said
    page = (tmp_path / "out" / "_runs" / "index.html").read_text()
    links = re.findall(r'href="([^"]+)"', page)
    assert [link.split("/")[1] for link in links] == ["dt=2024-03-02", "dt=2024-03-01"]
    assert all((tmp_path / "out" / "_runs" / link).is_file() for link in links)


def test_what_is_not_published_gets_no_page(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for more in ((), ("--index",)):
        outcome = run_main(report_labels.main, "--output", tmp_path / "out", *more)
        assert (outcome.exit_code, outcome.stderr.count("\n")) == (2, 1), outcome.stderr
    both = run_main(report_labels.main, "--output", tmp_path / "out", "--index", "--include-texts")
    assert both.exit_code == 2
    assert "leave out --index" in both.stderr


def test_the_distribution_is_that_of_the_labels(run: Path) -> None:
    output = storage.open_folder(str(run))
    published = published_at(output)
    assert published is not None
    counted = distribution_of(published.manifest, output)
    labels = pq.read_table(run)
    confidence = [max(row[name] for name in PROBABILITIES) for row in labels.to_pylist()]
    lengths = labels["n_tokens"].to_pylist()
    assert counted.rows == counted.rows_of == 58
    assert sum(counted.confidence_of_all) == sum(counted.tokens) == 58
    assert {label: sum(rows) for label, rows in counted.confidence.items() if sum(rows)} == manifest_of(run)["labels"]
    for low, high, rows in zip(CONFIDENCE_EDGES, CONFIDENCE_EDGES[1:], counted.confidence_of_all, strict=False):
        assert rows == sum(low <= value < high or (high == 1 and value == 1) for value in confidence)
    for low, high, rows in zip(TOKEN_EDGES, TOKEN_EDGES[1:], counted.tokens, strict=False):
        assert rows == sum(low < value <= high for value in lengths)
    assert distribution_of(published.manifest, output, max_files=1).is_sample
    assert report_of(run)["distribution"]["rows"] == 58


def test_a_huge_run_is_sampled_by_whole_files_and_the_same_each_time() -> None:
    files = [
        PublishedFile(path=f"part-{unit:016x}.parquet", unit_id=f"{unit:016x}", rows=100, bytes=1, sha256="")
        for unit in range(1000)
    ]
    drawn = drawn_files(files, max_rows=2_000, max_files=64)
    assert len(drawn) == 20
    assert drawn == drawn_files(files[::-1], max_rows=2_000, max_files=64)
    assert drawn != files[:20]
    assert len(drawn_files(files, max_rows=10, max_files=64)) == 1
    assert len(drawn_files(files, max_rows=10**9, max_files=64)) == 64


def test_a_run_of_any_length_has_few_points_in_order() -> None:
    clock = iter(range(0, 10**6, 7))
    pace = Pace(0.0, lambda: float(next(clock)))
    for step in range(20_000):
        pace.note(progress_of({"a": 10 * step, "b": 5 * (step // 2)}))
    pace.note(progress_of({"a": 10**6, "b": 1}), last=True)
    points = pace.points
    assert MAX_POINTS / 2 < len(points) < 2 * MAX_POINTS
    assert [point.seconds for point in points] == sorted(point.seconds for point in points)
    assert points[-1].rows == 10**6 + 1
    assert points[5].workers == 2
    assert points[-1].workers == 1


def progress_of(rows: dict[str, int]) -> RunProgress:
    actors = {actor: UnitProgress(rows=count) for actor, count in rows.items()}
    return RunProgress(units=1, done=UnitProgress.total(actors.values()), first_reported=0.0, actors=actors)


def test_workers_that_come_and_go_are_seen_in_the_lines() -> None:
    points = [PacePoint(0, 0, 0), PacePoint(10, 100, 1), PacePoint(20, 400, 3), PacePoint(30, 500, 1)]
    lines = pictures.pace_lines(points)
    assert lines is not None
    assert (lines.most_speed, lines.most_workers) == (30, 3)
    assert lines.speed == "0.0,100.0 240.0,0.0 480.0,100.0"
    assert pictures.pace_lines(points[:2]) is None


def test_few_rows_among_many_are_seen_in_the_picture() -> None:
    ribbons = {ribbon.name: ribbon for ribbon in pictures.flow({"labelled": 10**9, "rejected": 1, "quarantined": 0})}
    assert set(ribbons) == {"labelled", "rejected"}
    assert ribbons["rejected"].height >= 2


def test_the_page_of_a_start_without_any_row_can_be_made() -> None:
    page = ReportPage("out", Report(plan_id="0" * 16), {}, {})
    assert b"Published: 0 of 0 pairs labelled." in page.html()
    assert b"Not published" in replace(page, report=Report(exit_code=4, error="the job: stopped")).html()


def test_the_page_names_what_makes_labelling_slow() -> None:
    slow = KernelUse("a", "bf16 on cpu", KernelState.MISSING, "PATH has no compiler", "install g++")
    page = ReportPage("out", Report(plan_id="0" * 16, kernels=(slow,)), {}, {})
    line = "compiled kernels for bf16 on cpu: PATH has no compiler, so labelling is slower; install g++ (1 machine)"
    assert f"<dt>slow</dt><dd>{line}</dd>" in page.html().decode()
    fast = replace(page, report=Report(kernels=(KernelUse("a", "bf16 on cpu", KernelState.COMPILED),)))
    assert "<dt>slow</dt>" not in fast.html().decode()


AXE_RULES = "{runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'best-practice']}"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.process
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_a_browser_finds_no_fault_with_the_page(run: Path, tmp_path: Path, width: int, scheme: str) -> None:
    """The accessibility linter axe judges contrast, names of pictures, order of headings, and more."""
    output = Path(shutil.copytree(run, tmp_path / "out"))
    made("--output", output, "--include-texts")
    axe = resources.files("axe_core_python").joinpath("axe.min.js").read_text("utf-8")
    # The page itself allows no script, so the copy that is judged does.
    page = page_of(output).replace("default-src 'none'; style-src 'unsafe-inline'", "default-src 'unsafe-inline'")
    judge = f"axe.run(document, {AXE_RULES}).then(found => {{ document.title = 'judged ' + found.violations"
    judge += ".map(each => each.id + ' ' + each.nodes.map(node => node.html).join(' ')).join('; ');"
    judge += " document.body.dataset.wide = document.documentElement.scrollWidth; })"
    (tmp_path / "page.html").write_text(
        page.replace("</body>", f"<script>{axe}</script><script>{judge}</script></body>")
    )
    dom = browsed(tmp_path / "page.html", tmp_path / "profile", width, scheme)
    title = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)
    assert title is not None
    assert title[1] == "judged "
    wide = re.search(r'data-wide="(\d+)"', dom)
    assert wide is not None
    assert int(wide[1]) <= max(width, 500), "the page scrolls sideways"  # Chromium has no narrower window


def browsed(page: Path, profile: Path, width: int, scheme: str) -> str:
    """The page as the browser has it after its scripts."""
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
    dark = ("--blink-settings=preferredColorScheme=0",) if scheme == "dark" else ()
    command = [str(CHROMIUM), *flags, *dark, f"--user-data-dir={profile}", f"--window-size={width},900"]
    ended = subprocess.run(
        [*command, "--virtual-time-budget=20000", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return ended.stdout
