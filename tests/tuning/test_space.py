"""Search spaces: every method of the registry gives settings that its runs accept; plug-ins; complements."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from biascon.config.factory import make_config
from biascon.config.method_settings import resolve_parameters
from biascon.data.dataset import BiasedDataset, load
from biascon.errors import BiasconError, UsageError
from biascon.losses import plugins
from biascon.losses.loss import default_parameters
from biascon.losses.registry import LOSSES, LossEntry
from biascon.tuning.checks import _check_stages
from biascon.tuning.draws import assign_dimensions, draw_trials
from biascon.tuning.space import SHARED, Method, complete, make_method, shared_space, to_settings
from biascon.utils import entry_points
from biascon.utils.distributions import Choice, Complement, Distribution, LogUniform, Uniform

# The encoder and its weights take no part in the search; a small one is faster to build.
PRESETS = {
    "smoke": (),
    "cpu": (),
    "gpu": (),
    "utkface": ("model.encoder=fastconvnet", "model.weights=none"),
}
METHODS = [name for name in LOSSES if name != "dfr"]


@pytest.fixture(scope="module")
def small(data: Path) -> BiasedDataset:
    return load(data, only=("train",))


def check(method: Method, preset: str, values: Mapping[str, Any], data: BiasedDataset) -> None:
    base = make_config(
        method.loss, preset=preset, settings=method.settings
    ).without_method_settings()
    settings = (*method.settings, *to_settings(values, base))
    config = make_config(method.loss, preset=preset, settings=settings)
    _check_stages(resolve_parameters(config.for_device("cpu"), "bmnist", {"rho": 0.99}), data)


def corners(space: Mapping[str, Distribution]) -> list[dict[str, Any]]:
    """Return two trials: every parameter at its lowest, and at its highest value."""
    return [
        complete(
            space, {k: d.quantile(u) for k, d in space.items() if not isinstance(d, Complement)}
        )
        for u in (0.0, 1.0)
    ]


@pytest.mark.parametrize("preset", PRESETS)
def test_every_method_has_allowed_settings_at_the_limits_of_its_space(
    preset: str, small: BiasedDataset
) -> None:
    for name in METHODS:
        method = make_method(name, name, preset, settings=PRESETS[preset])
        for values in corners(method.space):
            check(method, preset, values, small)


@pytest.mark.parametrize("preset", ["cpu", "utkface"])
def test_64_draws_of_the_shared_parameters_are_allowed(preset: str, small: BiasedDataset) -> None:
    method = make_method("supcon", "supcon", preset, settings=PRESETS[preset])
    assert set(method.space) == set(SHARED)
    for values in draw_trials(method.space, 64, 0, assign_dimensions([method.space])):
        check(method, preset, values, small)


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_64_draws_of_every_method_are_allowed(preset: str, small: BiasedDataset) -> None:
    methods = [make_method(name, name, preset, settings=PRESETS[preset]) for name in METHODS]
    dimensions = assign_dimensions(method.space for method in methods)
    for method in methods:
        for values in draw_trials(method.space, 64, 0, dimensions):
            check(method, preset, values, small)


@pytest.mark.parametrize("name", LOSSES)
def test_a_method_searches_parameters_that_it_has_and_only_those(name: str) -> None:
    entry, defaults = LOSSES[name], default_parameters(name)
    assert set(entry.search) <= set(defaults)
    assert not {"temperature"} & set(entry.search)  # it is shared
    space = make_method(name, name, "cpu").space
    assert ("loss.temperature" in space) == ("temperature" in defaults)
    assert [key for key in space if key in SHARED] == [k for k in SHARED if k in space]


def test_shared_parameters_have_one_distribution_for_every_method_and_follow_the_preset() -> None:
    # The learning rate of flac is scaled under the preset cpu; its search space is not.
    for preset in ("cpu", "smoke"):
        expected = shared_space(make_config("supcon", preset=preset))
        for name in ("ce", "flac", "resample", "biascon"):
            space = make_method(name, name, preset).space
            assert {k: space[k] for k in SHARED if k in space} == {
                k: d for k, d in expected.items() if k in space
            }
    config = make_config("supcon", preset="cpu")
    assert expected != shared_space(config)
    space = shared_space(config)
    assert space["optimizer.lr"] == LogUniform(config.optimizer.lr / 8, 4 * config.optimizer.lr)
    assert space["train.batch_size"] == Choice((64, 128, 256))
    assert space["train.epochs"] == Choice((3, 4, 5, 6, 7))


def test_a_setting_of_every_trial_is_not_searched() -> None:
    method = make_method(
        "x", "supcon", "cpu", settings=("loss.temperature=0.1", "optimizer.lr=1e-3")
    )
    assert {"loss.temperature", "optimizer.lr"}.isdisjoint(method.space)
    assert make_method("x", "SupCon", "cpu").loss == "supcon"


def test_a_study_changes_adds_and_removes_parameters() -> None:
    changed = {
        "optimizer.lr": Uniform(0.1, 0.2),
        "model.encoder": Choice(("fastconvnet", "simpleconvnet")),
        "loss.wa": None,
        "loss.wb": None,
    }
    space = make_method("x", "contex", "cpu", changed=changed).space
    assert space["optimizer.lr"] == Uniform(0.1, 0.2)
    assert "model.encoder" in space and "loss.wa" not in space and "loss.wb" not in space
    with pytest.raises(UsageError, match=r"loss\.wb is 1 - wa, but loss\.wa is not searched"):
        make_method("x", "contex", "cpu", changed={"loss.wa": None})
    with pytest.raises(UsageError, match="no parameter 'temprature'; did you mean 'temperature'"):
        make_method("x", "contex", "cpu", changed={"loss.temprature": Uniform(0, 1)})


def test_a_complement_is_one_minus_the_other_parameter() -> None:
    space = {"loss.wa": Uniform(0, 1), "loss.wb": Complement("wa")}
    assert complete(space, {"loss.wa": 0.3}) == {"loss.wa": 0.3, "loss.wb": 0.7}


def test_the_entry_of_a_plug_in_gives_its_search_space(monkeypatch: pytest.MonkeyPatch) -> None:
    search: Any = {"form": Choice(("out", "in"))}
    entry = LossEntry("biascon.losses.supcon:supcon", "", "", search=search)
    point = EntryPoint("outside", "outside:entry", "biascon.losses")
    monkeypatch.setattr(plugins, "plugin_losses", lambda: {"outside": point})
    monkeypatch.setattr(entry_points, "resolve", lambda *_: entry)
    space = make_method("outside", "outside", "smoke").space
    assert space["loss.form"] == Choice(("out", "in"))
    assert set(SHARED) < set(space)
    search["form"] = (0.1, 0.9)
    with pytest.raises(BiasconError, match=r"plug-in loss 'outside'.*form.*is no distribution"):
        make_method("outside", "outside", "smoke")
