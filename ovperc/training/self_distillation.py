"""Training of an image tower without labels, as an mmengine model."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovperc.backbones.dino import build_trunk
from ovperc.data.world.views import ViewPairs
from ovperc.registry import MODELS
from ovperc.training.batch_model import BatchModel
from ovperc.training.losses.distillation import balanced_assignments, soft_cross_entropy
from ovperc.weights.entry import IMAGENET_MEAN, IMAGENET_STD


@MODELS.register_module()
class SelfDistillation(BatchModel):
    """A student predicts what a slowly following teacher says of the same place in another view.

    DINO (Caron et al., ICCV 2021) with the loss on patches (iBOT, Zhou et al., ICLR 2022) and on the class token,
    and balanced assignments to prototypes (SwAV; DINOv2). Prototypes are compared with the tokens themselves,
    without a projection head, so that the cosine of two tokens is what training shapes. A student's patch
    answers for a teacher's patch up to ``reach`` patches away: neighbours mostly belong together, and texture
    finer than that is smoothed into what it is a texture of.

    Args:
        arch: architecture of the tower.
        prototypes: number of prototypes.
        reach: largest distance, in patches, between what student and teacher look at.
        student_temperature, teacher_temperature: divide the cosines.
        momentum: of the teacher at the start; it rises to 1 along a cosine.
        max_steps: length of that rise.
    """

    def __init__(
        self,
        arch: str = "dino-mini",
        prototypes: int = 256,
        reach: int = 1,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.05,
        momentum: float = 0.98,
        max_steps: int = 1300,
    ) -> None:
        super().__init__()
        self.student = build_trunk(arch)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.prototypes = nn.Parameter(torch.randn(prototypes, self.student.embed_dim))
        self.reach = reach
        self.student_temperature = student_temperature
        self.teacher_temperature = teacher_temperature
        self.momentum = momentum
        self.max_steps = max_steps
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, batch: ViewPairs, mode: str = "loss") -> dict[str, Tensor] | Tensor:
        """The losses of a batch (``mode="loss"``), or the teacher's tokens (``mode="tensor"``)."""
        images = (batch.images.to(self.mean.device).flatten(0, 1).float() - self.mean) / self.std
        with torch.no_grad():
            taught = self._cosines(self.teacher, images)
        if mode == "tensor":
            return taught
        if mode != "loss":
            raise ValueError(f"mode must be 'loss' or 'tensor'; got {mode!r}")
        said = self._cosines(self.student, images) / self.student_temperature
        taught = taught / self.teacher_temperature
        skip = self.student.num_prefix_tokens
        targets = balanced_assignments(taught[:, skip:].flatten(0, 1)).view_as(taught[:, skip:])
        half = len(said) // 2
        shift = (batch.corners[1] - batch.corners[0]).to(said.device)
        patches, goals = said[:, skip:].split(half), targets.split(half)
        loss = sum(self._patch_loss(patches[view], goals[1 - view], shift if view == 0 else -shift) for view in (0, 1))
        logs = {"loss_patch": loss / 2, "used": _effective_number(targets)}
        if skip:
            pooled = balanced_assignments(taught[:, 0]).split(half)
            whole = [soft_cross_entropy(said[:, 0].split(half)[view], pooled[1 - view]) for view in (0, 1)]
            logs["loss_class"] = 0.1 * sum(whole)
        return logs

    def _cosines(self, trunk: nn.Module, images: Tensor) -> Tensor:
        """Cosine of every token with every prototype, ``(B, p + n, K)``."""
        tokens = F.normalize(trunk.forward_features(images), dim=-1)
        return tokens @ F.normalize(self.prototypes, dim=-1).T

    def _patch_loss(self, said: Tensor, targets: Tensor, shift: Tensor) -> Tensor:
        """Loss where the two windows overlap; window 1 begins ``shift`` patches after window 0."""
        side = int(said.shape[1] ** 0.5)
        places = torch.arange(side, device=said.device)
        jitter = torch.randint(-self.reach, self.reach + 1, (len(said), 2), device=said.device)
        there = [places[None] - shift[:, axis, None] + jitter[:, axis, None] for axis in (0, 1)]
        inside = [(index >= 0) & (index < side) for index in there]
        rows, columns = (index.clamp(0, side - 1) for index in there)
        index = (rows[:, :, None] * side + columns[:, None, :]).flatten(1)
        goals = targets.gather(1, index[..., None].expand(-1, -1, targets.shape[-1]))
        return soft_cross_entropy(said, goals, (inside[0][:, :, None] & inside[1][:, None, :]).flatten(1).float())

    def train_step(self, data: ViewPairs, optim_wrapper) -> dict[str, Tensor]:
        """One optimisation step, then the teacher follows the student."""
        logs = super().train_step(data, optim_wrapper)
        self._follow()
        return logs

    @torch.no_grad()
    def _follow(self) -> None:
        done = min(float(self.step) / self.max_steps, 1.0)
        keep = 1 - (1 - self.momentum) * (torch.cos(torch.tensor(done * torch.pi)).item() + 1) / 2
        for mine, other in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            mine.lerp_(other, 1 - keep)
        self.step += 1

    def export_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The teacher's tower out of a checkpoint's ``state_dict``: what is kept after training."""
        return {name.removeprefix("teacher."): value for name, value in state.items() if name.startswith("teacher.")}


@torch.no_grad()
def _effective_number(targets: Tensor) -> Tensor:
    """How many prototypes a patch is spread over on average: exp of the mean entropy."""
    entropy = -(targets * targets.clamp(min=1e-12).log()).sum(dim=-1)
    return entropy.mean().exp()
