"""Entry points: imports on use, plug-ins of installed packages, suggestions for unknown names."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from biascon.errors import BiasconError, UsageError
from biascon.losses.loss import LOSSES, default_parameters, get_entry, get_loss
from biascon.utils.entry_points import load, plugins

GROUP = "biascon.losses"

PLUGIN = '''
from biascon.losses import LossEntry

def spread(z, labels, bias=None, *, scale=2.0):
    """Return a loss of one line."""
    return scale * z.var()

entry = LossEntry(
    "{module}:spread", "var z", "nobody", batch_inputs=("views",), fixed={{"scale": 3.0}}
)
'''


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Write a package with entry points to a folder on ``sys.path``, and return the name of its module.

    The metadata are real files, so that the discovery is tested too.
    """
    modules = []

    def put(points, source=PLUGIN, group=GROUP):
        module = f"biascon_plugin_{len(modules)}_{tmp_path.name.replace('-', '_')}"
        modules.append(module)
        (tmp_path / f"{module}.py").write_text(source.format(module=module), encoding="utf-8")
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n"
        (info / "METADATA").write_text(metadata, encoding="utf-8")
        lines = [f"[{group}]", *(f"{name} = {module}:{attr}" for name, attr in points.items())]
        (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        return module

    yield put
    for module in modules:
        sys.modules.pop(module, None)


def test_load_returns_the_attribute_of_the_module():
    assert load("collections:OrderedDict").__name__ == "OrderedDict"


def test_built_in_loss_takes_precedence_over_a_plugin(install):
    install({"supcon": "spread"})
    assert get_entry("supcon") is LOSSES["supcon"]


def test_reading_an_entry_does_not_import_torch():
    script = "import sys, biascon.losses; biascon.losses.get_entry('contex'); print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


def test_plugins_are_found_by_group(install):
    module = install({"zeta": "spread", "alpha": "entry"})
    points = plugins(GROUP)
    assert {name: point.value for name, point in points.items()} == {
        "alpha": f"{module}:entry",
        "zeta": f"{module}:spread",
    }
    assert module not in sys.modules  # listing does not import
    assert plugins("biascon.nothing") == {}


def test_function_of_a_plugin_is_a_loss(install):
    module = install({"spread": "spread"})
    loss = get_loss("spread", scale=4.0)
    z = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    z = torch.nn.functional.normalize(z, dim=-1)
    assert loss(z, None).item() == pytest.approx(4 * z.var().item())
    assert default_parameters("spread") == {"scale": 2.0}
    entry = get_entry("spread")
    assert (entry.target, entry.input_kind) == (f"{module}:spread", "embeddings")
    assert (entry.batch_inputs, entry.tensor_inputs, entry.requires) == (("labels",), (), ())


def test_loss_entry_of_a_plugin_sets_inputs_and_parameters(install):
    install({"spread": "entry"})
    loss = get_loss("spread")
    assert (loss.name, loss.needs, dict(loss.parameters)) == ("spread", ("views",), {"scale": 3.0})
    with pytest.raises(UsageError, match="has no parameter 'scale'"):
        get_loss("spread", scale=1.0)


def test_plugins_are_suggested_for_unknown_names(install):
    install({"spread": "spread"})
    with pytest.raises(UsageError, match="did you mean 'spread'") as caught:
        get_loss("spraed")
    assert "contex-clip" in str(caught.value)
    with pytest.raises(UsageError, match="'scael'; did you mean 'scale'"):
        get_loss("spread", scael=1.0)


@pytest.mark.parametrize(
    ("source", "attribute", "reason"),
    [
        ("raise RuntimeError('broken inside')", "spread", "broken inside"),
        ("import not_a_module_of_anyone", "spread", "not_a_module_of_anyone"),
        ("", "spread", "spread"),
    ],
    ids=["raises", "lacks a module", "lacks the attribute"],
)
def test_plugin_that_fails_to_import_is_named_with_the_reason(install, source, attribute, reason):
    install({"spread": attribute}, source=source)
    with pytest.raises(BiasconError, match=f"plug-in loss 'spread' fails to import: .*{reason}"):
        get_loss("spread")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def spread(z, labels): return z.var()", r"must take \(z, labels, bias=None, \*"),
        ("def spread(a, b, c, d, e): return a", "must take"),
        ("class S:\n  def __call__(self, z, y, b): return z\nspread = S()", "is not a function"),
        ("import math as spread", "is not a function or a LossEntry, but a module"),
        ("spread = 3", "but a int"),
        (
            "def spread(z, labels, bias=None, *, depth): return z",
            "needs depth, which biascon ",
        ),
        (
            "from biascon.losses import LossEntry\n"
            "spread = LossEntry('math:f', '', '', needs=('labels',))",
            "fails to import: .*unexpected keyword argument 'needs'",
        ),
        (
            "from biascon.losses import LossEntry\n"
            "spread = LossEntry('math:f', '', '', tensor_inputs=('bias',))",
            r"needs bias, .* \(tensor_inputs may hold: logits, features, ",
        ),
        (
            "from biascon.losses import LossEntry\n"
            "spread = LossEntry('math:f', '', '', batch_inputs=('counts',))",
            r"needs counts, .* \(batch_inputs may hold: views, labels, bias\)",
        ),
        (
            "from biascon.losses import LossEntry\n"
            "spread = LossEntry('math:f', '', '', requires=('groups',))",
            r"needs groups, .* \(requires may hold: group-balanced sampling, .*held-out bias labels",
        ),
        (
            "from biascon.losses import LossEntry\nspread = LossEntry('nowhere:f', '', '')",
            "fails to import: No module named 'nowhere'",
        ),
        (
            "from biascon.losses import LossEntry\nspread = LossEntry('math:f', '', '')",
            "fails to import: module 'math' has no attribute 'f'",
        ),
    ],
)
def test_plugin_that_is_no_loss_gives_an_error_of_one_line(install, source, message):
    install({"spread": "spread"}, source=source)
    with pytest.raises(BiasconError, match=f"plug-in loss 'spread' .*{message}") as caught:
        get_loss("spread")
    assert "\n" not in str(caught.value)


def test_keyword_without_a_default_is_a_tensor_input(install):
    install(
        {"spread": "spread"},
        source="def spread(z, labels, bias=None, *, logits, scale=2.0): return logits.var()",
    )
    assert get_entry("spread").tensor_inputs == ("logits",)
    assert default_parameters("spread") == {"scale": 2.0}


def test_broken_plugin_leaves_the_other_losses_usable(install):
    install({"broken": "spread"}, source="raise RuntimeError('broken inside')")
    assert get_loss("contex").name == "contex"
    with pytest.raises(UsageError, match="did you mean 'contex'"):
        get_loss("contx")


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_of_the_registry_can_be_loaded(name):
    assert callable(load(LOSSES[name].target))
