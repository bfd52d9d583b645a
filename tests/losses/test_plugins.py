"""Plug-in losses: installed by pip, listed, trained by name, and the errors of faulty plug-ins."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from biascon.errors import BiasconError, UsageError
from biascon.losses import LOSSES, NEEDS, FirstStage, LossEntry, plugins
from biascon.losses.loss import default_parameters, get_entry, get_loss, uses_bias_labels
from biascon.utils import entry_points

MODULE = "outside_losses"
POINTS = {
    "tilt": "tilt",
    "reach": "entry",
    "after": "after",  # its first stage is "middle", whose first stage uses bias labels
    "middle": "middle",
    "hard": "hard",
    "supcon": "tilt",  # biascon has a loss of this name
}

PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "{module}"
version = "1.0"

[project.entry-points."biascon.losses"]
{points}

[tool.setuptools]
py-modules = ["{module}"]
"""
SOURCE = '''
"""Losses of another package than biascon."""

from torch.nn import functional as F

from biascon.losses import FirstStage, LossEntry


def tilt(z, labels, bias=None, *, strength: float = 2.0):
    """Embeddings of a class along one axis."""
    return -strength * F.one_hot(labels, z.shape[-1])[:, None].mul(z).sum(dim=-1).mean()


def reach(z, labels, bias=None, *, logits, ce_weight: float = 1.0, depth=0):
    """Cross-entropy, and views of an image close to each other."""
    ce = F.cross_entropy(logits.flatten(0, 1).float(), labels.repeat_interleave(logits.shape[1]))
    return ce_weight * ce + depth * (z - z.mean(dim=1, keepdim=True)).square().sum(dim=-1).mean()


entry = LossEntry(
    "outside_losses:reach",
    formula="ce + depth |z - mean z|^2",
    paper="A. Nobody, 2026",
    tensor_inputs=("logits",),
    fixed={"depth": 3},
)


def build_on(first_loss):
    return LossEntry("outside_losses:tilt", "", "", first_stage=FirstStage(first_loss, "features"))


after, middle = build_on("middle"), build_on("end")


def weigh_hard(z, labels, bias=None, *, bias_losses):
    """Cross-entropy of logits, each image weighted by its loss under the first-stage network."""
    ce = F.cross_entropy(z[:, 0].float(), labels, reduction="none")
    return (bias_losses * ce).mean()


hard = LossEntry(
    "outside_losses:weigh_hard",
    "L_b ce",
    "A. Nobody, 2026",
    input_kind="logits",
    tensor_inputs=("bias_losses",),
    first_stage=FirstStage("ce", "losses"),
    evaluated_by="classifier",
)
'''
BROKEN = "raise RuntimeError('it wants\\nanother library')"


def install(folder: Path, module: str, source: str, points: dict[str, str]) -> Path:
    """Install a package of one module with pip, as a user does, and return the folder of packages."""
    if importlib.util.find_spec("setuptools") is None or importlib.util.find_spec("pip") is None:
        pytest.skip("needs pip and setuptools to build a package without a network")
    project, target = folder / "project", folder / "site"
    project.mkdir(parents=True)
    (project / f"{module}.py").write_text(source, encoding="utf-8")
    lines = "\n".join(f'{name} = "{module}:{attribute}"' for name, attribute in points.items())
    (project / "pyproject.toml").write_text(PROJECT.format(module=module, points=lines), "utf-8")
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    arguments = ["-m", "pip", "install", "--quiet", *offline, "--target", target, project]
    result = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return target


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the outside package is installed."""
    return install(tmp_path_factory.mktemp("outside"), MODULE, SOURCE, POINTS)


@pytest.fixture(scope="module")
def broken_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a package is installed that cannot be imported."""
    return install(tmp_path_factory.mktemp("broken"), "broken_losses", BROKEN, {"snap": "snap"})


@pytest.fixture
def outside(site: Path, monkeypatch: pytest.MonkeyPatch):
    """Make the outside package importable in this process."""
    monkeypatch.syspath_prepend(site)
    yield
    sys.modules.pop(MODULE, None)


@pytest.fixture
def broken(broken_site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the entry point of the broken package visible in this process."""
    monkeypatch.syspath_prepend(broken_site)


def run_biascon(folder: Path, site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a new process that finds the packages in ``site``."""
    old = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(site), *([old] if old else [])])
    return subprocess.run(
        [sys.executable, "-m", "biascon", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def test_function_without_an_entry_is_a_loss_on_embeddings(outside):
    entry = get_entry("tilt")
    assert entry.target == f"{MODULE}:tilt"
    assert entry.input_kind == "embeddings"
    assert (entry.batch_inputs, entry.tensor_inputs, entry.requires) == (("labels",), (), ())
    assert default_parameters("tilt") == {"strength": 2.0}
    z, labels = F.normalize(torch.randn(6, 2, 10), dim=-1), torch.arange(6)
    value = get_loss("tilt", strength=3)(z, labels)
    assert value.item() == pytest.approx(-3 * z[range(6), :, range(6)].mean().item(), rel=1e-5)


def test_entry_of_a_plugin_sets_inputs_and_fixed_parameters(outside):
    entry, loss = get_entry("reach"), get_loss("reach", ce_weight=2)
    assert isinstance(entry, LossEntry)
    assert (entry.paper, entry.tensor_inputs) == ("A. Nobody, 2026", ("logits",))
    assert dict(loss.parameters) == {"ce_weight": 2.0, "depth": 3}
    labels = torch.arange(6)
    z = F.normalize(torch.ones(6, 2, 10), dim=-1)  # equal views: the term of the views is 0
    logits = torch.randn(6, 2, 10)
    ce = get_loss("ce")(logits, labels).item()
    assert loss(z, labels, logits=logits).item() == pytest.approx(2 * ce, rel=1e-5)
    with pytest.raises(UsageError, match="loss 'reach' expects the inputs logits"):
        loss(z, labels)
    with pytest.raises(UsageError, match="ce_weight to be at least 0, but got -1"):
        get_loss("reach", ce_weight=-1)


def test_use_of_bias_labels_is_inherited_from_the_first_stage(outside):
    assert uses_bias_labels("after")
    assert not uses_bias_labels("tilt")


@pytest.mark.parametrize(
    ("field", "known"), [("tensor_inputs", "logits"), ("optional_inputs", "logit_bias")]
)
def test_entry_with_an_unknown_input_is_refused_with_the_known_ones(field, known, monkeypatch):
    entry = LossEntry("m:f", "", "", **{field: ("logits", "zzz")})
    monkeypatch.setattr(entry_points, "resolve", lambda *_: entry)
    point = EntryPoint("mine", "m:entry", plugins.GROUP)
    message = rf"'mine' needs zzz, which biascon does not provide \({field} may hold: .*{known}"
    with pytest.raises(BiasconError, match=message):
        plugins.plugin_entry("mine", point)


def test_entry_may_name_the_inputs_of_a_second_batch(monkeypatch):
    optional = ("logit_labels", "logit_bias", "weights")
    entry = LossEntry("m:f", "", "", tensor_inputs=("logits",), optional_inputs=optional)
    monkeypatch.setattr(entry_points, "resolve", lambda *_: entry)
    assert plugins.plugin_entry("mine", EntryPoint("mine", "m:entry", plugins.GROUP)) is entry


def test_circle_of_first_stages_is_refused(monkeypatch):
    first_stages = {"a": "b", "b": "a"}
    entries = {
        name: LossEntry("m:f", "", "", first_stage=FirstStage(first_loss, "features"))
        for name, first_loss in first_stages.items()
    }
    monkeypatch.setattr(plugins, "plugin_losses", lambda: first_stages)
    monkeypatch.setattr(plugins, "plugin_entry", lambda name, _: entries[name])
    with pytest.raises(BiasconError, match="'a' builds on itself: a -> b -> a"):
        get_entry("a")


def test_plugins_are_listed_beside_the_built_in_losses(outside, cli):
    code, out, err = cli("list", "losses")
    shadow = "warning: left out: plug-in loss 'supcon' has the name of a loss of biascon\n"
    assert (code, err) == (0, shadow)
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert {"tilt", "reach", *LOSSES} <= set(rows)
    assert "embeddings" in rows["tilt"]
    assert "labels, logits" in rows["reach"]
    assert "ce + depth |z - mean z|^2" in rows["reach"]
    assert "A. Nobody, 2026" in rows["reach"]


def test_plugin_does_not_replace_a_built_in_loss(outside, cli):
    assert importlib.import_module(MODULE).tilt is not get_loss("supcon").function
    assert get_entry("supcon") is LOSSES["supcon"]
    assert get_loss("supcon").function.__module__ == "biascon.losses.supcon"
    listed = [line for line in cli("list", "losses").out.splitlines() if line.startswith("supcon ")]
    assert len(listed) == 1


def test_plugins_are_trained_evaluated_and_reported_by_name(site, outside, cli, tmp_path):
    made = cli("make-bmnist", "--source", "embedded", "--rho", "0.9")
    assert made.code == 0, made.err
    words = ["evaluate", "--loss", "tilt", "--loss", "reach", "--preset", "smoke", "--json"]
    short = ["--set", "train.epochs=1", "--set", "train.batch_size=256", "--device", "cpu"]
    result = run_biascon(tmp_path, site, *words, *short)
    assert result.returncode == 0, result.stderr
    tilt, reach = (json.loads(line) for line in result.stdout.splitlines())
    assert (tilt["loss"], tilt["parameters"]) == ("tilt", {"strength": 2.0})
    assert (reach["loss"], reach["parameters"]) == ("reach", {"ce_weight": 1.0, "depth": 3})
    for evaluation in (tilt, reach):
        assert evaluation["unbiased"]["value"] > 0.15  # chance is 0.1
        assert not evaluation["uses_bias_labels"]
    reported = cli("report")
    assert reported.code == 0, reported.err
    (report,) = tmp_path.rglob("report.md")
    assert {"tilt", "reach"} <= set(report.read_text(encoding="utf-8").replace("|", " ").split())


def test_plugin_on_the_recorded_losses_of_ce_trains_and_evaluates(
    outside, cli, make_dataset, tmp_path
):
    make_dataset(tmp_path / "data" / "small")
    words = ["evaluate", "--loss", "hard", "--preset", "smoke", "--data", "data/small", "--json"]
    code, out, err = cli(*words, "--set", "train.epochs=1", "--device", "cpu")
    assert code == 0, err
    evaluation = json.loads(out)
    assert evaluation["loss"] == "hard"
    assert evaluation["evaluated_by"] == "own"
    assert 0 <= evaluation["unbiased"]["value"] <= 1
    assert not evaluation["uses_bias_labels"]


def test_entry_in_the_documentation_is_valid():
    text = (Path(__file__).parents[2] / "docs" / "losses.md").read_text(encoding="utf-8")
    *_, block = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    namespace: dict[str, object] = {}
    exec(block, namespace)
    entry = namespace["entry"]
    assert isinstance(entry, LossEntry)
    assert set(entry.needs) <= set(NEEDS)


@pytest.mark.parametrize("command", ["evaluate", "train"])
def test_plugin_that_fails_to_import_gives_one_line(broken, cli, make_dataset, tmp_path, command):
    make_dataset(tmp_path / "data" / "small")
    code, out, err = cli(command, "--loss", "snap", "--preset", "smoke", "--data", "data/small")
    assert (code, out) == (1, "")
    assert err == "error: plug-in loss 'snap' fails to import: it wants another library\n"


def test_list_of_losses_names_the_plugin_that_fails_to_import_and_has_the_others(
    broken_site, tmp_path
):
    result = run_biascon(tmp_path, broken_site, "list", "losses")
    assert result.returncode == 0
    assert result.stderr == (
        "warning: left out: plug-in loss 'snap' fails to import: it wants another library\n"
    )
    assert "supcon" in result.stdout
    assert "snap" not in result.stdout


def test_other_losses_work_beside_a_plugin_that_fails_to_import(
    broken, cli, make_dataset, tmp_path
):
    make_dataset(tmp_path / "data" / "small")
    words = ["evaluate", "--loss", "ce", "--preset", "smoke", "--data", "data/small", "--json"]
    code, out, _ = cli(*words, "--set", "train.epochs=1")
    assert code == 0
    assert json.loads(out)["loss"] == "ce"
