"""The report: what may be compared, what is bold, what is said, and that every number has its run."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from biascon.config.run_config import make_config
from biascon.data.dataset import load
from biascon.errors import BiasconError, BiasconWarning, RunError
from biascon.evaluation.pipeline import evaluate
from biascon.report.experiments import METRICS, Experiment, FinishedRun, find_runs, group_runs
from biascon.report.export import EVERY
from biascon.report.latex import render_latex
from biascon.report.markdown import render_markdown
from biascon.report.verdicts import (
    LossDifference,
    compare_losses,
    describe_difference,
    difference_over_images,
    difference_over_seeds,
    significant_best,
    significant_bests,
)
from biascon.report.write import write_report


def made_up(loss: str, seed: int, unbiased: float | None, **changes: Any) -> FinishedRun:
    """A run whose every metric has one value."""
    metric = {
        "value": unbiased,
        "n": 1000,
        "ci": [0.1, 0.9] if unbiased is not None else [None, None],
    }
    evaluation = {
        "format": 1,
        "dataset": "bmnist-0.5",
        "dataset_digest": "d" * 64,
        "source": "made up",
        "protocol": {
            "train": "rho 0.5",
            "val": "none",
            "test": "100 % made_up",
            "selection": "none",
            "evaluation": "linear probe",
        },
        "loss": loss,
        "label": loss,
        "parameters": {"temperature": 0.1},
        "judged": "linear probe",
        "sees_bias": False,
        "also": [],
        "first": None,
        "preset": "smoke",
        "seed": seed,
        "digest": f"{loss}{seed}".ljust(64, "0"),
        "recipe": "r" * 64,
        "changes": [],
        "config": {
            "augment": {"grayscale_p": 0.2},
            "optimizer": {"lr": 0.1},
            "train": {"epochs": 2},
        },
        "encoder": "fastconvnet",
        "epochs": 2,
        "batch_size": 64,
        "labels": ["0", "1"],
        "bias": {"name": "colour", "values": ["red", "green"]},
        "training": {"n": 101, "cells": [[60, 0], [1, 40]]},
        "counts": [[[5, 1], [1, 1]], [[0, 2], [2, 4]]],
        "representation": {
            "fitted_on": 50,
            "label_readout": {"value": unbiased, "n": 1000},
            **{
                key: {"value": 0.25, "n": 1000}
                for key in ("bias_readout", "class_alignment", "bias_alignment", "uniformity")
            },
            "similarities": {
                kind: {"n": 10, "mean": 0.1, "sd": 0.2, "counts": [0, 4, 6, 0]}
                for kind in ("same_bias", "other_bias", "negative")
            },
        },
        **{name: dict(metric) for name in METRICS},
        **changes,
    }
    evaluation["worst_group"]["n"] = 17
    return FinishedRun(Path("nowhere"), evaluation)


def one_group(*runs: FinishedRun) -> Experiment:
    (found,) = group_runs(runs)
    return found


def best_of(group: Experiment, metric: str) -> str | None:
    """The leader among all losses of a group."""
    return significant_best(group, metric, list(group.losses))


CLEAR = [made_up("supcon", s, 0.50 + 0.01 * s) for s in range(3)] + [
    made_up("contex", s, 0.60 + 0.011 * s) for s in range(3)
]


@pytest.fixture
def runs(make_dataset: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = _CACHE.get("root")
    if root is None:
        root = _CACHE["root"] = tmp_path_factory.mktemp("report")
        data = load(make_dataset(root / "data"))
        for loss in ("ce", "contex"):
            for seed in (0, 1):
                config = make_config(loss, seed=seed, preset="smoke")
                evaluate(config, data, root=root / "runs", device=torch.device("cpu"))
    return root / "runs"


_CACHE: dict[str, Path] = {}


def test_the_report_has_its_files_and_the_same_runs_give_the_same_bytes(
    runs: Path, tmp_path: Path
) -> None:
    files, _ = write_report(runs, tmp_path / "a")
    names = {file.name for file in files if file.suffix != ".pdf"}
    assert names == {
        "report.html", "report.md", "figure.png", "appendix.tex", "main.tex", "runs.csv",
        "runs.parquet", "runs.json",
    }  # fmt: skip
    for file in files:
        other = tmp_path / "b" / file.name
        write_report(runs, tmp_path / "b")
        assert file.read_bytes() == other.read_bytes()
    with Image.open(tmp_path / "a" / "figure.png") as figure:
        assert figure.size[0] > 600


def test_a_file_of_the_user_in_the_folder_of_the_report_stays(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    write_report(runs, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_every_run_and_protocol_is_in_the_report(runs: Path, tmp_path: Path) -> None:
    write_report(runs, tmp_path)
    page = (tmp_path / "report.md").read_text()
    tex = (tmp_path / "appendix.tex").read_text()
    for run in find_runs(runs):
        e = run.evaluation
        assert f"| {e['seed']} | {100 * e['unbiased']['value']:.1f} [" in page
        for text in (
            e["digest"][:8],
            e["source"],
            e["preset"],
            e["dataset"],
            *e["protocol"].values(),
        ):
            assert text in page
        assert e["digest"] in tex
        assert e["dataset_digest"] in tex
    assert "clip False" in page  # which form of ConTeX ran is said


def test_the_csv_has_every_metric_of_every_run_with_n_interval_and_digests(
    runs: Path, tmp_path: Path
) -> None:
    write_report(runs, tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "runs.csv").read_text())))
    found = {run.evaluation["digest"]: run.evaluation for run in find_runs(runs)}
    assert len(rows) == len(found) * len(EVERY) and set(METRICS) < set(EVERY)
    for row in rows:
        metric = found[row["run"]][row["metric"]]
        assert int(row["n"]) == metric["n"]
        if metric["value"] is not None:
            assert float(row["value"]) == metric["value"]


def test_means_deviations_and_bold_are_those_of_the_seeds() -> None:
    page = markdown_of(*CLEAR)
    assert "| supcon | 3 | probe | 51.0 ± 1.0 | 51.0 ± 1.0 |" in page
    assert "| contex | 3 | probe | **61.1 ± 1.1** | **61.1 ± 1.1** |" in page


def markdown_of(*found: FinishedRun) -> str:
    one = group_runs(found)
    for run in found:
        assert run.folder == Path("nowhere")
    from biascon.report import tables as module

    before, module.describe_machines = module.describe_machines, lambda group: "a machine"
    try:
        return render_markdown(one)
    finally:
        module.describe_machines = before


def test_bold_needs_an_interval_that_excludes_zero_against_every_other_loss() -> None:
    assert best_of(one_group(*CLEAR), "unbiased") == "contex"
    noisy = [made_up("supcon", s, 0.5 + 0.1 * s) for s in range(3)]
    level = [made_up("contex", s, 0.61 - 0.01 * s) for s in range(3)]
    assert best_of(one_group(*noisy, *level), "unbiased") is None
    assert (
        best_of(one_group(*CLEAR, *[made_up("ce", s, 0.61 - 0.01 * s) for s in range(3)]), "top1")
        is None
    )


def test_where_lower_is_better_the_lowest_is_best_of() -> None:
    assert best_of(one_group(*CLEAR), "equalized_odds_difference") == "supcon"


def test_nothing_is_bold_with_one_seed_or_one_loss_or_an_undefined_value() -> None:
    assert best_of(one_group(made_up("ce", 0, 0.1), made_up("contex", 0, 0.9)), "top1") is None
    assert best_of(one_group(*CLEAR[:3]), "top1") is None
    assert best_of(one_group(*CLEAR, made_up("ce", 0, None)), "top1") is None


def test_a_paired_difference_uses_the_seeds_that_both_have() -> None:
    found = one_group(*CLEAR, made_up("contex", 9, 0.0))
    difference = difference_over_seeds(found, "contex", "supcon", "unbiased")
    assert difference is not None
    assert difference.mean == pytest.approx(0.101)
    assert difference.over == "paired t over 3 seeds"
    assert (
        difference_over_seeds(one_group(CLEAR[0], CLEAR[4]), "contex", "supcon", "unbiased") is None
    )


def test_what_the_verdict_says_follows_the_interval() -> None:
    def found(low: float, high: float, over: str = "paired t over 3 seeds") -> LossDifference:
        return LossDifference("contex", "supcon", "unbiased", (low + high) / 2, low, high, over)

    def said(low: float, high: float, *gap: float) -> str:
        return describe_difference(
            dataclasses.replace(found(low, high), gap=found(*gap) if gap else None)
        )

    assert said(0.01, 0.03).startswith("The unbiased accuracy of contex is 2.0 points above")
    assert "leans less" in said(0.01, 0.03, -0.05, -0.01)
    assert "leans more" in said(-0.03, -0.01, 0.01, 0.05)
    # A higher accuracy alone does not show that a loss leans less: every cell may be better.
    for text in (said(0.01, 0.03), said(0.01, 0.03, -0.05, 0.01), said(0.01, 0.03, 0.01, 0.05)):
        assert "leans" not in text
    assert said(-0.01, 0.03, -0.05, -0.01).startswith("Undecided")
    one = describe_difference(found(0.01, 0.03, "bootstrap over the 10,000 test images"))
    assert one.startswith("One seed")
    assert "says nothing about the losses" in one
    for text in (said(0.01, 0.03), said(-0.03, -0.01), said(-0.01, 0.03), one):
        assert "95 % interval" in text


def test_bold_never_goes_to_the_higher_mean_that_loses_on_every_common_seed() -> None:
    first = [made_up("ce", s, value) for s, value in enumerate((0.50, 0.51, 0.95))]
    second = [made_up("supcon", s, value) for s, value in enumerate((0.60, 0.611))]
    assert best_of(one_group(*first, *second), "top1") is None


def bias_seeing(loss: str, seed: int, unbiased: float) -> FinishedRun:
    """A run of a method that is given bias labels and judged by its own classifier."""
    also = [{"by": "linear probe", "unbiased": unbiased - 0.2}]
    return made_up(
        loss, seed, unbiased, sees_bias=True, judged="own classifier", also=also,
        protocol={**CLEAR[0].evaluation["protocol"], "evaluation": "the method's classifier"},
    )  # fmt: skip


def test_methods_that_see_the_bias_are_marked_and_never_outshine_the_others() -> None:
    seeing = [bias_seeing("biasbal", s, 0.9 + 0.01 * s) for s in range(3)]
    page = markdown_of(*CLEAR, *seeing)
    assert "| biasbal † | 3 | classifier | 91.0 ± 1.0 |" in page  # alone of its kind: not bold
    assert "| 71.0 (probe) |" in page  # by the other judge
    assert "**61.1 ± 1.1**" in page  # contex leads those that do not see it
    assert "| judged by | the method's classifier: biasbal |" in page
    assert "| judged by | linear probe: supcon, contex |" in page
    assert "biasbal is given bias labels and supcon is not: as methods they are not" in page
    assert "biasbal is judged by its own classifier, supcon by a linear probe." in page
    found = one_group(*CLEAR, *seeing)
    assert significant_bests(found, "unbiased") == {"contex"}
    assert r"biasbal$^\dagger$" in render_latex([found])
    assert r"$^\dagger$ is given bias labels" in render_latex([found])
    assert "dagger" not in render_latex([one_group(*CLEAR)])


def test_many_methods_are_compared_in_a_table_and_contex_in_words() -> None:
    names = ("ce", "simclr", "eps_supcon", "gce", "lff")
    many = [*CLEAR, *(made_up(name, s, 0.4 + 0.01 * s) for name in names for s in range(3))]
    page = markdown_of(*many)
    assert "The unbiased accuracy of contex is 10.1 points above that of supcon" in page
    assert "The unbiased accuracy of lff" not in page
    assert "| lff | supcon | -10.0 [-10.0, -10.0] | paired t over 3 seeds |" in page
    assert "| contex | supcon |" not in page
    assert "The other methods" not in markdown_of(*CLEAR)


def test_published_numbers_stand_beside_and_say_that_they_are_of_another_protocol() -> None:
    known = [made_up("biasbal", 0, 0.5, dataset="bmnist-0.997")]
    page = markdown_of(*known)
    assert "**other protocol, other network, other selection**" in page
    assert "| BiasBal | 91.2 | FairKL preprint, table 3 |" in page
    assert "FLAC" not in page  # its number at 0.997 is not known
    assert "other network" not in markdown_of(made_up("biasbal", 0, 0.5, dataset="bmnist-0.9"))
    assert "other network" not in markdown_of(made_up("biasbal", 0, 0.5, dataset="celeba"))


def test_changed_settings_are_in_every_title() -> None:
    changed = [made_up("ce", s, 0.5, changes=["optimizer.lr=0.1"]) for s in range(2)]
    assert "preset smoke + optimizer.lr=0.1" in render_latex(group_runs(changed))
    assert "preset smoke + optimizer.lr=0.1" in markdown_of(*changed)


def test_supcon_is_the_reference_and_contex_is_told_first() -> None:
    found = one_group(*CLEAR, *[made_up("ce", s, 0.3 + 0.02 * s) for s in range(3)])
    assert [(d.a, d.b) for d in compare_losses(found)] == [("contex", "supcon"), ("ce", "supcon")]


def test_over_images_is_the_paired_difference_in_unbiased_accuracy(runs: Path) -> None:
    by_loss = {run.label: run for run in find_runs(runs) if run.seed == 0}
    difference = difference_over_images(by_loss["contex"], by_loss["ce"])
    assert difference is not None
    expected = [by_loss[label].value("unbiased") for label in ("contex", "ce")]
    assert difference.mean == pytest.approx(expected[0] - expected[1])  # type: ignore[operator]
    assert difference.low <= difference.mean <= difference.high
    same = difference_over_images(by_loss["ce"], by_loss["ce"])
    assert same is not None
    assert (same.mean, same.low, same.high) == (0, 0, 0)


def test_runs_of_other_recipes_or_datasets_never_share_a_table() -> None:
    other = made_up("contex", 0, 0.9, recipe="s" * 64)
    another = made_up("contex", 0, 0.9, dataset_digest="e" * 64)
    assert len(group_runs([*CLEAR, other, another])) == 3


def test_an_undefined_value_is_a_dash_and_its_seeds_are_counted() -> None:
    page = markdown_of(
        made_up("ce", 7, None), made_up("supcon", 0, 0.5), made_up("supcon", 1, None)
    )
    assert "| ce | 1 | probe | - | - |" in page
    assert "| supcon | 2 | probe | 50.0 (n=1) |" in page


def test_specials_in_names_are_escaped() -> None:
    runs = [made_up("a_b|50%&$#{x}", s, 0.5, source="<b>_x_</b> & 5%") for s in range(2)]
    page, tex = markdown_of(*runs), render_latex(group_runs(runs))
    assert r"a\_b\|50%&$#{x}" in page
    assert "<b>" not in page.replace(r"\<b\>", "")
    assert r"a\_b|50\%\&\$\#\{x\} &" in tex
    assert r"100 \% made\_up" in tex


def test_the_latex_table_is_a_booktabs_table() -> None:
    tex = render_latex(group_runs(CLEAR))
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert tex.count(rule) == 3  # accuracies, differences below them, and paired tests
    assert r"supcon & 51.0 $\pm$ 1.0 &" in tex
    assert r"contex & \textbf{61.1 $\pm$ 1.1} &" in tex
    assert tex.count("{") == tex.count("}")


def test_unfinished_and_damaged_runs_are_left_out_and_told(runs: Path, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    shutil.copytree(runs, root)
    first, second, third, fourth = sorted(root.glob("*/*/*"))
    (first / "done").unlink()
    (second / "evaluation.json").write_text("{}")
    marker = json.loads((third / "done").read_text())
    evaluation = json.loads((third / "evaluation.json").read_text()) | {"format": 99}
    (third / "evaluation.json").write_text(json.dumps(evaluation))
    import hashlib

    digest = hashlib.sha256((third / "evaluation.json").read_bytes()).hexdigest()
    marker["files"]["evaluation.json"] = digest
    (third / "done").write_text(json.dumps(marker))
    with pytest.warns(BiasconWarning) as caught:
        found = find_runs(root)
    assert [run.folder for run in found] == [fourth]
    told = " ".join(str(warning.message) for warning in caught)
    assert "1 unfinished" in told
    assert "evaluation.json has changed" in told
    assert "another version" in told


def test_no_run_and_no_place_are_told(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="biascon evaluate --loss contex"):
        write_report(tmp_path / "none", tmp_path / "report")
    with pytest.raises(RunError, match="other"):
        write_report(runs, tmp_path / "report", dataset="other")
    assert not (tmp_path / "report").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(BiasconError, match="cannot create"):
        write_report(runs, tmp_path / "file" / "report")
