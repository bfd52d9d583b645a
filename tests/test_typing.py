"""What a type checker sees of the public names: their real types, and no ``Any``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import biascon

SCRIPT = """
import biascon
from biascon.testing import assert_within
from pathlib import Path
import torch

reveal_type(biascon.get_loss("contex"))
reveal_type(biascon.audit([0, 1], [0, 1], sensitive_features=["a", "b"]))
reveal_type(assert_within([0, 1], [0, 1], sensitive_features=["a", "b"], tolerance=0.1))
reveal_type(biascon.audit_file("p.csv", label="y", prediction="p", bias=["b"]))
data = biascon.load_dataset("data/bmnist-0.997")
reveal_type(data)
reveal_type(data.split("train").torch())
reveal_type(biascon.from_huggingface(None, image="i", label="l", bias="b"))
reveal_type(biascon.export_dataset(data, "out", "hf"))
config = biascon.make_config("contex")
reveal_type(config)
reveal_type(biascon.evaluate(config, data, device=torch.device("cpu")))
reveal_type(biascon.evaluate_run(config, data, device=torch.device("cpu")))
reveal_type(biascon.validate(config, data, device=torch.device("cpu")))
reveal_type(biascon.measure(data, "test", [0]))
reveal_type(biascon.make_biased_mnist(biascon.BiasedMNISTSpec(0.9)))
reveal_type(biascon.FinishedRun.read(Path("runs")))
reveal_type(biascon.Evaluation.from_json({}))
reveal_type(biascon.Metric(0.5, 10))
biascon.no_such_name
"""
EXPECTED = [
    "biascon.losses.loss.Loss",
    "biascon.auditing.result.Audit",
    "list[biascon.auditing.verdicts.Verdict]",
    "biascon.auditing.result.Audit",
    "biascon.data.split.BiasedDataset",
    "biascon.data.bridges.torch_dataset.TorchDataset",
    "biascon.data.split.BiasedDataset",
    "pathlib.Path",
    "biascon.config.run_config.RunConfig",
    "biascon.runs.finished.RunResult",
    "biascon.runs.finished.RunResult",
    "tuple[pathlib.Path, biascon.runs.records.Accuracies | None]",
    "biascon.metrics.records.MetricSummary",
    "biascon.data.building.arrays.BuildResult",
    "biascon.runs.finished.FinishedRun | None",
    "biascon.runs.evaluation.Evaluation",
    "biascon.metrics.records.Metric",
]


def test_a_user_script_sees_the_types_of_the_public_functions(tmp_path: Path) -> None:
    script = tmp_path / "user_script.py"
    script.write_text(SCRIPT)
    # The types of other packages take no part; to read those of PyTorch takes most of the time.
    others = ["--no-site-packages", "--ignore-missing-imports"]
    words = ["--strict", "--follow-imports=silent", "--no-error-summary", *others, str(script)]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(biascon.__file__).parents[1],
    )
    revealed = re.findall(r'Revealed type is "(.*)"', done.stdout)
    assert [re.sub(r"^builtins\.", "", name) for name in revealed] == EXPECTED, done.stdout
    assert 'Module has no attribute "no_such_name"' in done.stdout
