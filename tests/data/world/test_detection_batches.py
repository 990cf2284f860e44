"""Training batches for detectors: what is in them, and what never is."""

from __future__ import annotations

import torch

from ovperc.data.detection.batch import IGNORE
from ovperc.data.world.detection_batches import WorldDetectionBatches, phrases, world_phrases
from ovperc.data.world.holdout import EVERYTHING, HOLD_OUT


def test_vocabularies_hold_every_base_look_and_no_held_out_pair() -> None:
    words = world_phrases()
    for look in EVERYTHING:
        pattern_colour, colour_shape, *alone = phrases(look)
        assert (pattern_colour in words[0]) != HOLD_OUT.novel_pattern_colour(look)
        assert (colour_shape in words[1]) != HOLD_OUT.novel_colour_shape(look)
        assert all(word in column for word, column in zip(alone, words[2:], strict=True))


def test_labels_name_the_objects_and_masks_fill_their_boxes() -> None:
    data = WorldDetectionBatches(3, seed=0, scenes=4)
    batch = data[1]
    words = world_phrases()
    for number in range(4):
        scene = data.split.scene(4 + number)
        seen = [item for item in scene.objects if item.area_px >= 24]
        named = [tuple(words[v][label] for v, label in enumerate(row)) for row in batch.labels[number].tolist()]
        assert named == [phrases(item.attributes) for item in seen]
        for box, mask in zip(batch.boxes[number].int().tolist(), batch.masks[number], strict=True):
            ys, xs = torch.nonzero(mask, as_tuple=True)
            assert box == [int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1]
    assert torch.equal(data[1].images, batch.images) and not torch.equal(data[2].images, batch.images)


def test_pictures_in_grey_say_nothing_of_colour() -> None:
    batch = WorldDetectionBatches(1, scenes=6, style={"grey_share": 1.0})[0]
    labels = torch.cat(batch.labels)
    assert (labels[:, :3] == IGNORE).all() and (labels[:, 3:] >= 0).all()
    assert torch.equal(batch.images[:, 0], batch.images[:, 1])
