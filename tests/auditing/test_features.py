"""Audits of features: readouts, baselines, geometry, files of every format, bad input, the command."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

import biascon
from biascon.auditing.features import arrays as feature_arrays
from biascon.auditing.features.api import FeatureAudit
from biascon.auditing.features.arrays import convert_features, read_features
from biascon.config.run_config import ProbeConfig
from biascon.data.dataset import Split
from biascon.errors import BiasconError, DataError, UsageError
from biascon.evaluation.representation import measure_representation
from biascon.metrics.intervals import wilson
from biascon.probing import nested
from tests.cli.outcomes import only_error

N = 90
RNG = np.random.default_rng(4)
LABELS = np.array(["no", "yes"])[np.arange(N) % 2]
BIAS = np.where(RNG.random(N) < 0.7, np.arange(N) % 2, RNG.integers(0, 2, N))
NOISE = RNG.normal(size=(N, 3)).astype(np.float32)
NOISE[5] = 0  # no direction


def features_of(column: np.ndarray, strength: float = 6.0) -> np.ndarray:
    """Return features that hold a column of two values, and noise."""
    x = NOISE.copy()
    x[:, 0] += strength * (column == column[0])
    x[5] = 0
    return x


@pytest.fixture(autouse=True, scope="module")
def few_penalties() -> Iterator[None]:
    """Choose among two penalties, which takes a third of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nested, "PENALTIES", (0.01, 1.0))
        yield


@pytest.fixture(scope="module")
def of_bias(few_penalties: None) -> FeatureAudit:
    """The audit of features that hold the bias and, apart from its correlation, not the label."""
    return biascon.audit_features(features_of(BIAS), LABELS, {"group": BIAS}, folds=3)


def test_readouts_tell_what_features_hold(of_bias: FeatureAudit) -> None:
    (record,) = of_bias.records
    bias, label = record.bias_readout, record.label_readout
    assert bias.accuracy.value is not None and label.accuracy.value is not None
    assert bias.accuracy.value > 0.95
    # Nothing but the bias helps with the label: 85 % is what the bias value alone gives.
    assert label.accuracy.value <= label.from_other + 0.03
    of_label = biascon.audit_features(features_of(LABELS), LABELS, BIAS, folds=3).records[0]
    assert of_label.label_readout.accuracy.value > 0.95
    assert of_label.bias_readout.unbiased.value < 0.7


def test_numbers_of_a_readout_are_those_of_its_counts(of_bias: FeatureAudit) -> None:
    (record,) = of_bias.records
    for readout in (record.label_readout, record.bias_readout):
        table = np.array(readout.counts)  # value x other value x prediction
        hits = np.array([table[k, :, k] for k in range(2)])
        rows = table.sum(axis=2)
        assert rows.sum() == readout.accuracy.n == record.rows == N
        assert readout.accuracy.value == pytest.approx(hits.sum() / N)
        assert readout.accuracy.interval == tuple(map(float, wilson(hits.sum(), N)))
        assert readout.unbiased.value == pytest.approx((hits / rows).mean())
        low, high = readout.unbiased.interval or (1, 0)
        assert low < readout.unbiased.value < high
        assert readout.majority == rows.sum(axis=1).max() / N
        assert readout.from_other == rows.max(axis=0).sum() / N
        assert readout.unbiased_majority == readout.unbiased_from_other == 0.5
        assert len(readout.penalties) == record.folds == 3 and readout.converged


def test_geometry_is_that_of_a_run(of_bias: FeatureAudit) -> None:
    (record,) = of_bias.records
    labels = (LABELS == "yes").astype(np.int64)
    split = Split(np.zeros((N, 3, 1, 1), np.uint8), labels, BIAS, labels == BIAS, np.arange(N))
    run = measure_representation(
        features_of(BIAS), split, fitted=None, n_labels=2, n_bias=2, config=ProbeConfig()
    )
    for key in ("class_alignment", "bias_alignment", "uniformity"):
        assert getattr(record, key) == run.metrics[key]
    assert record.without_direction == run.without_direction == 1
    assert "1 rows have features that are all 0" in record.notes[0]
    for kind, pairs in run.similarities.items():
        mine = record.similarities[kind]
        assert (mine.n, mine.mean, mine.sd) == (pairs.n, pairs.mean, pairs.sd)
        assert list(mine.counts) == list(pairs.counts)


def test_text_frame_and_data_have_the_same_numbers(of_bias: FeatureAudit) -> None:
    text = str(of_bias)
    frame = of_bias.to_frame().set_index("metric")
    (data,) = of_bias.data
    assert json.loads(json.dumps(data, allow_nan=False))["bias_readout"]["n"] == N
    for name, key in (("label labels", "label_readout"), ("bias group", "bias_readout")):
        line = next(line for line in text.splitlines() if line.startswith(f"{name}  "))
        assert f"{100 * data[key]['value']:.1f}" in line
        assert f"{100 * data[key]['majority']:.1f}" in line
        assert f"{100 * data[key]['from_other']:.1f}" in line
        assert frame.loc[key, "value"] == data[key]["value"]
    assert "It does not show that a classifier uses it." in " ".join(text.split())
    assert repr(of_bias) == "<FeatureAudit of 90 x 3 features by group>"


def test_every_kind_of_array_gives_the_same_features(tmp_path: Path) -> None:
    x = np.round(NOISE.astype(np.float64), 2).astype(np.float16).astype(np.float32)
    np.save(tmp_path / "half.npy", x.astype(np.float16))
    np.save(tmp_path / "fortran.npy", np.asfortranarray(x.astype(np.float64)))
    pd.DataFrame(x).rename(columns=str).to_parquet(tmp_path / "columns.parquet")
    lists = pa.table({"f": pa.array(list(x.astype(np.float64)))})
    pq.write_table(lists, tmp_path / "lists.parquet")
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), 3)
    pq.write_table(pa.table({"f": fixed}), tmp_path / "fixed.parquet")
    save_file({"z": x}, tmp_path / "one.safetensors")
    save_file({"features": x, "other": x[:2]}, tmp_path / "named.safetensors")
    files = sorted(tmp_path.iterdir())
    assert len(files) == 7
    for file in files:
        found = read_features(file)
        assert found.dtype == np.float32 and found.flags.c_contiguous
        assert np.array_equal(found, x), file
    for values in (x.tolist(), torch.tensor(x, requires_grad=True), pd.DataFrame(x)):
        assert np.array_equal(convert_features(values), x)
    assert convert_features(torch.ones(2, 3, dtype=torch.bfloat16)).tolist() == [[1] * 3] * 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_types_that_numpy_has_not_are_read_from_safetensors(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    x = torch.tensor(NOISE).to(dtype)
    save_torch({"features": x, "other": x[:2].clone()}, path)
    found = read_features(path)
    assert found.dtype == np.float32
    assert found.tolist() == x.float().tolist()


def with_value(value: float) -> np.ndarray:
    x = NOISE.astype(np.float64)
    x[3, 1] = value
    return x


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (with_value(np.nan), "1 value is not finite as float32 .* in 1 of 90 rows, row 4 first"),
        (with_value(-np.inf), "not finite"),
        (with_value(1e300), "not finite as float32"),
        (np.zeros((4, 3, 2)), r"shape \(4, 3, 2\); flatten or pool each row"),
        (np.zeros(4), r"expected features \(N, D\), but got an array of shape \(4,\)"),
        (np.zeros((0, 3)), "an empty array"),
        (np.array([["a", "b"]]), "expected features of a numeric type"),
        (np.array([[1, None]]), "expected features of a numeric type, but got object"),
        ([[1.0, 2.0], [3.0]], "the rows differ in length"),
        (np.ma.masked_array([[1.0, 2.0]], [[True, False]]), "1 value is not finite"),
        (np.zeros((2, 2), complex), "expected features of a numeric type, but got complex128"),
    ],
)  # fmt: skip
def test_features_that_are_no_finite_matrix_are_refused(values: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        convert_features(values)


def write_object(path: Path) -> None:
    np.save(path, np.array([[1, "a"]], dtype=object), allow_pickle=True)


def write_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(NOISE))


def write_cut(path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, NOISE)
    path.write_bytes(buffer.getvalue()[:-100])


def write_text_column(path: Path) -> None:
    pq.write_table(pa.table({"id": ["a", "b"], "f": [1.0, 2.0]}), path)


def write_ragged(path: Path) -> None:
    pq.write_table(pa.table({"f": [[1.0], [2.0, 3.0]]}), path)


def write_null(path: Path) -> None:
    pq.write_table(pa.table({"f": [1.0, None], "g": [1.0, 2.0]}), path)


def write_null_list(path: Path) -> None:
    pq.write_table(pa.table({"f": [[1.0], None]}), path)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.npy", write_object, "it has an array of Python objects, which would need a pickle"),
        ("a.npy", write_pickle, "it is no NumPy array file; a pickle is not read"),
        ("a.npy", write_cut, "cannot read"),
        ("a.npy", lambda path: path.write_bytes(b""), "it is empty"),
        ("a.npy", lambda path: path.write_bytes(b"\x93NUM"), "its header is damaged"),
        ("a.npy", lambda path: None, "No such file"),
        ("a.npz", lambda path: np.savez(path, NOISE), "expected features in .npy, .parquet"),
        ("a.parquet", lambda path: path.write_bytes(b"PAR1 and more"), "cannot read"),
        ("a.parquet", write_text_column, "the column 'id' is string"),
        ("a.parquet", write_ragged, "expected lists of equal length, but got 1 to 2 values"),
        ("a.parquet", write_null, "1 value is not finite"),
        ("a.parquet", write_null_list, "1 of 2 rows have no features"),
        ("a.safetensors", lambda path: path.write_bytes(b"{}" * 20), "cannot read"),
        ("a.safetensors", lambda path: save_file({"a": NOISE, "b": NOISE}, path), "but it has 'a', 'b'"),
        ("a.safetensors", lambda path: save_file({"a": NOISE[0]}, path), "expected features"),
    ],
)  # fmt: skip
def test_damaged_file_is_an_error_of_one_line(
    tmp_path: Path, name: str, write: Callable[[Path], Any], message: str
) -> None:
    path = tmp_path / name
    write(path)
    with pytest.raises(DataError) as error:
        read_features(path)
    assert message in str(error.value)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_limit_of_size_is_named_before_anything_is_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_arrays, "MAX_VALUES", 100)
    pd.DataFrame(NOISE).rename(columns=str).to_parquet(tmp_path / "f.parquet")
    np.save(tmp_path / "f.npy", NOISE)
    for name in ("f.parquet", "f.npy"):
        with pytest.raises(DataError, match="at most 100 values, but got 90 x 3; audit a random"):
            read_features(tmp_path / name)


FEW = np.where(np.arange(N) < 2, "rare", LABELS)


@pytest.mark.parametrize(
    ("labels", "bias", "options", "kind", "message"),
    [
        (LABELS[:-1], BIAS, {}, UsageError, "the features have 90 rows and 'labels' has 89"),
        (["x"] * N, BIAS, {}, DataError, "two or more values of 'labels', but every row has 'x'"),
        (FEW, BIAS, {}, DataError, r"5 rows or more of each value of 'labels'.* fewer of 'rare' \(2\)"),
        (np.arange(N), BIAS, {}, DataError, "and 85 more"),
        (LABELS, BIAS, {"folds": 2}, UsageError, "folds to be a whole number of at least 3, but got 2"),
        (["", *LABELS[1:]], BIAS, {}, DataError, r"1 of 90 rows lack a value \('labels' in 1\), row 1 first"),
        (LABELS, np.zeros((N, 1, 1)), {}, UsageError, "of shape"),
    ],
)  # fmt: skip
def test_columns_that_no_probe_can_be_fitted_on_are_refused(
    labels: Any, bias: Any, options: dict[str, Any], kind: type[BiasconError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        biascon.audit_features(NOISE, labels, bias, **options)


def test_rows_without_a_value_are_left_out_with_their_features() -> None:
    labels = LABELS.astype(object)
    labels[[0, 7]] = None
    x = NOISE.copy()
    x[0] = 1e6
    keep = [k for k in range(N) if k not in (0, 7)]
    found = biascon.audit_features(x, labels, BIAS, folds=3, drop_missing=True).records[0]
    expected = biascon.audit_features(x[keep], LABELS[keep], BIAS[keep], folds=3).records[0]
    assert found.dropped == 2 and found.rows == N - 2
    assert found.label_readout == expected.label_readout
    assert "left out: 2 rows" in found.notes[0]


def test_scale_of_features_changes_no_direction() -> None:
    """Squares of these features leave the range of float32."""
    audits = [
        biascon.audit_features(NOISE * np.float32(factor), LABELS, BIAS, folds=3).records[0]
        for factor in (1, 1e25, 1e-25)
    ]
    for audit in audits[1:]:
        assert audit.without_direction == 1
        assert audit.uniformity.value == pytest.approx(audits[0].uniformity.value, rel=1e-5)
        assert audit.label_readout.accuracy.value == audits[0].label_readout.accuracy.value


def test_columns_that_follow_from_each_other_are_noted() -> None:
    audit = biascon.audit_features(NOISE, LABELS, {"copy": LABELS, "group": BIAS}, folds=3)
    assert list(audit.by_feature) == ["copy", "group"]
    notes = "\n".join(audit.by_feature["copy"].notes)
    assert (
        "labels and bias values that never occur together: 'no' with 'yes', 'yes' with 'no'"
        in notes
    )
    assert "one of the two columns follows from the other" in notes
    assert audit.by_feature["copy"].bias_readout.from_other == 1
    assert "follows" not in "\n".join(audit.by_feature["group"].notes)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    table, features = tmp_path / "rows.csv", tmp_path / "x.npy"
    pd.DataFrame({"y": LABELS, "a": BIAS, "p": LABELS}).to_csv(table, index=False)
    np.save(features, features_of(BIAS))
    return str(table), str(features)


def test_command_prints_the_audit_and_writes_it(
    files: tuple[str, str], of_bias: FeatureAudit, tmp_path: Path, cli: Any
) -> None:
    table, features = files
    words = ("audit", table, "--label", "y", "--bias", "a", "--features", features, "--folds", "3")
    outcomes = [cli(*words, "--json", "--out", str(tmp_path / f"{k}.txt")) for k in range(2)]
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes[0].err
    assert outcomes[0].out == outcomes[1].out
    texts = [(tmp_path / f"{k}.txt").read_text() for k in range(2)]
    assert texts[0] == texts[1]
    assert f"{features}: 90 rows x 3 features, label 'y' of {table}, 2 classes; 3 folds" in texts[0]
    data = json.loads(outcomes[0].out)
    assert data["features"] == features and data["columns"] == table and len(data["sha256"]) == 64
    assert data["label_readout"] == of_bias.data[0]["label_readout"]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--features", "X", "--prediction", "p"], 2, "--prediction has no use with --features"),
        (["--features", "X", "--scores", "p"], 2, "--scores has no use with --features"),
        (["--prediction", "p", "--folds", "4"], 2, "--folds is an option of --features"),
        ([], 2, "Missing option '--prediction'"),
        (["--features", "X", "--out", "x.html"], 2, "--out to end in .json, .csv, .txt"),
        (["--features", "X", "--out", "X"], 2, "--out to end in"),
        (["--features", "nowhere.npy"], 1, "cannot read nowhere.npy: No such file"),
        (["--features", "X", "--bias", "y"], 2, "but got 'y' twice"),
        (["--features", "X", "--bias", "b"], 1, "lacks column 'b'"),
    ],
)
def test_wrong_options_are_an_error_of_one_line(
    files: tuple[str, str], cli: Any, options: list[str], code: int, message: str
) -> None:
    words = [files[1] if word == "X" else word for word in options]
    outcome = cli("audit", files[0], "--label", "y", "--bias", "a", *words)
    assert outcome.code == code
    assert message in only_error(outcome.err)


def test_table_of_another_length_is_refused(files: tuple[str, str], cli: Any) -> None:
    np.save(files[1], NOISE[:-1])
    outcome = cli("audit", files[0], "--label", "y", "--bias", "a", "--features", files[1])
    assert outcome.code == 1
    assert "has 89 rows and 'y' has 90" in only_error(outcome.err)
