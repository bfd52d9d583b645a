"""The output of an audit: text, JSON, HTML, LaTeX and data frames; names are escaped."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import biascon
from biascon.auditing import Audit
from biascon.auditing.display.findings import audit_findings
from biascon.auditing.display.formats import format_interval, format_rate
from biascon.auditing.record import METRICS
from biascon.auditing.score_metrics import SCORE_VALUES
from biascon.errors import UsageError
from biascon.metrics.records import Metric
from tests.auditing.audit_cases import COLUMNS, OK, audit_rows, make_rows, write_table


class Tables(html.parser.HTMLParser):
    """The text of every cell, and the names of every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


STRANGE = (
    '<script>alert("x")</script>',
    "[50 % & a_b] \\input{x} ~^#$|*",
    "two\nlines\x1b[31m",
)


@pytest.fixture
def strange() -> Audit:
    df = make_rows(groups=3)
    df["g"] = df.g.map(dict(zip("abc", STRANGE, strict=True)))
    return audit_rows(df.rename(columns={"g": "<g&>"}), "<g&>")


def test_html_escapes_every_text(strange: Audit) -> None:
    page = Tables()
    page.feed(strange.to_html())
    tags = {"section", "p", "ul", "li", "table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert page.tags == tags
    assert any(STRANGE[0] in cell for cell in page.cells)
    assert any(cell.startswith("two\\nlines\\x1b[31m") for cell in page.cells)


def test_latex_escapes_every_text(strange: Audit) -> None:
    text = strange.to_latex()
    assert r"\textbackslash{}input\{x\}" in text
    assert r"{[}50 \% \& a\_b{]}" in text
    assert "two\\textbackslash{}nlines" in text
    assert text.count(r"\toprule") == text.count(r"\end{tabular}") == 5
    assert "<" not in text


def test_a_terminal_gets_no_control_characters(cli: Any, tmp_path: Path) -> None:
    path = write_table(
        tmp_path,
        "x.csv",
        make_rows(groups=3).replace({"g": dict(zip("abc", STRANGE, strict=True))}),
    )
    outcome = cli("audit", path, *COLUMNS)
    assert outcome.code == 0
    assert "\x1b" not in outcome.out
    assert "two\\nlines" in outcome.out


def test_text_tables_have_n_and_a_dash_for_undefined(cli: Any, tmp_path: Path) -> None:
    outcome = cli("audit", write_table(tmp_path, "x.csv", OK), *COLUMNS)
    assert outcome.code == 0
    assert outcome.err == ""
    rows = {line.split("  ")[0]: line.split()[-3:] for line in outcome.out.splitlines()}
    assert rows["top-1 accuracy"][-1] == "5"
    assert rows["b"][-2:] == ["0", "-"]  # class 1 is never predicted in b: no precision
    assert "bias-aligned" not in rows  # which cells are aligned is not known


def test_the_suffix_of_out_is_the_format(cli: Any, tmp_path: Path) -> None:
    path = write_table(tmp_path, "x.parquet", make_rows())
    starts = {".json": "{", ".html": "<!doctype html>", ".tex": "% Made by", ".csv": "bias,metric,class,",
              ".txt": str(path)}  # fmt: skip
    for suffix, start in starts.items():
        outcome = cli("audit", path, *COLUMNS, "--out", f"report{suffix}")
        assert outcome.code == 0
        assert outcome.err == f"report{suffix}: written\n"
        assert (tmp_path / f"report{suffix}").read_text().startswith(start)
    assert (tmp_path / "report.txt").read_text() == outcome.out


def test_json_is_one_line_for_each_bias_column(cli: Any, tmp_path: Path) -> None:
    path = write_table(tmp_path, "x.parquet", make_rows())
    outcome = cli("audit", path, *COLUMNS, "--bias", "h", "--json")
    records = [json.loads(line) for line in outcome.out.splitlines()]
    assert [record["bias"] for record in records] == ["g", "h", "g x h"]
    for record in records:
        assert all({"value", "n", "ci"} <= record[name].keys() for name in METRICS)
        assert len(record["sha256"]) == 64


def test_a_json_file_is_one_value(cli: Any, tmp_path: Path) -> None:
    path = write_table(tmp_path, "x.parquet", make_rows())
    judged = [*COLUMNS, "--tolerance", "top1=0.1"]
    cli("audit", path, *judged, "--out", "one.json")
    outcome = cli("audit", path, *judged, "--bias", "h", "--json", "--out", "three.json")
    assert json.loads((tmp_path / "one.json").read_text())["bias"] == "g"
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert len(lines) == 3
    assert json.loads((tmp_path / "three.json").read_text()) == lines


def test_to_frame_has_a_row_for_each_metric_and_class() -> None:
    result = audit_rows(make_rows(), "g", "h")
    long = result.to_frame()
    headline, classes, groups = 14 + 4 + 7, 7 + 3 * 7, {"g": 4, "h": 2, "g x h": 8}
    n_rows = {bias: headline + classes + n * (1 + 3 * 5) for bias, n in groups.items()}
    assert long.groupby("bias").size().to_dict() == n_rows
    assert long.columns[:7].tolist() == [
        "bias",
        "metric",
        "class",
        "value",
        "n",
        "ci_low",
        "ci_high",
    ]
    first = long[(long.bias == "g x h") & (long.metric == "top1")].iloc[0]
    assert first["value"] == result.overall["top1"]
    assert long["n"].dtype == int


def test_to_frame_has_the_tests_the_groups_and_the_worst_group() -> None:
    result = audit_rows(make_rows(classes=2))
    long = result.to_frame().set_index("metric")
    worst = long.loc["worst_group"]
    cell = result.record["worst_group"].cell
    assert cell is not None and (worst["class"], worst["group"]) == (cell.label, cell.bias)
    tests = result.data["disparity"]
    tested = long[long.p.notna()]
    assert set(tested.index) == {name for name in tests if tests[name]["p"] is not None}
    printed = {line.split("  ")[0]: line.split()[-1] for line in str(result).splitlines() if line}
    for name in ("equalized_odds_difference", "demographic_parity_difference"):
        row = tested.loc[name]
        assert row["by_chance"] == tests[name]["expected"] and row["p"] == tests[name]["p"]
        assert printed[name.replace("_", " ")] == f"{row['holm_p']:.4f}"
    for metric in ("accuracy", "selection_rate", "true_positive_rate"):
        rows = long.loc[metric].set_index("group")
        assert rows["value"].to_dict() == pytest.approx(result.by_group[metric].to_dict())
    assert long.loc["selection_rate", "class"].unique().tolist() == ["1"]


def test_to_frame_has_the_reference_and_the_baseline() -> None:
    df = make_rows(classes=2)
    result = audit_rows(df, reference="b", baseline=df.y)
    long = result.to_frame().set_index(["metric", "group"])
    expected = result.reference.set_index(["metric", "g"])
    for name in ("selection_rate", "accuracy"):
        for kind in ("difference", "ratio"):
            row = long.loc[[(f"{name}_{kind}_to_reference", "c")]].iloc[0]
            assert row["value"] == expected.loc[(name, "c"), kind]
    paired = result.baseline.set_index(["metric", "group"])
    row = long.loc[[("accuracy_difference_to_baseline", "c")]].iloc[0]
    assert (row["p"], row["holm_p"]) == tuple(paired.loc[("accuracy", "c"), ["p", "holm_p"]])
    assert long.loc[[("accuracy_of_baseline", "c")]].iloc[0]["value"] == 1


def test_to_frame_has_the_scores_of_every_group() -> None:
    df = make_rows(classes=2)
    result = audit_rows(df, scores=0.2 + 0.6 * df.p)
    long = result.to_frame()
    for name in SCORE_VALUES:
        rows = long[(long.metric == name) & long.group.notna()].set_index("group")
        assert rows["value"].to_dict() == pytest.approx(result.by_group[name].to_dict())


def test_a_csv_has_the_verdicts(cli: Any, tmp_path: Path) -> None:
    path = write_table(tmp_path, "x.csv", make_rows())
    cli("audit", path, *COLUMNS, "--tolerance", "top1=0.99", "--out", "long.csv")
    long = pd.read_csv(tmp_path / "long.csv")
    judged = long[long.verdict.notna()]
    assert judged[["metric", "tolerance", "verdict"]].to_numpy().tolist() == [
        ["top1", 0.99, "exceeds"]
    ]
    cli("audit", path, *COLUMNS, "--out", "long.csv")
    assert "verdict" not in pd.read_csv(tmp_path / "long.csv")


def test_an_interval_that_is_printed_as_0_to_100_is_too_few_rows() -> None:
    text = str(biascon.audit([1], [1], sensitive_features=["a"]))
    assert re.search(r"^unbiased accuracy +100.0 +too few rows +1$", text, re.MULTILINE)
    low = Metric(1.0, 1, 1e-8, 1.0)
    assert format_interval("unbiased", low) == "too few rows"
    assert format_rate(low) == "100.0 [too few rows]"
    assert format_interval("unbiased", Metric(1.0, 1, 0.001, 1.0)) == "0.1 to 100.0"
    assert format_rate(Metric(0.5, 1, -0.5, 1.0)) == "50.0 [-50.0, 100.0]"
    assert format_rate(Metric(0.5, 1, -0.9999, 1.0)) == "50.0 [too few rows]"


def test_one_row_is_no_rows() -> None:
    one = biascon.audit([1], [1], sensitive_features=["a"])
    assert repr(one) == "<Audit of 1 row by sensitive_feature_0: 1 group, 1 class>"
    two = biascon.audit([1, 0, 1], [1, 0, 0], sensitive_features=["a", "a", "b"])
    findings = " ".join(audit_findings(two.record))
    assert "(0.0 % of 1 row, " in findings and "1 rows" not in findings


def test_a_notebook_shows_the_html_tables() -> None:
    result = audit_rows(make_rows())
    assert result._repr_html_() == result.to_html()
    assert repr(result) == "<Audit of 400 rows by g: 4 groups, 3 classes>"


def test_print_shows_the_tables_of_the_command(cli: Any, tmp_path: Path) -> None:
    df = make_rows()
    result = audit_rows(df)
    outcome = cli("audit", write_table(tmp_path, "x.parquet", df), *COLUMNS)
    assert outcome.out.splitlines()[2:] == str(result).splitlines()[2:]
    assert str(result).splitlines()[0] == "400 rows, label 'y_true', prediction 'y_pred', 3 classes"


def test_latex_tables_have_labels() -> None:
    result = audit_rows(make_rows(), "g", "h")
    text = result.to_latex(label="tab:audit")
    labels = re.findall(r"\\caption\{.*\}\\label\{(.*)\}$", text, re.MULTILINE)
    n = text.count(r"\begin{table}")
    assert labels == ["tab:audit", *(f"tab:audit-{k}" for k in range(2, n + 1))]
    assert re.sub(r"\\label\{.*\}", "", text) == result.to_latex()
    for bad in ("a}b", "a b", "", 7):
        with pytest.raises(UsageError, match="expected a label"):
            result.to_latex(label=bad)  # type: ignore[arg-type]


def test_latex_has_the_verdicts_notes_apart_and_the_name_of_the_file(
    cli: Any, tmp_path: Path
) -> None:
    path = write_table(tmp_path, "my_file.csv", OK)
    cli("audit", path, *COLUMNS, "--min-group", "3", "--tolerance", "top1=0.99", "--out", "x.tex")
    cli("audit", path, *COLUMNS, "--out", "x.html")
    text = (tmp_path / "x.tex").read_text()
    assert "over all rows, EXCEEDS: top-1 accuracy" in text
    captions = re.findall(r"^\\caption\{(.*)\}$", text, re.MULTILINE)
    assert captions[0].startswith(r"my\_file.csv: 5 rows") and "left out" not in captions[0]
    assert "Note: left out of the comparisons" in text
    assert str(tmp_path) not in text
    assert "<p>my_file.csv: 5 rows" in (tmp_path / "x.html").read_text()
    assert str(tmp_path) not in (tmp_path / "x.html").read_text()


def test_latex_breaks_words_after_signs() -> None:
    df = make_rows().replace({"g": {k: f"hospital_0{k}" for k in "abcd"}})
    text = audit_rows(df.rename(columns={"g": "long_site"}), "long_site").to_latex()
    assert r"site=\allowbreak{}hospital\_\allowbreak{}0" in text


def test_a_very_long_name_is_cut_in_tables(cli: Any, tmp_path: Path) -> None:
    name = "x" * 3000 + "7"
    df = make_rows(classes=2).replace({"g": {"a": name}}).rename(columns={"g": "g" * 500})
    result = audit_rows(df, "g" * 500)
    assert all(len(line) <= 400 for line in str(result).splitlines() if "note:" not in line)
    assert re.search("^x+…x+7  ", str(result), re.MULTILINE)
    for text in (result.to_html(), result.to_latex()):
        assert "x" * 73 not in text and "g" * 73 not in text
    assert name in result.data["groups"]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs LaTeX")
def test_latex_compiles_without_an_overfull_box(tmp_path: Path) -> None:
    df = make_rows(classes=2)
    df["g"] = df.g.map(dict(zip("abcd", (*STRANGE, "x" * 3000), strict=True)))
    result = audit_rows(
        df, "g", "h", scores=0.2 + 0.6 * df.p, baseline=df.y, reference=[STRANGE[0], 1]
    )
    source = (
        "\\documentclass{article}\n\\usepackage{booktabs,graphicx}\n\\begin{document}\n"
        f"{result.to_latex()}\n\\end{{document}}\n"
    )
    (tmp_path / "a.tex").write_text(source, encoding="utf-8")
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    log = (tmp_path / "a.log").read_text(encoding="utf-8", errors="replace")
    assert "Overfull" not in log and "too large" not in log
