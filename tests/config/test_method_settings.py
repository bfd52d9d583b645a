"""Settings of a method: projection head, scale of the preset cpu, parameters by dataset, first stage."""

from __future__ import annotations

import dataclasses
import tomllib
from typing import Any

import pytest

from biascon.config.factory import find_overrides, make_config, with_protocol
from biascon.config.first_stage import first_stage_config
from biascon.config.method_settings import AUTO, resolve_parameters
from biascon.config.run_config import AugmentConfig, RunConfig, read_config
from biascon.config.settings import to_toml
from biascon.errors import BiasconWarning, UsageError
from biascon.losses import LOSSES
from biascon.losses.registry import Scale

DATASET = "0" * 64
PLAIN = AugmentConfig.plain()
NO_HEAD = [name for name, entry in LOSSES.items() if entry.head == "none"]
NEEDS_HEAD = [name for name, entry in LOSSES.items() if entry.head == "needed"]
TWO_STAGE = [name for name, entry in LOSSES.items() if entry.first_stage]


def read_back(config: RunConfig) -> RunConfig:
    """Return the configuration that the ``config.toml`` of a run holds."""
    return read_config(tomllib.loads(to_toml(config.as_dict())))


@pytest.fixture
def scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give ``lff`` a scale for the preset cpu."""
    entry = dataclasses.replace(LOSSES["lff"], cpu_scale=Scale(lr=0.5, epochs=2.0))
    monkeypatch.setitem(LOSSES, "lff", entry)


class TestHead:
    @pytest.mark.parametrize("loss", NO_HEAD)
    def test_a_method_without_a_head_replaces_that_of_the_preset(self, loss: str) -> None:
        config = make_config(loss)
        assert config.model.head == ()
        assert config.preset_values == {"model.head": [128, 128]}
        assert config.method_settings == {"model.head": []}
        assert config.without_method_settings().model.head == (128, 128)
        assert find_overrides(config) == {}

    def test_a_head_that_the_user_sets_is_kept(self) -> None:
        config = make_config("biascon", settings=["model.head=[16]"])
        assert config.model.head == (16,)
        assert config.method_settings == {}
        assert find_overrides(config) == {"model.head": [16]}

    def test_the_same_head_from_method_and_user_is_another_run(self) -> None:
        of_method, of_user = (
            make_config("biascon"),
            make_config("biascon", settings=["model.head=[]"]),
        )
        assert of_method.model == of_user.model
        assert find_overrides(of_user) == {}

    @pytest.mark.parametrize("loss", NEEDS_HEAD)
    def test_an_empty_head_is_refused_where_the_method_needs_one(self, loss: str) -> None:
        with pytest.raises(UsageError, match=f"'{loss}' needs a projection head, .* pass --set"):
            make_config(loss, settings=["model.head=[]"])

    def test_an_empty_head_is_allowed_where_it_is_optional(self) -> None:
        config = make_config("supcon", settings=["model.head=[]"])
        assert config.model.head == ()
        assert find_overrides(config) == {"model.head": []}
        assert read_back(config) == config

    def test_the_classes_of_heads_are_those_of_the_authors(self) -> None:
        assert {"simclr", "contex", "contex-clip"} == set(NEEDS_HEAD)
        assert {"biascon", "biascon+biasbal", "softcon", "fairkl", "cnc"} == set(NO_HEAD)


class TestScale:
    def test_the_preset_cpu_is_scaled_and_the_values_of_the_preset_are_kept(
        self, scaled: None
    ) -> None:
        plain, config = make_config("ce"), make_config("lff")
        assert config.optimizer.lr == plain.optimizer.lr / 2
        assert config.train.epochs == 2 * plain.train.epochs
        assert config.train.min_steps == 2 * plain.train.min_steps
        assert config.preset_values == {
            "optimizer.lr": plain.optimizer.lr,
            "train.epochs": plain.train.epochs,
            "train.min_steps": plain.train.min_steps,
        }
        assert config.without_method_settings().train == plain.train
        assert config.without_method_settings().optimizer == plain.optimizer
        assert find_overrides(config) == {}
        restored = read_back(config)
        assert restored == config
        assert restored.method_settings == config.method_settings

    def test_settings_of_the_user_and_other_presets_are_not_scaled(self, scaled: None) -> None:
        config = make_config("lff", settings=["train.epochs=3", "optimizer.lr=0.25"])
        assert (config.train.epochs, config.train.min_steps, config.optimizer.lr) == (3, 0, 0.25)
        assert config.method_settings == {}
        assert find_overrides(config) == {
            "optimizer.lr": 0.25, "train.epochs": 3, "train.min_steps": 0
        }  # fmt: skip
        assert make_config("lff", preset="smoke").method_settings == {}

    def test_the_losses_of_a_first_stage_are_as_many_epochs_as_the_method_has(
        self, scaled: None
    ) -> None:
        for n in (1_000, 100_000):
            config = make_config("lff")
            first = first_stage_config(config)
            assert first is not None
            assert first.train.epochs_for(n) == config.train.epochs_for(n)
            assert first.optimizer.lr == make_config("ce").optimizer.lr

    def test_an_unscaled_method_has_no_settings_of_its_own(self) -> None:
        config = make_config("ce")
        assert config.preset_values == {}
        assert "preset_values" not in config.as_dict()


def test_values_by_name_replace_settings_and_nothing_else() -> None:
    config = make_config("ce")
    changed = config.with_values({"model.head": [8], "train.epochs": 9, "train.threads": 1})
    assert (changed.model.head, changed.train.epochs, changed.train.threads) == ((8,), 9, 1)
    back = changed.with_values(
        {"model.head": [128, 128], "train.epochs": config.train.epochs, "train.threads": 2}
    )
    assert back == config
    with pytest.raises(UsageError, match=r"train\.epochs to be 1 or more"):
        config.with_values({"train.epochs": 0})


class TestParametersByDataset:
    @pytest.mark.parametrize(
        ("builder", "dataset", "expected"),
        [
            ("bmnist", {"rho": 0.99}, (110.0, 0.5)),
            ("bmnist", {"rho": 0.995}, (1500.0, 0.5)),
            ("bmnist", {"rho": 0.997}, (2000.0, 0.5)),
            ("bmnist", {"rho": 0.999}, (10000.0, 0.5)),
            ("utkface", {"target": "gender"}, (1000.0, 1.0)),
            ("celeba", {"target": "Blond_Hair"}, (30000.0, 0.5)),
            ("celeba", {"target": "Heavy_Makeup"}, (20000.0, 0.5)),
        ],
    )
    def test_alpha_and_delta_of_flac_are_those_stated_for_the_dataset(
        self, builder: str, dataset: dict[str, Any], expected: tuple[float, float]
    ) -> None:
        config = resolve_parameters(make_config("flac"), builder, dataset)
        assert (config.parameters["alpha"], config.parameters["delta"]) == expected

    @pytest.mark.parametrize(
        ("builder", "dataset"),
        [
            ("bmnist", {"rho": 0.9}),
            ("bmnist", {"rho": 0.99, "foreground_rho": 0.9}),
            ("bmnist", {"rho": 0.99, "biased_classes": [0]}),
            ("celeba", {"target": "Smiling"}),
            ("made", {}),
            ("bmnist", {}),
        ],
    )
    def test_another_dataset_keeps_the_defaults_of_the_loss(
        self, builder: str, dataset: dict[str, Any]
    ) -> None:
        from biascon.losses.loss import default_parameters

        config = resolve_parameters(make_config("flac"), builder, dataset)
        assert dict(config.parameters) == default_parameters("flac")

    def test_a_value_of_the_user_is_kept_beside_one_of_the_dataset(self) -> None:
        config = make_config("flac", settings=["loss.alpha=7"])
        assert config.parameters == {"alpha": 7.0, "delta": AUTO}
        resolved = resolve_parameters(config, "utkface", {})
        assert resolved.parameters == {"alpha": 7.0, "delta": 1.0}
        assert read_back(resolved) == resolved

    def test_a_value_that_equals_the_default_gives_the_same_run(self) -> None:
        automatic = resolve_parameters(make_config("flac"), "bmnist", {"rho": 0.99})
        spelled = make_config("flac", settings=["loss.alpha=110", "loss.delta=0.5"])
        assert resolve_parameters(spelled, "bmnist", {"rho": 0.99}) == automatic
        assert spelled.digest(DATASET) == automatic.digest(DATASET)

    def test_a_method_without_such_defaults_is_not_changed(self) -> None:
        config = make_config("contex")
        assert AUTO not in config.parameters.values()
        assert resolve_parameters(config, "bmnist", {"rho": 0.99}) is config


class TestFirstStage:
    @pytest.mark.parametrize("loss", TWO_STAGE)
    def test_a_first_network_is_trained_on_plain_views_if_its_encoder_is_not_the_result(
        self, loss: str
    ) -> None:
        entry = LOSSES[loss].first_stage
        config = make_config(loss)
        first = first_stage_config(config)
        assert entry is not None
        assert first is not None
        assert first.augment == (config.augment if entry.gives == "encoder" else PLAIN)
        assert first.method_settings == {}
        assert first.first_stage == RunConfig("ce").first_stage

    @pytest.mark.parametrize("loss", TWO_STAGE)
    def test_the_user_chooses_the_views_of_the_first_network(self, loss: str) -> None:
        same, plain = (
            make_config(loss, settings=[f"first_stage.augment={choice}"])
            for choice in ("same", "plain")
        )
        first_same, first_plain = first_stage_config(same), first_stage_config(plain)
        assert first_same is not None
        assert first_plain is not None
        assert first_same.augment == same.augment
        assert first_plain.augment == PLAIN
        assert first_same.digest(DATASET) != first_plain.digest(DATASET)
        assert same.digest(DATASET) != plain.digest(DATASET)
        assert find_overrides(same) == {"first_stage.augment": "same"}
        assert read_back(same) == same

    def test_the_user_chooses_the_epochs_of_the_first_network(self) -> None:
        config = make_config("jtt", settings=["first_stage.epochs=3"])
        first, default = first_stage_config(config), first_stage_config(make_config("jtt"))
        assert first is not None
        assert default is not None
        assert (first.train.epochs, first.train.min_steps) == (3, 0)
        assert first.train.epochs_for(128) == 3
        assert default.train.epochs == make_config("jtt").parameters["first_epochs"]
        assert find_overrides(config) == {"first_stage.epochs": 3}

    def test_epochs_of_a_network_whose_losses_are_used_at_each_step_are_refused(self) -> None:
        with pytest.raises(UsageError, match=r"first_stage\.epochs .* 'lff' .* train\.epochs"):
            make_config("lff", settings=["first_stage.epochs=1"])

    @pytest.mark.parametrize("loss", ["ce", "contex", "biasbal", "gce"])
    def test_settings_of_a_first_stage_are_refused_without_one(self, loss: str) -> None:
        with pytest.raises(UsageError, match=f"would change nothing: '{loss}' has no first-stage"):
            make_config(loss, settings=["first_stage.augment=same", "first_stage.epochs=2"])

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ("first_stage.augment=some", "to be one of auto, plain, same, but got some"),
            ("first_stage.epochs=-1", "to be 0 or more, but got -1"),
            ("first_stage.epochs=half", "to be of type int"),
            ("first_stage.epoch=1", "did you mean 'epochs'"),
        ],
    )
    def test_wrong_settings_of_a_first_stage_are_refused(self, setting: str, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            make_config("jtt", settings=[setting])

    @pytest.mark.parametrize("setting", ["train.held_out=0.2", "train.record_losses=true"])
    def test_settings_that_only_a_method_sets_are_refused(self, setting: str) -> None:
        with pytest.raises(UsageError, match="unknown setting"):
            make_config("ce", settings=[setting])

    def test_afr_holds_a_fifth_of_the_training_images_out(self) -> None:
        first = first_stage_config(make_config("afr"))
        assert first is not None
        assert first.train.held_out == 0.2
        assert first.train.count_held_out(1_003) == 200
        assert first.train.epochs_for(1_000) == make_config("ce", settings=[
            "train.batch_size=128"]).train.epochs_for(800)  # fmt: skip
        assert read_back(first) == first
        assert first.digest(DATASET) != make_config("ce").digest(DATASET)


class TestPublishedRecipes:
    def test_the_old_name_of_the_gpu_preset_is_accepted_with_a_warning(self) -> None:
        with pytest.warns(BiasconWarning, match="'paper' is now 'gpu', because it is no published"):
            config = make_config("contex", preset="paper")
        assert config == make_config("contex", preset="gpu")
        assert config.preset == "gpu"

    def test_barbano_have_one_plain_view_and_no_head(self) -> None:
        config = make_config("fairkl", preset="paper-barbano")
        assert config.augment == PLAIN
        assert config.model.head == ()
        assert config.method_settings == {}
        assert (config.train.epochs, config.train.batch_size, config.optimizer.lr) == (
            80,
            256,
            1e-3,
        )

    def test_hong_have_a_plain_classifier_and_a_contrast_of_oversampled_images(self) -> None:
        config = make_config("biascon", preset="paper-hong")
        assert config.augment.plain_classifier
        assert (config.augment.views, config.augment.grayscale_p) == (2, 0.0)
        assert config.augment.crop_scale == (1.0, 1.0)
        assert config.parameters["oversample"] == 10.0
        assert config.parameters["contrast_batch"] == 64
        assert config.train.batch_size == 128
        assert config.model.head == ()
        # A loss without these parameters takes the others of the preset.
        assert "oversample" not in make_config("ce", preset="paper-hong").parameters

    def test_contex_has_the_network_and_the_views_of_its_authors(self) -> None:
        config = make_config("contex", preset="contex-paper")
        assert (config.model.encoder, config.model.head) == ("resnet50", (128, 128))
        assert config.augment.crop_scale == (0.2, 1.0)
        assert config.train.batch_size == 1024


def test_a_preset_without_a_head_can_be_compared_with_a_run_that_has_one() -> None:
    settings = ["model.head=[16]", "augment.views=2"]
    config = make_config("simclr", preset="paper-barbano", settings=settings)
    assert find_overrides(config) == {"model.head": [16], "augment.views": 2}
    evaluated = with_protocol(config, protocol="knn")
    assert (evaluated.probe.kind, evaluated.model.head) == ("knn", (16,))


@pytest.mark.parametrize("loss", ["flac@eiil", "badd@eiil"])
def test_groups_are_inferred_by_a_network_that_sees_shapes(loss: str) -> None:
    network = first_stage_config(make_config(loss))
    assert network is not None
    assert (network.loss, network.model.encoder) == ("bias-ce@eiil", "fastconvnet-1x1")
    reference = first_stage_config(network)
    assert reference is not None
    assert (reference.loss, reference.model.encoder) == ("ce", "fastconvnet")
    assert reference.train.epochs == 1


@pytest.mark.parametrize("value", ["true", "-1", "1.5"])
def test_a_contrast_batch_that_is_no_count_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match="contrast_batch to be an integer of at least 0"):
        make_config("biascon", settings=[f"loss.contrast_batch={value}"])
