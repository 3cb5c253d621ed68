"""Gradient helpers: extra processes that compute gradients of their own batches on the shared weights.

A helper reads the weights, writes one gradient, and waits until the trainer has taken it; the trainer never
waits. So the gradient may be a step old, which costs nothing measurable, and a slow or busy core holds nobody
up.
"""

import os
import time
from collections.abc import Iterator
from typing import Any

import torch
import torch.multiprocessing as multiprocessing
from torch import nn

from trg_ros.model.losses import TRGLoss
from trg_ros.model.network import TRG
from trg_ros.training.batches import BatchStream, Growth, load_backgrounds, to_tensors
from trg_ros.training.config import TrainingConfig


class GradientHelpers:
    """Starts ``count`` processes; ``take`` hands over what they have ready, one by one.

    :param model: its parameters move to shared memory.
    """

    def __init__(self, config: TrainingConfig, model: TRG, first_step: int, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        model.share_memory()
        self._parameters = list(model.parameters())
        self._workers: list[tuple[Any, list[torch.Tensor], Any]] = []
        for number in range(1, count + 1):
            gradients = [torch.zeros_like(p).share_memory_() for p in self._parameters]
            ready = context.Event()
            arguments = (config, model.config, dict(model.state_dict()), gradients, ready, first_step, number)
            process = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
            self._workers.append((process, gradients, ready))

    @torch.no_grad()
    def take(self) -> Iterator[None]:
        """For each helper that has one ready: put its gradient in place of the model's own, and yield."""
        for _, gradients, event in self._workers:
            if event.is_set():
                for gradient, parameter in zip(gradients, self._parameters, strict=True):
                    if parameter.grad is not None:
                        parameter.grad.copy_(gradient)
                event.clear()
                yield

    def stop(self) -> None:
        for process, _, _ in self._workers:
            process.terminate()
            process.join()


def _work(
    config: TrainingConfig,
    model_config: Any,
    shared_state: dict[str, torch.Tensor],
    gradients: list[torch.Tensor],
    ready: Any,
    first_step: int,
    number: int,
) -> None:
    from trg_ros.training.trainer import channels_last, forward_loss, make_dataset, make_landmarks

    os.setsid()  # Ctrl-C reaches the trainer alone, which stops its helpers
    torch.set_num_threads(config.optimisation.threads)
    torch.manual_seed(config.seed * 1000 + number + first_step)
    landmark_set, topology = make_landmarks(model_config)
    model = channels_last(TRG(model_config, topology)).train()
    loss_function = TRGLoss(topology, config.loss)
    _share_parameters(model, shared_state)
    dataset = make_dataset(config, None)
    stream = BatchStream(
        config, dataset, load_backgrounds(config.data, config.seed), landmark_set, Growth([]), number
    )
    for _, batch in stream.prefetched(first_step, config.optimisation.steps):
        inputs = to_tensors(batch, landmark_set.landmarks68, config.optimisation.focal)
        loss, _, _ = forward_loss(model, loss_function, inputs, config.optimisation)
        loss.backward()
        while ready.is_set():
            if not _wait_cleared(ready):
                return
        for target, parameter in zip(gradients, model.parameters(), strict=True):
            if parameter.grad is not None:
                target.copy_(parameter.grad)
                parameter.grad = None
        ready.set()


def _wait_cleared(event: Any) -> bool:
    """Sleep a little while the trainer has not taken the gradient; False when the trainer has gone."""
    parent = multiprocessing.parent_process()
    time.sleep(0.002)
    return parent is None or parent.is_alive()


def _share_parameters(model: nn.Module, shared_state: dict[str, torch.Tensor]) -> None:
    for name, parameter in model.named_parameters():
        parameter.data = shared_state[name]
    for name, buffer in model.named_buffers():
        if name in shared_state:
            buffer.copy_(shared_state[name])
