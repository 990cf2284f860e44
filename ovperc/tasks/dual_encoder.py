"""Loading what every method with a vocabulary needs: a dual encoder, and the method's settings on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ovperc.backbones.loading import ClipModel, load_clip
from ovperc.tasks.predictor import PredictorInfo
from ovperc.text.encoder import TextEncoder
from ovperc.weights.caches import home

if TYPE_CHECKING:
    from ovperc.registry import PartRegistry
    from ovperc.tasks.methods import MethodConfig, ResolvedMethod
    from ovperc.tasks.task import LoadOptions


@dataclass(frozen=True)
class DualEncoder:
    """A loaded dual encoder and the method that runs on it.

    Attributes:
        clip: image and text tower.
        resolved: the method with the settings it runs with.
    """

    clip: ClipModel
    resolved: ResolvedMethod

    @property
    def method(self) -> Any:
        """The dataclass of the method's task."""
        return self.resolved.method

    @property
    def info(self) -> PredictorInfo:
        """What predictions say they were made with."""
        return PredictorInfo.of(self.method.name, self.clip)

    def text_encoder(self) -> TextEncoder:
        """Makes text banks with the method's templates."""
        return TextEncoder(self.clip.text, self.clip.fingerprint, self.method.templates, cache_dir=home() / "text")


def load_dual_encoder(config: MethodConfig, options: LoadOptions) -> DualEncoder:
    """Loads the weights that were asked for, else the method's own, and applies the tower's overlay.

    Raises:
        FileNotFoundError: weights that are not here; the message says how to get them.
        ValueError: weights that are no dual encoder.
    """
    published = config.on(None).method
    weights = published.weights if options.weights is None and options.arch is None else options.weights
    clip = load_clip(options.arch, weights, pos_embed=published.pos_embed, device=options.device, dtype=options.dtype)
    return DualEncoder(clip, config.on(None if options.as_published else clip.arch))


def build_second(registry: PartRegistry, config: Any, clip: ClipModel) -> Any:
    """A part with its own tower, on the device and in the dtype of the first; built parts and None pass through."""
    if not isinstance(config, Mapping):
        return config
    return registry.build({**config, "device": clip.backbone.device, "dtype": clip.backbone.dtype})
