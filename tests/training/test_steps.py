"""The steps of an epoch: partners, batches of their own for the classifier, and what the network sees."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from biascon.config.factory import make_config
from biascon.config.run_config import RunConfig
from biascon.data.dataset import BiasedDataset, load
from biascon.errors import UsageError
from biascon.losses import LOSSES
from biascon.losses.loss import Loss, get_loss
from biascon.models.preprocess import normalize
from biascon.training import loop
from biascon.training import steps as steps_module
from biascon.training.augment import augment
from biascon.training.batches import TrainingGroups, split_held_out
from biascon.training.loss_inputs import LossInputs, dataset_groups
from biascon.training.steps import StepPlan, network_input
from biascon.utils.seeds import torch_generator
from tests.run_helpers import train_in_folder
from tests.small_datasets import write_faces

BATCH = 16


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> BiasedDataset:
    return load(write_faces(tmp_path_factory.mktemp("steps") / "faces"))


def make(loss: str, *settings: str) -> RunConfig:
    # The network stays as it is, so that its outputs reveal the images at every step.
    sets = [f"train.batch_size={BATCH}", "train.epochs=1", "optimizer.lr=1e-30", *settings]
    return make_config(loss, preset="smoke", settings=sets)


def make_plan(
    config: RunConfig, data: BiasedDataset, groups: TrainingGroups | None = None
) -> StepPlan:
    split = data.splits["train"]
    return StepPlan.make(config, LOSSES[config.loss], split, groups or dataset_groups(data))


class TestPlan:
    def test_a_last_batch_that_is_not_full_is_left_out(self, data: BiasedDataset) -> None:
        plan = make_plan(make("ce"), data)
        steps = plan.epoch(0)
        assert len(steps) == plan.steps == 120 // BATCH
        assert all(len(step.rows) == BATCH and step.second is None for step in steps)
        assert len(set(torch.cat([step.rows for step in steps]).tolist())) == plan.steps * BATCH

    def test_images_that_are_held_out_are_in_no_step(self, data: BiasedDataset) -> None:
        config = make("ce")
        train = dataclasses.replace(config.train, held_out=0.2)
        plan = make_plan(dataclasses.replace(config, train=train), data)
        kept, held_out = split_held_out(120, 24, config.seed)
        assert plan.steps == 96 // BATCH
        for epoch in range(4):
            rows = torch.cat([step.rows for step in plan.epoch(epoch)]).tolist()
            assert sorted(rows) == kept.tolist()
            assert not set(rows) & set(held_out.tolist())

    @pytest.mark.parametrize("loss", ["groupdro", "resample", "subg"])
    def test_the_draws_of_a_method_are_balanced_over_the_groups(
        self, loss: str, data: BiasedDataset
    ) -> None:
        plan = make_plan(make(loss), data)
        rows = torch.cat([step.rows for epoch in range(40) for step in plan.epoch(epoch)]).numpy()
        shares = plan.groups.take(rows).counts() / len(rows)
        natural = plan.groups.counts() / 120
        assert natural.min() < 0.15  # the groups have other sizes
        np.testing.assert_allclose(shares, 0.25, atol=0.05)

    def test_groups_of_a_first_stage_replace_the_bias_values(self, data: BiasedDataset) -> None:
        split = data.splits["train"]
        inferred = np.zeros(120, np.int64)
        inferred[:12] = 1
        groups = TrainingGroups(split.labels, inferred, 2, 2)
        plan = make_plan(make("cnc"), data, groups)
        rows = torch.cat([step.rows for epoch in range(40) for step in plan.epoch(epoch)])
        assert (rows < 12).double().mean() == pytest.approx(0.5, abs=0.05)


class TestPartners:
    def test_partners_of_lisa_share_the_label_or_the_bias_value(self, data: BiasedDataset) -> None:
        plan = make_plan(make("lisa"), data)
        split, same_label = data.splits["train"], 0
        for step in plan.epoch(0):
            assert step.second is not None
            assert step.mix is not None
            labels, bias = (
                values[step.rows] == values[step.second] for values in (split.labels, split.bias)
            )
            assert (labels != bias).all()  # every group has partners of both kinds
            same_label += int(labels.sum())
            assert ((step.mix >= 0) & (step.mix <= 1)).all()
            assert torch.equal(step.all_rows, torch.cat((step.rows, step.second)))
        assert 0.3 < same_label / (plan.steps * BATCH) < 0.7

    def test_partners_of_lc_are_images_of_the_label_that_are_misclassified(
        self, data: BiasedDataset
    ) -> None:
        split = data.splits["train"]
        predictions = np.where(np.arange(120) % 10 == 0, 1 - split.labels, split.labels)
        plan = make_plan(make("lc"), data, TrainingGroups(split.labels, predictions, 2, 2))
        for step in plan.epoch(0):
            assert step.second is not None
            assert step.mix is not None
            partners = step.second.numpy()
            assert (split.labels[partners] == split.labels[step.rows.numpy()]).all()
            assert (partners % 10 == 0).all()
            assert (step.mix <= 0.5).all()  # with alpha = 0.5

    @pytest.mark.parametrize("loss", ["lisa", "lc"])
    def test_the_steps_follow_from_seed_and_epoch(self, loss: str, data: BiasedDataset) -> None:
        def flat(seed: int, epoch: int) -> list[Any]:
            plan = make_plan(dataclasses.replace(make(loss), seed=seed), data)
            return [
                [part.tolist() for part in (step.rows, step.second, step.mix) if part is not None]
                for step in plan.epoch(epoch)
            ]

        assert flat(0, 0) == flat(0, 0)
        assert flat(0, 0) != flat(0, 1)
        assert flat(0, 0) != flat(1, 0)

    @pytest.mark.parametrize("views", [1, 2])
    def test_the_network_sees_the_mixture_of_image_and_partner(
        self, views: int, data: BiasedDataset
    ) -> None:
        config = make(
            "lisa", f"augment.views={views}", "augment.rotation=0", "augment.jitter_p=0",
            "augment.grayscale_p=0",
        )  # fmt: skip
        step = make_plan(config, data).epoch(0)[0]
        images = torch.from_numpy(data.splits["train"].images)[step.all_rows]
        seen = network_input(images, step, config, LOSSES["lisa"], torch_generator(0, "x"))
        assert (len(seen.x), seen.views, seen.classifier_views) == (BATCH * views, views, 0)
        assert step.mix is not None
        pixels = normalize(images).double()
        for i in range(BATCH):
            mix = float(step.mix[i])
            expected = mix * pixels[i] + (1 - mix) * pixels[BATCH + i]
            for view in range(views):
                got = seen.x[i * views + view].double()
                torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


TWO_BATCHES = ("augment.plain_classifier=true", "loss.oversample=10", "loss.contrast_batch=8")


class TestTwoBatches:
    def test_the_classifier_has_images_in_natural_order_and_the_contrast_its_own(
        self, data: BiasedDataset
    ) -> None:
        natural = make_plan(make("biascon"), data)
        plan = make_plan(make("biascon", *TWO_BATCHES), data)
        assert plan.steps == natural.steps
        for step, of_natural in zip(plan.epoch(0), natural.epoch(0), strict=True):
            assert step.second is not None
            assert torch.equal(step.second, of_natural.rows)
            assert len(step.rows) == 8
        rows = torch.cat([step.rows for epoch in range(40) for step in plan.epoch(epoch)]).numpy()
        aligned = data.splits["train"].aligned
        n_conflicting = int((~aligned).sum())
        share = 10 * n_conflicting / (10 * n_conflicting + aligned.sum())
        assert (~aligned[rows]).mean() == pytest.approx(
            share, abs=5 * (share * (1 - share) / len(rows)) ** 0.5
        )

    def test_without_oversampling_both_have_the_same_images(self, data: BiasedDataset) -> None:
        plan = make_plan(make("biascon", "augment.plain_classifier=true"), data)
        for step in plan.epoch(0):
            assert step.second is not None
            assert torch.equal(step.rows, step.second)

    def test_the_default_is_one_batch(self, data: BiasedDataset) -> None:
        assert all(step.second is None for step in make_plan(make("biascon"), data).epoch(0))

    def test_oversampling_without_an_alignment_is_refused(
        self, data: BiasedDataset, tmp_path: Path
    ) -> None:
        from biascon.data.bias_views import view_by_attributes

        by_age = view_by_attributes(data, ["age"])
        with pytest.raises(UsageError, match=r"does not define which .* loss\.oversample=1"):
            train_in_folder(make("biascon", "loss.oversample=10"), by_age, tmp_path)

    def test_the_loss_gets_the_logits_of_plain_images_and_the_contrast_of_its_own_batch(
        self, data: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls = run_spied(make("biascon", *TWO_BATCHES), data, tmp_path, monkeypatch)
        split = data.splits["train"]
        steps = make_plan(make("biascon", *TWO_BATCHES), data).epoch(0)
        plain = Reveal.value(normalize(torch.from_numpy(split.images)))
        assert len(calls) == len(steps)
        for call, step in zip(calls, steps, strict=True):
            assert step.second is not None
            assert torch.equal(call["labels"], torch.from_numpy(split.labels[step.rows]))
            assert torch.equal(call["bias"], torch.from_numpy(split.bias[step.rows]))
            assert torch.equal(call["logit_labels"], torch.from_numpy(split.labels[step.second]))
            assert call["z"].shape[:2] == (8, 2)
            assert call["logits"].shape[:2] == (BATCH, 1)
            torch.testing.assert_close(call["logits"][:, 0, 0], plain[step.second])
            angle = torch.atan2(call["z"][..., 1], call["z"][..., 0])
            views = Reveal.value(torch.stack([call["views"][i] for i in range(16)])).view(8, 2)
            torch.testing.assert_close(angle, views, rtol=1e-4, atol=1e-5)
            # An augmented view is another image than the plain one.
            assert not torch.allclose(angle[:, 0], plain[step.rows], atol=1e-4)

    def test_the_prior_of_biasbal_is_that_of_the_images_of_the_classifier(
        self, data: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = make("biascon+biasbal", *TWO_BATCHES)
        calls = run_spied(config, data, tmp_path, monkeypatch)
        split = data.splits["train"]
        for call, step in zip(calls, make_plan(config, data).epoch(0), strict=True):
            assert step.second is not None
            assert torch.equal(call["logit_bias"], torch.from_numpy(split.bias[step.second]))

    @pytest.mark.parametrize("micro_batch", [3, 5])
    def test_micro_batches_give_the_same_outputs(
        self,
        micro_batch: int,
        data: BiasedDataset,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        whole, parts = (
            run_spied(
                make("biascon", *TWO_BATCHES, f"train.micro_batch={n}"),
                data, tmp_path / str(n), monkeypatch,
            )
            for n in (0, micro_batch)
        )  # fmt: skip
        for one, other in zip(whole, parts, strict=True):
            for name in ("z", "logits", "labels", "logit_labels"):
                torch.testing.assert_close(one[name], other[name])


class TestPlainClassifier:
    @pytest.mark.parametrize("loss", ["ce", "lisa"])
    def test_a_classifier_alone_sees_one_plain_view(self, loss: str, data: BiasedDataset) -> None:
        config = make(loss, "augment.plain_classifier=true")
        step = make_plan(config, data).epoch(0)[0]
        step = dataclasses.replace(step, mix=None if step.mix is None else torch.ones(BATCH))
        images = torch.from_numpy(data.splits["train"].images)[step.all_rows]
        seen = network_input(images, step, config, LOSSES[loss], torch_generator(0, "x"))
        assert seen.views == 1
        torch.testing.assert_close(seen.x, normalize(images[:BATCH]))

    def test_a_contrastive_loss_keeps_its_views(self, data: BiasedDataset) -> None:
        config = make("supcon", "augment.plain_classifier=true")
        step = make_plan(config, data).epoch(0)[0]
        images = torch.from_numpy(data.splits["train"].images)[step.rows]
        seen = network_input(images, step, config, LOSSES["supcon"], torch_generator(0, "x"))
        expected = augment(images, config.augment, torch_generator(0, "x"), 2)
        assert seen.views == 2
        assert torch.equal(seen.x, expected)


@pytest.mark.parametrize("micro_batch", [0, 5])
def test_bias_features_are_added_to_every_view_of_their_image(
    micro_batch: int, data: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make("badd", f"train.micro_batch={micro_batch}")
    added = torch.arange(120.0)[:, None] * torch.tensor([[100.0, 0.0]])
    calls = run_spied(config, data, tmp_path, monkeypatch, LossInputs(added_features=added))
    for call, step in zip(calls, make_plan(config, data).epoch(0), strict=True):
        assert call["z"].shape == (BATCH, 2, 2)
        index = (call["z"][..., 0] / 100).round()
        assert torch.equal(index, step.rows[:, None].expand(-1, 2).to(index.dtype))


class Reveal(nn.Module):
    """A network whose outputs reveal which image it sees: an angle in ``z``, a number in ``logits``."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 1))

    @staticmethod
    def value(images: Tensor) -> Tensor:
        """Return a number in (-1, 1) that depends on every pixel."""
        weights = torch.sin(torch.arange(images[0].numel(), dtype=torch.float64))
        return torch.tanh(images.double().reshape(len(images), -1) @ weights / 100).float()

    def forward(self, images: Tensor, added: Tensor | None = None) -> dict[str, Tensor]:
        value = self.value(images) * self.scale[0, 0]
        z = torch.stack((torch.cos(value), torch.sin(value)), dim=1)
        features = torch.stack((value, 1 - value), dim=1)
        logits = features if added is None else features + added
        return {"features": features, "z": F.normalize(z, dim=1), "logits": logits}


class SpyLoss:
    """A loss that records the inputs of every call."""

    def __init__(self, loss: Loss, record: Callable[[dict[str, Tensor]], None]) -> None:
        self.loss, self.record = loss, record

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loss, name)

    def __call__(self, z: Tensor, labels: Tensor, bias: Tensor, **inputs: Tensor) -> Tensor:
        given = {"z": z, "labels": labels, "bias": bias, **inputs}
        self.record({name: value.detach().clone() for name, value in given.items()})
        return self.loss(z, labels, bias, **inputs)


def run_spied(
    config: RunConfig,
    data: BiasedDataset,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    loss_inputs: LossInputs | None = None,
) -> list[dict[str, Tensor]]:
    """Train with the network ``Reveal``; return the inputs of the loss and the views of every step."""
    calls: list[dict[str, Tensor]] = []
    views: list[Tensor] = []

    def spied_augment(*arguments: Any) -> Tensor:
        views.append(augment(*arguments).clone())
        return views[-1]

    def spied_loss(name: str, **free: Any) -> Any:
        return SpyLoss(
            get_loss(name, **free), lambda call: calls.append({**call, "views": views[-1]})
        )

    folder.mkdir(exist_ok=True)
    monkeypatch.setattr(loop, "build_model", lambda *_: Reveal())
    monkeypatch.setattr(loop, "get_loss", spied_loss)
    monkeypatch.setattr(steps_module, "augment", spied_augment)
    train_in_folder(config, data, folder, loss_inputs=loss_inputs)
    return calls
