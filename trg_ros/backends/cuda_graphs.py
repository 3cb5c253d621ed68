"""A network for fixed numbers of faces, on buffers that never move: what CUDA graphs need.

A graph replays recorded kernels on recorded addresses, so that a small network is not held up by its many
launches. One graph is recorded for each number of faces; a request goes to the next larger one, and what its
other rows compute, from an older image, is left out. On the CPU, and with `graphs` off, the network just runs
on the same buffers.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

logger = logging.getLogger(__name__)

SIZES = (1, 2, 4, 8, 16, 32)
_WARM_UPS = 3  # until libraries have chosen their kernels and got their workspaces
_BOX_BYTES = 3 * 4


class FixedBatches:
    """Runs a network (crops (N, S, S, 3) uint8, boxes (N, 3) float32) -> rows (N, L) float32.

    Several threads may use it; they take turns.

    :param network: on the device; must ask nothing of the host on its way, and treat each row on its own.
    :param crop_size: side S of a crop.
    :param sizes: numbers of faces; those that the device has no memory for are left out, with a warning.
    :raises RuntimeError: from torch, if not even the smallest can be recorded.
    """

    def __init__(
        self,
        network: nn.Module,
        crop_size: int,
        device: torch.device,
        sizes: Sequence[int] = SIZES,
        graphs: bool = True,
    ) -> None:
        self.device = device
        self._network = network
        self._lock = threading.Lock()
        self._most = max(sizes)
        with self.working():
            self._allocate(crop_size)
            self._replays = self._prepared(sizes, graphs and device.type == "cuda")
            self._wait()

    @property
    def sizes(self) -> list[int]:
        """Numbers of faces that it is ready for, ascending."""
        return sorted(self._replays)

    def run(self, crops: NDArray[np.uint8] | Tensor, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's rows (N, L) of any number of crops, which may be on the device already."""
        largest, parts = self.sizes[-1], []
        with self._lock, self.working():
            for first in range(0, len(boxes), largest):
                part = slice(first, first + largest)
                parts.append(self._run(crops[part], boxes[part]))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _run(self, crops: NDArray[np.uint8] | Tensor, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """As :meth:`run` for as many as fit: one copy there, one graph, one copy back, one wait."""
        faces = len(boxes)
        self._host_boxes[:faces] = boxes
        filled = faces * _BOX_BYTES
        if isinstance(crops, Tensor):
            self._crops[:faces].copy_(crops)
        else:
            self._host_crops[:faces] = crops
            filled = self._input.numel() - self._crops[faces:].numel()
        self._input[:filled].copy_(self._host_input[:filled], non_blocking=True)
        self._replays[next(size for size in self.sizes if size >= faces)]()
        self._host_output[:faces].copy_(self._output[:faces], non_blocking=True)
        self._wait()
        return self._host_output[:faces].numpy().copy()

    def _allocate(self, crop_size: int) -> None:
        """Boxes and, behind them, crops share one piece of memory, on the host too: so one copy does."""
        boxes = self._most * _BOX_BYTES
        shape = (self._most, crop_size, crop_size, 3)
        self._host_input = self._pinned(boxes + int(np.prod(shape)), torch.uint8)
        self._host_boxes = self._host_input[:boxes].view(torch.float32).view(-1, 3).numpy()
        self._host_crops = self._host_input[boxes:].view(shape).numpy()
        self._host_boxes[:], self._host_crops[:] = (0.0, 0.0, 1.0), 0
        self._input = torch.empty(len(self._host_input), dtype=torch.uint8, device=self.device)
        self._input.copy_(self._host_input)
        self._boxes = self._input[:boxes].view(torch.float32).view(-1, 3)
        self._crops = self._input[boxes:].view(shape)
        width = self._network(self._crops[:1], self._boxes[:1]).shape[1]
        self._output = torch.zeros((self._most, width), dtype=torch.float32, device=self.device)
        self._host_output = self._pinned((self._most, width), torch.float32)

    def _pinned(self, shape: int | tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, pin_memory=self.device.type == "cuda")

    def _prepared(self, sizes: Sequence[int], graphs: bool) -> dict[int, Callable[[], object]]:
        """What runs each size. The largest comes first: the others find room in its memory.

        They may share it, as no two run at once, and their input and output, which outlive a run, lie
        elsewhere.
        """
        recorder = _Recorder(self.device) if graphs else None
        replays: dict[int, Callable[[], object]] = {}
        for size in sorted(sizes, reverse=True):
            step = partial(self._step, size)
            try:
                replays[size] = step if recorder is None else recorder.record(step)
            except RuntimeError as error:
                if size == min(sizes) or not is_out_of_memory(error):
                    raise
                logger.warning("%s has no memory for graphs of %d faces at once", self.device, size)
        return replays

    def _step(self, size: int) -> None:
        self._output[:size].copy_(self._network(self._crops[:size], self._boxes[:size]))

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()

    @contextmanager
    def working(self) -> Iterator[None]:
        """For everything that is computed on the device; it runs on the thread's own stream, in order."""
        with torch.inference_mode():
            if self.device.type != "cuda":
                yield
            else:
                with torch.cuda.device(self.device):
                    yield


class _Recorder:
    """Records graphs that share one piece of memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)

    def record(self, step: Callable[[], None]) -> Callable[[], object]:
        """What `step` launches, as one launch; on whatever stream that is called."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_UPS):
                step()
        current.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the GPU meanwhile; only what this one does can spoil the recording.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            step()
        return graph.replay


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether it is for want of memory, also if ending a recording failed because of that."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError):
            return True
        error = error.__context__
    return False
