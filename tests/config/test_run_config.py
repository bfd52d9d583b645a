"""The configuration of a run: presets, settings, refused values, and the digest."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biascon.config import run_config
from biascon.config.factory import find_overrides, make_config, with_protocol
from biascon.config.run_config import (
    SECTIONS,
    EncoderOrigin,
    FinetuneConfig,
    ModelConfig,
    ProbeConfig,
    RunConfig,
    read_config,
)
from biascon.config.settings import (
    format_setting,
    list_presets,
    load_preset,
    parse_settings,
    to_toml,
)
from biascon.errors import BiasconError, BiasconWarning, UsageError
from biascon.losses import LOSSES

FIELDS = [
    (section, field.name)
    for section, section_type in SECTIONS.items()
    for field in dataclasses.fields(section_type)
    if field.name != "file"
]
# The protocol under which a setting is part of the digest.
PROTOCOL_OF = {("probe", "k"): "knn", ("probe", "temperature"): "knn"}
DATASET = "0" * 64
# Digests of recipe version 6. A new option must not change them.
PINNED = {
    ("contex", "cpu"): "d4c0ab961a44dcf3",
    ("lff", "cpu"): "6fdabcf9a6099e53",
    ("contex", "gpu"): "a20bff7215856ab4",
    ("lff", "gpu"): "1501b81d075f6280",
    ("contex", "smoke"): "4fc219a5af3cfc05",
    ("lff", "smoke"): "2372824f585f83a1",
}


def other_value(section: str, name: str, value: Any) -> Any:
    """Return an allowed value of a field that differs from ``value``."""
    choices = {
        ("model", "encoder"): "simpleconvnet",
        ("model", "weights"): f"file:{'a' * 64}",
        ("probe", "kind"): "knn",
        ("finetune", "name"): "sgd",
        ("finetune", "schedule"): "constant",
        ("augment", "crop_scale"): (0.5, 1.0),
        ("optimizer", "name"): "sgd",
        ("optimizer", "schedule"): "constant",
        ("train", "precision"): "bfloat16",
        ("train", "tf32"): "all",
        ("train", "device"): "cuda",
        ("probe", "device"): "cuda",
        ("first_stage", "augment"): "plain",
    }
    if (section, name) in choices:
        return choices[section, name]
    if isinstance(value, tuple):
        return (*value[:-1], value[-1] * 2)
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else value * 0.5 + 0.01


class TestPresets:
    def test_presets_are_listed_by_name(self) -> None:
        assert list_presets() == [
            "celeba", "cifar", "contex-paper", "cpu", "faces-cpu", "gpu", "paper-barbano", "paper-hong",
            "smoke", "utkface",
        ]  # fmt: skip

    def test_the_description_of_a_preset_is_no_part_of_a_configuration(
        self, tmp_path: Path
    ) -> None:
        file = tmp_path / "mine.toml"
        file.write_text("[train]\nepochs = 3\n")
        plain = make_config("ce", preset=str(file))
        file.write_text('[about]\ndata = "ours"\n[train]\nepochs = 3\n')
        assert make_config("ce", preset=str(file)) == plain
        assert "about" not in make_config("ce", preset="gpu").as_dict()

    @pytest.mark.parametrize("preset", list_presets())
    @pytest.mark.parametrize("loss", LOSSES)
    def test_every_preset_serves_every_loss(self, preset: str, loss: str) -> None:
        if preset == "paper-barbano" and LOSSES[loss].head == "needed":
            with pytest.raises(UsageError, match=f"'{loss}' needs a projection head"):
                make_config(loss, preset=preset)
            return
        config = make_config(loss, preset=preset, seed=3)
        assert (config.loss, config.seed, config.preset) == (loss, 3, preset)
        assert len(config.digest(DATASET)) == 64
        _, tree = load_preset(preset)
        for section, values in tree.items():
            if section == "loss":
                assert {k: v for k, v in values.items() if k in config.parameters}.items() <= (
                    config.parameters.items()
                )
                continue
            for key, value in values.items():
                setting = getattr(getattr(config, section), key)
                # A method may replace a value of the preset, which is then kept beside it.
                setting = config.preset_values.get(f"{section}.{key}", setting)
                assert (list(setting) if isinstance(setting, tuple) else setting) == value

    def test_a_preset_file_serves_every_loss(self, tmp_path: Path) -> None:
        path = tmp_path / "recipe.toml"
        path.write_text("[train]\nepochs = 7\n[loss]\ntemperature = 0.2\nwa = 0.25\n")
        config = make_config("contex", preset=str(path))
        assert (config.preset, config.train.epochs) == ("recipe.toml", 7)
        assert (config.parameters["temperature"], config.parameters["wa"]) == (0.2, 0.25)
        # "ce" does not have these parameters, and the same file serves it.
        assert make_config("ce", preset=str(path)).train.epochs == 7

    def test_an_unreadable_preset_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(BiasconError, match=r"cannot read preset .*no\.toml: No such file"):
            make_config("ce", preset=str(tmp_path / "no.toml"))
        (tmp_path / "bad.toml").write_text("[train\n")
        with pytest.raises(BiasconError, match=r"bad\.toml is not valid TOML"):
            make_config("ce", preset=str(tmp_path / "bad.toml"))

    def test_an_unknown_preset_is_refused_with_a_suggestion(self) -> None:
        with pytest.raises(UsageError, match=r"unknown preset 'smok'; did you mean 'smoke'\?"):
            make_config("ce", preset="smok")

    def test_a_preset_file_whose_loss_is_not_a_table_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "x.toml").write_text('loss = "ce"\n')
        with pytest.raises(UsageError, match="loss"):
            make_config("ce", preset=str(tmp_path / "x.toml"))


class TestSettings:
    @pytest.mark.parametrize(
        ("setting", "expected"),
        [
            ("train.epochs=8", {"train": {"epochs": 8}}),
            (" train.epochs = 8", {"train": {"epochs": 8}}),
            ("optimizer.lr=1e-3", {"optimizer": {"lr": 0.001}}),
            ("optimizer.name=sgd", {"optimizer": {"name": "sgd"}}),
            ('optimizer.name="sgd"', {"optimizer": {"name": "sgd"}}),
            ("model.head=[64, 32]", {"model": {"head": [64, 32]}}),
            ("loss.form=a=b", {"loss": {"form": "a=b"}}),
            ("loss.clip=true", {"loss": {"clip": True}}),
            ("train.epochs=", {"train": {"epochs": ""}}),
        ],
    )
    def test_values_are_parsed_as_toml_or_taken_as_text(
        self, setting: str, expected: dict[str, Any]
    ) -> None:
        assert parse_settings([setting]) == expected

    def test_settings_are_merged_and_the_last_one_counts(self) -> None:
        settings = parse_settings(
            ["train.epochs=8", "loss.wa=0.3", "train.threads=1", "loss.wa=0.4"]
        )
        assert settings == {"train": {"epochs": 8, "threads": 1}, "loss": {"wa": 0.4}}

    @pytest.mark.parametrize("setting", ["", "train", "train.epochs", "epochs=8", ".x=1", "x.=1"])
    def test_a_setting_of_another_form_is_refused(self, setting: str) -> None:
        with pytest.raises(UsageError, match=f"section.key=value, but got '{setting}'"):
            parse_settings([setting])

    def test_settings_override_the_preset(self) -> None:
        config = make_config(
            "contex",
            preset="smoke",
            settings=["train.epochs=9", "optimizer.lr=1", "model.head=[8]", "loss.wa=0.25"],
        )
        assert config.train.epochs == 9
        assert config.train.batch_size == make_config("contex", preset="smoke").train.batch_size
        assert config.optimizer.lr == 1.0
        assert isinstance(config.optimizer.lr, float)
        assert config.model.head == (8,)
        assert config.parameters["wa"] == 0.25
        assert config.parameters["wb"] == 0.5


class TestRefusals:
    def test_one_error_lists_all_unknown_settings(self, tmp_path: Path) -> None:
        path = tmp_path / "recipe.toml"
        path.write_text("[optimzer]\nlr = 1.0\n[train]\nepoch = 3\n")
        with pytest.raises(UsageError) as caught:
            make_config(
                "ce", preset=str(path), settings=["model.encodr=x", "los.wa=1", "train.zzz=1"]
            )
        message = str(caught.value)
        for part in (
            "unknown setting: ",
            "section 'optimzer'; did you mean 'optimizer'?",
            "'train.epoch'; did you mean 'epochs'?",
            "'model.encodr'; did you mean 'encoder'?",
            "section 'los'; did you mean 'loss'?",
        ):
            assert part in message
        assert message.endswith("'train.zzz'")  # nothing is near: no suggestion

    def test_unknown_loss_parameters_are_refused_with_suggestions(self) -> None:
        with pytest.raises(UsageError) as caught:
            make_config("contex", settings=["loss.temprature=1", "loss.wc=1"])
        assert "'temprature'; did you mean 'temperature'?" in str(caught.value)
        assert "'wc'" in str(caught.value)

    def test_an_unknown_loss_is_refused_with_a_suggestion(self) -> None:
        with pytest.raises(UsageError, match=r"unknown loss 'contx'; did you mean 'contex'\?"):
            make_config("contx")

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ("train.epochs=2.5", "train.epochs to be of type int, but got 2.5"),
            ("train.epochs=true", "train.epochs to be of type int, but got True"),
            ("train.epochs=many", "train.epochs to be of type int, but got 'many'"),
            ("train.epochs=", "train.epochs to be of type int, but got ''"),
            ("optimizer.lr=fast", "optimizer.lr to be of type float, but got 'fast'"),
            ("optimizer.lr=true", "optimizer.lr to be of type float, but got True"),
            ("optimizer.name=1", "optimizer.name to be of type str, but got 1"),
            ("model.head=128", "model.head to be a list, but got 128"),
            ("model.head=[1.5]", "model.head to be of type int, but got 1.5"),
            ("augment.jitter=[0.4]", r"augment.jitter to have 4 values, but got \[0.4\]"),
            ("augment.crop_scale=['a', 1]", "augment.crop_scale to be of type float, but got 'a'"),
        ],
    )
    def test_values_of_another_type_are_refused(self, setting: str, message: str) -> None:
        with pytest.raises(UsageError, match=f"expected {message}"):
            make_config("ce", settings=[setting])

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ("train.epochs=0", "train.epochs to be 1 or more, but got 0"),
            ("train.batch_size=1", "train.batch_size to be 2 or more, but got 1"),
            ("train.threads=0", "train.threads to be 1 or more"),
            ("train.precision=half", "train.precision to be one of auto, float32, bfloat16"),
            ("augment.views=0", "augment.views to be 1 or more"),
            ("optimizer.lr=0", "optimizer.lr to be above 0"),
            ("optimizer.lr=-1", "optimizer.lr to be above 0"),
            ("optimizer.lr=nan", "optimizer.lr to be above 0"),
            ("optimizer.lr=inf", "optimizer.lr to be above 0"),
            ("optimizer.weight_decay=-1", "optimizer.weight_decay to be 0 or more"),
            ("optimizer.weight_decay=inf", "optimizer.weight_decay to be 0 or more"),
            ("optimizer.warmup=1.5", "optimizer.warmup to be in 0..1"),
            ("optimizer.name=adam", "optimizer.name to be one of adamw, sgd"),
            ("optimizer.schedule=linear", "optimizer.schedule to be one of cosine"),
            ("probe.c=0", "probe.c to be above 0"),
            ("probe.c=inf", "probe.c to be above 0"),
            ("probe.tolerance=0", "probe.tolerance to be above 0"),
            ("probe.tolerance=nan", "probe.tolerance to be above 0"),
            ("probe.max_iterations=0", "probe.max_iterations to be 1 or more"),
            ("loss.temperature=0", "expected temperature to be larger than 0"),
        ],
    )
    def test_values_out_of_range_are_refused(self, setting: str, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            make_config("supcon", settings=[setting])

    def test_one_error_lists_all_values_that_are_not_allowed(self) -> None:
        with pytest.raises(UsageError) as caught:
            make_config("ce", seed=-1, settings=["train.epochs=0", "probe.c=-1"])
        for key in ("seed to be 0 or more, but got -1", "train.epochs", "probe.c"):
            assert key in str(caught.value)

    @pytest.mark.parametrize(
        "setting",
        [
            "probe.tolerance=inf",
            "augment.rotation=nan",
            "augment.rotation=400",
            "augment.jitter_p=2",
            "augment.crop_scale=[0.5, 2]",
            "augment.crop_ratio=[1, inf]",
            "model.head=[0]",
            "model.encoder=fastconvnt",
        ],
    )
    def test_values_are_refused_before_training(self, setting: str) -> None:
        with pytest.raises(UsageError):
            make_config("supcon", settings=[setting]).digest(DATASET)


class TestDigest:
    def test_equal_configurations_have_equal_digests(self) -> None:
        first, second = (make_config("contex", preset="smoke").digest(DATASET) for _ in range(2))
        assert first == second

    @pytest.mark.parametrize(("section", "name"), FIELDS)
    def test_every_setting_changes_the_digest(self, section: str, name: str) -> None:
        protocol = PROTOCOL_OF.get(
            (section, name), "finetune" if section == "finetune" else "linear"
        )
        base = RunConfig(loss="ce", probe=ProbeConfig(kind=protocol))
        section_config = getattr(base, section)
        value = other_value(section, name, getattr(section_config, name))
        changed_section = dataclasses.replace(section_config, **{name: value})
        changed = dataclasses.replace(base, **{section: changed_section})
        assert changed.digest(DATASET) != base.digest(DATASET)

    @pytest.mark.parametrize(
        "change",
        [{"loss": "supcon"}, {"seed": 1}, {"preset": "smoke"}, {"parameters": {"wa": 0.1}}],
    )
    def test_loss_seed_preset_and_parameters_change_the_digest(
        self, change: dict[str, Any]
    ) -> None:
        base = RunConfig(loss="ce")
        assert dataclasses.replace(base, **change).digest(DATASET) != base.digest(DATASET)

    def test_dataset_and_recipe_version_change_the_digest(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        base = RunConfig(loss="ce")
        before = base.digest(DATASET)
        assert base.digest("1" * 64) != before
        monkeypatch.setattr(run_config, "RECIPE_VERSION", run_config.RECIPE_VERSION + 1)
        assert base.digest(DATASET) != before

    def test_setting_a_default_does_not_change_the_digest(self) -> None:
        plain = make_config("contex", preset="smoke")
        spelt = make_config("contex", preset="smoke", settings=["loss.wa=0.5", "train.epochs=2"])
        assert plain.digest(DATASET) == spelt.digest(DATASET)
        other = make_config("contex", preset="smoke", settings=["loss.wa=0.4"])
        assert other.digest(DATASET) != plain.digest(DATASET)

    def test_an_integer_gives_the_same_digest_as_the_equal_float(self) -> None:
        from_integer, from_float = (
            make_config("supcon", settings=[f"loss.temperature={t}"]).digest(DATASET)
            for t in ("1", "1.0")
        )
        assert from_integer == from_float

    @pytest.mark.parametrize(("run", "digest"), PINNED.items())
    def test_digests_of_existing_runs_do_not_change(
        self, run: tuple[str, str], digest: str
    ) -> None:
        loss, preset = run
        config = make_config(loss, preset=preset).for_device("cpu")
        assert config.digest(DATASET).startswith(digest)

    def test_settings_without_effect_are_not_part_of_the_digest(self) -> None:
        base = RunConfig(loss="ce")
        for changed in (
            dataclasses.replace(base, finetune=FinetuneConfig(lr=0.5)),
            dataclasses.replace(base, probe=ProbeConfig(k=3, temperature=9.0)),
        ):
            assert changed.digest(DATASET) == base.digest(DATASET)
        assert not {"kind", "k", "temperature"} & base.as_dict()["probe"].keys()
        assert "finetune" not in base.as_dict()
        assert "weights" not in base.as_dict()["model"]

    def test_the_path_of_a_weights_file_is_not_part_of_the_digest(self) -> None:
        model = ModelConfig(weights=f"file:{'a' * 64}", file=Path("first"))
        config = RunConfig(loss="ce", model=model)
        other = RunConfig(loss="ce", model=dataclasses.replace(model, file=Path("second")))
        assert config.digest(DATASET) == other.digest(DATASET)
        assert config.as_dict()["model"]["weights"] == f"file:{'a' * 64}"
        assert "file" not in config.as_dict()["model"]


class TestToml:
    @pytest.mark.parametrize("preset", list_presets())
    @pytest.mark.parametrize("loss", LOSSES)
    def test_a_configuration_round_trips_through_toml(self, preset: str, loss: str) -> None:
        head = ["model.head=[8]"] if LOSSES[loss].head == "needed" else []
        config = make_config(loss, preset=preset, settings=head)
        plain = config.as_dict()
        assert tomllib.loads(to_toml(plain)) == plain
        # The protocol is the linear probe, and the first stage has its default settings.
        section_names = [name for name in SECTIONS if name not in ("finetune", "first_stage")]
        method = ["preset_values"] if config.preset_values else []
        assert list(plain) == ["loss", "seed", "preset", "parameters", *section_names, *method]
        restored = read_config(tomllib.loads(to_toml(plain)))
        assert restored.digest(DATASET) == config.digest(DATASET)
        assert restored.method_settings == config.method_settings

    def test_a_written_configuration_is_a_preset_of_the_same_run(self, tmp_path: Path) -> None:
        first = make_config("contex", preset="smoke", settings=["optimizer.lr=1e-5"])
        plain = first.as_dict()
        plain["loss"] = plain.pop("parameters")
        sections = {name: plain[name] for name in ("loss", *SECTIONS) if name in plain}
        (tmp_path / "smoke.toml").write_text(to_toml(sections))
        again = make_config("contex", preset=str(tmp_path / "smoke.toml"))
        assert again == dataclasses.replace(first, preset="smoke.toml")

    @given(
        st.dictionaries(
            st.from_regex(r"[A-Za-z0-9_-]+", fullmatch=True),
            st.integers(-(2**63), 2**63 - 1)
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.booleans()
            | st.text(
                st.characters(min_codepoint=1, max_codepoint=0xFFFF, exclude_categories=["Cs"])
            )
            | st.lists(st.floats(allow_nan=False, allow_infinity=False)),
        )
    )
    def test_plain_values_round_trip_through_toml(self, table: dict[str, Any]) -> None:
        value = {**table, "section": table}
        assert tomllib.loads(to_toml(value)) == value

    def test_text_outside_ascii_round_trips_through_toml(self) -> None:
        assert tomllib.loads(to_toml({"preset": "🙂"})) == {"preset": "🙂"}


class TestLength:
    def test_a_small_dataset_gets_more_epochs(self) -> None:
        config = make_config("ce", settings=["train.batch_size=100", "train.min_steps=1000"]).train
        assert config.epochs_for(100_000) == config.epochs
        assert config.epochs_for(1_050) == 100  # ten steps an epoch
        assert config.epochs_for(99) == 0

    def test_epochs_that_the_user_sets_are_not_raised(self) -> None:
        assert make_config("ce", settings=["train.epochs=3"]).train.epochs_for(128) == 3
        both = ["train.epochs=3", "train.min_steps=7"]
        assert make_config("ce", settings=both).train.epochs_for(128) == 7


def test_one_error_lists_unknown_settings_and_unknown_loss_parameters() -> None:
    with pytest.raises(UsageError) as caught:
        make_config("contex", settings=["train.epoch=3", "loss.temprature=1"])
    assert str(caught.value) == (
        "unknown setting: 'train.epoch'; did you mean 'epochs'?, "
        "'loss.temprature'; did you mean 'temperature'?"
    )


class TestProtocols:
    def test_settings_of_another_protocol_are_refused(self) -> None:
        with pytest.raises(UsageError, match=r"probe\.k would change nothing: .* --protocol knn"):
            make_config("ce", settings=["probe.k=5"])
        with pytest.raises(UsageError, match=r"finetune\.lr would change .* --protocol finetune"):
            make_config("ce", settings=["probe.kind=knn", "finetune.lr=0.1"])
        config = make_config("ce", settings=["probe.kind=knn", "probe.k=5"])
        assert config.as_dict()["probe"] | {"kind": "knn", "k": 5} == config.as_dict()["probe"]

    @pytest.mark.parametrize(
        "setting",
        ["probe.kind=knm", "model.weights=yes", "model.weights=file:abc", "model.file=x"],
    )
    def test_an_unknown_protocol_or_weights_value_is_refused(self, setting: str) -> None:
        with pytest.raises(UsageError, match=setting.partition("=")[0].replace(".", r"\.")):
            make_config("ce", settings=[setting])

    def test_overrides_include_protocol_and_weights(self) -> None:
        tuned = make_config(
            "ce", preset="cifar", settings=["probe.kind=finetune", "finetune.epochs=3"]
        )
        assert find_overrides(tuned) == {"finetune.epochs": 3, "probe.kind": "finetune"}
        assert find_overrides(make_config("ce", preset="cifar", settings=["probe.kind=knn"])) == {
            "probe.kind": "knn"
        }
        drawn = make_config("ce", preset="utkface", settings=["model.weights=none"])
        assert find_overrides(drawn) == {"model.weights": "none"}
        got = dataclasses.replace(
            drawn, model=dataclasses.replace(drawn.model, weights=f"pretrained:{'a' * 64}")
        )
        assert find_overrides(got) == {}

    @pytest.mark.parametrize("protocol", ["linear", "knn", "finetune"])
    def test_a_configuration_is_read_back_from_toml(self, protocol: str) -> None:
        config = make_config("fairkl", preset="utkface", settings=[f"probe.kind={protocol}"])
        config = dataclasses.replace(config, origin=EncoderOrigin("a" * 64, "x", "b" * 64))
        restored = read_config(tomllib.loads(to_toml(config.as_dict())))
        assert restored.digest(DATASET) == config.digest(DATASET)
        assert restored.origin == config.origin

    @pytest.mark.parametrize("harm", ["train", "more", "probe", "loss"])
    def test_a_configuration_of_another_version_is_refused(self, harm: str) -> None:
        tree = make_config("ce").as_dict()
        if harm == "more":
            tree["other"] = {}
        elif harm == "probe":
            tree["probe"]["unknown"] = 1
        else:
            del tree[harm]
        with pytest.raises((KeyError, TypeError)):
            read_config(tree)

    def test_with_protocol_changes_the_evaluation_only(self) -> None:
        config = make_config("ce", preset="smoke", settings=["probe.c=7"])
        knn_config = with_protocol(config, protocol="knn", settings=["probe.k=9"])
        assert (knn_config.probe.kind, knn_config.probe.k, knn_config.probe.c) == ("knn", 9, 7.0)
        assert knn_config.training_config() == config.training_config()
        with pytest.raises(UsageError, match=r"trained already: .* got 'train\.epochs'"):
            with_protocol(config, settings=["train.epochs=3"])
        assert with_protocol(config, protocol="finetune", preset="cifar").finetune.epochs == 50


class TestOldSpellings:
    @pytest.mark.parametrize(
        ("setting", "old", "new"),
        [
            ("optimiser.lr=0.5", "optimiser", "optimizer"),
            ("augment.grey_p=0.1", "augment.grey_p", "augment.grayscale_p"),
        ],
    )
    def test_an_old_setting_name_is_accepted_with_a_warning(
        self, setting: str, old: str, new: str
    ) -> None:
        with pytest.warns(BiasconWarning, match=f"'{old}' is now '{new}'"):
            config = make_config("ce", settings=[setting])
        renamed = setting.replace("optimiser", "optimizer").replace("grey_p", "grayscale_p")
        assert config == make_config("ce", settings=[renamed])

    def test_a_preset_file_with_old_names_gives_the_same_configuration(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "recipe.toml"
        path.write_text("[optimizer]\nlr = 0.5\n[augment]\ngrayscale_p = 0.1\n")
        expected = make_config("ce", preset=str(path))
        path.write_text("[optimiser]\nlr = 0.5\n[augment]\ngrey_p = 0.1\n")
        with pytest.warns(BiasconWarning, match="is now"):
            assert make_config("ce", preset=str(path)) == expected

    def test_a_setting_under_old_and_new_name_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "both.toml"
        path.write_text("[augment]\ngrayscale_p = 0.1\ngrey_p = 0.2\n")
        with (
            pytest.warns(BiasconWarning, match="grey_p"),
            pytest.raises(UsageError, match=r"'augment\.grayscale_p' is set twice"),
        ):
            make_config("ce", preset=str(path))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (1e-5, "1e-05"),
        (3, "3"),
        ([16, 8], "[16, 8]"),
        ("resnet18", "resnet18"),
        ("true", '"true"'),
        ("0.5", '"0.5"'),
        (" a", '" a"'),
        ("", ""),
    ],
)
def test_a_setting_is_written_as_it_is_read(value: object, text: str) -> None:
    assert format_setting("train.x", value) == f"train.x={text}"
    assert parse_settings([f"train.x={text}"]) == {"train": {"x": value}}
