"""Which training images an epoch draws: natural order, groups, subsamples, oversampling, held-out images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from biascon.training.batches import (
    TrainingGroups,
    epoch_order,
    oversampled_order,
    split_held_out,
)

SIZES = {(0, 0): 40, (0, 1): 3, (1, 0): 7, (1, 1): 50, (2, 1): 20}  # the cell (2, 0) has no image
N = sum(SIZES.values())


@pytest.fixture
def groups() -> TrainingGroups:
    """Return groups of other sizes, in mixed order."""
    pairs = np.array([pair for pair, size in SIZES.items() for _ in range(size)])
    pairs = pairs[np.random.default_rng(0).permutation(len(pairs))]
    return TrainingGroups(pairs[:, 0], pairs[:, 1], 3, 2)


def cell_counts(groups: TrainingGroups, rows: np.ndarray) -> np.ndarray:
    """Return how often each (label, bias) cell occurs among the rows."""
    return groups.take(rows).counts()


class TestNaturalOrder:
    def test_every_image_is_drawn_once_an_epoch(self, groups: TrainingGroups) -> None:
        rows = epoch_order(groups, 0, 2).numpy()
        assert np.array_equal(np.sort(rows), np.arange(N))
        assert not torch.equal(epoch_order(groups, 0, 2), epoch_order(groups, 0, 3))
        assert not torch.equal(epoch_order(groups, 0, 2), epoch_order(groups, 1, 2))


class TestGroups:
    def test_every_group_has_the_same_share_of_the_draws(self, groups: TrainingGroups) -> None:
        drawn, epochs = np.zeros((3, 2), np.int64), 60
        for epoch in range(epochs):
            rows = epoch_order(groups, 0, epoch, "groups").numpy()
            assert len(rows) == N
            drawn += cell_counts(groups, rows)
        assert ((drawn > 0) == (groups.counts() > 0)).all()
        each = epochs * N / len(SIZES)
        assert np.abs(drawn[drawn > 0] / each - 1).max() < 5 / each**0.5  # five standard deviations

    def test_images_of_one_group_are_drawn_equally_often(self, groups: TrainingGroups) -> None:
        times = np.zeros(N, np.int64)
        for epoch in range(100):
            np.add.at(times, epoch_order(groups, 3, epoch, "groups").numpy(), 1)
        members = (groups.labels == 1) & (groups.bias == 0)
        each = 100 * N / len(SIZES) / 7
        assert np.abs(times[members] / each - 1).max() < 5 / each**0.5

    def test_the_draws_follow_from_seed_and_epoch(self, groups: TrainingGroups) -> None:
        first = epoch_order(groups, 0, 0, "groups")
        assert torch.equal(first, epoch_order(groups, 0, 0, "groups"))
        assert not torch.equal(first, epoch_order(groups, 0, 1, "groups"))
        assert not torch.equal(first, epoch_order(groups, 1, 0, "groups"))


class TestSubsampledGroups:
    SMALLEST = min(SIZES.values())
    SUBSAMPLE = SMALLEST * len(SIZES)  # images of one subsample

    def test_a_subsample_has_equally_many_distinct_images_of_every_group(
        self, groups: TrainingGroups
    ) -> None:
        rows = epoch_order(groups, 0, 0, "subsampled groups").numpy()
        assert len(rows) == N
        for start in range(0, N - self.SUBSAMPLE + 1, self.SUBSAMPLE):
            part = rows[start : start + self.SUBSAMPLE]
            assert len(set(part)) == self.SUBSAMPLE
            expected = self.SMALLEST * (groups.counts() > 0)
            assert np.array_equal(cell_counts(groups, part), expected)

    def test_every_subsample_is_drawn_anew_and_uniformly(self, groups: TrainingGroups) -> None:
        subsamples, times, epochs = set(), np.zeros(N, np.int64), 40
        for epoch in range(epochs):
            rows = epoch_order(groups, 0, epoch, "subsampled groups").numpy()
            for start in range(0, N - self.SUBSAMPLE + 1, self.SUBSAMPLE):
                part = rows[start : start + self.SUBSAMPLE]
                subsamples.add(tuple(sorted(part.tolist())))
                times[part] += 1
        n = epochs * (N // self.SUBSAMPLE)
        assert len(subsamples) == n
        for (label, bias), size in SIZES.items():
            members = times[(groups.labels == label) & (groups.bias == bias)]
            each = n * self.SMALLEST / size
            assert np.abs(members / each - 1).max() < 5 / each**0.5  # five standard deviations

    def test_a_subsample_is_in_random_order(self, groups: TrainingGroups) -> None:
        rows = epoch_order(groups, 0, 0, "subsampled groups").numpy()[: self.SUBSAMPLE]
        labels = groups.labels[rows]
        assert not (np.diff(labels) >= 0).all()

    def test_the_subsamples_follow_from_seed_and_epoch(self, groups: TrainingGroups) -> None:
        first = epoch_order(groups, 0, 0, "subsampled groups")
        assert first.dtype == torch.int64
        assert torch.equal(first, epoch_order(groups, 0, 0, "subsampled groups"))
        assert not torch.equal(first, epoch_order(groups, 1, 0, "subsampled groups"))

    def test_equal_groups_are_all_drawn(self) -> None:
        labels, bias = np.arange(12) % 2, np.arange(12) // 2 % 2
        groups = TrainingGroups(labels, bias, 2, 2)
        rows = epoch_order(groups, 0, 0, "subsampled groups").numpy()
        assert np.array_equal(np.sort(rows), np.arange(12))


class TestOversampling:
    @pytest.mark.parametrize("oversample", [1.0, 4.0, 10.0])
    def test_conflicting_images_are_drawn_more_often_by_the_factor(self, oversample: float) -> None:
        aligned = np.arange(200) % 20 != 0
        n = 40_000
        rows = oversampled_order(aligned, oversample, n, 0, 0).numpy()
        share = 10 * oversample / (10 * oversample + 190)
        assert (~aligned[rows]).mean() == pytest.approx(
            share, abs=5 * (share * (1 - share) / n) ** 0.5
        )
        times = np.bincount(rows, minlength=200)
        each = n / (10 * oversample + 190)
        assert np.abs(times[aligned] / each - 1).max() < 5 / each**0.5

    def test_the_draws_follow_from_seed_and_epoch(self) -> None:
        aligned = np.arange(50) % 5 != 0
        first = oversampled_order(aligned, 10, 64, 0, 0)
        assert torch.equal(first, oversampled_order(aligned, 10, 64, 0, 0))
        assert not torch.equal(first, oversampled_order(aligned, 10, 64, 0, 1))
        assert not torch.equal(first, oversampled_order(aligned, 10, 64, 1, 0))


class TestHeldOutImages:
    def test_kept_and_held_out_images_are_all_images_and_disjoint(self) -> None:
        kept, held_out = split_held_out(101, 20, 0)
        assert (len(kept), len(held_out)) == (81, 20)
        assert np.array_equal(np.sort(np.concatenate((kept, held_out))), np.arange(101))
        assert (np.diff(kept) > 0).all()
        assert (np.diff(held_out) > 0).all()

    def test_the_split_follows_from_the_seed(self) -> None:
        first, again, other = (split_held_out(101, 20, seed)[1] for seed in (0, 0, 1))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)

    def test_without_held_out_images_all_are_kept(self) -> None:
        kept, held_out = split_held_out(9, 0, 0)
        assert np.array_equal(kept, np.arange(9))
        assert len(held_out) == 0


def test_some_of_the_images_keep_their_groups(groups: TrainingGroups) -> None:
    rows = np.array([5, 0, 5])
    some = groups.take(rows)
    assert np.array_equal(some.labels, groups.labels[rows])
    assert np.array_equal(some.bias, groups.bias[rows])
    assert some.counts().sum() == 3
    assert some.counts().shape == (3, 2)
