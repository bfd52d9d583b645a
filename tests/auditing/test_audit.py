"""The audit: the numbers of others, the same from any parts, one clear line for bad input."""

from __future__ import annotations

import gzip
import html.parser
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import fairlearn.metrics
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
import scipy.stats
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import biascon
from biascon.auditing import Audit, audit_file, row_counts
from biascon.auditing.prediction_file import PredictionFile
from biascon.auditing.record import METRICS
from biascon.auditing.row_counts import RowCounts
from biascon.config.run_config import make_config
from biascon.data.dataset import load
from biascon.data.values import normalize_value
from biascon.errors import DataError, UsageError
from biascon.metrics.fairness import METRICS as FAIRNESS
from tests.run_helpers import evaluate_to_json

COLUMNS = ("--label", "y", "--prediction", "p", "--bias", "g")
OK = b"y,p,g\n1,1,a\n0,1,a\n1,0,b\n0,0,b\n0,0,b\n"


def frame(n: int = 400, *, classes: int = 3, groups: int = 4, seed: int = 0) -> pd.DataFrame:
    """Rows whose predictions lean on the group."""
    rng = np.random.default_rng(seed)
    y, g = rng.integers(0, classes, n), rng.integers(0, groups, n)
    p = np.where(rng.random(n) < 0.6, y, np.where(rng.random(n) < 0.7, g % classes, y[::-1]))
    return pd.DataFrame(
        {"y": y, "p": p, "g": np.array(list("abcdefgh"))[g], "h": rng.integers(0, 2, n)}
    )


def audit(df: pd.DataFrame, *columns: str, **options: Any) -> Audit:
    found: Audit = biascon.audit(
        df["y"], df["p"], sensitive_features=df[list(columns or "g")], **options
    )
    return found


def metrics(found: Audit) -> dict[str, Any]:
    """What does not depend on where the rows are from."""
    return {
        k: v
        for k, v in found.data.items()
        if k not in ("predictions", "sha256", "label", "prediction")
    }


def write(folder: Path, name: str, content: bytes | pd.DataFrame) -> Path:
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif path.suffix == ".parquet":
        content.to_parquet(path)
    else:
        content.to_csv(path, index=False)
    return path


def failed(outcome: Any, code: int = 1) -> str:
    assert (outcome.code, outcome.out) == (code, "")
    (line,) = outcome.err.splitlines()
    assert line.startswith("error: ")
    return str(line)


class TestNumbers:
    @pytest.mark.parametrize("seed", range(3))
    def test_are_those_of_fairlearn_and_scikit_learn(self, seed: int) -> None:
        df = frame(seed=seed)
        found = audit(df)
        overall = found.overall
        assert overall["top1"] == sklearn.metrics.accuracy_score(df.y, df.p)
        by_cell = fairlearn.metrics.MetricFrame(
            metrics=sklearn.metrics.accuracy_score, y_true=df.y, y_pred=df.p,
            sensitive_features=df[["y", "g"]],
        ).by_group  # fmt: skip
        assert overall["unbiased"] == pytest.approx(by_cell.mean())
        assert overall["worst_group"] == by_cell.min()
        for k in df.y.unique():
            one = (df.y == k).astype(int), (df.p == k).astype(int)
            for name in FAIRNESS:
                theirs = getattr(fairlearn.metrics, name)(*one, sensitive_features=df.g)
                assert found.data["by_class"][str(k)][name]["value"] == pytest.approx(theirs)
            precision = fairlearn.metrics.MetricFrame(
                metrics=sklearn.metrics.precision_score, y_true=one[0], y_pred=one[1],
                sensitive_features=df.g,
            )  # fmt: skip
            ours = found.data["by_class"][str(k)]["predictive_parity_difference"]["value"]
            assert ours == pytest.approx(precision.difference())

    def test_chance_and_p_tell_a_disparity_from_none(self) -> None:
        rng = np.random.default_rng(0)
        y, g = rng.integers(0, 3, 900), rng.integers(0, 2, 900)
        fair = np.where(rng.random(900) < 0.2, rng.integers(0, 3, 900), y)
        unfair = np.where((g == 1) & (rng.random(900) < 0.4), 0, fair)
        names = ("demographic_parity_difference", "equalized_odds_difference", "worst_group")
        for told, disparity in ((fair, False), (unfair, True)):
            found = audit(pd.DataFrame({"y": y, "p": told, "g": g})).data
            for name in names:
                tested = found["disparity"][name]
                assert 0 < tested["expected"] < 1 and tested["replicates"] == 2000
                assert (tested["p"] < 0.01) is disparity

    def test_by_group_is_a_metric_frame(self) -> None:
        df = frame()
        found = audit(df)
        theirs = fairlearn.metrics.MetricFrame(
            metrics={"n": fairlearn.metrics.count, "accuracy": sklearn.metrics.accuracy_score},
            y_true=df.y, y_pred=df.p, sensitive_features=df.g,
        ).by_group  # fmt: skip
        pd.testing.assert_frame_equal(
            found.by_group[["n", "accuracy"]], theirs, check_dtype=False, check_index_type=False
        )

    def test_rates_of_cells_are_a_metric_frame_a_class(self) -> None:
        df = frame()
        cells = audit(df).cells
        names = ("selection_rate", "true_positive_rate", "false_positive_rate")
        for k in range(3):
            theirs = fairlearn.metrics.MetricFrame(
                metrics={name: getattr(fairlearn.metrics, name) for name in names},
                y_true=df.y == k, y_pred=df.p == k, sensitive_features=df.g,
            ).by_group  # fmt: skip
            assert np.allclose(cells.loc[str(k), list(names)], theirs.to_numpy(float))
        assert cells["n"].groupby(level="class").sum().tolist() == [400] * 3
        assert (cells.n_positive + cells.n_negative == cells.n).all()

    def test_of_two_columns_each_alone_and_their_combinations(self) -> None:
        df = frame()
        found = audit(df, "g", "h")
        assert list(found.by_feature) == ["g", "h"]
        assert metrics(found.by_feature["g"]) == metrics(audit(df, "g"))
        assert metrics(found.by_feature["h"]) == metrics(audit(df, "h"))
        theirs = fairlearn.metrics.MetricFrame(
            metrics=sklearn.metrics.accuracy_score, y_true=df.y, y_pred=df.p,
            sensitive_features=df[["g", "h"]],
        ).by_group  # fmt: skip
        assert found.by_group.index.names == ["g", "h"]
        assert found.by_group["accuracy"].tolist() == theirs.tolist()
        assert found.data["bias"] == "g x h"
        assert found.data["groups"][:2] == ["a x 0", "a x 1"]

    def test_a_combination_without_a_row_is_no_group(self) -> None:
        found = biascon.audit(
            [0, 1, 0], [0, 1, 1], sensitive_features={"g": ["a", "a", "b"], "h": [0, 1, 1]}
        )
        assert found.data["groups"] == ["a x 0", "a x 1", "b x 1"]

    def test_an_interval_of_a_group_is_wilson_s(self) -> None:
        groups = audit(frame()).by_group
        for row in groups.itertuples():
            right = round(row.accuracy * row.n)
            theirs = scipy.stats.binomtest(right, row.n).proportion_ci(method="wilson")
            assert (row.ci_low, row.ci_high) == pytest.approx((theirs.low, theirs.high))

    def test_aligned_where_label_is_bias(self) -> None:
        y, g = [0, 0, 1, 1], [0, 1, 0, 1]
        found = biascon.audit(y, g, sensitive_features=g)
        assert found.overall[["bias_aligned", "bias_conflicting"]].tolist() == [1.0, 0.0]
        assert "label = bias" in found.data["aligned"]

    def test_aligned_as_given(self) -> None:
        df = frame(classes=2, groups=3)
        found = audit(df, aligned={0: "a", 1: ["b", "c"]}).overall
        mask = ((df.y == 0) & (df.g == "a")) | ((df.y == 1) & df.g.isin(["b", "c"]))
        right = df.y == df.p
        assert found["bias_aligned_samples"] == right[mask].mean()
        assert found["bias_conflicting_samples"] == right[~mask].mean()

    def test_aligned_unknown_is_none_of_no_rows(self) -> None:
        found = audit(frame())
        for name in ("bias_aligned", "bias_conflicting_samples"):
            assert found.data[name] == {"value": None, "n": 0, "ci": [None, None]}
        assert found.data["aligned"].startswith("not known")

    def test_aligned_for_one_of_several_columns(self) -> None:
        found = audit(frame(classes=2), "g", "h", aligned={"g": {0: ["a", "b"], 1: "c"}})
        assert found.by_feature["g"].data["aligned"] == "as given"
        assert found.by_feature["h"].data["aligned"].startswith("label = bias")
        assert found.data["aligned"].startswith("not known")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit")


def test_a_run_s_predictions_give_its_evaluation(
    make_dataset: Callable[..., Path], tmp_path: Path, cli: Any
) -> None:
    data = load(make_dataset(tmp_path / "small"))
    run, evaluation, _ = evaluate_to_json(
        make_config("ce", preset="smoke"), data, root=tmp_path / "runs", device=torch.device("cpu")
    )
    outcome = cli(
        *("audit", run / "predictions.parquet", "--label", "label", "--prediction", "prediction"),
        *("--bias", "bias", "--json"),
    )
    assert outcome.code == 0
    found = json.loads(outcome.out)
    group = found["worst_group"]["group"]
    found["worst_group"]["group"] = {k: found[f"{n}s"].index(group[k]) for k, n in
                                     {"label": "label", "bias": "group"}.items()}  # fmt: skip
    for name in (*METRICS, "by_class", "counts"):
        assert found[name] == evaluation[name], name


@pytest.fixture(scope="module")
def files(folder: Path) -> list[Path]:
    df = frame(3000, classes=4)
    df["unused"] = 'a "text", with a comma\nand a second line'
    path = write(folder, "parts.csv", df)
    (folder / "parts.bin").write_bytes(gzip.compress(path.read_bytes()))
    pq.write_table(pa.Table.from_pandas(df), folder / "few.parquet", row_group_size=171)
    typed = df.assign(y=df.y.astype(float), p=df.p.astype(str), g=df.g.astype("category"))
    shuffled = typed.sample(frac=1, random_state=0)
    return [
        path,
        folder / "parts.bin",
        folder / "few.parquet",
        write(folder, "s.parquet", shuffled),
    ]


class TestParts:
    def test_any_size_type_and_order_gives_the_same_counts(self, files: list[Path]) -> None:
        found = []
        for path in files:
            for rows, size in ((1 << 20, 1 << 23), (7, 1 << 10), (1000, 1 << 14)):
                counted = RowCounts("y", ["g", "h"], "p")
                for part in PredictionFile(path).parts(
                    counted.names, part_rows=rows, part_bytes=size
                ):
                    counted.add(part)
                found.append(
                    (counted.classes, counted.groups([0, 1]), counted.table([0, 1]).tolist())
                )
        assert len(found) == 12
        assert all(one == found[0] for one in found)

    def test_files_and_arrays_give_the_same_bytes(self, files: list[Path]) -> None:
        arrays = audit(frame(3000, classes=4), "g", "h")
        for path in files:
            told = audit_file(path, label="y", prediction="p", bias=["g", "h"])
            assert json.dumps(metrics(told)) == json.dumps(metrics(arrays))

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.integers(0, 400), max_size=5), st.sampled_from([0, 1 << 20]))
    def test_counts_of_parts_are_the_counts_of_the_whole(self, cuts: list[int], dense: int) -> None:
        from biascon.auditing.arrays import code_values

        df = frame()
        whole = audit(df).counts
        counted = RowCounts("y", ["g"], "p")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(row_counts, "_DENSE", dense)  # both ways of counting
            edges = [0, *sorted(cuts), 400]
            for low, high in itertools.pairwise(edges):
                counted.add([code_values(name, df[name][low:high]) for name in ("y", "g", "p")])
        assert (counted.table([0]) == whole).all()

    def test_a_wide_key_is_counted_too(self) -> None:
        n = 5000
        columns = {f"b{k}": np.arange(n) * (k + 3) % (n + 1) for k in range(4)}
        counted = RowCounts("y", list(columns), "p")
        from biascon.auditing.arrays import code_values

        y = np.arange(n) % 900
        counted.add(
            [
                code_values("y", y),
                *(code_values(k, v) for k, v in columns.items()),
                code_values("p", y),
            ]
        )
        assert counted.counted == n
        assert len(counted.groups(range(4))) == n


class TestValues:
    def test_numbers_and_their_text_are_one_value(self, tmp_path: Path) -> None:
        assert {
            normalize_value(v)
            for v in (1, 1.0, "1", "1.0", np.int8(1), np.float32(1), Decimal("1.00"))
        } == {"1"}
        others = {"01": "01", "1e3": "1e3", "0.10": "0.10", -0.0: "0", "-0.0": "0", 1e300: "1e+300",
                  True: "True", b"x": "x", " a b\n": "a b", "  ": None}  # fmt: skip
        for value, text in others.items():
            assert normalize_value(value) == text
        assert normalize_value(np.bool_(False)) == "False"
        assert [normalize_value(v) for v in (None, float("nan"), pd.NA, pd.NaT, np.nan)] == [
            None
        ] * 5

    def test_a_column_of_mixed_types(self, tmp_path: Path) -> None:
        found = biascon.audit(
            [1, "1", 1.0, 0], ["1.0", 1, 1, "0"], sensitive_features=["a", "a", "b", "b"]
        )
        assert found.data["labels"] == ["0", "1"]
        assert found.overall["top1"] == 1.0

    def test_classes_are_in_the_order_of_numbers(self) -> None:
        y = [10, 9, 1, "x"]
        assert biascon.audit(y, y, sensitive_features=y).data["labels"] == ["1", "9", "10", "x"]

    @pytest.mark.parametrize(
        ("features", "names"),
        [
            (["a", "b", "a"], ["sensitive_feature_0"]),
            (np.array([1, 2, 1]), ["sensitive_feature_0"]),
            (np.array([[1, 2], [2, 2], [1, 1]]), ["sensitive_feature_0", "sensitive_feature_1"]),
            (pd.Series(["a", "b", "a"], name="sex"), ["sex"]),
            (pd.Series(["a", "b", "a"], dtype="category"), ["sensitive_feature_0"]),
            (pd.DataFrame({"sex": [1, 2, 1], 7: [1, 1, 2]}), ["sex", "7"]),
            ({"sex": [1, 2, 1], "age": (1, 1, 2)}, ["sex", "age"]),
            ([[1, 2, 1], np.array([1, 1, 2])], ["sensitive_feature_0", "sensitive_feature_1"]),
        ],
    )
    def test_sensitive_features_as_fairlearn_takes_them(
        self, features: Any, names: list[str]
    ) -> None:
        found = biascon.audit([0, 1, 1], [0, 1, 0], sensitive_features=features)
        assert list(found.columns) == names
        assert found.data["rows"] == 3

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (([0, 1], [0], [0, 1]), "expected equally many rows"),
            (([0, 1], np.zeros((2, 2)), [0, 1]), "expected y_pred of shape (N,), but got (2, 2)"),
            (([0, 1], [0, 1], {}), "at least one sensitive feature"),
        ],
    )
    def test_arrays_that_do_not_fit(self, arguments: Any, message: str) -> None:
        with pytest.raises(UsageError) as error:
            biascon.audit(*arguments[:2], sensitive_features=arguments[2])
        assert message in str(error.value)

    def test_no_rows(self) -> None:
        with pytest.raises(DataError, match="there are no rows"):
            biascon.audit([], [], sensitive_features=[])

    def test_a_list_is_no_value(self) -> None:
        with pytest.raises(DataError, match="y_true cannot be counted"):
            biascon.audit([[0], [1, 2]], [0, 1], sensitive_features=[0, 1])

    def test_scores_in_place_of_classes(self) -> None:
        scores = np.linspace(0, 1, 1500)
        with pytest.raises(DataError, match=r"at most 1,000 classes.*'y_pred' an id, a score"):
            biascon.audit(np.zeros(1500), scores, sensitive_features=np.zeros(1500))


class TestBadFiles:
    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("empty.csv", b"", "it is empty"),
            ("blank.csv", b"\n\n", "it is empty"),
            ("header.csv", b"y,p,g\n", "there are no rows"),
            ("one.csv", b"y\n1\n", "lacks columns 'g', 'p' (it has 'y')"),
            ("semicolon.csv", b"y;p;g\n1;1;a\n", "a CSV is separated by commas"),
            ("near.csv", b"yy,pp,gg\n1,1,a\n", "'y'; did you mean 'yy'?, 'g'; did you mean 'gg'?, 'p'"),
            ("twice.csv", b"y,y,p,g\n1,1,1,a\n", "more than one column named 'y'"),
            ("ragged.csv", b"y,p,g\n1,1,a\n1,1\n", "Expected 3 columns, got 2"),
            ("missing.csv", b"y,p,g\n1,1,a\n,1,b\n1,NaN,\n",
             "2 of 3 rows lack a value ('y' in 1, 'g' in 1, 'p' in 1), row 2 first; --drop-missing"),
            ("latin.csv", b"y,p,g\n1,1,caf\xe9\n", "it is not UTF-8 text"),
            ("latin-header.csv", b"y,p,g,caf\xe9\n1,1,a,b\n", "it is not UTF-8 text"),
            ("utf16.csv", "y,p,g\n".encode("utf-16"), "it is UTF-16 text"),
            ("binary.csv", b"y,p,g\0\0\n", "got binary data"),
            ("sheet.csv", b"PK\x03\x04rest", "a zip archive (an Excel sheet, perhaps)"),
            ("half.csv", gzip.compress(OK * 50)[:40], "Truncated compressed stream"),
            ("half.parquet", b"PAR1abcdefgh", "Parquet magic bytes not found in footer"),
            ("ids.csv", b"y,p,g\n" + b"".join(b"%d,1,a\n" % k for k in range(1500)),
             "at most 1,000 classes, but label and prediction have more different values, such as '1000'"),
            ("groups.csv", b"y,p,g\n" + b"".join(b"1,1,%d\n" % k for k in range(10001)),
             "at most 10,000 groups, but bias 'g' have more"),
        ],
        ids=lambda value: value if isinstance(value, str) and value.endswith((".csv", ".parquet")) else "",
    )  # fmt: skip
    def test_are_one_line_and_exit_code_one(
        self, cli: Any, tmp_path: Path, name: str, content: bytes, message: str
    ) -> None:
        line = failed(cli("audit", write(tmp_path, name, content), *COLUMNS))
        assert name in line or "at most" in line
        assert message in line

    def test_a_missing_file_and_a_folder(self, cli: Any, tmp_path: Path) -> None:
        assert "No such file" in failed(cli("audit", "nothing.csv", *COLUMNS))
        assert "it is a folder" in failed(cli("audit", tmp_path, *COLUMNS))

    def test_a_truncated_parquet(self, cli: Any, tmp_path: Path) -> None:
        whole = write(tmp_path, "whole.parquet", frame(5000)).read_bytes()
        for cut in (len(whole) // 2, len(whole) - 3):
            failed(cli("audit", write(tmp_path, "cut.parquet", whole[:cut]), *COLUMNS))
        flipped = bytearray(whole)
        flipped[100:400] = b"\xff" * 300
        failed(cli("audit", write(tmp_path, "flipped.parquet", bytes(flipped)), *COLUMNS))

    def test_a_column_of_lists(self, cli: Any, tmp_path: Path) -> None:
        path = write(tmp_path, "lists.parquet", frame(4).assign(p=[[1], [2], [3], [4]]))
        assert "column 'p' cannot be counted: its type is list" in failed(
            cli("audit", path, *COLUMNS)
        )

    def test_too_many_combinations(self, cli: Any, tmp_path: Path) -> None:
        text = b"y,p,g,h\n" + b"".join(b"1,1,%d,%d\n" % (k % 150, k // 150) for k in range(150**2))
        path = write(tmp_path, "many.csv", text)
        line = failed(cli("audit", path, *COLUMNS, "--bias", "h"))
        assert "at most 10,000 groups, but g x h has 22,500" in line

    def test_too_many_cells(self, cli: Any, tmp_path: Path) -> None:
        text = b"y,p,g\n" + b"".join(b"%d,%d,%d\n" % (k % 900, k % 900, k % 20) for k in range(900))
        line = failed(cli("audit", write(tmp_path, "cells.csv", text), *COLUMNS))
        assert "900 classes and 20 groups of g make 16,200,000" in line

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--label", "y"], "Missing option '--prediction'"),
            (["--label", "y", "--prediction", "y", "--bias", "g"], "but got 'y' twice"),
            ([*COLUMNS, "--bias", "g"], "but got 'g' twice"),
            ([*COLUMNS, "--out", "x.docx"], "expected --out to end in"),
            ([*COLUMNS, "--out", "ok.csv"], "would overwrite what is read"),
            ([*COLUMNS, "--seed", "-1"], "-1 is not in the range"),
        ],
    )
    def test_wrong_usage_is_exit_code_two(
        self, cli: Any, tmp_path: Path, words: list[str], message: str
    ) -> None:
        write(tmp_path, "ok.csv", OK)
        assert message in failed(cli("audit", "ok.csv", *words), 2)
        assert (tmp_path / "ok.csv").read_bytes() == OK


class TestWhatIsTold:
    def test_drop_missing_says_how_many(self, cli: Any, tmp_path: Path) -> None:
        path = write(tmp_path, "x.csv", OK + b",1,a\n1,nan,b\n")
        found = json.loads(cli("audit", path, *COLUMNS, "--drop-missing", "--json").out)
        assert (found["rows"], found["dropped"]) == (5, 2)
        assert found["notes"] == ["left out: 2 of 7 rows lack a value ('y' in 1, 'p' in 1)"]
        whole = json.loads(cli("audit", write(tmp_path, "x.csv", OK), *COLUMNS, "--json").out)
        assert [found[name] for name in METRICS] == [whole[name] for name in METRICS]

    def test_nothing_left(self, cli: Any, tmp_path: Path) -> None:
        path = write(tmp_path, "x.csv", b"y,p,g\n,1,a\n")
        assert "nothing is left" in failed(cli("audit", path, *COLUMNS, "--drop-missing"))

    def test_one_group_only(self) -> None:
        found = biascon.audit([0, 1], [0, 1], sensitive_features=["a", "a"])
        assert found.overall[list(METRICS[-5:])].isna().all()
        assert found.notes == ("one group only, 'a': differences and ratios are undefined",)

    def test_a_group_without_positives(self) -> None:
        found = biascon.audit(
            [0, 1, 0, 0, 2, 2], [0, 1, 0, 1, 2, 2], sensitive_features=list("aabbab")
        )
        assert found.data["by_class"]["1"]["equal_opportunity_difference"]["value"] is None
        assert found.data["by_class"]["1"]["demographic_parity_difference"]["value"] is not None
        assert found.notes == (
            "labels without a row (n = 0) in a group: '1' in 'b': equal opportunity and equalized odds of "
            "class '1' are undefined",
        )

    def test_a_group_of_one_label(self) -> None:
        found = biascon.audit([0, 1, 0, 0], [0, 1, 0, 1], sensitive_features=list("aabb"))
        assert found.data["by_class"]["0"]["equalized_odds_difference"]["value"] is None
        assert found.data["by_class"]["0"]["equal_opportunity_difference"]["value"] is not None
        assert (
            "groups of one label: 'b' has only '0': equalized odds of class '0' are undefined"
            in found.notes
        )

    def test_a_value_that_is_only_predicted_is_a_class_of_no_rows(self) -> None:
        found = biascon.audit([0, 1, 0, 1], [0, 2, 0, 1], sensitive_features=list("aabb"))
        assert found.data["labels"] == ["0", "1", "2"]
        assert found.overall["top1"] == 0.75
        assert found.cells.loc["2", "n_positive"].tolist() == [0, 0]
        assert found.cells.loc["2", "true_positive_rate"].isna().all()
        assert found.notes == ("predicted, but the label of no row (n = 0): '2'",)

    @pytest.mark.parametrize("swap", [False, True])
    def test_true_and_false_are_1_and_0_beside_numbers(self, swap: bool) -> None:
        y, scores = np.array([0, 1, 1, 0, 1]), np.array([0.1, 0.9, 0.2, 0.3, 0.8])
        both = [y, scores > 0.5]
        found = biascon.audit(*both[:: -1 if swap else 1], sensitive_features=list("aabba"))
        assert found.data["labels"] == ["0", "1"]
        assert found.overall["top1"] == 0.8
        assert found.notes[0] == "True and False are taken as 1 and 0"
        same = biascon.audit(y > 0, scores > 0.5, sensitive_features=list("aabba"))
        assert same.data["labels"] == ["False", "True"]
        assert (
            same.data["counts"]
            == biascon.audit(y, both[1], sensitive_features=list("aabba")).data["counts"]
        )

    def test_label_and_prediction_without_a_common_value(self) -> None:
        found = biascon.audit(["cat", "dog"], [0, 1], sensitive_features=["a", "b"])
        assert found.notes[0] == (
            "no row is right: label ('cat', 'dog') and prediction ('0', '1') have no value in common"
        )

    def test_a_large_table_has_no_intervals(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("biascon.auditing.record.MAX_RESAMPLED", 10)
        found = audit(frame())
        assert found.data["top1"]["ci"] == [None, None]
        assert found.data["by_class"]["0"]["equalized_odds_difference"]["ci"] == [None, None]
        assert found.overall["top1"] == audit(frame()).overall["top1"]
        assert found.notes[-1].startswith("no intervals: the table has 36 cells")


class TestAligned:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("a.toml", '"0" = ["a", "b"]\n1 = "c"\n'),
            ("a.toml", '[g]\n0 = ["a", "b"]\n1 = ["c"]\n'),
            ("a.json", '{"0": ["a", "b"], "1": "c"}'),
            ("a.json", '{"g": {"0": ["a", "b"], "1": "c"}}'),
            ("a.csv", "label,bias\n0,a\n0,b\n1,c\n"),
            ("a.csv", "column,label,bias\ng,0,a\ng,0,b\ng,1,c\n"),
        ],
    )
    def test_every_form_says_the_same(self, cli: Any, tmp_path: Path, name: str, text: str) -> None:
        df = frame(classes=2)
        path = write(tmp_path, "x.csv", df)
        outcome = cli(
            "audit", path, *COLUMNS, "--json", "--aligned", write(tmp_path, name, text.encode())
        )
        found = json.loads(outcome.out)
        assert found["aligned"] == "as given"
        assert (
            found["bias_aligned"]
            == audit(df, aligned={0: "ab", 1: "c"} | {0: ["a", "b"]}).data["bias_aligned"]
        )

    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("a.toml", "0 = ", "is not valid TOML"),
            ("a.json", "[]", "expected an object"),
            ("a.json", "{", "is not valid JSON"),
            ("a.json", '{"0": null, "1": "a"}', "a missing one for label '0'"),
            ("a.csv", "label,bias\n", "expected a header and rows"),
            ("a.csv", "label,bias\n0,a\n1\n", "expected a header and rows"),
            ("a.txt", "", "expected a .toml, .json or .csv file"),
            ("a.toml", '0 = "a"', "leave out label '1'"),
            ("a.toml", '[G]\n0 = "a"\n', "'G', which is no bias column"),
            ("a.toml", '0 = "a"\n[g]\n0 = "a"', "but got a mixture"),
        ],
    )
    def test_a_bad_file_is_one_line(
        self, cli: Any, tmp_path: Path, name: str, text: str, message: str
    ) -> None:
        write(tmp_path, "ok.csv", OK)
        line = failed(
            cli("audit", "ok.csv", *COLUMNS, "--aligned", write(tmp_path, name, text.encode()))
        )
        assert message in line
        assert name in line

    def test_a_missing_file(self, cli: Any, tmp_path: Path) -> None:
        write(tmp_path, "ok.csv", OK)
        assert "cannot read no.toml" in failed(
            cli("audit", "ok.csv", *COLUMNS, "--aligned", "no.toml")
        )

    def test_one_mapping_for_several_columns_is_ambiguous(self) -> None:
        with pytest.raises(UsageError, match="for each bias column"):
            audit(frame(), "g", "h", aligned={0: "a"})

    def test_what_does_not_occur_is_told(self) -> None:
        found = audit(frame(classes=2), aligned={0: ["a", "A"], 1: [], 5: "c"})
        assert found.notes == (
            "aligned values are given for label '5', which does not occur",
            "aligned values of 'g' name 'A', which does not occur",
        )


class TestScores:
    @staticmethod
    def scored(n: int = 3000, classes: int = 3) -> pd.DataFrame:
        df = frame(n, classes=classes)
        logits = np.random.default_rng(1).normal(size=(n, classes)) + 2 * np.eye(classes)[df.p]
        scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return df.assign(**{f"s{k}": scores[:, k] for k in range(classes)})

    def test_are_the_sums_of_plain_code_in_every_group(self) -> None:
        df = self.scored()
        scores = df[["s0", "s1", "s2"]].to_numpy()
        found = audit(df, "g", "h", scores=scores)
        for one in (*found.by_feature.values(), found):
            names = df[list(one.columns)].astype(str).agg(" x ".join, axis=1)
            for row in one.data["by_group"]:
                rows = (names == row["bias"]).to_numpy()
                s, y, p = scores[rows], df.y[rows].to_numpy(), df.p[rows].to_numpy()
                squares = ((s - np.eye(3)[y]) ** 2).sum(axis=1)
                assert row["brier"]["value"] == pytest.approx(squares.mean())
                confidence = s[np.arange(len(s)), p]
                bins = np.ceil(confidence * 15).astype(int)
                gaps = [
                    abs((p[bins == b] == y[bins == b]).sum() - confidence[bins == b].sum())
                    for b in range(1, 16)
                ]
                assert row["calibration_error"]["value"] == pytest.approx(sum(gaps) / len(s))
                assert row["brier"]["n"] == rows.sum()

    def test_one_column_is_the_second_of_two_classes(self) -> None:
        df = self.scored(classes=2)
        one, two = audit(df, scores=df["s1"]), audit(df, scores=df[["s0", "s1"]])
        assert json.dumps(one.data) == json.dumps(two.data)
        theirs = sklearn.metrics.brier_score_loss(df.y, df.s1)
        assert one.overall["brier"] == pytest.approx(2 * theirs)

    def test_truths_beside_numbers(self) -> None:
        df = self.scored(classes=2)
        found = biascon.audit(df.y, df.p > 0, sensitive_features=df[["g"]], scores=df.s1)
        assert found.data["brier"] == audit(df, scores=df.s1).data["brier"]

    def test_a_file_in_any_parts_gives_the_same_bytes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        df = self.scored()
        columns = ["s0", "s1", "s2"]
        told = [metrics(audit(df, "g", "h", scores=df[columns]))]
        for name in ("x.csv", "x.parquet"):
            path = write(tmp_path, name, df)
            for rows, size in ((1 << 20, 1 << 23), (60, 1 << 12)):
                method = PredictionFile.scored_parts

                def small(self: Any, names: Any, scores: Any, rows: int = rows, size: int = size,
                          method: Any = method, **_: int) -> Any:  # fmt: skip
                    return method(self, names, scores, part_rows=rows, part_bytes=size)

                with monkeypatch.context() as patch:
                    patch.setattr(PredictionFile, "scored_parts", small)
                    found = audit_file(
                        path, label="y", prediction="p", bias=["g", "h"], scores=columns
                    )
                told.append(metrics(found))
        assert len({json.dumps(one) for one in told}) == 1

    @pytest.mark.parametrize("scores", [{}, {"a": [0.5] * 4, "b": [0.5] * 3}, {"a": 0.5}])
    def test_columns_of_scores_that_do_not_fit_are_told(self, scores: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match=r"expected columns of scores of shape \(4,\)"):
            biascon.audit([0, 1] * 2, [0, 1] * 2, sensitive_features=list("aabb"), scores=scores)

    def test_without_scores_calibration_is_none_of_no_rows(self) -> None:
        found = audit(frame())
        assert found.data["brier"] == {"value": None, "n": 0, "ci": [None, None]}
        assert found.by_group["calibration_error"].isna().all()
        assert "Brier" not in found.to_html()

    def test_rows_without_a_score(self, cli: Any, tmp_path: Path) -> None:
        df = self.scored(400)
        df.loc[[3, 5], "s1"] = np.nan
        path = write(tmp_path, "x.csv", df)
        words = ("audit", path, *COLUMNS, "--scores", "s0,s1,s2")
        assert "2 of 400 rows lack a score" in failed(cli(*words))
        found = json.loads(cli(*words, "--drop-missing", "--json").out)
        assert (found["rows"], found["brier"]["n"], found["top1"]["n"]) == (400, 398, 400)
        assert found["notes"][0] == "left out of the calibration: 2 of 400 rows lack a score"

    @pytest.mark.parametrize(
        ("scores", "message"),
        [
            ("s0,s1", "expected one score for each of the 3 classes '0', '1', '2'"),
            ("s0,s1,s3", "lacks column 's3' (it has "),
            ("s0,s1,h2", "expected the scores of a row to sum to 1"),
            ("s0,s1,big", "expected scores in 0..1"),
            ("s0,s1,word", "invalid value 'a'"),
        ],
    )
    @pytest.mark.parametrize("suffix", [".csv", ".parquet"])
    def test_bad_scores_are_one_line(
        self, cli: Any, tmp_path: Path, scores: str, message: str, suffix: str
    ) -> None:
        df = self.scored(50).assign(h2=1.0, big=7, word="a")
        path = write(tmp_path, f"x{suffix}", df)
        line = failed(cli("audit", path, *COLUMNS, "--scores", scores))
        assert message in line or "Failed to parse string: 'a'" in line
        assert path.name in line

    def test_a_column_in_two_roles(self, cli: Any, tmp_path: Path) -> None:
        path = write(tmp_path, "x.csv", self.scored(50))
        assert "but got 'p' twice" in failed(cli("audit", path, *COLUMNS, "--scores", "p"), 2)

    def test_arrays_that_do_not_fit(self) -> None:
        with pytest.raises(UsageError, match=r"expected scores of shape \(400,\)"):
            audit(frame(), scores=[0.5])
        with pytest.raises(UsageError, match="expected scores to be numbers"):
            audit(frame(), scores=["a"] * 400)


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


class TestForms:
    STRANGE = (
        '<script>alert("x")</script>',
        "[50 % & a_b] \\input{x} ~^#$|*",
        "two\nlines\x1b[31m",
    )

    @pytest.fixture
    def strange(self) -> Audit:
        df = frame(groups=3)
        df["g"] = df.g.map(dict(zip("abc", self.STRANGE, strict=True)))
        return audit(df.rename(columns={"g": "<g&>"}), "<g&>")

    def test_html_escapes_every_string(self, strange: Audit) -> None:
        page = Tables()
        page.feed(strange.to_html())
        assert page.tags == {"section", "p", "table", "caption", "thead", "tbody", "tr", "th", "td"}
        assert any(self.STRANGE[0] in cell for cell in page.cells)
        assert any(cell.startswith("two\\nlines\\x1b[31m") for cell in page.cells)

    def test_latex_escapes_every_string(self, strange: Audit) -> None:
        text = strange.to_latex()
        assert r"\textbackslash{}input\{x\}" in text
        assert r"{[}50 \% \& a\_b{]}" in text
        assert "two\\textbackslash{}nlines" in text
        assert text.count(r"\toprule") == text.count(r"\end{tabular}") == 4
        assert "<" not in text

    def test_a_terminal_gets_no_control_characters(self, cli: Any, tmp_path: Path) -> None:
        path = write(
            tmp_path,
            "x.csv",
            frame(groups=3).replace({"g": dict(zip("abc", self.STRANGE, strict=True))}),
        )
        outcome = cli("audit", path, *COLUMNS)
        assert outcome.code == 0
        assert "\x1b" not in outcome.out
        assert "two\\nlines" in outcome.out

    def test_text_has_n_beside_every_number_and_no_zero_for_nothing(
        self, cli: Any, tmp_path: Path
    ) -> None:
        outcome = cli("audit", write(tmp_path, "x.csv", OK), *COLUMNS)
        assert outcome.code == 0
        assert outcome.err == ""
        rows = {line.split("  ")[0]: line.split()[-3:] for line in outcome.out.splitlines()}
        assert rows["top-1 accuracy"][-1] == "5"
        assert rows["bias-aligned"] == ["-", "-", "0"]

    def test_every_suffix_of_out(self, cli: Any, tmp_path: Path) -> None:
        path = write(tmp_path, "x.parquet", frame())
        starts = {".json": "{", ".html": "<!doctype html>", ".tex": "% Made by", ".csv": "bias,metric,class,",
                  ".txt": str(path)}  # fmt: skip
        for suffix, start in starts.items():
            outcome = cli("audit", path, *COLUMNS, "--out", f"report{suffix}")
            assert outcome.code == 0
            assert outcome.err == f"report{suffix}: written\n"
            assert (tmp_path / f"report{suffix}").read_text().startswith(start)
        assert (tmp_path / "report.txt").read_text() == outcome.out

    def test_json_is_one_line_a_bias(self, cli: Any, tmp_path: Path) -> None:
        path = write(tmp_path, "x.parquet", frame())
        outcome = cli("audit", path, *COLUMNS, "--bias", "h", "--json")
        found = [json.loads(line) for line in outcome.out.splitlines()]
        assert [one["bias"] for one in found] == ["g", "h", "g x h"]
        for one in found:
            assert all({"value", "n", "ci"} <= one[name].keys() for name in METRICS)
            assert len(one["sha256"]) == 64

    def test_to_frame_is_long(self) -> None:
        found = audit(frame(), "g", "h")
        long = found.to_frame()
        assert long.groupby("bias").size().tolist() == [16 + 3 * 7] * 3
        first = long[(long.bias == "g x h") & (long.metric == "top1")].iloc[0]
        assert first["value"] == found.overall["top1"]
        assert long["n"].dtype == int

    def test_a_notebook_shows_the_tables(self) -> None:
        found = audit(frame())
        assert found._repr_html_() == found.to_html()
        assert repr(found) == "<Audit of 400 rows by g: 4 groups, 3 classes>"


def test_the_audit_does_not_import_torch(tmp_path: Path) -> None:
    pc.write_csv(pa.table({"y": [0, 1], "p": [0, 1], "g": ["a", "b"]}), tmp_path / "x.csv")
    script = (
        "import sys\nfrom biascon.cli.app import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'sklearn', 'fairlearn') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "audit", str(tmp_path / "x.csv"), *COLUMNS, "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"
