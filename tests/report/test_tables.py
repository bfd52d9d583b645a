"""The tables of the report in Markdown and LaTeX: numbers, marks, bold, and escapes."""

from __future__ import annotations

import pytest

from biascon.report.experiments import group_runs
from biascon.report.latex import render_latex
from biascon.report.markdown import render_markdown
from biascon.report.verdicts import significant_bests
from biascon.runs.finished import FinishedRun
from biascon.runs.records import Classifier
from tests.report.fakes import (
    CLEAR,
    bmnist,
    made_up,
    one_experiment,
    with_own_classifier,
    without_machines,
)


@pytest.fixture(autouse=True)
def _machines(monkeypatch: pytest.MonkeyPatch) -> None:
    without_machines(monkeypatch)


def markdown_of(*runs: FinishedRun) -> str:
    return render_markdown(group_runs(runs))


def test_means_deviations_and_bold_are_those_of_the_seeds() -> None:
    page = markdown_of(*CLEAR)
    assert "| supcon | 3 | probe | 51.0 ± 1.0 | 51.0 ± 1.0 |" in page
    assert "| contex | 3 | probe | **61.1 ± 1.1** | **61.1 ± 1.1** |" in page


def test_methods_with_bias_labels_are_marked_and_compared_apart() -> None:
    with_labels = [with_own_classifier("biasbal", s, 0.9 + 0.01 * s) for s in range(3)]
    page = markdown_of(*CLEAR, *with_labels)
    assert (
        "| biasbal † | 3 | classifier | 91.0 ± 1.0 |" in page
    )  # the only one of its kind: not bold
    assert "| 71.0 (probe) |" in page  # with the other classifier
    assert "**61.1 ± 1.1**" in page  # the best without bias labels
    assert "| evaluated by | the method's classifier: biasbal |" in page
    assert "| evaluated by | linear probe: supcon, contex |" in page
    assert "biasbal uses bias labels and supcon does not" in page
    assert "biasbal is evaluated by its own classifier, supcon by a linear probe." in page
    experiment = one_experiment(*CLEAR, *with_labels)
    assert significant_bests(experiment, "unbiased") == {"contex"}
    assert r"biasbal$^\dagger$" in render_latex([experiment])
    assert r"$^\dagger$ uses bias labels" in render_latex([experiment])
    assert "dagger" not in render_latex([one_experiment(*CLEAR)])


@pytest.mark.parametrize(
    ("classifier", "name"), [(Classifier.KNN, "kNN"), (Classifier.FINE_TUNED, "fine-tuning")]
)
def test_protocol_other_than_the_linear_probe_is_named(classifier: Classifier, name: str) -> None:
    page = markdown_of(made_up("supcon", 0, 0.5, evaluated_by=classifier))
    assert f"\nEvaluated by {name}." in page
    assert "linear probe on the frozen encoder" not in page


def test_many_methods_are_compared_in_a_table_and_contex_in_words() -> None:
    names = ("ce", "simclr", "eps_supcon", "gce", "lff")
    many = [*CLEAR, *(made_up(name, s, 0.4 + 0.01 * s) for name in names for s in range(3))]
    page = markdown_of(*many)
    assert "The unbiased accuracy of contex is 10.1 points above that of supcon" in page
    assert "The unbiased accuracy of lff" not in page
    assert "| lff | supcon | -10.0 [-10.0, -10.0] | paired t over 3 seeds |" in page
    assert "| contex | supcon |" not in page
    assert "The other methods" not in markdown_of(*CLEAR)


def test_published_results_are_shown_for_their_rho_with_a_warning() -> None:
    page = markdown_of(made_up("biasbal", 0, 0.5, **bmnist(0.997)))
    assert "**Protocol, network and selection differ**" in page
    assert "| BiasBal | 91.2 | FairKL preprint, table 3 |" in page
    assert "FLAC" not in page  # its number at 0.997 is not known
    for other in (
        bmnist(0.9),
        bmnist(0.997, "mnist5k"),
        bmnist(0.997, foreground_rho=0.9),
        bmnist(0.997, biased_classes=[0, 1]),
        {"dataset": "celeba", "builder": "celeba"},
    ):
        assert "Published" not in markdown_of(made_up("biasbal", 0, 0.5, **other))


def test_overrides_are_in_every_title() -> None:
    changed = [made_up("ce", s, 0.5, overrides={"optimizer.lr": 0.1}) for s in range(2)]
    assert "preset smoke + optimizer.lr=0.1" in render_latex(group_runs(changed))
    assert "preset smoke + optimizer.lr=0.1" in markdown_of(*changed)


def test_undefined_value_is_a_dash_and_defined_seeds_are_counted() -> None:
    page = markdown_of(
        made_up("ce", 7, None), made_up("supcon", 0, 0.5), made_up("supcon", 1, None)
    )
    assert "| ce | 1 | probe | - | - |" in page
    assert "| supcon | 2 | probe | 50.0 (n=1) |" in page


def test_special_characters_in_names_are_escaped() -> None:
    runs = [
        made_up("ce", s, 0.5, label="a_b|50%&$#{x}", source="<b>_x_</b> & 5%") for s in range(2)
    ]
    page, tex = markdown_of(*runs), render_latex(group_runs(runs))
    assert r"a\_b\|50%&$#{x}" in page
    assert "<b>" not in page.replace(r"\<b\>", "")
    assert r"a\_b\textbar{}50\%\&\$\#\{x\} &" in tex
    assert r"100 \% made\_up" in tex


def test_latex_table_is_a_booktabs_table() -> None:
    tex = render_latex(group_runs(CLEAR))
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert tex.count(rule) == 3  # accuracies, differences, and paired tests
    assert r"supcon & 51.0 $\pm$ 1.0 &" in tex
    assert r"contex & \textbf{61.1 $\pm$ 1.1} &" in tex
    assert tex.count("{") == tex.count("}")
