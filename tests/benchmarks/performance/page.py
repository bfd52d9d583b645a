"""The page of the figures."""

from __future__ import annotations

from typing import Any

TITLES = {
    "limits": "What the machine can do at most",
    "augmentation": "Augmentation: crop, flip, rotation, jitter, grayscale, normalization",
    "building": "`make-bmnist`",
    "network": "Forward and backward of the encoders, 28 x 28 x 3",
    "training": "Training: augmentation, network, loss, optimizer",
    "scaling": "Scaling",
    "probes": "The linear probe, 2 threads",
    "memory": "Peak resident memory",
    "startup": "Whole commands",
}

NOTES = {
    "limits": "The best of 15 matrix products and copies of 256 MiB: what nothing below can much exceed.",
    "augmentation": (
        "Two views of every image of a batch of 256, uint8 in, normalized floats out. torchvision runs "
        "image by image in two worker processes of one thread, as the papers' code does; kornia on the batch."
    ),
    "building": "biascon's figure has everything in it that the command does; the loop only colours.",
    "network": "GFLOP/s: three times the multiply-adds of a forward pass, two operations each.",
    "training": (
        "Loss `contex`, batch 128 x 2 views, the recipe of the preset `cpu`; the same network, loss and "
        "optimizer fed by torchvision's pipeline in two worker processes."
    ),
    "scaling": "Loss `contex`, preset `cpu`.",
    "probes": "scikit-learn's L-BFGS to a gradient of 1e-6 on made, correlated features.",
    "memory": "Of a process of its own, with Python and PyTorch in it.",
    "startup": "From the start of Python to its end.",
}


def render(found: dict[str, Any]) -> str:
    """Return the page as Markdown."""
    about = found["machine"]
    device = about.get("accelerator", "no GPU")
    command = "make bench-gpu" if about["device"].startswith("cuda") else "make bench"
    lines = [
        "# Performance",
        "",
        f"Written by `{command}`; the figures are in the JSON beside this page. {about['processor']}, "
        f"{about['cores']} cores, {device}; {about['system']}, Python {about['python']}, torch "
        f"{about['torch']}, {about['vector']}. Medians of several rounds; contestants take turns. "
        "A virtual machine's speed moves by a third between minutes: compare within a table.",
    ]
    for name, title in TITLES.items():
        if name not in found["sections"]:
            continue
        section = found["sections"][name]
        columns = list(dict.fromkeys(key for row in section["rows"] for key in row))
        lines += [
            "",
            f"## {title}",
            "",
            f"{section['date']}, load average before it {section['load']}. {NOTES[name]}",
            "",
        ]
        lines.append("| " + " | ".join("" if c == "what" else c for c in columns) + " |")
        lines.append("|" + "---|" * len(columns))
        for row in section["rows"]:
            lines.append("| " + " | ".join(_cell(row.get(c)) for c in columns) + " |")
    lines += [
        "",
        "Elsewhere: [the whole comparison of two losses](results/verdict/README.md), from raw files to the",
        "report; [the pairwise losses](results/losses.md) by size of batch, beside dense code and",
        "pytorch-metric-learning.",
    ]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int | float) else str(value)
