"""Hooks of ovperc's Runner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, get_rank, is_main_process
from mmengine.hooks import CheckpointHook, Hook

from ovperc.core.atomic import remove_leftovers
from ovperc.core.progress import progress_bar
from ovperc.core.random_state import RandomState
from ovperc.registry import HOOKS
from ovperc.training.compat import ATOMIC_BACKEND


@HOOKS.register_module()
class ResumableCheckpointHook(CheckpointHook):
    """mmengine's checkpoints, written whole or not at all, with the random states of every process.

    ``ResumableTrainLoop`` restores those states.

    Args:
        max_keep_ckpts: how many to keep; 1 is refused, as mmengine deletes the old file before it writes the new one.
        **settings: as for mmengine's ``CheckpointHook``.
    """

    def __init__(self, *, max_keep_ckpts: int = 2, **settings: Any) -> None:
        if max_keep_ckpts in (0, 1):
            raise ValueError(
                f"max_keep_ckpts must be at least 2, or -1 for all; got {max_keep_ckpts} "
                "(the old file is deleted before the new one is complete)"
            )
        super().__init__(max_keep_ckpts=max_keep_ckpts, backend_args={"backend": ATOMIC_BACKEND}, **settings)
        self._random_states: list[dict[str, Any]] = []

    def before_train(self, runner: Any) -> None:
        """Clears what a killed run left behind."""
        super().before_train(runner)
        if is_main_process():
            remove_leftovers(Path(runner.work_dir))

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Adds the random states, one entry a process."""
        checkpoint["random_states"] = self._random_states

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Hands this process's state to the loop, which restores it once its data is in place."""
        states = checkpoint.get("random_states", [])
        if runner._resume and get_rank() < len(states):
            runner.resumed_random_state = RandomState.from_plain(states[get_rank()])

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict[str, Any]) -> None:
        # gathered here because mmengine calls before_save_checkpoint on the main process alone
        self._random_states = all_gather_object(RandomState.capture().to_plain())
        super()._save_checkpoint_with_step(runner, step, meta)


@HOOKS.register_module()
class ProgressHook(Hook):
    """A progress bar on the terminal while a test runs."""

    def before_test_epoch(self, runner: Any) -> None:
        """Shows the bar on the main process."""
        self._bar = progress_bar(quiet=not is_main_process())
        self._task = self._bar.add_task("testing", total=len(runner.test_dataloader))
        self._bar.start()

    def after_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Moves the bar by one batch."""
        self._bar.advance(self._task)

    def after_test_epoch(self, runner: Any, metrics: Any = None) -> None:
        """Clears the bar."""
        self._bar.stop()
