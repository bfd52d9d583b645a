"""Make the run folders and the golden report beside this file anew.

    python tests/golden/report/make.py

Smoke runs on the embedded digits; the encoder is replaced by a few bytes, for a report does not read it.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import torch

from biascon.config.run_config import make_config
from biascon.data.builders.biased_mnist import BiasedMNISTSpec, make_biased_mnist
from biascon.data.dataset import load
from biascon.evaluation.pipeline import evaluate
from biascon.report.experiments import find_runs, group_runs
from biascon.report.latex import render_latex
from biascon.report.markdown import render_markdown
from biascon.runs.folder import CLASSIFIER, DONE, ENCODER, FEATURES, mark_finished
from biascon.utils.files import read_json

HERE = Path(__file__).parent
LOSSES, SEEDS = ("supcon", "contex", "biasbal"), (0, 1)


def write_reports(folder: Path, out: Path) -> None:
    """Write the Markdown and the LaTeX of the runs of a folder."""
    groups = group_runs(find_runs(folder))
    (out / "report.md").write_text(render_markdown(groups), encoding="utf-8")
    (out / "appendix.tex").write_text(render_latex(groups), encoding="utf-8")


def main() -> None:
    """Train, strip and seal the runs, and write their report; with "reports", only that."""
    if sys.argv[1:] != ["reports"]:
        torch.set_num_threads(1)
        shutil.rmtree(HERE / "runs", ignore_errors=True)
        with tempfile.TemporaryDirectory() as root:
            made = make_biased_mnist(BiasedMNISTSpec(0.9), root=Path(root), source="embedded")
            data = load(made.folder)
            for loss in LOSSES:
                for seed in SEEDS:
                    config = make_config(loss, seed=seed, preset="smoke")
                    where = evaluate(
                        config, data, root=HERE / "runs", device=torch.device("cpu")
                    ).folder
                    digest = read_json(where / DONE)["digest"]
                    for name in (*FEATURES, CLASSIFIER, ".lock"):
                        (where / name).unlink(missing_ok=True)
                    (where / ENCODER).write_bytes(b"a stand-in\n")
                    mark_finished(where, digest)
    write_reports(HERE / "runs", HERE)


if __name__ == "__main__":
    main()
