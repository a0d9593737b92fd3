"""What the repository gives to contributors: the CI workflow, forms for issues, hooks, and the pages about them."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from deployment import ROOT
from pre_commit.clientlib import load_config

GITHUB: Final = ROOT / ".github"
FORMS: Final = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
WORKFLOW: Final = GITHUB / "workflows" / "ci.yml"
PAGES: Final = sorted(
    [ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "examples" / "README.md", *GITHUB.rglob("*.md")]
)
MAKEFILE: Final = (ROOT / "Makefile").read_text()


def problems(document: Any, schema: str) -> list[str]:
    """What the schema of that name, of check-jsonschema, has against the document."""
    validator = jsonschema.Draft7Validator(get_builtin_schema(schema))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def test_github_takes_the_workflow() -> None:
    # YAML 1.1 reads the key `on` as true.
    workflow = {"on" if key is True else key: value for key, value in read(WORKFLOW).items()}
    assert problems(workflow, "vendor.github-workflows") == []
    assert problems({**workflow, "jobs": {"make": {"steps": []}}}, "vendor.github-workflows") != []


def test_the_workflow_runs_the_commands_of_ci_on_the_oldest_python() -> None:
    [job] = read(WORKFLOW)["jobs"].values()
    [command] = [step["run"] for step in job["steps"] if "run" in step]
    [(name, values)] = job["strategy"]["matrix"].items()
    ours = re.findall(r"^make .+$", (ROOT / ".ci" / "run").read_text(), re.M)
    assert [command.replace(f"${{{{ matrix.{name} }}}}", value) for value in values] == ours
    [version] = [step["with"]["python-version"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
    assert f'requires-python = ">={version}"' in (ROOT / "pyproject.toml").read_text()


def test_the_workflow_has_no_rights_and_no_action_that_can_be_exchanged() -> None:
    assert read(WORKFLOW)["permissions"] == {"contents": "read"}
    actions = re.findall(r"uses: (\S+)", WORKFLOW.read_text())
    assert actions
    assert [action for action in actions if not re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", action)] == []


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_github_takes_the_form_of_an_issue(path: Path) -> None:
    form = read(path)
    assert problems(form, "vendor.github-issue-forms") == []
    assert problems({**form, "body": [{"type": "input"}]}, "vendor.github-issue-forms") != []
    ids = [field["id"] for field in form["body"] if "id" in field]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", ["bug.yml", "labels.yml"])
def test_a_report_has_what_a_maintainer_asks_first(name: str) -> None:
    fields = {field.get("id"): field for field in read(GITHUB / "ISSUE_TEMPLATE" / name)["body"]}
    assert {"version", "command", "last-lines", "report"} <= fields.keys()
    assert "report.json" in fields["report"]["attributes"]["label"]
    # A run that fails early has no report.
    required = {"version", "command", "last-lines"}
    assert all(fields[field]["validations"]["required"] for field in required)


def test_the_hooks_are_the_linters_of_make_check() -> None:
    config = load_config(str(ROOT / ".pre-commit-config.yaml"))
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", MAKEFILE, re.M)
    assert recipe
    ours = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    linters = [line for line in ours if re.match(r"\.venv/bin/(ruff|mypy|codespell)\b", line)]
    assert [hook["entry"] for hook in hooks] == linters
    # `system` is called `unsupported` by newer versions: the program is not pre-commit's to install.
    assert {(hook["language"], hook["pass_filenames"]) for hook in hooks} == {("unsupported", False)}
    pins = (ROOT / "constraints.txt").read_text()
    assert all(re.search(rf"^{Path(shlex.split(line)[0]).name}==", pins, re.M) for line in linters)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_name_files_and_commands_that_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
    files = re.findall(r"`((?:docs|tests|albert_infer|jobs|deploy|examples|\.github)/[\w./-]+\w)`", text)
    assert [file for file in files if not (ROOT / file).exists()] == []
    targets = set(re.findall(r"^([\w-]+):", MAKEFILE, re.M))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M)) <= targets


def test_github_takes_the_settings_of_the_forms() -> None:
    assert problems(read(GITHUB / "ISSUE_TEMPLATE" / "config.yml"), "vendor.github-issue-config") == []


def test_the_page_on_contributing_names_the_commands_that_must_pass() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    assert {"make demo", "make test-quick", "make test", "make check"} <= set(re.findall(r"`(make [\w-]+)`", text))


def test_the_notebooks_are_valid_json_of_the_current_format() -> None:
    for path in (ROOT / "examples").glob("*.ipynb"):
        notebook = json.loads(path.read_text())
        assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
