"""The report as a web page: every number has its runs, names are escaped, nothing is loaded."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from biascon.metrics.records import UNDEFINED
from biascon.report.experiments import group_runs
from biascon.report.figures import cross_experiment_figures
from biascon.report.paired_tests import run_paired_tests
from biascon.runs.identity import BiasRecord
from tests.report.fakes import CLEAR, bmnist, made_up, one_experiment, page_of

# Elements that have no end tag.
VOID = {"meta", "link", "br", "use", "path", "rect", "image", "line", "circle"}
PARTLY_UNDEFINED = [
    made_up("ce", s, 0.3, metrics={"demographic_parity_difference": UNDEFINED}) for s in (0, 1)
]


class Walk(HTMLParser):
    """Collects the texts of a page with the elements around them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.around: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, list[tuple[str, dict[str, str | None]]]]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.around.append((tag, dict(attrs)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.around, f"</{tag}> without a start"
            assert self.around[-1][0] == tag, f"</{tag}> ends {self.around[-1][0]}"
            self.around.pop()

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((data, list(self.around)))


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> str:
    return page_of(*CLEAR, *PARTLY_UNDEFINED, monkeypatch=monkeypatch)


def test_elements_are_closed_and_ids_are_unique(page: str) -> None:
    walk = Walk(page)
    assert not walk.around
    ids = [attributes["id"] for _, attributes in walk.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', page))
    used |= set(re.findall(r'aria-labelledby="([^"]+)"', page))
    assert used <= set(ids)
    assert "title-1" in used


def test_every_number_has_the_digests_of_its_runs(page: str) -> None:
    digests = {run.digest[:8] for run in [*CLEAR, *PARTLY_UNDEFINED]}
    numbers = 0
    for text, around in Walk(page).texts:
        tags = [tag for tag, _ in around]
        if not re.search(r"\d", text) or {"style", "script", "title", "nav", "h2"} & set(tags):
            continue
        numbers += 1
        origins = [
            attributes for _, attributes in around if {"data-runs", "data-source"} & set(attributes)
        ]
        assert origins, f"{text!r} in {tags}"
        if "td" in tags and "data-runs" in origins[-1]:
            digests_of_number = str(origins[-1]["data-runs"]).split()
            assert digests_of_number
            assert set(digests_of_number) <= digests
    assert numbers > 60


def test_mean_has_the_runs_of_its_loss_and_no_other(page: str) -> None:
    row = page[page.index('<th scope="row">contex</th>') :]
    row = row[: row.index("</tr>")]
    digests = {run.digest[:8] for run in CLEAR if run.label == "contex"}
    in_row = {d for each in re.findall(r'data-runs="([^"]*)"', row) for d in each.split()}
    assert in_row == digests


def test_page_loads_nothing_from_elsewhere(page: str) -> None:
    for tag, attributes in Walk(page).tags:
        assert tag not in {"iframe", "object", "embed", "img"}
        for key in ("src", "href", "xlink:href", "action"):
            value = attributes.get(key)
            assert value is None or value.startswith(("#", "data:")), (tag, value)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_special_characters_in_names_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    name = '<script>alert("x")</script> & $a_b$'
    run = made_up(
        "supcon",
        0,
        0.5,
        label=name,
        source=name,
        labels=[name, "1"],
        bias=BiasRecord(name, ["</td>", "b"]),
    )
    walk = Walk(page_of(run, monkeypatch=monkeypatch))
    assert not walk.around
    assert sum(tag == "script" for tag, _ in walk.tags) == 1
    assert sum(name in text for text, _ in walk.texts) >= 3


def test_same_runs_give_the_same_bytes(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert page == page_of(*CLEAR, *PARTLY_UNDEFINED, monkeypatch=monkeypatch)


def test_empty_cells_are_counted_and_undefined_values_are_dashes(page: str) -> None:
    assert "1 of 4 cells are empty" in page
    row = page[page.index('<th scope="row">ce</th>') :]
    assert 'data-value="">-</td>' in row[: row.index("</tr>")]


def test_figures_have_a_description_for_screen_readers(page: str) -> None:
    figures = [attributes for tag, attributes in Walk(page).tags if tag == "svg"]
    assert len(figures) == 6  # accuracies, groups; of two losses the cells and the similarities
    for attributes in figures:
        assert attributes["role"] == "img"
        assert "n = 1,000 test images" in str(attributes["aria-label"])


def test_accuracy_is_drawn_against_rho_for_two_rhos(monkeypatch: pytest.MonkeyPatch) -> None:
    other_rho = [made_up("supcon", s, 0.7, **bmnist(0.9)) for s in (0, 1)]
    page = page_of(*CLEAR, *other_rho, monkeypatch=monkeypatch)
    assert "Unbiased accuracy against rho" in page
    assert not Walk(page).around
    other_digits = [made_up("supcon", s, 0.7, **bmnist(0.9, "kmnist")) for s in (0, 1)]
    page = page_of(*CLEAR, *other_digits, monkeypatch=monkeypatch)
    assert "Unbiased accuracy against rho" not in page


def test_only_datasets_that_differ_in_rho_alone_are_in_one_figure() -> None:
    background = BiasRecord("background", ["red", "green"])
    foreground = BiasRecord("foreground", ["red", "green"], chosen=["foreground"], base="b")
    runs = [
        made_up(
            "ce",
            0,
            0.7,
            **bmnist(rho, foreground_rho=0.9) | {"dataset": f"{rho}-{bias.name}"},
            bias=bias,
        )
        for rho in (0.9, 0.99)
        for bias in (background, foreground)
    ]
    plain = made_up("ce", 0, 0.7, **bmnist(0.95))
    sparse = made_up("ce", 0, 0.7, **bmnist(0.95, biased_classes=[0]))
    figures = cross_experiment_figures(group_runs([*runs, plain, sparse]))
    assert [figure.name.rsplit("-", 1)[0] for figure in figures] == [
        "rho-fg0.9", "rho-fg0.9-by-foreground",
    ]  # fmt: skip
    assert "against rho (fg0.9-by-foreground)" in figures[1].caption


def test_paired_tests_are_shown_with_holm(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = one_experiment(*CLEAR, *PARTLY_UNDEFINED)
    tests = {test.a: test for test in run_paired_tests(experiment, "supcon", images=False)}
    part = page[page.index("Paired tests over seeds") :]
    for label in ("contex", "ce"):
        row = part[part.index(f'<th scope="row">{label}</th>') :]
        row = row[: row.index("</tr>")]
        assert f'data-value="{100 * tests[label].difference:.4f}"' in row
        assert f'data-value="{tests[label].p_t_holm:.6g}"' in row
    one_loss = page_of(made_up("supcon", 0, 0.5), monkeypatch=monkeypatch)
    assert "Paired tests" not in one_loss
