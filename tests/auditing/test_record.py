"""The record of an audit: its JSON form does not change, and reading it back gives the same record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from biascon.auditing import Audit
from biascon.auditing.record import AuditRecord
from tests.auditing.audit_cases import audit_csv, audit_one_group, audit_two_columns

GOLDEN = Path(__file__).parents[1] / "golden" / "audit_records.jsonl"


@pytest.fixture
def audits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Audit]:
    monkeypatch.chdir(tmp_path)  # so that the path in the record is relative
    return {
        "two_columns": audit_two_columns(),
        "one_group": audit_one_group(),
        "csv": audit_csv(Path()),
    }


def assert_same_json(data: Any, expected: Any) -> None:
    """Compare types, keys, the order of keys and values; floats may differ by rounding."""
    assert type(data) is type(expected)
    if isinstance(data, dict):
        assert list(data) == list(expected)
        for key in data:
            assert_same_json(data[key], expected[key])
    elif isinstance(data, list):
        assert len(data) == len(expected)
        for item, expected_item in zip(data, expected, strict=True):
            assert_same_json(item, expected_item)
    elif isinstance(data, float):
        assert data == pytest.approx(expected, rel=1e-12)
    else:
        assert data == expected


def write_golden(audits: dict[str, Audit]) -> None:
    """Write the golden file; for a change of the format or of an interval that is meant."""
    lines = [
        json.dumps({"case": name, "record": record.to_json()})
        for name, audit in audits.items()
        for record in audit.records
    ]
    GOLDEN.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_to_json_has_the_keys_and_values_of_the_golden_file(audits: dict[str, Audit]) -> None:
    lines = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
    records = [(name, record) for name, audit in audits.items() for record in audit.records]
    assert [line["case"] for line in lines] == [name for name, _ in records]
    for line, (_, record) in zip(lines, records, strict=True):
        assert_same_json(record.to_json(), line["record"])


def test_from_json_of_to_json_is_the_identity(audits: dict[str, Audit]) -> None:
    for audit in audits.values():
        for record in audit.records:
            text = json.dumps(record.to_json())
            copy = AuditRecord.from_json(json.loads(text))
            assert copy == record
            assert json.dumps(copy.to_json()) == text


def test_data_of_an_audit_is_its_record_as_json(audits: dict[str, Audit]) -> None:
    for audit in audits.values():
        assert audit.data == audit.record.to_json()
        assert audit.counts.tolist() == audit.data["counts"]


def test_arrays_have_no_path_and_no_digest(audits: dict[str, Audit]) -> None:
    assert list(audits["csv"].data)[:4] == ["predictions", "sha256", "label", "prediction"]
    assert list(audits["one_group"].data)[:2] == ["label", "prediction"]


def test_an_unknown_metric_is_a_key_error(audits: dict[str, Audit]) -> None:
    record = audits["csv"].record
    assert record["top1"] is record.summary["top1"]
    assert record["brier"] is record.calibration["brier"]
    with pytest.raises(KeyError):
        record["accuracy of nothing"]
