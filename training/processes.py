"""Several processes that train as one: each takes its share of the crops.

Lightning Fabric starts the processes and names their devices. What is averaged, and when, is
said here and not left to hooks: gradients after the backward pass, statistics of batch
normalisation inside the forward pass. Two processes then make the step that one makes with twice
the crops, whatever the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from models.dresser import autocast_dtype

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def start_fabric(device: str, devices: int) -> Fabric:
    """Return a launched Fabric.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:0".
        devices: processes, one a device; on the CPU they share its cores.
    """
    accelerator, _, index = device.partition(":")
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = autocast_dtype(torch.device(accelerator))
    fabric = Fabric(
        accelerator=accelerator,
        devices=[int(index)] if index else devices,
        strategy="ddp" if devices > 1 else "auto",
        precision="bf16-mixed" if dtype is not None else "32-true",
    )
    fabric.launch()
    return fabric


class Processes:
    """What the processes of a training agree on; with one process nothing happens.

    Args:
        fabric: launched.
    """

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self.count = fabric.world_size
        self.rank = fabric.global_rank

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Average gradients over processes; a parameter that none has used keeps None."""
        if self.count == 1:
            return
        used = torch.tensor([float(p.grad is not None) for p in parameters])
        used = self._mean(used.to(self._fabric.device))
        some = [p for p, share in zip(parameters, used.tolist(), strict=True) if share > 0]
        if not some:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in some]
        flat = self._mean(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        start = 0
        for parameter in some:
            mean = flat[start : start + parameter.numel()].view(parameter.shape)
            start += parameter.numel()
            # As the parameter lies in memory, as autograd leaves it.
            parameter.grad = torch.empty_like(parameter).copy_(mean)

    def average(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return values, the same names in each process, averaged over the processes."""
        if self.count == 1:
            return dict(values)
        numbers = torch.tensor(list(values.values()), dtype=torch.float64)
        mean = self._mean(numbers.to(self._fabric.device))
        return dict(zip(values, mean.tolist(), strict=True))

    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        """Set tensors to the first process's values."""
        if self.count == 1:
            return
        for tensor in tensors:
            # In memory order: broadcasting wants contiguous tensors.
            plain = tensor.detach().contiguous()
            torch.distributed.broadcast(plain, 0)
            tensor.detach().copy_(plain)

    def wait(self) -> None:
        """Wait for all processes."""
        self._fabric.barrier()

    def share_statistics(self, module: nn.Module) -> nn.Module:
        """Return a module whose batch normalisations use the statistics of all processes' crops."""
        if self.count == 1:
            return module
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, SharedBatchNorm2d.of(child))
            else:
                self.share_statistics(child)
        return module

    def _mean(self, tensor: Tensor) -> Tensor:
        return cast("Tensor", self._fabric.all_reduce(tensor, reduce_op="mean"))


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over the crops of all processes; torch has that for CUDA only.

    Every process must normalise equally many values.
    """

    @classmethod
    def of(cls, module: nn.BatchNorm2d) -> SharedBatchNorm2d:
        """Return one with a module's settings and values; the names in its state stay."""
        shared = cls(
            module.num_features,
            eps=module.eps,
            momentum=module.momentum,
            device=module.weight.device,
        )
        shared.load_state_dict(module.state_dict())
        return shared.train(module.training)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as in torch
        """Normalise (B, C, H, W)."""
        if not self.training:
            return super().forward(input)
        values = input.float()
        count = values.numel() // values.shape[1]
        moments = torch.stack([values.mean(dim=(0, 2, 3)), values.square().mean(dim=(0, 2, 3))])
        world = torch.distributed.get_world_size()
        mean, square = cast("Tensor", _SumOverProcesses.apply(moments)) / world
        variance = (square - mean.square()).clamp(min=0.0)
        self._remember(mean.detach(), variance.detach(), count * world)
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return (values * scale[:, None, None] + shift[:, None, None]).to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        running_mean, running_var = self.running_mean, self.running_var
        if running_mean is None or running_var is None or self.momentum is None:
            return
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
        running_mean.lerp_(mean, self.momentum)
        running_var.lerp_(variance * count / max(count - 1, 1), self.momentum)


class _SumOverProcesses(torch.autograd.Function):
    """Σ over processes of a tensor; its gradient is the sum of the processes' gradients."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        del ctx
        total = tensor.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        del ctx
        total = gradients[0].clone()
        torch.distributed.all_reduce(total)
        return total
