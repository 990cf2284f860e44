"""The training loop by iterations, resumed at the very sample where it stopped."""

from __future__ import annotations

from mmengine.dist import get_world_size
from mmengine.runner.loops import IterBasedTrainLoop, _InfiniteDataloaderIterator

from ovperc.core.random_state import RandomState
from ovperc.registry import LOOPS


@LOOPS.register_module()
class ResumableTrainLoop(IterBasedTrainLoop):
    """mmengine's loop by iterations, with three changes that make a resumed run equal an unbroken one.

    A sampler with ``advance(samples)`` jumps to its position, where mmengine fetches and drops all earlier batches;
    validation leaves no trace in the random generators; and a validation that was due at the checkpoint is made up.
    """

    def run(self) -> object:
        """Trains to ``max_iters`` and returns the model."""
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        resumed: RandomState | None = getattr(self.runner, "resumed_random_state", None)
        if self._iter > 0:
            self._skip_seen_samples()
        if resumed is not None:
            resumed.restore()
        if self._iter > 0:
            self._validate_if_due()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._decide_current_val_interval()
            self._validate_if_due()
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def _skip_seen_samples(self) -> None:
        advance = getattr(self.dataloader.sampler, "advance", None)
        if advance is None:
            for _ in range(self._iter):
                next(self.dataloader_iterator)
            return
        advance(self._iter * self.dataloader.batch_size * get_world_size())
        self.dataloader_iterator = _InfiniteDataloaderIterator(self.dataloader)

    def _validate_if_due(self) -> None:
        due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
        if self.runner.val_loop is None or self._iter < self.val_begin or not due:
            return
        state = RandomState.capture()
        self.runner.val_loop.run()
        state.restore()
