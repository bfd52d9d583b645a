"""The source of the package has no call that executes what a file holds."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import biascon

ROOT = Path(biascon.__file__).parent
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml"}
CALLS = {"eval", "exec", "read_pickle", "to_pickle", "unsafe_load", "full_load"}


def list_unsafe(source: str) -> list[str]:
    """Return the imports and calls that could execute code of a file."""
    return list(_find(ast.parse(source)))


def _find(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
            yield from (m for m in modules if m.split(".")[0] in MODULES)
        elif isinstance(node, ast.Call):
            yield from _find_call(node)


def _find_call(node: ast.Call) -> Iterator[str]:
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    owner = getattr(getattr(function, "value", None), "id", "")
    values = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
    if name in CALLS and (isinstance(function, ast.Name) or name not in ("eval", "exec")):
        yield name
    if owner == "torch" and name == "load" and values.get("weights_only") is not True:
        yield "torch.load"
    if owner == "np" and name == "load" and values.get("allow_pickle", False) is not False:
        yield "np.load"
    if values.get("allow_pickle") or values.get("trust_remote_code") or values.get("shell"):
        yield f"{name} with pickle, remote code or a shell"


def test_the_package_executes_nothing_of_a_file() -> None:
    found = {
        str(path.relative_to(ROOT)): unsafe
        for path in sorted(ROOT.rglob("*.py"))
        if (unsafe := list_unsafe(path.read_text(encoding="utf-8")))
    }
    # weights.py imports the class of an error; torch.load has weights_only=True there.
    assert found == {"models/weights.py": ["pickle"]}
    text = (ROOT / "models" / "weights.py").read_text(encoding="utf-8")
    assert set(re.findall(r"pickle\.\w+", text)) == {"pickle.UnpicklingError"}


def test_each_unsafe_call_would_be_found() -> None:
    lines = (
        "import pickle", "from yaml import load", "eval(text)", "exec(text)", "torch.load(path)",
        "torch.load(path, weights_only=False)", "np.load(path, allow_pickle=True)",
        "pd.read_pickle(path)", "run(line, shell=True)",
    )  # fmt: skip
    assert [len(list_unsafe(line)) > 0 for line in lines] == [True] * len(lines)
    assert list_unsafe("torch.load(path, weights_only=True); model.eval(); np.load(path)") == []
