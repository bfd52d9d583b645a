"""UTKFace: the gender of faces as the target, with race or age as the bias attribute.

File names are ``age_gender_race_stamp.jpg.chip.jpg``. Gender 0 is male, 1 is female; race 0 is white. The
target is the gender. Bias ``race``: 0 is white, 1 is any other race. Bias ``age``: 0 is 20 years or more, 1
is 10 years or less; faces of 11 to 19 years are dropped.

The training split depends on the rate. For each value b of the bias, it keeps all n images whose target is b
(bias-aligned), and min(int(n * (1 - rate)), m) of the m images with the other target (bias-conflicting). The
validation and test splits keep their natural proportions.

The rule of the training split is that of Hong and Yang (NeurIPS 2021). In their code all of the 80 % are for
training, and the other 20 % are halved into validation and test. Here the validation split is a tenth of the
80 %, and all of the 20 % are the test split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from biascon.data.builders.utkface_duplicates import DUPLICATES, IdenticalFiles, find_identical
from biascon.data.builders.utkface_names import ParsedNames, parse_names
from biascon.data.building.plan import BuildPlan, SplitPlan
from biascon.data.building.splitting import NO_VALIDATION, seeded_split
from biascon.data.images.decoding import ImageSpec
from biascon.data.manifest import Attribute, BiasAttribute, DatasetDescription
from biascon.errors import UsageError
from biascon.utils.seeds import permutation
from biascon.utils.types import Array

BIASES = ("race", "age")
LABELS = ["male", "female"]
RACES = ["white", "black", "asian", "indian", "other"]
_DUPLICATES_TEXTS = {
    "group": "; identical files in one split",
    "drop": "; one of identical files, none if their names differ in age, gender or race",
}


@dataclass(frozen=True)
class UTKFaceSpec:
    """All settings that determine the bytes of a UTKFace dataset, besides the images.

    Attributes:
        bias: The bias attribute, ``race`` or ``age``.
        rate: In training, each bias value has ``1 - rate`` bias-conflicting images per bias-aligned image.
        seed: Seed of the split and of the draw of bias-conflicting images, each with its own purpose.
        val_protocol: ``held-out`` (10 % of the training images, before any is dropped), ``hong`` (these
            images also stay in training, a leak; not what Hong and Yang do with UTKFace) or ``none``.
        image_spec: How an image becomes an array.
        duplicates: What becomes of identical files: ``keep``, ``group`` or ``drop``, as
            ``utkface_duplicates`` states.
    """

    bias: str = "race"
    rate: float = 0.9
    seed: int = 0
    val_protocol: str = "held-out"
    image_spec: ImageSpec = field(default_factory=lambda: ImageSpec(64))
    duplicates: str = "keep"

    def __post_init__(self) -> None:
        if self.bias not in BIASES:
            raise UsageError(f"expected bias to be race or age, but got '{self.bias}'")
        if self.duplicates not in DUPLICATES:
            raise UsageError(
                f"expected duplicates to be one of {', '.join(DUPLICATES)}, but got '{self.duplicates}'"
            )
        object.__setattr__(self, "rate", float(self.rate) + 0.0)
        if not 0 <= self.rate <= 1:
            raise UsageError(f"expected rate in [0, 1], but got {self.rate}")

    def name(self) -> str:
        """Return the dataset's name: bias, rate, and the settings that differ from the defaults.

        >>> spec = UTKFaceSpec("age", 0.95, seed=1, val_protocol="none", image_spec=ImageSpec(128))
        >>> UTKFaceSpec().name(), spec.name()
        ('utkface-race-0.9', 'utkface-age-0.95-128-none-seed1')
        """
        parts = ["utkface", self.bias, repr(self.rate), *self.image_spec.name_suffixes()]
        parts += [self.val_protocol] if self.val_protocol != "held-out" else []
        parts += [f"{self.duplicates}-duplicates"] if self.duplicates != "keep" else []
        parts += [f"seed{self.seed}"] if self.seed else []
        return "-".join(parts)


def plan_utkface(
    names: Sequence[str],
    spec: UTKFaceSpec,
    *,
    origin: str,
    digests: Mapping[str, str] | None = None,
) -> BuildPlan:
    """Assign the images to splits, from their names and, to treat identical files, from their digests.

    Args:
        names: The file names, in any order.
        spec: The settings.
        origin: The manifest text of the source.
        digests: The SHA-256 of the files by name; needed unless ``spec.duplicates`` is ``keep``.

    Raises:
        DataError: A split would be empty.
        UsageError: The digests are needed, but absent.
    """
    parsed = parse_names(names)
    identical = None
    if spec.duplicates != "keep":
        if digests is None:
            raise UsageError(f"duplicates='{spec.duplicates}' needs the digests of the files")
        identical = find_identical(parsed, digests)
    age, gender, race = parsed.age, parsed.gender, parsed.race
    if spec.bias == "race":
        bias, is_usable = (race != 0).astype(np.int64), np.ones(len(age), dtype=bool)
    else:
        bias, is_usable = (age <= 10).astype(np.int64), (age <= 10) | (age >= 20)
    attributes = {
        "race": (race != 0).astype(np.int64),
        "age": np.select([age >= 20, age <= 10], [0, 1], 2).astype(np.int64),
        "race_group": race,
        "age_group": np.searchsorted([11, 20, 40, 60], age, side="right").astype(np.int64),
    }
    parts = seeded_split(len(age), spec.seed, spec.val_protocol, "utkface/split")
    dropped = Counter({"11 to 19 years": int((~is_usable).sum())} if spec.bias == "age" else {})
    if identical is not None and spec.duplicates == "group":
        parts = {
            name: np.flatnonzero(np.isin(identical.first, rows)) for name, rows in parts.items()
        }
    elif identical is not None:
        dropped["identical files"] = int((is_usable & ~identical.is_used_by_drop).sum())
        is_usable = is_usable & identical.is_used_by_drop
    splits = {}
    for part, rows in parts.items():
        rows = rows[is_usable[rows]]
        if part == "train":
            is_kept = draw_biased(gender[rows], bias[rows], spec)
            dropped["conflicting, beyond the rate"] = int((~is_kept).sum())
            rows = rows[is_kept]
        splits[part] = SplitPlan(
            [parsed.names[row] for row in rows],
            gender[rows],
            bias[rows],
            gender[rows] == bias[rows],
            rows.astype(np.int64),
            {name: values[rows] for name, values in attributes.items()},
        )
    description = describe_utkface(parsed, spec, dropped, origin, identical)
    return BuildPlan(description, splits, parsed.left_out)


def draw_biased(target: Array, bias: Array, spec: UTKFaceSpec) -> Array:
    """Choose the training images by the rule in the docstring of this module.

    Args:
        target: int64 ``(N,)``.
        bias: int64 ``(N,)``.
        spec: The settings.

    Returns:
        bool ``(N,)``: whether an image stays in the training split.
    """
    is_kept: Array = target == bias
    for value in (0, 1):
        n_aligned = int((is_kept & (bias == value)).sum())
        conflicting = np.flatnonzero((target != bias) & (bias == value))
        # 100 * (1 - 0.9) is 9.999..., so its int is 9, as in the published code.
        count = min(int(n_aligned * (1 - spec.rate)), len(conflicting))
        order = permutation(len(conflicting), spec.seed, f"utkface/{spec.bias}/minority/{value}")
        is_kept[conflicting[order[:count]]] = True
    return is_kept


def describe_utkface(
    parsed: ParsedNames,
    spec: UTKFaceSpec,
    dropped: Counter[str],
    origin: str,
    identical: IdenticalFiles | None = None,
) -> DatasetDescription:
    """Describe the dataset.

    Args:
        parsed: The parsed file names.
        spec: The settings.
        dropped: The number of images that are dropped for each reason.
        origin: The manifest text of the source.
        identical: The identical files, unless they are kept.
    """
    validation = {
        "held-out": "10 % of the training pictures, held out before any is dropped, natural proportions",
        "hong": "10 % of the training pictures, kept in training (leaks), natural proportions",
        "none": NO_VALIDATION,
    }[spec.val_protocol]
    pairs = {"race": ("white", "non-white"), "age": ("20 and over", "10 and under")}
    aligned = {
        name: [list(pair) for pair in zip(LABELS, pairs[name], strict=True)] for name in BIASES
    }
    values = {name: list(pair) for name, pair in pairs.items()}
    aligned_text = ", ".join(f"{label} = {value}" for label, value in aligned[spec.bias])
    pairings: dict[str, list[list[str]] | None] = {**aligned}
    if spec.bias == "race":  # ages of 11 to 19 are in neither group
        values["age"].append("11 to 19")
        pairings["age"] = None
    image_spec = spec.image_spec
    train_text = f"target gender, bias {spec.bias} at rate {spec.rate!r}; seeded 80/20 split"
    parameters = {key: value for key, value in asdict(spec).items() if key != "image_spec"}
    if spec.duplicates == "keep":
        del parameters["duplicates"]
    else:
        train_text += _DUPLICATES_TEXTS[spec.duplicates]
    return DatasetDescription(
        name=spec.name(),
        builder="utkface",
        protocol={
            "train": train_text,
            "val": validation,
            "test": "20 % of the names, natural proportions",
            "pictures": image_spec.describe(),
        },
        parameters={**parameters, **asdict(image_spec)},
        source={
            "kind": "utkface",
            "origin": origin,
            "names": {
                "read": parsed.read,
                "repaired": len(parsed.repaired),
                "left_out": len(parsed.left_out),
                "reasons": dict(sorted(Counter(reason for _, reason in parsed.left_out).items())),
                "dropped": dict(dropped),
                **({} if identical is None else {"identical": identical.count()}),
            },
        },
        labels=LABELS,
        bias=BiasAttribute(spec.bias, values[spec.bias], aligned=aligned_text),
        attributes={
            **{name: Attribute(values[name], pairings[name]) for name in BIASES},
            "race_group": Attribute(RACES, None),
            "age_group": Attribute(["0-10", "11-19", "20-39", "40-59", "60 and over"], None),
        },
    )  # fmt: skip
