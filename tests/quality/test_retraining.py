"""A minute of clip-mini's own recipe: what it reaches by then, and no more."""

from __future__ import annotations

import json
import math

from ovperc.training.train import train

IMAGES_PER_BATCH = 64 + 8
"""Tight windows and whole scenes."""


def test_a_minute_of_training_beats_guessing(tmp_path) -> None:
    options = {"train_cfg.max_iters": 60, "default_hooks.logger.interval": 20, "default_hooks.checkpoint.interval": 60}
    train("clip_mini", work_dir=tmp_path, overrides=options)
    (scalars,) = tmp_path.glob("*/vis_data/scalars.json")
    first, *_, last = [json.loads(line) for line in scalars.read_text().splitlines()]
    # guessing which image a caption belongs to costs log(images) and is right once in so many
    assert last["loss"] < min(first["loss"], math.log(IMAGES_PER_BATCH))
    assert last["accuracy"] > 4 / IMAGES_PER_BATCH
