"""The boundaries between the modules, as `design.md` section 3 and the house style draw them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
PACKAGE: Final = "albert_infer"

# What each module may import; what is in EVERYONES everyone may.
EVERYONES: Final = {"errors", "extras", "schema", "column_types", "failpoints", "json_input", "printable"}
STEPS: Final = {"storage", "config", "reading", "planning", "validation", "tokenization", "batching", "engine", "model"}
PUBLISHING: Final = {"layout", "manifest", "standing", "sealing", "publish", "publication"}
ALL: Final = STEPS | {
    "calibration",
    "decoding",
    "gold",
    "selection",
    "classification",
    "label_probe",
    "preflight",
    "attempts",
    "commit",
    "logs",
    "processor",
    "progress",
    "resources",
    "pipeline",
    "report",
    *PUBLISHING,
}
MAY_IMPORT: Final[dict[str, set[str]]] = {
    "__init__": {"labeler"},
    "schema": set(),
    "column_types": set(),
    "utf8": set(),
    "int96": set(),
    "errors": set(),
    "extras": set(),
    "json_input": set(),
    "printable": set(),
    "tables": set(),
    "nights": set(),
    "places": {"storage", "config"},
    "logs": set(),
    "signals": set(),
    "streams": set(),
    "config": {"nights", "logs", "schemes"},
    "schemes": set(),
    "storage": {"schemes"},
    "extension_types": set(),
    "reading": {"storage", "int96", "extension_types"},
    "input_names": set(),
    "selection": {"storage", "reading", "input_names"},
    "decoding": {"storage", "reading", "int96"},
    "columns": {"reading", "extension_types"},
    "planning": {"storage", "config", "reading", "class_names", "columns", "selection"},
    "validation": {"utf8"},
    "words": set(),
    "windows": set(),
    "tokenization": {"words", "windows"},
    "batching": set(),
    "engine": {"batching", "processor"},
    "label_order": set(),
    "class_names": set(),
    "calibration": set(),
    "hub_calls": {"logs"},
    "hub": {"hub_calls"},
    "remedies": set(),
    "tokenizer_files": {"tokenization"},
    "model": {
        "hub",
        "engine",
        "label_order",
        "calibration",
        "remedies",
        "tokenization",
        "tokenizer_files",
        "storage",
    },
    "classification": {"engine", "model", "calibration", "batching", "tokenization", "windows"},
    "intake": {"validation", "utf8"},
    "labeler": {
        *{"arguments", "classification", "engine", "intake", "label_probe", "model", "processor", "progress"},
        *{"resources", "tokenization"},
    },
    "gold": {
        *{"storage", "reading", "decoding", "planning", "selection", "validation", "class_names", "label_order"},
    },
    "intervals": set(),
    "label_probe": {"classification", "model", "tokenization", "validation"},
    "arguments": set(),
    "preflight": {
        *{"classification", "engine", "gold", "intervals", "label_probe", "model", "planning", "tokenization"},
    },
    "layout": set(),
    "commit": {"storage", "layout", "class_names"},
    "attempts": set(),
    "failpoints": set(),
    "processor": set(),
    "progress": {"logs"},
    "resources": {"config", "processor"},
    "pipeline": ALL - {"pipeline", *PUBLISHING, "report"},
    "manifest": {"storage", "layout", "commit"},
    "standing": {"storage", "planning", "layout", "manifest"},
    "sealing": {"storage", "config", "planning", "commit", "layout", "manifest", "standing"},
    "publish": {"storage", "layout", "manifest", "standing"},
    "publication": {"storage", "config", "planning", "logs", *PUBLISHING},
    "report": {"storage", "preflight", "progress", "manifest", "input_names"},
    # Nothing of `commit` and of what comes after it: it has to find their errors.
    "verification": {"storage", "config", "input_names"},
    # Of `verification` what a run says of itself: its manifest and plan.
    "evaluation": {
        "storage",
        "config",
        "calibration",
        "class_names",
        "gold",
        "model",
        "tokenization",
        "classification",
        "engine",
        "processor",
        "resources",
        "progress",
        "tables",
        "verification",
    },
    "gate_pairs": {"config", "gold", "standing", "storage"},
    "run": ALL | {"places", "gate_pairs"},
    "nightly": ALL | {"command", "places", "run", "tables", "input_names"},
    "cleaning": {"storage", "config", "layout", "manifest", "standing", "publish", "publication"},
    "submission": {"logs", "config", "model", "storage"},
    "command": ALL | {"run", "signals", "streams"},
    "conversion": {
        "logs",
        "storage",
        "config",
        "hub",
        "model",
        "remedies",
        "tokenizer_files",
        "calibration",
        "classification",
        "engine",
        "label_probe",
    },
    "training": ALL
    | {"command", "evaluation", "intervals", "label_order", "labeler", "remedies", "report", "tokenizer_files"},
}
# The only homes of what is heavy, of what opens files, and of Ray.
HOMES: Final = {
    # The job server's client, in `submission`, is Ray's too.
    "ray": {"pipeline", "training", "submission"},
    "torch": {"engine", "training", "conversion"},
    "transformers": {"tokenizer_files", "training"},
    "huggingface_hub": {"hub", "hub_calls", "training"},
    # What only extras bring.
    **{name: {"evaluation", "training"} for name in ("sklearn", "scipy", "matplotlib", "jinja2", "markupsafe")},
    **{name: {"storage"} for name in ("fsspec", "s3fs", "boto3", "botocore", "aiobotocore", "aiohttp")},
}
MODULE_LINES: Final = 350
FUNCTION_LINES: Final = 60
JOB_LINES: Final = 65


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    """The dotted name of a module of ours."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


def home_of(module: str) -> str:
    """The module or package directly below `albert_infer` that this is, or is part of."""
    return module.split(".")[1]


MODULES: Final = {name_of(path): path for path in sources(PACKAGE)}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imported(path: Path) -> Iterator[str]:
    """The dotted names of what a file imports, wherever in it; of ours down to the module."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else str(node.module)


def ours(path: Path) -> set[str]:
    return {name for name in imported(path) if name.split(".")[0] == PACKAGE}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_row_of_the_table_allows(module: str) -> None:
    home = home_of(module)
    assert home in MAY_IMPORT, f"{home} has no row: say in design.md what it may import, then here"
    homes = {home_of(name) for name in ours(MODULES[module]) if name != PACKAGE}
    assert homes <= MAY_IMPORT[home] | EVERYONES | {home}


@pytest.mark.parametrize("module", MODULES)
def test_heavy_libraries_file_systems_and_ray_stay_in_their_homes(module: str) -> None:
    libraries = {name.split(".")[0] for name in imported(MODULES[module])}
    strays = {library for library in libraries & HOMES.keys() if home_of(module) not in HOMES[library]}
    assert strays == set()


@pytest.mark.parametrize("folder", [PACKAGE, "jobs"])
def test_nothing_imports_jobs(folder: str) -> None:
    assert [path for path in sources(folder) for name in imported(path) if name.split(".")[0] == "jobs"] == []


def test_there_are_no_import_cycles() -> None:
    graph = {module: ours(path) - {module} for module, path in MODULES.items()}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(MODULES)


@pytest.mark.parametrize("path", sources("jobs"), ids=lambda path: path.name)
def test_a_job_script_is_a_docstring_with_its_command_and_a_few_calls(path: Path) -> None:
    assert len(path.read_text().splitlines()) < JOB_LINES
    assert f"python jobs/{path.name}" in (ast.get_docstring(tree_of(path)) or "")
    assert {name for name in imported(path) if name.split(".")[0] in HOMES} == set()


@pytest.mark.parametrize("module", MODULES)
def test_modules_and_functions_are_short_and_every_module_says_what_it_holds(module: str) -> None:
    assert len(MODULES[module].read_text().splitlines()) < MODULE_LINES
    tree = tree_of(MODULES[module])
    assert ast.get_docstring(tree)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert {name: lines for name, lines in lengths.items() if lines > FUNCTION_LINES} == {}


def test_a_driver_loads_no_torch_and_a_policy_no_ray() -> None:
    # One process for all: the modules are imported in the order of what they may load.
    script = """
import sys
import albert_infer.batching, albert_infer.commit, albert_infer.config, albert_infer.planning, albert_infer.publish
import albert_infer.classification, albert_infer.command, albert_infer.engine, albert_infer.model, albert_infer.report
print(*(name for name in ("ray", "torch", "transformers") if name in sys.modules))
import albert_infer.run
print(*(name for name in ("torch", "transformers") if name in sys.modules))
"""
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert told.stdout == "\n\n"
