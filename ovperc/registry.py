"""Registries: one per seam of ovperc, and ovperc's child of every mmengine root.

Parts are looked up by name only here; every class also works by plain construction.
"""

from __future__ import annotations

from typing import Any

from mmengine import registry as mmengine_registries
from mmengine.registry import Registry

from ovperc.naming import suggest as suggest


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
TILERS = _part("tiler", "ovperc.tiling")
SCORE_RULES = _part("score rule", "ovperc.text.score_rules", "ovperc.text.foreground")
REFINERS = _part("refiner", "ovperc.refine", "ovperc.refine.sam_prompt")
AGGREGATORS = _part("aggregator", "ovperc.affinity.sam_correlation")
PROXIES = _part("proxy", "ovperc.backbones.proxy")
PROPOSERS = _part("proposer", "ovperc.detection.proposals")


def _child(root: str, name: str, *locations: str) -> Registry:
    return Registry(name, parent=getattr(mmengine_registries, root), scope="ovperc", locations=list(locations))


RUNNERS = _child("RUNNERS", "runner", "ovperc.engine")
RUNNER_CONSTRUCTORS = _child("RUNNER_CONSTRUCTORS", "runner constructor")
LOOPS = _child("LOOPS", "loop", "ovperc.engine")
HOOKS = _child("HOOKS", "hook", "ovperc.engine")
STRATEGIES = _child("STRATEGIES", "strategy")
DATASETS = _child("DATASETS", "dataset", "ovperc.data.sampling")
DATA_SAMPLERS = _child("DATA_SAMPLERS", "data sampler", "ovperc.data.sampling")
TRANSFORMS = _child("TRANSFORMS", "transform", "ovperc.data")
MODELS = _child("MODELS", "model", "ovperc.tasks")
MODEL_WRAPPERS = _child("MODEL_WRAPPERS", "model_wrapper")
WEIGHT_INITIALIZERS = _child("WEIGHT_INITIALIZERS", "weight initializer")
OPTIMIZERS = _child("OPTIMIZERS", "optimizer")
OPTIM_WRAPPERS = _child("OPTIM_WRAPPERS", "optim_wrapper", "ovperc.engine")
OPTIM_WRAPPER_CONSTRUCTORS = _child("OPTIM_WRAPPER_CONSTRUCTORS", "optimizer wrapper constructor", "ovperc.engine")
PARAM_SCHEDULERS = _child("PARAM_SCHEDULERS", "parameter scheduler")
METRICS = _child("METRICS", "metric", "ovperc.metrics")
EVALUATOR = _child("EVALUATOR", "evaluator")
TASK_UTILS = _child("TASK_UTILS", "task util")
VISUALIZERS = _child("VISUALIZERS", "visualizer")
VISBACKENDS = _child("VISBACKENDS", "vis_backend")
LOG_PROCESSORS = _child("LOG_PROCESSORS", "log_processor")
INFERENCERS = _child("INFERENCERS", "inferencer")
FUNCTIONS = _child("FUNCTIONS", "function")
