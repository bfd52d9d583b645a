"""``biascon doctor``: versions, device and digits on this machine."""

from __future__ import annotations

import click

from biascon.cli.output import format_table, print_text


@click.command(name="doctor")
def command() -> None:
    """Show the versions, the device and the digits that this machine has. Nothing is downloaded."""
    from biascon.cli.requirements import EVALUATION, OPTIONAL, REPORT
    from biascon.data.builders.mnist_source import find_digits
    from biascon.errors import MissingPackageError
    from biascon.runs.environment import describe_environment
    from biascon.utils.devices import pick_device
    from biascon.utils.packages import find_missing, install_name

    environment = describe_environment(str(pick_device()))
    rows = [[key, str(value)] for key, value in environment.items() if key != "packages"]
    rows += [[name, str(version)] for name, version in environment["packages"].items()]
    try:
        digits = find_digits(network=False)
        rows.append(["MNIST", f"{digits.origin} ({len(digits.train_labels):,} training digits)"])
    except MissingPackageError as error:
        rows.append(["MNIST", f"not found: {error}"])
    missing = find_missing(dict.fromkeys((*EVALUATION, *REPORT, *OPTIONAL)))
    if missing:
        rows.append(["not installed", " ".join(map(install_name, missing))])
    print_text(format_table(["name", "value"], rows, left=2))
