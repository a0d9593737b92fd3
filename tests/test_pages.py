"""What stands in the README and on the pages of `docs/` is what the code says."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Final

import pytest
from page_commands import SETTINGS, commands, parsed

from albert_infer import errors
from albert_infer.job.report import Report
from albert_infer.operations.nightly import Night
from albert_infer.output.manifest import Manifest
from recipes import reference

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = ROOT / "docs"
PAGES: Final = (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))
NAMES: Final = [page.relative_to(ROOT).as_posix() for page in PAGES]
TEXTS: Final = {page: page.read_text("utf-8") for page in PAGES}
FENCED: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Pages for people who use the jobs; others name programs of others.
OF_USERS: Final = [
    page for page in PAGES if page.parent.name not in ("docs", "explanation") or page.name == "tutorial.md"
]
# Flags of every job and of the program, and of pip, Ray and the shell.
OTHER_FLAGS: Final = {
    "--config",
    "--extra-index-url",
    "--help",
    "--help-all",
    "--install-completion",
    "--metrics-export-port",
    "--net",
    "--user",
}
LINK: Final = re.compile(r"\]\((?!https?://)([^)\s]+)\)")
EXTERNAL: Final = re.compile(r"\]\((\w+://[^)\s]+)\)|<(\w+://[^>\s]+)>")
# Hosts that have moved, and where to.
MOVED: Final = {
    "arrow.readthedocs.io": "arrow.apache.org",
    "docs.huggingface.co": "huggingface.co",
    "min.io/docs": "docs.min.io",
    "pypi.python.org": "pypi.org",
    "pytorch.org/docs": "docs.pytorch.org",
    "ray.readthedocs.io": "docs.ray.io",
    "www.github.com": "github.com",
}
# Pages with links to other sites.
WITH_LINKS: Final = (*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "examples/README.md")))


def exit_codes() -> Iterator[tuple[str, int]]:
    """The name of every error, and its exit code."""
    for kind in vars(errors).values():
        if hasattr(kind, "exit_code"):
            yield kind.__name__, kind.exit_code


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_of_a_page_is_taken(page: Path) -> None:
    for _, block in FENCED.findall(TEXTS[page]):
        for job, argv in commands(block):
            if "--help" not in argv:
                assert parsed(job, argv) is not None, f"{job} {shlex.join(argv)}"


@pytest.mark.parametrize("start", ["python jobs/label_pairs.py", "albert-infer label"])
def test_a_command_with_a_flag_that_is_none_is_refused(start: str) -> None:
    [(job, argv)] = commands(f"$ {start} --input pairs/ --outptu labels/  # a comment")
    with pytest.raises(errors.SettingsError, match="--outptu is not a setting"):
        parsed(job, argv)


def test_the_pages_have_commands_of_every_job() -> None:
    found = {job for text in TEXTS.values() for _, block in FENCED.findall(text) for job, _ in commands(block)}
    assert found >= SETTINGS.keys() - {"demo.py"}


@pytest.mark.parametrize("page", OF_USERS, ids=lambda page: page.name)
def test_every_flag_of_a_page_is_a_setting(page: Path) -> None:
    outside = FENCED.sub("", TEXTS[page])
    named = {
        flag for code in re.findall(r"`([^`\n]+)`", outside) for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", code)
    }
    known = {f"--{name.replace('_', '-')}" for settings in SETTINGS.values() for name in settings.model_fields}
    assert named - known - OTHER_FLAGS == set()


def headings(page: Path) -> set[str]:
    """The links to the headings of a page, as GitHub makes them, and those that it names itself."""
    text = FENCED.sub("", page.read_text("utf-8"))
    titles = re.findall(r"^#{1,3} (.+)$", text, re.MULTILINE)
    own = re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles} | set(own)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in LINK.findall(FENCED.sub("", TEXTS[page])):
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert not heading or heading in headings(target), link


def external_links(text: str) -> list[str]:
    """The links of a page to other sites, without its code."""
    return [link or bare for link, bare in EXTERNAL.findall(re.sub(r"`[^`\n]*`", "", FENCED.sub("", text)))]


def faults_of_links(links: Iterable[str]) -> Iterator[str]:
    """A line for each link to another site that is not https, names a host that has moved, or has two spellings."""
    spellings: dict[str, set[str]] = {}
    for link in links:
        scheme, _, address = link.partition("://")
        spellings.setdefault(re.sub(r"^www\.|/$", "", address), set()).add(link)
        if scheme != "https":
            yield f"{link}: write https://"
        yield from (f"{link}: write {now}" for old, now in MOVED.items() if address.startswith(old))
    yield from (f"write one of {sorted(same)}" for same in spellings.values() if len(same) > 1)


def test_links_to_other_sites_are_https_and_have_one_spelling() -> None:
    links = [link for page in WITH_LINKS for link in external_links(page.read_text("utf-8"))]
    assert links
    assert list(faults_of_links(links)) == []


def test_a_link_with_a_wrong_form_is_a_fault() -> None:
    text = "[a](http://x.org/a) <https://x.org/b> [c](https://www.x.org/b/) [d](https://pypi.python.org/d) `<http://e>`"
    assert len(external_links(text)) == 4
    assert len(list(faults_of_links(external_links(text)))) == 3


def test_no_page_loads_anything_from_another_host() -> None:
    languages = {language for text in TEXTS.values() for language, _ in FENCED.findall(text)}
    assert "mermaid" not in languages, "its script is on another host"
    images = {link for text in TEXTS.values() for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)}
    assert images == {"docs/images/row.svg", "../images/report.png", "../images/report-index.png"}
    drawn = (ROOT / "docs" / "images" / "row.svg").read_text("utf-8")
    assert not re.search(r"<script|<image|@import|\burl\((?!#)|href=", drawn)


def test_the_readme_and_the_tutorial_show_one_output_of_the_demo() -> None:
    shown = [
        [block for _, block in FENCED.findall(TEXTS[page]) if "published " in block and "gold label " in block]
        for page in (ROOT / "README.md", DOCS / "tutorial.md")
    ]
    assert len(shown[0]) == 1
    assert shown[0] == shown[1]


def test_the_readme_is_short() -> None:
    assert len(TEXTS[ROOT / "README.md"].split()) <= 1200


def test_the_page_of_settings_is_that_of_the_declarations() -> None:
    assert reference.PAGE.read_text("utf-8") == reference.settings_page(), "run python -m recipes.reference"


def test_every_exit_code_and_every_error_is_on_its_page() -> None:
    text = TEXTS[DOCS / "reference" / "exit-codes.md"]
    told = re.findall(r"^\| `(\w+Error)` \| (\d) \|", text, re.MULTILINE)
    assert {(name, int(code)) for name, code in told} == set(exit_codes())
    means = {
        int(code) for cells in re.findall(r"^\| (\d[^|]*) \|", text, re.MULTILINE) for code in re.findall(r"\d", cells)
    }
    assert means == {0, 1, *(code for _, code in exit_codes())}


def test_every_key_is_on_the_page_of_schemas() -> None:
    text = TEXTS[DOCS / "reference" / "schemas.md"]
    for heading, names in (
        ("`_SUCCESS`", set(Manifest.model_fields)),
        ("`report.json`", {field.name for field in fields(Report)}),
        ("`nightly.json`", {field.name for field in fields(Night)}),
    ):
        [section] = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
        rows = re.findall(r"^\| ((?:`[^`|]+`(?:, )?)+) \|", section, re.MULTILINE)
        told = {name.removeprefix("nights[].") for row in rows for name in re.findall(r"`([^`]+)`", row)}
        assert names - told == set(), heading


def test_every_extra_of_the_page_is_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = re.findall(r"^\| `(\w+)` \|", TEXTS[DOCS / "how-to" / "install.md"], re.MULTILINE)
    assert set(named) == declared.keys()


def test_the_ratios_of_the_readme_are_those_of_the_benchmark() -> None:
    rows = re.findall(r"^\| ([^|]+) \|[^|]*\| \**([\d.]+)\** \|", TEXTS[DOCS / "benchmarks.md"], re.MULTILINE)
    speed = {name.strip("* "): float(pairs) for name, pairs in rows}
    engine = {precision: speed[f"our engine alone, {precision}"] for precision in ("fp32", "bf16", "int8")}
    pipeline, cross_encoder = (
        speed["Hugging Face `pipeline`, input order"],
        speed["sentence-transformers `CrossEncoder.predict`"],
    )
    expected = [
        *(engine[precision] / pipeline for precision in ("fp32", "bf16", "int8")),
        engine["bf16"] / speed["Hugging Face model, bf16, sorted"],
        engine["fp32"] / cross_encoder,
        engine["int8"] / speed["ONNX Runtime, int8, sorted"],
        engine["int8"] / speed["OpenVINO, int8, sorted"],
        engine["bf16"] / speed["OpenVINO, bf16, sorted"],
        speed["our job, start-up included"] / speed["Ray's recipe, start-up included"],
    ]
    told = [float(ratio) for ratio in re.findall(r"([\d.]+) \u00d7", TEXTS[ROOT / "README.md"])]
    assert told == pytest.approx(expected, abs=0.06)
