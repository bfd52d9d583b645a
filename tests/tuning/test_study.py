"""Study files: what they may say, and one clear line for what they may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from biascon.errors import BiasconError, UsageError
from biascon.tuning.plan import resolve_methods
from biascon.tuning.study import read_study
from biascon.utils.distributions import Choice, Uniform

GOOD = 'losses = ["ce", "supcon"]\nrho = 0.9\n'

DATA = 'losses = ["ce", "supcon"]\ndata = "faces"\n[confirm]\n'


def read(tmp_path: Path, text: str, **overrides: Any) -> Any:
    path = tmp_path / "fight.toml"
    path.write_text(text, encoding="utf-8")
    return read_study(path, overrides)


def test_a_short_file_has_the_defaults(tmp_path: Path) -> None:
    spec = read(tmp_path, GOOD)
    assert (spec.name, spec.trials, spec.studies, spec.rho, spec.data) == (
        "fight",
        24,
        1,
        0.9,
        None,
    )
    assert [method.loss for method in spec.methods] == ["ce", "supcon"]
    assert (spec.confirm.seeds, spec.confirm.rules) == (10, ("unbiased",))


def test_methods_have_settings_and_spaces_of_their_own(tmp_path: Path) -> None:
    text = (
        GOOD
        + """
    [space]
    "optimizer.lr" = { uniform = [0.1, 0.2] }
    "augment.strength" = false
    [space.supcon]
    "train.epochs" = { choice = [3] }
    [methods.log1p]
    loss = "contex"
    settings = ["loss.form=log1p"]
    [methods.log1p.space]
    "optimizer.lr" = { uniform = [0.3, 0.4] }
    """
    )
    ce, supcon, log1p = resolve_methods(read(tmp_path, text))
    assert ce.space["optimizer.lr"] == supcon.space["optimizer.lr"] == Uniform(0.1, 0.2)
    assert supcon.space["train.epochs"] == Choice((3,)) != ce.space["train.epochs"]
    assert all("augment.strength" not in method.space for method in (ce, supcon, log1p))
    assert (log1p.name, log1p.loss, log1p.settings) == ("log1p", "contex", ("loss.form=log1p",))
    assert log1p.space["optimizer.lr"] == Uniform(0.3, 0.4)
    assert "loss.wa" in log1p.space


def test_options_replace_keys_and_data_replaces_rho(tmp_path: Path) -> None:
    spec = read(tmp_path, GOOD, trials=3, data="folder", losses=["ce", "contex"])
    assert (spec.trials, spec.rho, spec.data) == (3, None, Path("folder"))
    assert [method.name for method in spec.methods] == ["ce", "contex"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("losses = [", "is not valid TOML"),
        ('loses = ["ce"]\nrho = 0.9', "unknown key: 'loses'; did you mean 'losses'"),
        (GOOD + "[confirm]\nseed = 3", r"unknown key: 'confirm\.seed'; did you mean 'seeds'"),
        (GOOD + '[methods.x]\nlos = "ce"', r"unknown key: 'methods\.x\.los'; did you mean 'loss'"),
        ("rho = 0.9", "losses or methods, with at least one item"),
        ('losses = ["ce"]\nrho = 0.9', "two methods or more, but got only ce"),
        ('losses = ["ce", "ce"]\nrho = 0.9', "two methods or more, but got only ce"),
        (GOOD + "[methods.ce]", "each method once, but got ce, supcon, ce"),
        ('losses = "ce"\nrho = 0.9', "losses to be a list of texts, but got 'ce'"),
        (GOOD + "trials = 0", r"trials in 1\.\.1000, but got 0"),
        (GOOD + "trials = 2000", r"trials in 1\.\.1000, but got 2000"),
        (GOOD + "trials = 2.5", "trials to be of type int, but got 2.5"),
        (GOOD + "trials = true", "trials to be of type int, but got True"),
        (GOOD + "studies = 0", r"studies in 1\.\.100, but got 0"),
        (GOOD + "seed = -1", r"seed in 0\.\.1000000000, but got -1"),
        ('losses = ["ce", "supcon"]', "either rho or data"),
        (GOOD + 'data = "x"', "either rho or data"),
        ('losses = ["ce", "supcon"]\nrho = 1.5', r"rho and confirm\.rho in \[0, 1\], but got \[1\.5\]"),
        (GOOD + "[confirm]\nrho = [0.99, 2]", r"rho and confirm\.rho in \[0, 1\]"),
        (GOOD + "[confirm]\nrho = 0.9", r"confirm\.rho to be a list"),
        (GOOD + 'val_protocol = "none"', "val_protocol to be one of held-out, biased"),
        (
            'losses = ["ce", "supcon"]\ndata = "x"\nval_protocol = "biased"',
            "rho with val_protocol 'biased': the validation of a dataset folder stays as it is",
        ),
        (GOOD + "budget_seconds = 0", "budget_seconds above 0, but got 0"),
        (GOOD + "budget_seconds = inf", "budget_seconds above 0, but got inf"),
        (GOOD + '[confirm]\nseeds = 2\ndata = ["a", "b"]', r"data of the study with confirm\.data"),
        (DATA + 'seeds = 3\ndata = ["a", "b"]', r"one folder for each of the 3 confirm\.seeds, but got 2"),
        (DATA + 'seeds = 2\ndata = ["a", "a"]', r"each folder of confirm\.data once"),
        (DATA + 'seeds = 2\nvariance = 2\ndata = ["a", "b"]', r"no confirm\.variance with confirm\.data"),
        (GOOD + "[confirm]\nseeds = 1", r"confirm\.seeds to be 0 or in 2\.\."),
        (GOOD + "[confirm]\nmargin = 0", r"confirm\.margin in \(0, 1\)"),
        (GOOD + "[confirm]\nrules = []", r"confirm\.rules to have a rule"),
        (
            GOOD + '[confirm]\nrules = ["unbaised"]',
            "unknown selection rule 'unbaised'; did you mean 'unbiased'",
        ),
        (GOOD + '[confirm]\nrules = ["oracle"]', "unknown selection rule 'oracle'"),
        (GOOD + '[confirm]\nreference = "supcn"', "no method 'supcn'; did you mean 'supcon'"),
        (GOOD + '[confirm]\nvariance = 2\nvariance_of = ["x"]', "no method 'x'"),
        (GOOD + "[confirm]\nvariance = 11", r"confirm\.variance to be 0 or in 2\.\.confirm\.seeds"),
        (GOOD + 'name = "../x"', "name to be the name of a folder"),
        (GOOD + '[space]\n"optimizer.lr" = { uniform = [2, 1] }', r"space\.optimizer\.lr: expected uniform"),
        (GOOD + '[space]\n"optimizer.lr" = { unifrm = [1, 2] }', "did you mean 'uniform'"),
        (GOOD + "seed = 10000000000", r"seed in 0\.\.1000000000"),
        (GOOD + '[space.supconn]\n"loss.temperature" = false', "no method 'supconn'; did you mean 'supcon'"),
        (GOOD + "[space]\nlr = 3", r"space\.lr to be a table, but got 3"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert "fight.toml" in str(caught.value)


def test_a_missing_file_is_no_usage_error(tmp_path: Path) -> None:
    with pytest.raises(BiasconError, match=r"cannot read .*nothing\.toml") as caught:
        read_study(tmp_path / "nothing.toml")
    assert not isinstance(caught.value, UsageError)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is not valid TOML"):
        read_study(tmp_path / "binary.toml")


def test_an_unknown_loss_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown loss 'supcn'; did you mean 'supcon'"):
        resolve_methods(read(tmp_path, GOOD.replace("supcon", "supcn")))
