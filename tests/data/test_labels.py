"""The labelled images: equally many of each class, by the seed alone."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from refusals import refused

from aeprobe.data.sampler import labelled
from aeprobe.errors import AeprobeError

LABELS = st.lists(st.integers(-1, 6), min_size=1, max_size=60).map(torch.tensor)
SEEDS = st.integers(0, 2**32 * 1000)


@given(labels=LABELS, count=st.integers(0, 60), seed=SEEDS)
def test_equally_many_of_each_class_or_one_line(labels: torch.Tensor, count: int, seed: int) -> None:
    found = refused(lambda: labelled(labels, count, seed), f"data.labels={count}: ")
    classes, sizes = labels[labels >= 0].unique(return_counts=True)
    if found is None:
        enough = len(classes) and len(classes) <= count <= len(classes) * int(sizes.min())
        assert not enough
        return
    (chosen,) = found
    assert chosen.dtype == torch.int64
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert len(chosen) == count
    kept, counts = labels[chosen].unique(return_counts=True)
    assert kept.tolist() == classes.tolist()
    assert counts.max() - counts.min() <= 1
    assert labelled(labels, count, seed).tolist() == chosen.tolist()


@given(labels=LABELS, seed=SEEDS, data=st.data())
def test_more_of_a_seed_contain_the_fewer(labels: torch.Tensor, seed: int, data: st.DataObject) -> None:
    classes, sizes = labels[labels >= 0].unique(return_counts=True)
    assume(len(classes))
    counts = st.integers(len(classes), len(classes) * int(sizes.min()))
    few, many = sorted([data.draw(counts), data.draw(counts)])
    assert {*labelled(labels, few, seed).tolist()} <= {*labelled(labels, many, seed).tolist()}


def test_the_seed_chooses_the_images_and_who_has_one_more() -> None:
    labels = torch.arange(40) % 4
    chosen = [labelled(labels, 6, seed) for seed in range(100)]
    assert len({tuple(places.tolist()) for places in chosen}) == 100
    larger = {int(label) for places in chosen for label in range(4) if (labels[places] == label).sum() == 2}
    assert larger == {0, 1, 2, 3}
    assert {*torch.cat(chosen).tolist()} == {*range(40)}  # no image is left out for good


def test_the_error_says_which_class_is_small_and_what_works() -> None:
    labels = torch.tensor([0] * 9 + [1] * 9 + [2] * 3)
    with pytest.raises(AeprobeError, match=r"^data.labels=12: class 2 has 3 training images.*; 9 or fewer"):
        labelled(labels, 12, seed=0)
    with pytest.raises(AeprobeError, match=r"^probe.labels=2: the labels have 3 classes"):
        labelled(labels, 2, seed=0, key="probe.labels")
    assert [(labels[labelled(labels, 11, seed=s)] == 2).sum().item() for s in range(9)] == [3] * 9  # has no more
