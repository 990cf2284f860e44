"""The tasks: what differs between segmentation, anomaly localization and detection, and where it lives.

Towers, taps, text and tiling are shared; a task adds how its methods are written, loaded, scored and shown. Places are
named here and imported when they are used, so that looking at the table costs nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ovperc.core.naming import suggest

DEFAULT_TASK = "segmentation"


@dataclass(frozen=True)
class Task:
    """One task; the last four fields are places, ``"module:name"``.

    Attributes:
        name: in method configs, benchmarks and on the command line.
        title: what it answers, in words.
        method: dataclass of its method configs, with ``name`` and ``title`` beside its own fields.
        load: ``(method, asked, *, weights, arch, device, dtype, background)`` -> predictor; ``asked`` holds the fields
            that the user replaced by hand.
        evaluate: ``(request: EvaluationRequest, row)`` -> ``RunSummary``.
        cli: module with ``EXAMPLE``, ``add_arguments(parser)`` and ``run(arguments)`` of ``demo/image_demo.py``.
    """

    name: str
    title: str
    method: str
    load: str
    evaluate: str
    cli: str

    def place(self, field: str) -> Any:
        """The object that ``field`` names, imported now."""
        module, _, name = getattr(self, field).partition(":")
        found = importlib.import_module(module)
        return getattr(found, name) if name else found


TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task(
            "segmentation",
            "which of the words each pixel shows",
            "ovperc.tasks.methods:MethodConfig",
            "ovperc.tasks.segmentation.predictor:load_segmentation",
            "ovperc.evaluation.evaluate:evaluate_segmentation",
            "ovperc.cli.predict",
        ),
        Task(
            "anomaly",
            "where a named object is damaged",
            "ovperc.tasks.anomaly.method:AnomalyMethod",
            "ovperc.tasks.anomaly.loading:load_anomaly",
            "ovperc.evaluation.anomaly:evaluate_anomaly",
            "ovperc.cli.predict_anomaly",
        ),
        Task(
            "detection",
            "boxes and masks of the named objects",
            "ovperc.tasks.detection.method:DetectionMethod",
            "ovperc.tasks.detection.predictor:load_detection",
            "ovperc.evaluation.detection:evaluate_detection",
            "ovperc.cli.predict_detection",
        ),
    )
}


def get_task(name: str) -> Task:
    """A row of the table, by its name or the beginning of it (``"detect"``).

    Raises:
        ValueError: no such task, or several; near matches are offered.
    """
    found = [task for task in TASKS.values() if name and task.name.startswith(name)]
    if len(found) != 1:
        raise ValueError(f"unknown task {name!r}; {suggest(name, TASKS)}")
    return found[0]


def task_of(method: object) -> Task:
    """The task whose methods have the class of ``method``.

    Raises:
        TypeError: not a method config of any task.
    """
    kind = f"{type(method).__module__}:{type(method).__qualname__}"
    for task in TASKS.values():
        if task.method == kind:
            return task
    raise TypeError(f"a method config is expected, as load_method gives it; got {kind}")
