"""Captioned crops of the world, to be tiled into mosaics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ovperc.data.region_text import RegionTextBatch
from ovperc.data.world.captions import Caption, View, truth_table
from ovperc.data.world.contrastive import WorldCaptions
from ovperc.data.world.holdout import HOLD_OUT
from ovperc.data.world.scene import SceneStyle
from ovperc.data.world.vocabulary import COLOUR_RGB, COLOURS, PATTERNS, Attributes
from ovperc.registry import DATASETS

ANY_COLOUR = (1 << len(COLOURS)) - 1
PALETTE = np.array([COLOUR_RGB[name] for name in COLOURS], np.float32)
_PARTIAL = frozenset(colour for _, colour in HOLD_OUT.pattern_colour)
"""Colours of which training shows some patterns only."""
_GREYS = tuple(COLOURS.index(name) for name in ("white", "black"))
_MARGIN = 1.3
"""How many times nearer a mixed colour has to be to one that is allowed; light changes colours a little."""


@dataclass(frozen=True)
class WorldTruth:
    """What captions claim and what images show."""

    captions: tuple[Caption, ...]
    views: tuple[View, ...]

    def table(self) -> Tensor:
        """``(B, B)`` bool, caption by image."""
        return torch.from_numpy(truth_table(self.captions, self.views))

    def join(self, others: Sequence[WorldTruth]) -> WorldTruth:
        """The truth of several batches laid end to end."""
        every = (self, *others)
        return WorldTruth(
            tuple(caption for truth in every for caption in truth.captions),
            tuple(view for truth in every for view in truth.views),
        )


def look_of(code: int) -> Attributes:
    """The look behind `object_code` of a picture with colour."""
    bits = [bit for bit in range(code.bit_length()) if code >> bit & 1]
    return Attributes(bits[0], bits[1] - len(COLOURS), bits[2] - len(COLOURS) - len(PATTERNS))


def even_looks(looks: Sequence[Attributes]) -> tuple[Attributes, ...]:
    """Looks of which colour says nothing about the pattern: colours that miss a pattern are kept plain."""
    return tuple(look for look in looks if look.pattern == 0 or look.colour not in _PARTIAL)


def recolour(picture: np.ndarray, looks: Sequence[Attributes], rng: np.random.Generator) -> np.ndarray | None:
    """The picture in other colours, for which there are no words; ``None`` where no mixture was found.

    Channels are mixed at random. A mixture is refused that would bring a patterned object near a colour of which
    training shows some patterns only, or any object near a colour that its shape is held out with: no picture shows
    what a held-out pair is called.

    Args:
        picture: ``(S, S, 3)`` uint8.
        looks: all objects of which anything can be seen.
        rng: draws the mixture.
    """
    for _ in range(12):
        mixing = rng.dirichlet((0.6, 0.6, 0.6), 3).astype(np.float32)
        gain, offset = rng.uniform(0.7, 1.3, 3).astype(np.float32), rng.uniform(-40, 40, 3).astype(np.float32)
        flip = np.float32(-1.0 if rng.random() < 0.25 else 1.0)
        shift = offset + (0.0 if flip > 0 else 255.0)
        if all(
            _allowed(look, np.clip(flip * gain * (mixing @ PALETTE[look.colour]) + shift, 0, 255)) for look in looks
        ):
            mixed = flip * gain * (picture.astype(np.float32) @ mixing.T) + shift
            return np.clip(mixed, 0, 255).astype(np.uint8)
    return None


def _allowed(look: Attributes, colour: np.ndarray) -> bool:
    """Whether a colour is clearly nearer to one that the look may have than to any it may not, in RGB and in hue."""
    refused = np.array([_is_refused(Attributes(k, look.pattern, look.shape)) for k in range(len(COLOURS))])
    far = np.sqrt(np.square(PALETTE - colour).sum(axis=1))
    if colour.max() - colour.min() < 0.2 * colour.max():
        return bool(_MARGIN * far[~refused].min() < far[refused].min(initial=np.inf))
    turn = np.abs((_hue(PALETTE) - _hue(colour[None]) + 180) % 360 - 180)
    turn[list(_GREYS)] = np.inf
    return all(_MARGIN * apart[~refused].min() < apart[refused].min(initial=np.inf) for apart in (far, turn))


def _hue(colours: np.ndarray) -> np.ndarray:
    """Degrees, ``(n,)``, of RGB ``(n, 3)``."""
    red, green, blue = colours.T
    return np.degrees(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)) % 360


def _is_refused(look: Attributes) -> bool:
    return HOLD_OUT.novel_colour_shape(look) or (look.pattern > 0 and look.colour in _PARTIAL)


@DATASETS.register_module()
class WorldTiles(WorldCaptions):
    """Crops of training scenes in random order, with one caption each; base pairs only.

    An item is ``{"batch": RegionTextBatch}``, as wrappers of several processes hand keywords to the model.

    Args:
        length, seed, stages, crop_px, style: as for ``WorldCaptions``; stages have no full scenes.
        even: skip combinations whose colour determines the pattern, see :func:`even_looks`.
        recoloured: fraction of crops in unnamed colours, whose captions name no colour.
    """

    def __init__(
        self, length: int, seed: int = 0, even: bool = False, recoloured: float = 0.0, **settings: Any
    ) -> None:
        super().__init__(length, seed, captions=1, **settings)
        if any(stage.scenes for stage in self.stages):
            raise ValueError("tiles are crops; set scenes=0 in every stage")
        if even:
            self.style = replace(self.style, combinations=even_looks(self.style.combinations))
        self.recoloured = recoloured

    def _crops(
        self, rng: np.random.Generator, stream: tuple[int, int], count: int, style: SceneStyle
    ) -> tuple[list[np.ndarray], list[View]]:
        pictures, views = super()._crops(rng, stream, count, style)
        for index, view in enumerate(views):
            if rng.random() < self.recoloured and not view.grey:
                changed = recolour(pictures[index], [look_of(code) for code in view.true_codes], rng)
                if changed is not None:
                    codes = tuple(code | ANY_COLOUR for code in view.true_codes)
                    pictures[index], views[index] = changed, replace(view, true_codes=codes, grey=True)
        return pictures, views

    def __getitem__(self, index: int) -> dict[str, RegionTextBatch]:
        batch = super().__getitem__(index)["batch"]
        order = np.random.default_rng((self.seed, int(index), 5)).permutation(len(batch.texts))
        truth = WorldTruth(*(tuple(part[i] for i in order) for part in (batch.truth.captions, batch.truth.views)))
        texts = tuple(batch.texts[i] for i in order)
        return {"batch": RegionTextBatch(batch.images[torch.from_numpy(order)], texts, truth)}

    def _batch(
        self, groups: list[list[np.ndarray]], views: list[View], said: list[Caption]
    ) -> dict[str, RegionTextBatch]:
        pictures = np.stack([picture for group in groups for picture in group])
        images = torch.from_numpy(pictures).permute(0, 3, 1, 2)
        truth = WorldTruth(tuple(said), tuple(views))
        return {"batch": RegionTextBatch(images, tuple(caption.text for caption in said), truth)}
