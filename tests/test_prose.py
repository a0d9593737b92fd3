"""Pages and code use plain words. The list holds words that a reader must decode, each with a plain one.

`CHANGELOG.md` is a record, so old entries keep their words.
"""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
# What a page must not say, and what to say instead.
PLAIN: Final = {
    r"whoever": "name the person or the program",
    r"so many": "give the number, or say 'the number of'",
    r"beside": "'next to', 'with' or 'at the same time as'",
    r"stands?|stood": "'is', or name what it does",
    r"told": "'reported', 'shown' or 'returned'",
    r"held against": "'compared with'",
}
# How many such words a page may still have, by the name of its file: none has one.
EXCEPTIONS: Final[dict[str, int]] = {}
NOTEBOOKS: Final = [str(path.relative_to(ROOT)) for path in (ROOT / "examples").glob("*.ipynb")]
PAGES: Final = sorted(
    str(path.relative_to(ROOT))
    for path in [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
        *(path for folder in ("docs", "examples", ".github") for path in (ROOT / folder).rglob("*.md")),
        *(ROOT / ".github").rglob("*.yml"),
    ]
)


# Names that say nothing about their value. A name says what the value is.
RETIRED_NAMES: Final = ("found", "told", "place", "measured")
# How many of these words and names the code of a folder may still have. Numbers here only get smaller.
CODE_EXCEPTIONS: Final = {
    "albert_infer/classify": 1,
}
CODE: Final = sorted(
    str(path.relative_to(ROOT)) for folder in ("albert_infer", "jobs") for path in (ROOT / folder).rglob("*.py")
)


def prose_of(page: str) -> str:
    """The page without its code: names in code are the program's."""
    text = (ROOT / page).read_text("utf-8")
    if page.endswith(".ipynb"):
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return without_code(text)


def without_code(text: str) -> str:
    """`text` with its code taken out, and each line where it was."""
    return re.sub(r"^```.*?^```|`[^`\n]*`", lambda code: "\n" * code[0].count("\n"), text, flags=re.M | re.S)


def findings(text: str) -> Iterator[str]:
    """A line for each word of the list in `text`."""
    for number, line in enumerate(text.splitlines(), 1):
        for word, plain in PLAIN.items():
            for found in re.finditer(rf"\b(?:{word})\b", line, re.IGNORECASE):
                yield f"line {number}: instead of '{found[0]}' write {plain}"


def allowed(page: str) -> int:
    """How many words of the list a page may have: none, but for the README and old pages of `docs/`."""
    return EXCEPTIONS.get(Path(page).name, 0) if page == "README.md" or page.startswith("docs/") else 0


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS])
def test_a_page_has_no_word_of_the_list_beyond_its_exceptions(page: str) -> None:
    found = list(findings(prose_of(page)))
    assert len(found) <= allowed(page), "\n".join(found)


def test_exceptions_are_for_pages_that_still_need_them() -> None:
    clean = [page for page in PAGES if allowed(page) and not list(findings(prose_of(page)))]
    assert clean == [], "take them out of EXCEPTIONS"


def test_code_is_no_prose_and_lines_keep_their_numbers() -> None:
    text = "Good.\n```\nwhoever\n```\nIt is `told` of\n, whoever asks."
    assert list(findings(without_code(text))) == ["line 6: instead of 'whoever' write name the person or the program"]


def code_findings(source: str) -> Iterator[str]:
    """A line for each word of the list in the comments and texts of `source`, and each retired name it binds."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield from (f"line {token.start[0]}: {found}" for found in findings(token.string))
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Constant(value=str(text)) if " " in text:
                yield from (f"text at line {node.lineno}, {found}" for found in findings(without_code(text)))
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.FunctionDef(name=name):
                if name in RETIRED_NAMES:
                    yield f"line {node.lineno}: the name '{name}' does not say what the value is"


def folder_of(module: str) -> str:
    """The step of a row's way that a module belongs to."""
    return "/".join(Path(module).parts[:2])


@pytest.mark.parametrize("folder", sorted({folder_of(module) for module in CODE}))
def test_code_has_no_word_or_name_of_the_lists_beyond_its_exceptions(folder: str) -> None:
    modules = [module for module in CODE if folder_of(module) == folder]
    found = [f"{module}: {line}" for module in modules for line in code_findings((ROOT / module).read_text("utf-8"))]
    assert len(found) == CODE_EXCEPTIONS.get(folder, 0), "\n".join(found)


def test_code_is_searched_in_comments_texts_and_names() -> None:
    source = 'found = 1  # whoever\n\ndef told(place: int) -> str:\n    return f"it stands at {place}"\n'
    assert len(list(code_findings(source))) == 5
