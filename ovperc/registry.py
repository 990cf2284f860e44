"""Registries: one per seam of ovperc, and ovperc's child of every mmengine root.

Parts are looked up by name only here; every class also works by plain construction.
"""

from __future__ import annotations

from typing import Any

from mmengine import registry as mmengine_registries
from mmengine.registry import Registry

from ovperc.core.naming import suggest


class PartRegistry(Registry):
    """An mmengine registry whose unknown names are answered with near matches.

    Modules that hold the parts are imported at the first look-up (``locations``), never at import.
    """

    def build(self, cfg: dict[str, Any] | object, *args: Any, **kwargs: Any) -> Any:
        """Builds a part from ``dict(type=NAME, ...)``; an object that is already built passes through."""
        if not isinstance(cfg, dict):
            return cfg
        kind = cfg.get("type")
        if isinstance(kind, str) and self.get(kind) is None:
            raise ValueError(f"unknown {self.name} {kind!r}; {suggest(kind, self.list())}")
        return super().build(cfg, *args, **kwargs)

    def list(self) -> tuple[str, ...]:
        """Names of all parts."""
        self.import_from_location()
        return tuple(sorted(self.module_dict))


def _part(name: str, *locations: str) -> PartRegistry:
    return PartRegistry(name, scope="ovperc", locations=list(locations))


AFFINITIES = _part("affinity", "ovperc.affinity")
READOUTS = _part("readout", "ovperc.readout")
TILERS = _part("tiler", "ovperc.tiling", "ovperc.tiling.square")
LOGIT_RULES = _part("logit rule", "ovperc.text.logit_rules", "ovperc.text.foreground")
REFINERS = _part("refiner", "ovperc.refine", "ovperc.refine.sam_prompt")
AGGREGATORS = _part("aggregator", "ovperc.affinity.sam_correlation")
GUIDES = _part("guide", "ovperc.backbones.guide")
PROPOSERS = _part("proposer", "ovperc.tasks.detection.proposals")


def _child(root: str, name: str, *locations: str) -> Registry:
    return Registry(name, parent=getattr(mmengine_registries, root), scope="ovperc", locations=list(locations))


_WORLD = tuple(
    f"ovperc.data.world.{name}"
    for name in (
        "anomaly", "benchmark", "contrastive", "detection", "detection_batches", "prompts", "regions", "scene_texts",
        "tiles", "views",
    )
)  # fmt: skip
_MODELS = tuple(
    f"ovperc.training.{name}"
    for name in (
        "alignment", "anomaly_prompts", "contrastive", "detector", "dinoiser", "photo_alignment", "promptable",
        "self_distillation", "text_distillation",
    )
)  # fmt: skip

LOOPS = _child("LOOPS", "loop", "ovperc.training.loops")
HOOKS = _child("HOOKS", "hook", "ovperc.training.hooks", "ovperc.training.export_weights",
               "ovperc.training.alignment_weights")  # fmt: skip
DATASETS = _child("DATASETS", "dataset", "ovperc.data.sampling", "ovperc.data.captions", "ovperc.data.pictures",
                  "ovperc.data.photo.batches", "ovperc.data.photo.sentences",
                  "ovperc.data.detection.files", "ovperc.data.detection.panoptic", *_WORLD,
                  "ovperc.training.detection_set", "ovperc.training.feature_cache")  # fmt: skip
DATA_SAMPLERS = _child("DATA_SAMPLERS", "data sampler", "ovperc.data.sampling")
MODELS = _child("MODELS", "model", *_MODELS)
OPTIMIZERS = _child("OPTIMIZERS", "optimizer", "ovperc.training.muon")
OPTIM_WRAPPERS = _child("OPTIM_WRAPPERS", "optim_wrapper", "ovperc.training.optim")
OPTIM_WRAPPER_CONSTRUCTORS = _child("OPTIM_WRAPPER_CONSTRUCTORS", "optimizer wrapper constructor",
                                    "ovperc.training.muon")  # fmt: skip
METRICS = _child("METRICS", "metric", "ovperc.evaluation.metrics.miou")
TASK_UTILS = _child("TASK_UTILS", "task util", "ovperc.training.alignment_decoders",
                    "ovperc.training.alignment_objectives", "ovperc.training.teachers")  # fmt: skip
FUNCTIONS = _child("FUNCTIONS", "function", "ovperc.data.detection.batch", "ovperc.data.region_text",
                   "ovperc.data.world.contrastive", "ovperc.data.world.detection_batches",
                   "ovperc.training.detection_set")  # fmt: skip
_UNUSED = tuple(
    _child(root, root.lower())
    for root in (
        "RUNNERS", "RUNNER_CONSTRUCTORS", "STRATEGIES", "TRANSFORMS", "MODEL_WRAPPERS", "WEIGHT_INITIALIZERS",
        "PARAM_SCHEDULERS", "EVALUATOR", "VISUALIZERS", "VISBACKENDS", "LOG_PROCESSORS", "INFERENCERS",
    )
)  # fmt: skip
"""mmengine warns about a scope that lacks a child of one of its registries."""
