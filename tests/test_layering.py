"""What each folder of the package may import. `docs/explanation/architecture.md` says what each folder is for."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final

import pytest
from pydantic import BaseModel

from albert_infer.output import manifest

ROOT: Final = Path(__file__).parent.parent
PACKAGE: Final = "albert_infer"

# What every folder may import: these know nothing of a step.
EVERYONES: Final = {"common", "errors", "schema"}
# The steps of a row's way, each of which imports earlier ones only.
STEPS: Final = (
    "config",
    "storage",
    "read",
    "prepare",
    "engine",
    "model",
    "classify",
    "preflight",
    "output",
    "pipeline",
)
# What each folder, or module beside the folders, may import beside those.
MAY_IMPORT: Final[dict[str, set[str]]] = {
    "__init__": {"labeler", "pipeline"},
    **{name: set() for name in EVERYONES},
    "config": set(),
    "storage": set(),
    "prepare": set(),
    "engine": set(),
    "read": {"config", "storage"},
    "model": {"storage", "prepare", "engine"},
    "classify": {"prepare", "engine", "model"},
    "preflight": {"storage", "read", "prepare", "engine", "model", "classify"},
    "output": {"config", "storage", "read"},
    "pipeline": set(STEPS) - {"pipeline"},
    "job": set(STEPS),
    "labeler": {"config", "read", "prepare", "engine", "model", "classify", "preflight", "pipeline"},
    # The recount finds errors of the steps: it shares no code with them.
    "verification": {"config", "storage"},
    "learning": {*STEPS, "job", "labeler", "verification"} - {"output"},
    # Has the program of the package, each job of which is one command of it: recount and training too.
    "operations": {*STEPS, "job", "verification", "learning"} - {"read", "prepare"},
}
# All of ours that `verification` may use: names and closed lists, and tools that know nothing of a run. What says how
# something published looks, or how input is read, it declares again.
SHARED_WITH_VERIFICATION: Final = {
    "common.json_input": {"parsed_json"},
    "common.printable": {"PrintableText", "how_many", "reason_of", "text_of"},
    "common.tables": {"fact_lines"},
    "config": {"VerifySettings"},
    "errors": {"IntegrityError", "ObjectChangedError", "ObjectMissingError", "OutputError", "SettingsError"},
    "schema": {
        *("PAIR_ID", "PREMISE", "HYPOTHESIS", "SOURCE_FILE", "SOURCE_ROW", "LABEL", "N_TOKENS", "TRUNCATED"),
        *("NEEDS_REVIEW", "N_WINDOWS", "REJECTION", "DETAIL", "Rejection"),
        *("HYPOTHESIS_ID", "PREMISE_SENTENCE", "PREMISE_START", "PREMISE_END"),
        *("HYPOTHESIS_SENTENCE", "HYPOTHESIS_START", "HYPOTHESIS_END"),
        *("BEST", "SCORE", "TOP", "TOP_SCORES", "N_PAIRS"),
    },
    # Objects are listed and read by the same code; what they hold is read by other code.
    "storage": {
        *("Folder", "InputObjects", "ObjectPin", "S3Access", "AccessError", "DeadLinkError"),
        *("open_folder", "refused", "resolve_input"),
    },
}
# Folders inside a folder that import nothing of each other: who reads one need not read the other.
STRANGERS: Final = (("engine.cpu", "engine.cuda"),)
# The only homes of heavy libraries, of libraries that open files, and of Ray.
HOMES: Final = {
    "ray": {"pipeline", "learning", "operations"},  # in operations, the client of the job server
    "torch": {"engine", "learning", "operations"},  # in operations, pickled weights are converted
    "transformers": {"model", "learning"},
    "huggingface_hub": {"model", "learning"},
    # Only extras install these.
    **{name: {"learning"} for name in ("sklearn", "scipy", "matplotlib", "markupsafe")},
    "jinja2": {"common"},
    "sentencex": {"prepare"},
    **{name: {"storage"} for name in ("fsspec", "s3fs", "boto3", "botocore", "aiobotocore", "aiohttp")},
}
# Dictionaries of which nothing is known. `JsonObject` is one by another name, for JSON that somebody else wrote: every
# use of it counts. The rest are settings as JSON, types of Arrow by name, and arguments of botocore's and Ray's.
MAX_ANY_DICTS: Final = 10
MODULE_LINES: Final = 300
FUNCTION_LINES: Final = 50
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
    return names_in(ast.walk(tree_of(path)))


def names_in(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The dotted names of what these nodes import, each without what is in it."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{node.module}: imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else str(node.module)


def ours(path: Path) -> set[str]:
    return {name for name in imported(path) if name.split(".")[0] == PACKAGE}


# One test looks at all modules, and names those that break its rule.


def test_a_module_imports_only_what_its_row_of_the_table_allows() -> None:
    homes = set(map(home_of, MODULES))
    assert homes <= MAY_IMPORT.keys(), "each has a row here, which says what it may import"
    strays = {}
    for module, path in MODULES.items():
        asked = {home_of(name) for name in ours(path) if name != PACKAGE}
        strays[module] = asked - MAY_IMPORT[home_of(module)] - EVERYONES - {home_of(module)}
    assert any_of(strays) == {}


def test_heavy_libraries_file_systems_and_ray_stay_in_their_homes() -> None:
    strays = {}
    for module, path in MODULES.items():
        libraries = {name.split(".")[0] for name in imported(path)} & HOMES.keys()
        strays[module] = {library for library in libraries if home_of(module) not in HOMES[library]}
    assert any_of(strays) == {}


def any_of(found: dict[str, set[str]]) -> dict[str, set[str]]:
    """The modules of which anything was found."""
    return {module: strays for module, strays in found.items() if strays}


def used(path: Path) -> Iterator[tuple[str, str]]:
    """The modules of ours that a file imports from, each with a name out of it; also where it is `module.name`."""
    modules: dict[str, str] = {}
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == PACKAGE:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in MODULES:
                    modules[alias.asname or alias.name] = inner
                else:
                    yield str(node.module), alias.name
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield modules[node.value.id], node.attr


def test_a_verification_shares_only_these_names_with_what_published() -> None:
    shared: dict[str, set[str]] = {}
    for path in sources(f"{PACKAGE}/verification"):
        for module, name in used(path):
            if home_of(module) != "verification":
                shared.setdefault(module.removeprefix(f"{PACKAGE}."), set()).add(name)
    assert shared == SHARED_WITH_VERIFICATION


# The keys of `_SUCCESS` and of its parts, from the types that are its only reading in the steps.
MANIFEST_KEYS: Final = {
    name
    for kind in vars(manifest).values()
    if isinstance(kind, type) and issubclass(kind, BaseModel)
    for name in kind.model_fields
}


READERS: Final = [
    module
    for module in MODULES
    if home_of(module) in {"output", "pipeline", "job", "operations"} and module != manifest.__name__
]


def any_dicts(path: Path) -> list[str]:
    """Where a file says `dict[str, Any]`, `Mapping[str, Any]` or `JsonObject`."""
    found = []
    for node in ast.walk(tree_of(path)):
        told = ast.unparse(node) if isinstance(node, ast.Subscript | ast.Name) else ""
        is_named = re.fullmatch(r"\w*([dD]ict|Mapping)\[str, Any\]|JsonObject", told)
        if is_named and isinstance(node, ast.expr) and not isinstance(getattr(node, "ctx", None), ast.Store):
            found.append(f"{name_of(path)}:{node.lineno}")
    return found


def test_what_a_dictionary_holds_is_known() -> None:
    found = [place for path in MODULES.values() for place in any_dicts(path)]
    assert len(found) <= MAX_ANY_DICTS, found


# What was once there twice, with two contracts; and who alone may decide by it.
ONLY_HOMES: Final = {
    "own_error": set[str](),
    "one_line": {"common.printable"},
    "job_error": {"job.command"},
    "own_errors": {"pipeline.stage_errors"},
    "resolved_precision": {"engine.processor"},
}


def test_what_has_one_contract_is_defined_once() -> None:
    homes: dict[str, set[str]] = {name: set() for name in ONLY_HOMES}
    for module, path in MODULES.items():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef) and node.name in homes:
                homes[node.name].add(module.removeprefix(f"{PACKAGE}."))
    assert homes == ONLY_HOMES


def test_messages_are_put_on_one_line_in_one_place() -> None:
    by_hand = {
        f"{module}: {ast.unparse(node)}"
        for module, path in MODULES.items()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and re.fullmatch(r"' '\.join\(.+\.split\(\)\)", ast.unparse(node))
    }
    assert by_hand == {
        "albert_infer.common.printable: ' '.join(str(value).split())",
        # Of details that are stored: what is not printable is a question mark there.
        "albert_infer.read.footers: ' '.join(str(error).split())",
        # A text for a tokenizer, and the paragraphs of a help text.
        "albert_infer.model.spiece: ' '.join(text.split())",
        "albert_infer.config.parsing: ' '.join(paragraph.split())",
    }


def test_auto_precision_is_decided_in_one_place() -> None:
    deciding = {
        module
        for module, path in MODULES.items()
        for node in ast.walk(tree_of(path))
        if (isinstance(node, ast.Name) and node.id == "BF16_FLAGS")
        or (isinstance(node, ast.Compare) and re.search(r"precision (!=|==) ('auto'|AUTO)", ast.unparse(node)))
    }
    assert deciding == {"albert_infer.engine.processor"}


@pytest.mark.parametrize("module", READERS)
def test_nobody_reads_a_manifest_by_the_names_of_its_keys(module: str) -> None:
    read = []
    for node in ast.walk(tree_of(MODULES[module])):
        place = node.slice if isinstance(node, ast.Subscript) else None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            place = next(iter(node.args), None)
        if isinstance(place, ast.Constant) and place.value in MANIFEST_KEYS:
            read.append(ast.unparse(node))
    # A plan's recipe, the counts of a report's units, and the parts of a final name.
    others = {"plan.recipe['model']", "self.units['labelled']", "report.units['labelled']", "match['number']"}
    assert set(read) <= others


@pytest.mark.parametrize("folder", [PACKAGE, "jobs"])
def test_nothing_imports_jobs_or_recipes(folder: str) -> None:
    roots = {name.split(".")[0] for path in sources(folder) for name in imported(path)}
    assert roots & {"jobs", "recipes"} == set()


def test_a_folder_knows_nothing_of_its_strangers() -> None:
    for pair in STRANGERS:
        for here, there in (pair, pair[::-1]):
            known = {module: below(there, ours(path)) for module, path in MODULES.items() if below(here, {module})}
            assert any_of(known) == {}


def below(folder: str, modules: set[str]) -> set[str]:
    """Those of the modules that are in a folder of the package."""
    return {name for name in modules if f"{name}.".startswith(f"{PACKAGE}.{folder}.")}


def test_an_init_only_exports() -> None:
    kinds = (ast.ImportFrom, ast.Assign)
    for path in MODULES.values():
        if path.name != "__init__.py" or path.parent.name == PACKAGE:
            continue
        docstring, *rest = tree_of(path).body
        assert isinstance(docstring, ast.Expr), path
        assert [node.lineno for node in rest if not isinstance(node, kinds)] == [], path
        assigned = [target for node in rest if isinstance(node, ast.Assign) for target in node.targets]
        assert {ast.unparse(target) for target in assigned} <= {"__all__", "__version__"}, path


def test_every_folder_has_a_row_in_the_page_on_architecture() -> None:
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text("utf-8")
    folders = {path.parent.name for path in MODULES.values() if path.parent.parent == ROOT / PACKAGE}
    assert set(re.findall(r"^\| `(\w+)/` \|", page, re.M)) == folders
    assert folders < MAY_IMPORT.keys()


def test_there_are_no_import_cycles() -> None:
    graph = {module: ours(path) - {module} for module, path in MODULES.items()}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(MODULES)


@pytest.mark.parametrize("path", sources("jobs"), ids=lambda path: path.name)
def test_a_job_script_is_a_docstring_with_its_command_and_a_few_calls(path: Path) -> None:
    assert len(path.read_text().splitlines()) < JOB_LINES
    assert f"python jobs/{path.name}" in (ast.get_docstring(tree_of(path)) or "")
    assert {name for name in imported(path) if name.split(".")[0] in HOMES} == set()


def test_modules_and_functions_are_short_and_every_module_says_what_it_holds() -> None:
    for path in (*MODULES.values(), *sources("recipes")):
        name, tree = name_of(path), tree_of(path)
        assert len(path.read_text().splitlines()) <= MODULE_LINES, name
        assert ast.get_docstring(tree), name
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
        assert {each: lines for each, lines in lengths.items() if lines > FUNCTION_LINES} == {}, name


@pytest.mark.process
def test_a_driver_loads_no_torch_and_a_policy_no_ray() -> None:
    # One process for all: the modules are imported in the order of what they may load.
    script = """
import sys
import albert_infer.classify.batching, albert_infer.output.commit, albert_infer.config, albert_infer.read.planning
import albert_infer.output.publish, albert_infer.classify.classification, albert_infer.job.command
import albert_infer.engine, albert_infer.model.checkpoint, albert_infer.job.report
print(*(name for name in ("ray", "torch", "transformers") if name in sys.modules))
import albert_infer.job.run
print(*(name for name in ("torch", "transformers") if name in sys.modules))
"""
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert told.stdout == "\n\n"


def loaded_with(module: str) -> set[str]:
    """The modules of ours that Python loads with one of ours; not those that functions or type checkers import."""
    loaded, waiting = set[str](), {module}
    while waiting:
        name = waiting.pop()
        loaded.add(name)
        at_once = [node for node in tree_of(MODULES[name]).body if isinstance(node, ast.Import | ast.ImportFrom)]
        asked = {each for each in names_in(at_once) if each.split(".")[0] == PACKAGE}
        packages = {each.rpartition(".")[0] for each in (name, *asked)}
        waiting |= ((asked | packages) & MODULES.keys()) - loaded
    return loaded


@pytest.mark.parametrize("module", ["stages", "checks", "board", "cards", "reader"])
def test_a_worker_loads_no_settings(module: str) -> None:
    # A job starts many workers, and the declarations of the settings take each a quarter of a second of a core.
    assert {name for name in loaded_with(f"{PACKAGE}.pipeline.{module}") if home_of(name) in {"config", "job"}} == set()
