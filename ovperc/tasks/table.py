"""The table of tasks; a new task is a folder beside these and a row here."""

from __future__ import annotations

from collections.abc import Mapping

from ovperc.core.naming import suggest
from ovperc.tasks.anomaly.task import Anomaly
from ovperc.tasks.detection.task import Detection
from ovperc.tasks.panoptic.task import Panoptic
from ovperc.tasks.segmentation.task import Segmentation
from ovperc.tasks.task import Task

DEFAULT_TASK = Segmentation.name
DEFAULT_METHOD = "maskclip"
TASKS: Mapping[str, Task] = {task.name: task for task in (Segmentation(), Detection(), Panoptic(), Anomaly())}


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
        TypeError: not a method of any task.
    """
    for task in TASKS.values():
        if type(method) is task.method_class():
            return task
    raise TypeError(f"a method config is expected, as load_method gives it; got {type(method).__name__}")
