"""The code keeps to docs/architecture.md: who imports whom, and how long files and functions may be.

The table "Import rules" of that page is the rule. This file compares it with every import statement below
``biascon/``, also those inside functions. A test fails when an entry of a set of exceptions is not needed.
"""

from __future__ import annotations

import ast
import graphlib
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
MAX_FILE_LINES = 350
MAX_FUNCTION_LINES = 60  # lines of code: no docstring, blank line or comment

Arrow = tuple[str, str]

# Exceptions: none is left. A new one needs a reason beside it.
UPWARD_IMPORTS: frozenset[Arrow] = frozenset()
CIRCLE_IMPORTS: frozenset[Arrow] = frozenset()
LONG_FILES: frozenset[str] = frozenset()
LONG_FUNCTIONS: frozenset[str] = frozenset()


def name_module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_module(path): path for path in sorted((ROOT / "biascon").rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


def package_of(module: str) -> str:
    """Return the package or single file below ``biascon``, or ``biascon`` for the root itself."""
    parts = module.split(".")
    return "biascon" if len(parts) == 1 or parts[1] == "__main__" else parts[1]


def imports_of(tree: ast.Module, module: str) -> set[str]:
    """Return the modules of biascon that a file imports, at any depth of the file.

    The root ``biascon/__init__.py`` names the public API for type checkers in an ``if TYPE_CHECKING:``
    block, which never runs; these imports do not count.
    """
    skipped: set[ast.AST] = set()
    if module == "biascon":
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                skipped |= {child for statement in node.body for child in ast.walk(statement)}
    modules: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import, which this test cannot follow"
            source = node.module or ""
            if source.split(".")[0] == "biascon":
                full = [f"{source}.{alias.name}" for alias in node.names]
                modules |= {name if name in FILES else source for name in full}
        elif isinstance(node, ast.Import):
            modules |= {a.name for a in node.names if a.name.split(".")[0] == "biascon"}
    return modules - {module}


ARROWS: set[Arrow] = {
    (module, target) for module, tree in TREES.items() for target in imports_of(tree, module)
}


def read_table() -> dict[str, set[str]]:
    """Return the rows of the table "Import rules": the package, and the packages it may import."""
    section = PAGE.read_text(encoding="utf-8").split("## Import rules", 1)[1].split("\n## ", 1)[0]
    rows: dict[str, set[str]] = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `"):
            rows[cells[0].strip("`")] = set(re.findall(r"`([a-z_]+)`", cells[1]))
    return rows


TABLE = read_table()


def package_arrows(arrows: set[Arrow]) -> set[Arrow]:
    between = {(package_of(source), package_of(target)) for source, target in arrows}
    return {(source, target) for source, target in between if source != target}


ALLOWED = {(package, target) for package, targets in TABLE.items() for target in targets}


def find_circle(arrows: set[Arrow]) -> list[str]:
    graph: dict[str, set[str]] = {}
    for source, target in arrows:
        graph.setdefault(source, set()).add(target)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_every_file_named_on_the_page_exists() -> None:
    names = re.findall(r"`([\w/.-]+\.(?:py|md|dot))`", PAGE.read_text(encoding="utf-8"))
    missing = [
        n for n in names if not any((folder / n).exists() for folder in (ROOT, ROOT / "biascon"))
    ]
    assert names and not missing


def test_the_table_lists_every_package_once_and_nothing_else() -> None:
    assert set(TABLE) == {package_of(module) for module in FILES}
    assert {target for _, target in ALLOWED} <= set(TABLE)


def test_the_table_is_in_the_order_of_the_pipeline() -> None:
    order = list(TABLE)
    upward = [arrow for arrow in ALLOWED if order.index(arrow[0]) >= order.index(arrow[1])]
    assert not upward, "a package imports only packages below it in the table"


def test_no_import_is_missing_in_the_table() -> None:
    arrows = ARROWS - UPWARD_IMPORTS
    assert not {arrow for arrow in arrows if package_arrows({arrow}) - ALLOWED}


def test_every_arrow_of_the_table_is_used() -> None:
    assert not ALLOWED - package_arrows(ARROWS)


def test_there_is_no_circle_between_packages() -> None:
    assert not find_circle(package_arrows(ARROWS - UPWARD_IMPORTS))


def test_there_is_no_circle_between_files() -> None:
    assert not find_circle(ARROWS - UPWARD_IMPORTS - CIRCLE_IMPORTS)


def test_every_upward_import_exception_is_needed() -> None:
    stale = [a for a in UPWARD_IMPORTS if a not in ARROWS or not package_arrows({a}) - ALLOWED]
    assert not stale, "remove these entries from UPWARD_IMPORTS"


def test_every_circle_exception_is_needed() -> None:
    rest = ARROWS - UPWARD_IMPORTS - CIRCLE_IMPORTS
    stale = [a for a in CIRCLE_IMPORTS if a not in ARROWS or not find_circle(rest | {a})]
    assert not stale, "remove these entries from CIRCLE_IMPORTS"


def test_files_are_short_except_those_listed() -> None:
    long = {
        name
        for name, path in FILES.items()
        if len(path.read_text(encoding="utf-8").splitlines()) > MAX_FILE_LINES
    }
    assert long == LONG_FILES


def code_lines(text: str) -> set[int]:
    """Return the numbers of the lines with code: no blank line, no line with a comment only."""
    names = ("COMMENT", "NL", "NEWLINE", "INDENT", "DEDENT", "ENDMARKER")
    idle = {getattr(tokenize, name) for name in names}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in idle:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return lines


def docstring_lines(tree: ast.AST) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            lines |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return lines


def functions_of(node: ast.AST, name: str) -> Iterator[tuple[str, ast.AST]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = f"{name}.{child.name}"
            if not isinstance(child, ast.ClassDef):
                yield inner, child
            yield from functions_of(child, inner)
        else:
            yield from functions_of(child, name)


def function_lengths() -> dict[str, int]:
    lengths: dict[str, int] = {}
    for module, tree in TREES.items():
        lines = code_lines(FILES[module].read_text(encoding="utf-8")) - docstring_lines(tree)
        for name, node in functions_of(tree, module):
            start, end = node.lineno, node.end_lineno  # type: ignore[attr-defined]
            lengths[name] = len(lines & set(range(start, end + 1)))
    return lengths


def test_functions_are_short_except_those_listed() -> None:
    assert {
        n for n, lines in function_lengths().items() if lines > MAX_FUNCTION_LINES
    } == LONG_FUNCTIONS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1\n\n# why\ny = 2\n", 2),
        ("def f():\n    '''One.\n\n    Two.\n    '''\n    return (\n        1\n    )\n", 4),
    ],
)
def test_code_lines_leave_out_docstrings_blank_lines_and_comments(text: str, expected: int) -> None:
    assert len(code_lines(text) - docstring_lines(ast.parse(text))) == expected


def test_a_circle_between_two_files_is_found() -> None:
    assert set(find_circle({("a", "b"), ("b", "c"), ("c", "b")})) == {"b", "c"}
