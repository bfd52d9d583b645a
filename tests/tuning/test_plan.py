"""The plan of a study: order, seeds, datasets, and what is refused before the first run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from biascon.config.factory import make_config
from biascon.data.builders import biased_mnist
from biascon.data.builders.biased_mnist import BiasedMNISTSpec
from biascon.data.builders.mnist_source import Digits
from biascon.data.dataset import read_manifest, save
from biascon.errors import UsageError
from biascon.studies.records import Stage
from biascon.tuning.plan import PlannedRun
from tests.small_datasets import write_faces, write_plain
from tests.tuning.fake_studies import make_planner, make_spec


def plan(data: Path, tmp_path: Path, **changes: Any) -> list[PlannedRun]:
    planner = make_planner(make_spec(data, **changes), tmp_path)
    return planner.plan_trials(planner.trial_dataset())


def test_all_methods_of_a_trial_come_before_the_next_trial(data: Path, tmp_path: Path) -> None:
    runs = plan(data, tmp_path, trials=3, studies=2, losses=["ce", "supcon", "contex"])
    records = [run.record for run in runs]
    assert [(r.study, r.trial, r.method) for r in records] == [
        (study, trial, method)
        for study in range(2)
        for trial in range(3)
        for method in ("ce", "supcon", "contex")
    ]
    assert len({run.job.folder for run in runs}) == len(runs)
    # The trials of all methods are paired: one seed, and equal values of the shared parameters.
    for k in range(0, len(runs), 3):
        one, two, three = records[k : k + 3]
        assert one.seed == two.seed == three.seed
        assert one.pair == two.pair == three.pair == one.trial
        for key in one.settings:
            assert one.settings[key] == two.settings[key] == three.settings[key]
    assert len({record.seed for record in records}) == 6
    assert records[0].settings["optimizer.lr"] != records[9].settings["optimizer.lr"]


def test_the_configuration_of_a_trial_has_its_settings(data: Path, tmp_path: Path) -> None:
    run = plan(data, tmp_path, settings=["optimizer.schedule=constant"])[3]
    config, settings = run.job.config, run.record.settings
    assert run.record.method == config.loss == "supcon"
    assert config.optimizer.lr == settings["optimizer.lr"]
    assert config.optimizer.schedule == "constant"
    assert config.train.batch_size == settings["train.batch_size"]
    assert config.train.epochs == settings["train.epochs"]
    assert config.parameters["temperature"] == settings["loss.temperature"]
    preset = make_config("supcon", preset="smoke")
    strength = settings["augment.strength"]
    assert config.augment.rotation == pytest.approx(strength * preset.augment.rotation, rel=1e-5)
    assert run.job.digest == run.record.run
    assert "--no-features" in run.job.command(tmp_path, "cpu")


def test_trials_are_those_of_a_shorter_study(data: Path, tmp_path: Path) -> None:
    short, long = (plan(data, tmp_path, trials=trials) for trials in (1, 2))
    assert [run.record for run in short] == [run.record for run in long[:2]]


@pytest.mark.usefixtures("small_mnist")
def test_confirmation_pairs_fresh_seeds_with_fresh_colorings(tmp_path: Path) -> None:
    planner = make_planner(make_spec(None, rho=0.9, confirm={"seeds": 3, "variance": 2}), tmp_path)
    dataset = planner.trial_dataset()
    trials = planner.plan_trials(dataset)
    choices = [trials[2].record, trials[1].record]
    groups = list(planner.plan_confirmation(choices, dataset))
    assert [[run.record.method for run in group] for group in groups] == [["ce", "supcon"]] * 3
    for group in groups:
        one, two = (run.record for run in group)
        assert (one.seed, one.dataset_seed) == (two.seed, two.dataset_seed)
        assert one.settings == choices[0].settings and two.settings == choices[1].settings
    confirmed = [group[0].record for group in groups]
    assert len({run.dataset_digest for run in [trials[0].record, *confirmed]}) == 4
    assert not {run.seed for run in confirmed} & {run.record.seed for run in trials}

    variance = [run for run in planner.plan_variance(choices, dataset) if run.record.method == "ce"]
    by_stage = {
        stage: [run for run in variance if run.record.stage is stage]
        for stage in (Stage.SEEDS, Stage.DATASETS, Stage.ROUNDING)
    }
    assert [len(runs) for runs in by_stage.values()] == [2, 2, 2]
    # One source of randomness changes at a time.
    assert {run.record.dataset_seed for run in by_stage[Stage.SEEDS]} == {confirmed[0].dataset_seed}
    assert len({run.record.seed for run in by_stage[Stage.SEEDS]} | {confirmed[0].seed}) == 3
    assert {run.record.seed for run in by_stage[Stage.DATASETS]} == {confirmed[0].seed}
    assert len({run.record.dataset_seed for run in by_stage[Stage.DATASETS]}) == 2
    for run, first in zip(by_stage[Stage.ROUNDING], confirmed, strict=False):
        assert (run.record.seed, run.record.dataset_seed) == (first.seed, first.dataset_seed)
        assert (run.record.threads, first.threads) == (2, 1)
        assert run.record.run != first.run  # the number of threads is part of the digest


@pytest.mark.usefixtures("small_mnist")
def test_validation_as_biased_as_training_is_another_dataset(tmp_path: Path) -> None:
    held_out, biased = (
        make_planner(make_spec(None, rho=0.9, val_protocol=protocol), tmp_path)
        for protocol in ("held-out", "biased")
    )
    one, other = held_out.trial_dataset(), biased.trial_dataset()
    assert one.manifest.files["train.safetensors"] == other.manifest.files["train.safetensors"]
    assert one.manifest.files["test.safetensors"] == other.manifest.files["test.safetensors"]
    assert one.manifest.files["val.safetensors"] != other.manifest.files["val.safetensors"]
    n = other.manifest.counts["val"]
    assert n.aligned == 90 and one.manifest.counts["val"].aligned != 90
    assert (
        held_out.describe(one)["dataset"]["val_protocol"]
        != (biased.describe(other)["dataset"]["val_protocol"])
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"losses": ["ce", "dfr"]}, "'dfr' fits its last layer on the validation split"),
        (
            {"settings": ["train.batch_size=901"]},
            r"method 'ce', trial 0: expected batch_size of at most 900 images, but got 901",
        ),
        (  # a fifth of the images is held out from the first stage of afr
            {"losses": ["ce", "afr"], "settings": ["train.batch_size=800"]},
            r"method 'afr', trial 0: expected batch_size of at most 720 images",
        ),
        (
            {"space": {"optimizer.lr": {"uniform": [-2, -1]}}},
            r"method 'ce', trial 0: expected .*lr",
        ),
        ({"space": {"optimizer.lrr": {"uniform": [1, 2]}}}, r"optimizer\.lrr'; did you mean"),
        ({"space": {"supcon": {"loss.form": {"choice": ["sideways"]}}}}, "method 'supcon'.*sideways"),
        ({"settings": ["train.epoch=1"]}, r"train\.epoch'"),
        ({"preset": "smke"}, "unknown preset 'smke'; did you mean 'smoke'"),
        ({"bias": "hue"}, "has no attribute 'hue'"),
    ],
)  # fmt: skip
def test_what_no_run_can_have_is_refused_before_the_first_one(
    changes: dict[str, Any], message: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        plan(data, tmp_path, **changes)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_a_dataset_that_cannot_choose_a_trial_is_refused(make_dataset: Any, tmp_path: Path) -> None:
    without = make_dataset(tmp_path / "none", val_protocol="none")
    with pytest.raises(UsageError, match="has no validation split, and a study never selects on"):
        plan(without, tmp_path)
    plain = write_plain(tmp_path / "plain")
    with pytest.raises(
        UsageError, match=r"rule 'unbiased' needs bias labels.*accuracy, worst-class"
    ):
        plan(plain, tmp_path)
    changes = {"settings": ["train.batch_size=32"], "confirm": {"seeds": 0, "rules": ["accuracy"]}}
    assert len(plan(plain, tmp_path, **changes)) == 4
    with pytest.raises(UsageError, match=r"method 'end', trial 0: .*needs bias labels"):
        plan(plain, tmp_path, losses=["ce", "end"], **changes)


def test_a_view_by_another_attribute_is_planned_for_that_view(tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces")
    changes = {"settings": ["train.batch_size=32"]}
    own, age = (plan(faces, tmp_path, bias=bias, **changes)[0] for bias in ("", "age"))
    assert own.record.run != age.record.run
    assert "faces-by-age" in str(age.job.folder)
    assert age.job.command(tmp_path, "cpu")[-3:-1] == ["--bias", "age"]
    # Which images are bias-conflicting is not defined for this attribute.
    with pytest.raises(UsageError, match=r"method 'biascon', trial 0: loss\.oversample"):
        plan(faces, tmp_path, bias="age", losses=["ce", "biascon"], **changes)
    assert read_manifest(faces).bias is not None


def write_digits(folder: Path, digits: Digits, seed: int, rho: float = 0.9) -> str:
    """Write a BiasedMNIST of the given seed; return its folder as text."""
    spec = BiasedMNISTSpec(rho, seed=seed)
    description = biased_mnist.describe_biased_mnist(digits, spec)
    save(folder / str(seed), biased_mnist.build_splits(digits, spec), description, replace=False)
    return str(folder / str(seed))


def test_the_confirmation_takes_one_dataset_for_each_fresh_seed(
    data: Path, tmp_path: Path, digits: Digits
) -> None:
    folders = [write_digits(tmp_path / "data", digits, seed) for seed in (1, 2)]
    planner = make_planner(make_spec(data, confirm={"seeds": 2, "data": folders}), tmp_path)
    trial_dataset = planner.trial_dataset()
    choices = [run.record for run in planner.plan_trials(trial_dataset)[:2]]
    groups = list(planner.plan_confirmation(choices, trial_dataset))
    assert [[run.record.dataset_seed for run in group] for group in groups] == [[1, 1], [2, 2]]
    digests = [{run.record.dataset_digest for run in group} for group in groups]
    assert [len(group) for group in digests] == [1, 1] and digests[0] != digests[1]
    described = planner.describe(trial_dataset)["confirm"]
    assert described["data"] == [
        {"name": f"bmnist5k-0.9-seed{k + 1}", "digest": min(digests[k]), "train": 900, "test": 200}
        for k in range(2)
    ]
    # Another seed colors the same test digits.
    assert described["reused"] == {"train": 0, "val": 0, "test": 1}


@pytest.mark.parametrize(
    ("seeds", "rhos", "words"),
    [
        ((1, 2), (0.9, 0.8), "to differ from bmnist5k-0.9 in its seed only"),
        ((1, 1), (0.9, 0.9), "same"),
    ],
)
def test_another_dataset_in_the_confirmation_is_refused_before_the_trials(
    seeds: tuple[int, int],
    rhos: tuple[float, float],
    words: str,
    data: Path,
    tmp_path: Path,
    digits: Digits,
) -> None:
    folders = [
        write_digits(tmp_path / str(k), digits, *values)
        for k, values in enumerate(zip(seeds, rhos, strict=True))
    ]
    planner = make_planner(make_spec(data, confirm={"seeds": 2, "data": folders}), tmp_path)
    with pytest.raises(UsageError, match=words):
        planner.trial_dataset()
