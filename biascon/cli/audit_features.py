"""The option ``--features`` of ``biascon audit``: an audit of features instead of predictions."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from biascon.cli.output import print_json, print_note, print_text

if TYPE_CHECKING:
    from biascon.auditing.features.api import FeatureAudit

FORMATS = (".json", ".csv", ".txt")
# The options of the command that an audit of features uses too.
_SHARED = (
    "predictions", "label", "bias", "drop_missing", "keep_words", "delimiter", "decimal", "seed", "out",
    "as_json",
)  # fmt: skip


def with_features(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--features`` and ``--folds`` to the options of an audit of predictions.

    With ``--features`` the audit is one of features, and ``command`` is not called. Without it, the option
    ``--prediction`` is required.
    """

    @click.option(
        "--features",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Audit the features of an encoder (.npy, .parquet or .safetensors, a row for each row of the "
        "table, in the same order) instead of predictions: how well probes read label and bias out of them.",
    )
    @click.option(
        "--folds",
        type=click.IntRange(min=3),
        default=5,
        show_default=True,
        help="Folds of rows that the probes of --features are measured on.",
    )
    @functools.wraps(command)
    def run(features: Path | None, folds: int, **options: Any) -> None:
        context = click.get_current_context()
        if features is None:
            if options["prediction"] is None:
                raise click.MissingParameter(
                    ctx=context, param_hint="'--prediction'", param_type="option"
                )
            _refuse(context, ["folds"], "is an option of --features")
            command(**options)
            return
        _refuse(context, [n for n in options if n not in _SHARED], "has no use with --features")
        shared = {name: options[name] for name in _SHARED if name in options}
        _audit(features, folds, **shared)

    return run


def _refuse(context: click.Context, names: list[str], reason: str) -> None:
    """Raise a ``UsageError`` if one of these options was given."""
    from biascon.errors import UsageError

    for parameter in context.command.params:
        name = str(parameter.name)
        if name in names and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"{parameter.opts[0]} {reason}")


def _audit(
    features: Path,
    folds: int,
    *,
    predictions: Path,
    label: str,
    bias: tuple[str, ...],
    drop_missing: bool,
    keep_words: tuple[str, ...],
    delimiter: str | None,
    decimal: str | None,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    from biascon.auditing.features.api import audit_feature_file
    from biascon.errors import UsageError

    if out is not None:
        if out.suffix.lower() not in FORMATS:
            raise UsageError(
                f"expected --out to end in {', '.join(FORMATS)} with --features, but got {out}"
            )
        inputs = (predictions, features)
        if out.exists() and any(path.exists() and out.samefile(path) for path in inputs):
            raise UsageError(f"--out {out} would overwrite an input file")
    audit = audit_feature_file(
        features,
        predictions,
        label=label,
        bias=bias,
        folds=folds,
        drop_missing=drop_missing,
        keep_words=keep_words,
        delimiter=delimiter,
        decimal=decimal,
        seed=seed,
        say=print_note,
    )
    if out is not None:
        from biascon.utils.files import write_output

        write_output({out: _render(audit, out.suffix.lower())})
        print_note(f"{out}: written")
    if as_json:
        print_json(_render(audit, ".json"))
    else:
        print_text(_render(audit, ".txt"))


def _render(audit: FeatureAudit, suffix: str) -> str:
    if suffix == ".json":
        return "".join(json.dumps(data, allow_nan=False) + "\n" for data in audit.data)
    if suffix == ".csv":
        return audit.to_frame().to_csv(index=False, lineterminator="\n")
    return str(audit)
