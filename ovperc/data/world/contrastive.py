"""Training batches for image-text contrast: tight object crops, and full scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ovperc.data.world.captions import Caption, View, caption_words, describe, look_at, openai_templates, truth_table
from ovperc.data.world.scene import Scene, SceneStyle, make_scene
from ovperc.data.world.vocabulary import COLOURS, PATTERNS
from ovperc.registry import DATASETS, FUNCTIONS

CropBox = tuple[int, int, int, int]


class CompactTokenizer:
    """CLIP's tokenizer with the tokens of the world's captions renumbered 0, 1, 2, ...

    Attributes:
        ids: ``(V,)`` int64, sorted token numbers of CLIP's vocabulary; position = compact number.
            The end token comes last, so that it is still the largest number of a prompt.
    """

    def __init__(self, context_length: int = 77) -> None:
        from open_clip.tokenizer import SimpleTokenizer

        self._bpe = SimpleTokenizer()
        self._start, self._end = self._bpe.sot_token_id, self._bpe.eot_token_id
        self.context_length = context_length
        words = " ".join(caption_words()).replace("{}", " ").split()
        used = {token for word in words for token in self._bpe.encode(word)}
        self.ids = torch.tensor(sorted(used | {self._start, self._end}))
        self._compact = {int(token): index for index, token in enumerate(self.ids)}
        self._words: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """``(Q, L)`` int64 compact tokens, padded with 0 to the longest text."""
        rows = [self._encode(text) for text in texts]
        table = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
        for index, row in enumerate(rows):
            table[index, : len(row)] = torch.tensor(row)
        return table

    def _encode(self, text: str) -> list[int]:
        tokens = [self._compact[self._start]]
        for word in text.split():
            if word not in self._words:
                self._words[word] = [self._compact[token] for token in self._bpe.encode(word)]
            tokens += self._words[word]
        return [*tokens[: self.context_length - 1], self._compact[self._end]]


@dataclass(frozen=True)
class ContrastiveBatch:
    """Images and captions of one training step.

    Attributes:
        images: groups of ``(n_g, 3, S_g, S_g)`` uint8 RGB, one group per image size.
        texts: the captions.
        tokens: ``(Q, L)`` int64 compact tokens of ``texts``.
        owners: ``(Q,)`` int64, image of each caption, counted through the groups.
        true: ``(Q, B)`` bool, which captions are true of which images.
    """

    images: tuple[Tensor, ...]
    texts: tuple[str, ...]
    tokens: Tensor
    owners: Tensor
    true: Tensor


@dataclass(frozen=True)
class Stage:
    """Composition of batches from a step on.

    Attributes:
        begin: first step of the stage.
        crops: tight object crops per batch.
        grounds: crops without objects per batch, mostly grey, so that textures are learned.
        scenes: full scenes per batch.
        scene_every: interval of batches with full scenes; words are learned faster from crops.
        grey_share: fraction of grey images.
        grey_ground: fraction of grey material regions.
        grey_contrast: standard deviations of greys, as in `SceneStyle`.
        few_looks: fraction of batches whose objects have one of two colours and, half of the time, one of two
            patterns, so that shapes distinguish images.
    """

    begin: int = 0
    crops: int = 64
    grounds: int = 0
    scenes: int = 12
    scene_every: int = 1
    grey_share: float = 0.12
    grey_ground: float = 0.0
    grey_contrast: tuple[float, float] | None = None
    few_looks: float = 0.0


@DATASETS.register_module()
class WorldCaptions(Dataset):
    """Training batches; item ``i`` depends on the seed, the stages and ``i`` only.

    Args:
        length: number of steps of the training run.
        seed: decides everything.
        stages: settings of `Stage`, by rising ``begin``; left out, one stage of the defaults.
        captions: captions per image.
        crop_px: side of a crop after resizing.
        style: changes of the default `SceneStyle`.
    """

    def __init__(
        self,
        length: int,
        seed: int = 0,
        stages: Sequence[dict[str, Any]] = (),
        captions: int = 2,
        crop_px: int = 48,
        style: dict[str, Any] | None = None,
    ) -> None:
        self.length = length
        self.seed = seed
        self.stages = tuple(Stage(**stage) for stage in stages) or (Stage(),)
        begins = [stage.begin for stage in self.stages]
        if begins[0] != 0 or begins != sorted(set(begins)):
            raise ValueError(f"stages must begin at step 0 and then at rising steps; got {begins}")
        self.captions = captions
        self.crop_px = crop_px
        self.style = replace(SceneStyle(), **(style or {}))
        self.tokenizer = CompactTokenizer()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> ContrastiveBatch:
        rng = np.random.default_rng((self.seed, index, 1))
        stage = [stage for stage in self.stages if stage.begin <= index][-1]
        style = self._style(rng, stage)
        crops, views = self._crops(rng, (index, 3), stage.crops, style)
        if stage.grounds:
            bare = replace(style, objects=(0, 0), materials=(1, 2), grey_share=0.6)
            more, seen = self._crops(rng, (index, 4), stage.grounds, bare)
            crops, views = crops + more, views + seen
        groups = [crops]
        if index % stage.scene_every == 0:
            scenes = [make_scene((self.seed, index, 2, number), style) for number in range(stage.scenes)]
            groups.append([scene.image for scene in scenes])
            views = views + [look_at(scene) for scene in scenes]
        said = [describe(view, rng, openai_templates()) for view in views for _ in range(self.captions)]
        return self._batch(groups, views, said)

    def _style(self, rng: np.random.Generator, stage: Stage) -> SceneStyle:
        looks = self.style.combinations
        if stage.few_looks and rng.random() < stage.few_looks:
            colours = rng.choice(len(COLOURS), 2, replace=False)
            patterns = rng.choice(len(PATTERNS), 2 if rng.random() < 0.5 else len(PATTERNS), replace=False)
            looks = tuple(look for look in looks if look.colour in colours and look.pattern in patterns) or looks
        return replace(
            self.style,
            combinations=looks,
            grey_share=stage.grey_share,
            grey_ground=stage.grey_ground,
            grey_contrast=stage.grey_contrast,
        )

    def _crops(
        self, rng: np.random.Generator, stream: tuple[int, int], count: int, style: SceneStyle
    ) -> tuple[list[np.ndarray], list[View]]:
        crops: list[np.ndarray] = []
        views: list[View] = []
        number = 0
        while len(crops) < count:
            scene = make_scene((self.seed, *stream, number), style)
            number += 1
            for crop in pick_crops(scene, rng)[: count - len(crops)]:
                crops.append(_crop(scene.image, crop, self.crop_px))
                views.append(look_at(scene, crop))
        return crops, views

    def _batch(self, groups: list[list[np.ndarray]], views: list[View], said: list[Caption]) -> ContrastiveBatch:
        images = tuple(torch.from_numpy(np.stack(group)).permute(0, 3, 1, 2).contiguous() for group in groups)
        texts = tuple(caption.text for caption in said)
        return ContrastiveBatch(
            images,
            texts,
            self.tokenizer(texts),
            torch.arange(len(views)).repeat_interleave(self.captions),
            torch.from_numpy(truth_table(said, views)),
        )


def pick_crops(scene: Scene, rng: np.random.Generator, most: int = 3) -> list[CropBox]:
    """Square crops ``(x0, y0, x1, y1)``: tight round up to ``most`` objects, and now and then anywhere."""
    size = len(scene.image)
    seen = [item for item in scene.objects if item.area_px >= 80 * (size / 112) ** 2]
    rng.shuffle(seen)
    crops = []
    for item in seen[:most]:
        x0, y0, x1, y1 = item.box
        side = max(x1 - x0, y1 - y0) * rng.uniform(1.05, 1.75)
        centre = (x0 + x1) / 2, (y0 + y1) / 2
        crops.append(_square(centre, side, 0.12, size, rng))
    if not crops or rng.random() < 0.25:
        place = rng.uniform(0, size, 2).tolist()
        crops.append(_square((place[0], place[1]), size * rng.uniform(0.25, 0.8), 0.0, size, rng))
    return crops


def _square(centre: tuple[float, float], side: float, jitter: float, size: int, rng: np.random.Generator) -> CropBox:
    side = int(np.clip(side, 0.2 * size, size))
    x, y = (round(c - side / 2 + side * rng.uniform(-jitter, jitter)) for c in centre)
    x, y = min(max(x, 0), size - side), min(max(y, 0), size - side)
    return x, y, x + side, y + side


def _crop(image: np.ndarray, crop: CropBox, size_px: int) -> np.ndarray:
    x0, y0, x1, y1 = crop
    interpolation = cv2.INTER_AREA if x1 - x0 > size_px else cv2.INTER_CUBIC
    return cv2.resize(image[y0:y1, x0:x1], (size_px, size_px), interpolation=interpolation)


@FUNCTIONS.register_module()
def only_item(items: list[ContrastiveBatch]) -> ContrastiveBatch:
    """Collate function of a loader whose dataset makes whole batches."""
    (item,) = items
    return item
