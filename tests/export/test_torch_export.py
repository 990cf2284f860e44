"""The torch.export program of one size against the eager segmenter, through its folder."""

from __future__ import annotations

import numpy as np

from benchmarks.foundation import random_image
from helpers.tiny_exports import tiny_predictor
from ovperc.export.folder import ExportPlan, export_folder
from ovperc.runtime import segmenter as runtime


def test_a_program_in_a_folder_answers_any_words_and_batch(tmp_path) -> None:
    predictor = tiny_predictor("sclip")
    card = export_folder(predictor, "", "", ExportPlan(size_hw=(60, 90), kind="torch"), tmp_path / "out")
    assert {"model.pt2", "text.pt2"} <= set(card.files)
    model = runtime.load(tmp_path / "out")
    images = [random_image((60, 90), seed) for seed in range(3)]
    for words, background in (("grass", None), ("red star|ruby, grass, brick, sky", 0.2)):
        answers = model.predict_batch(images, words, background)
        for image, ours in zip(images, answers, strict=True):
            theirs = predictor.predict(image, words, background)
            assert (ours.labels == theirs.labels).mean() >= 0.999
            assert np.abs(ours.confidence - theirs.confidence).max() < 1e-4
