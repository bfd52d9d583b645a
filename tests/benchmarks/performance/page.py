"""The page of the performance figures, in Markdown."""

from __future__ import annotations

from typing import Any

TITLES = {
    "limits": "What the machine can do at most",
    "augmentation": "Augmentation: crop, flip, rotation, jitter, grayscale, normalization",
    "building": "`make-bmnist`",
    "network": "Forward and backward of the encoders, 28 x 28 x 3",
    "convolutions": "Convolutions of `fastconvnet` beside matrix products, one thread",
    "training": "Training: augmentation, network, loss, optimizer",
    "versions": "Training beside an earlier version",
    "options": "Options of the training",
    "methods": "Every method beside `ce`",
    "scaling": "Scaling",
    "probes": "The linear probe, 2 threads",
    "large_features": "Features in a memory-mapped file, 2 threads",
    "memory": "Peak resident memory",
    "startup": "Whole commands",
    "scale": "Many runs",
}

NOTES = {
    "limits": "The best of 15 matrix products and copies of 256 MiB: an upper limit for the figures below.",
    "augmentation": (
        "Two views of every image of a batch of 256, from uint8 to normalized floats. torchvision processes "
        "one image at a time in two worker processes of one thread, as the code of the papers does. kornia "
        "processes the batch."
    ),
    "building": "The figure of biascon includes all work of the command. The loop only colors digits.",
    "network": "GFLOP/s: three times the multiply-adds of a forward pass, two operations for each.",
    "convolutions": (
        "Medians of 25 calls on 256 images; before each call, 16 MiB of other data pass the cache. Patches "
        "are gathered and multiplied with plain operations of PyTorch. The network uses PyTorch's own "
        "convolutions."
    ),
    "training": (
        "Loss `contex`, batch of 128 images x 2 views, recipe of the preset `cpu`. The other row has the "
        "same network, loss and optimizer with the pipeline of torchvision in two worker processes."
    ),
    "versions": (
        "Preset `cpu`, 12,800 images, medians of the epochs after the first one in three processes of each "
        "version; the versions take turns. The reference is the last commit of recipe version 5."
    ),
    "options": (
        "SupCon, preset `cpu`, one thread; measured in the same way. The compiler runs in the first epoch, "
        "which is not counted."
    ),
    "methods": (
        "One epoch of 6,400 images of BiasedMNIST, batch of 128 images, preset `cpu`, 2 threads; medians of "
        "5 epochs, the methods take turns. A method of two stages has a row for each network that it trains; "
        "networks that are trained in the same way have one row. Outputs of first-stage networks are made "
        "up, because their values do not change the time."
    ),
    "scaling": "Loss `contex`, preset `cpu`.",
    "probes": (
        "Newton's method to a gradient of 1e-9, on synthetic, correlated features. Figures before 2026-11-30 "
        "are of L-BFGS of scikit-learn to a gradient of 1e-6."
    ),
    "large_features": "Features of a split above 1 GiB of float32 are stored as float16 and read in blocks.",
    "memory": "Each figure is of a separate process and includes Python and PyTorch.",
    "scale": (
        "Made runs of 36 MB each with 10,000 test images, cloned from two trained ones; every command once, "
        "from the start of the process to its end. The 10,000 listed runs are hard links to 1,000 of them. "
        "User seconds are those of all cores together."
    ),
    "startup": "From the start of the Python process to its end.",
}


def render(figures: dict[str, Any]) -> str:
    """Return the page as Markdown."""
    machine = figures["machine"]
    device = machine.get("accelerator", "no GPU")
    command = "make bench-gpu" if machine["device"].startswith("cuda") else "make bench"
    lines = [
        "# Performance",
        "",
        f"Written by `{command}`. The figures are in the JSON file beside this page. {machine['processor']}, "
        f"{machine['cores']} cores, {device}; {machine['system']}, Python {machine['python']}, torch "
        f"{machine['torch']}, {machine['vector']}. Medians of several rounds; the programs "
        "take turns. The speed of a virtual machine changes by a third between minutes: compare only within "
        "a table.",
    ]
    for name, title in TITLES.items():
        if name not in figures["sections"]:
            continue
        section = figures["sections"][name]
        columns = list(dict.fromkeys(key for row in section["rows"] for key in row))
        lines += [
            "",
            f"## {title}",
            "",
            f"{section['date']}{_elsewhere(section)}, load average before it {section['load']}. "
            f"{NOTES[name]}",
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


def _elsewhere(section: dict[str, Any]) -> str:
    """Return the processor of a section that was measured on another machine than the page."""
    return f", on another machine ({section['processor']})" if "processor" in section else ""


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int | float) else str(value)
