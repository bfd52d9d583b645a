"""The report as a web page: every number has its run, everything is escaped, nothing is fetched."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from biascon.report import tables
from biascon.report.experiments import FinishedRun, group_runs
from biascon.report.html import render_html
from tests.report.test_report import CLEAR, made_up

VOID = {"meta", "link", "br", "use", "path", "rect", "image", "line", "circle"}
UNDEFINED = [
    made_up("ce", s, 0.3, demographic_parity_difference={"value": None, "n": 0, "ci": [None, None]})
    for s in (0, 1)
]


def page_of(*found: FinishedRun, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(tables, "describe_machines", lambda group: "cpu, torch 2")
    return render_html(group_runs(found))


class Walk(HTMLParser):
    """Collects texts with the elements around them."""

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
    return page_of(*CLEAR, *UNDEFINED, monkeypatch=monkeypatch)


def test_elements_are_closed_and_names_are_unique(page: str) -> None:
    walk = Walk(page)
    assert not walk.around
    names = [attributes["id"] for _, attributes in walk.tags if "id" in attributes]
    assert len(names) == len(set(names))
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', page))
    assert used <= set(names)


def test_every_number_carries_the_digests_of_its_runs(page: str) -> None:
    known = {run.evaluation["digest"][:8] for run in [*CLEAR, *UNDEFINED]}
    numbers = 0
    for text, around in Walk(page).texts:
        tags = [tag for tag, _ in around]
        if not re.search(r"\d", text) or {"style", "script", "title", "nav", "h2"} & set(tags):
            continue
        numbers += 1
        told = [
            attributes for _, attributes in around if {"data-runs", "data-source"} & set(attributes)
        ]
        assert told, f"{text!r} in {tags}"
        if "td" in tags and "data-runs" in told[-1]:
            digests = str(told[-1]["data-runs"]).split()
            assert digests
            assert set(digests) <= known
    assert numbers > 60


def test_a_mean_carries_the_runs_of_its_loss_and_no_other(page: str) -> None:
    row = page[page.index('<th scope="row">contex</th>') :]
    row = row[: row.index("</tr>")]
    digests = {run.evaluation["digest"][:8] for run in CLEAR if run.label == "contex"}
    assert {
        d for found in re.findall(r'data-runs="([^"]*)"', row) for d in found.split()
    } == digests


def test_nothing_is_fetched(page: str) -> None:
    for tag, attributes in Walk(page).tags:
        assert tag not in {"iframe", "object", "embed", "img"}
        for key in ("src", "href", "xlink:href", "action"):
            value = attributes.get(key)
            assert value is None or value.startswith(("#", "data:")), (tag, value)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_specials_in_names_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = '<script>alert("x")</script> & $a_b$'
    about = {"labels": [bad, "1"], "bias": {"name": bad, "values": ["</td>", "b"]}}
    run = made_up("supcon", 0, 0.5, label=bad, source=bad, **about)
    found = page_of(run, monkeypatch=monkeypatch)
    walk = Walk(found)
    assert not walk.around
    assert sum(tag == "script" for tag, _ in walk.tags) == 1
    assert sum(bad in text for text, _ in walk.texts) >= 3


def test_the_same_runs_give_the_same_bytes(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert page == page_of(*CLEAR, *UNDEFINED, monkeypatch=monkeypatch)


def test_empty_cells_and_undefined_values_are_told(page: str) -> None:
    assert "1 of 4 cells are empty" in page
    row = page[page.index('<th scope="row">ce</th>') :]
    assert 'data-value="">-</td>' in row[: row.index("</tr>")]


def test_figures_are_described_for_who_cannot_see_them(page: str) -> None:
    drawn = [attributes for tag, attributes in Walk(page).tags if tag == "svg"]
    assert len(drawn) == 6  # accuracies, groups; of two losses the cells and the similarities
    for attributes in drawn:
        assert attributes["role"] == "img"
        assert "n = 1,000 test images" in str(attributes["aria-label"])


def test_accuracy_is_drawn_against_rho_where_there_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    more = [
        made_up("supcon", s, 0.7, dataset="bmnist-0.9", dataset_digest="e" * 64) for s in (0, 1)
    ]
    found = page_of(*CLEAR, *more, monkeypatch=monkeypatch)
    assert "Unbiased accuracy against rho" in found
    assert not Walk(found).around


def test_paired_tests_are_told_with_holm(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from biascon.report.paired_tests import run_paired_tests

    (one,) = group_runs([*CLEAR, *UNDEFINED])
    found = {t.a: t for t in run_paired_tests(one, "supcon", images=False)}
    part = page[page.index("Paired tests over seeds") :]
    for label in ("contex", "ce"):
        row = part[part.index(f'<th scope="row">{label}</th>') :]
        row = row[: row.index("</tr>")]
        assert f'data-value="{100 * found[label].difference:.4f}"' in row
        assert f'data-value="{found[label].p_t_holm:.6g}"' in row
    alone = page_of(made_up("supcon", 0, 0.5), monkeypatch=monkeypatch)
    assert "Paired tests" not in alone
