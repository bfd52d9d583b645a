"""The commands that repeat the runs of an experiment."""

from __future__ import annotations

import itertools
import shlex
from typing import Any

import pytest

from biascon.report.repeat_commands import format_repeat_commands
from biascon.runs.evaluation import EncoderReference
from biascon.runs.identity import BiasRecord
from tests.report.fakes import bmnist, made_up, one_experiment


def commands_of(**changes: Any) -> list[str]:
    loss = changes.pop("loss", "supcon")
    runs = [made_up(loss, seed, 0.5, **changes) for seed in (0, 1)]
    return format_repeat_commands(one_experiment(*runs)).splitlines()


def test_commands_make_the_dataset_and_run_every_seed() -> None:
    assert commands_of(**bmnist(0.9, "fashion-mnist")) == [
        "biascon make-bmnist --rho 0.9 --source fashion",
        "biascon evaluate --loss supcon --seeds 0,1 --preset smoke --data data/fashion-bmnist-0.9",
        "biascon report",
    ]


def test_commands_state_the_second_attribute_and_the_biased_classes() -> None:
    parameters = {"foreground_rho": 0.95, "biased_classes": [0, 1, 2]}
    assert commands_of(**bmnist(0.9, **parameters))[0] == (
        "biascon make-bmnist --rho 0.9 --foreground-rho 0.95 --biased-classes 0,1,2"
    )


def test_overrides_and_changed_parameters_are_set() -> None:
    overrides = {"augment.rotation": 0.0, "model.head": [32, 32], "train.compile": True}
    parameters = {"temperature": 0.2, "wa": 0.5, "wb": 0.5, "clip": False}
    command = commands_of(loss="contex", overrides=overrides, parameters=parameters)[1]
    words = shlex.split(command)
    assert [value for word, value in itertools.pairwise(words) if word == "--set"] == [
        "augment.rotation=0.0",
        "model.head=[32, 32]",
        "train.compile=true",
        "loss.temperature=0.2",
    ]


def test_loss_that_is_not_installed_gets_all_its_parameters() -> None:
    command = commands_of(loss="a-plugin", parameters={"margin": 1.5})[1]
    assert "--loss a-plugin" in command and "--set loss.margin=1.5" in command


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("pretrained:0123", "--set model.weights=pretrained"),
        ("file:0123", "--weights FILE"),
        ("none", "--set model.weights=none"),
    ],
)
def test_weights_are_given_by_kind_and_never_by_digest(weights: str, expected: str) -> None:
    command = commands_of(overrides={"model.weights": weights})[1]
    assert command.endswith(expected)


def test_view_of_a_dataset_is_given_by_its_attributes() -> None:
    bias = BiasRecord("age", ["red", "green"], chosen=["age"], base="faces")
    command = commands_of(dataset="faces-by-age", builder="table", bias=bias)[0]
    assert command.endswith("--data data/faces --bias age")


def test_encoder_of_another_dataset_is_taken_from_its_run() -> None:
    commands = commands_of(
        config={"origin": {"dataset": "plain"}},
        overrides={"train.epochs": 1, "probe.kind": "knn", "probe.k": 5},
        encoder_from=EncoderReference("plain/supcon/seed0-12", "plain", "d", "12", "s"),
    )
    assert commands[1] == (
        "biascon evaluate --run runs/plain/supcon/seed0-12 --run runs/plain/supcon/seed0-12"
        " --data data/bmnist-0.5 --set probe.kind=knn --set probe.k=5"
    )
