"""The paper's training on any labelled data set: Adam in steps, gradient accumulation, one or many processes.

A batch is a fixed number of micro-batches, spread over the processes; each is the same pictures with the same
augmentation and dropout wherever it is computed, so gradients don't depend on the number of processes.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from trg_ros.checkpoint import Checkpoint, CheckpointInfo, save_checkpoint
from trg_ros.datasets.batches import Batch, KeptBatches, MicroBatches
from trg_ros.datasets.concat import ConcatDataset
from trg_ros.datasets.registry import open_dataset
from trg_ros.datasets.rendered import RenderedHeads
from trg_ros.datasets.sample import HeadDataset, Subset, evenly
from trg_ros.errors import CheckpointError, InputError
from trg_ros.evaluation.protocol import NetworkPredictor, evaluate_dataset, summarise_protocol
from trg_ros.model.losses import TRGLoss, TRGTargets
from trg_ros.model.network import TRG
from trg_ros.model.preprocessing import normalise_crops
from trg_ros.model.topology import Topology
from trg_ros.training.backbone import load_backbone
from trg_ros.training.paper_config import PaperConfig, SourceConfig
from trg_ros.training.state import load_state, save_state

_log = logging.getLogger(__name__)
STATE_NAME = "state.pt"
_LOG_EVERY = 50
_FACES_FOR_MEAN = 200


class PaperTrainer:
    """Trains one network; goes on from the last saved state if there is one.

    :param rank: of this process among `world`; torchrun says which (see `distributed`).
    :raises InputError: for data or a configuration that can't be trained on.
    """

    def __init__(self, config: PaperConfig, rank: int = 0, world: int = 1, device: str = "cpu") -> None:
        if config.micro_batches % world:
            raise InputError(
                f"{config.micro_batches} micro-batches of {config.micro_batch} can't be shared by {world} "
                "processes: choose another micro_batch"
            )
        self.config, self.rank, self.world = config, rank, world
        self.device = torch.device(device)
        self.output = Path(config.output).expanduser()
        self.output.mkdir(parents=True, exist_ok=True)
        self.dataset = _open_all(config)
        self.topology = _topology(self.dataset, config.model.num_sampled)
        torch.manual_seed(config.seed)
        self.model = TRG(config.model, self.topology)
        self.model.set_initial_state(mean_landmarks(self.dataset, config.model.num_landmarks))
        if config.backbone:
            load_backbone(self.model, Path(config.backbone).expanduser())
        self.model.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model.train()
        self.loss_function = TRGLoss(self.topology, config.loss).to(self.device)
        self.optimiser = _make_optimiser(self.model, config)
        self.batches: MicroBatches | KeptBatches = MicroBatches(
            self.dataset, config.model.num_landmarks, config.model.input_size,
            config.micro_batch, config.augmentation, config.seed,
        )  # fmt: skip
        self.step = 0
        if (self.output / STATE_NAME).exists():
            self._restore(load_state(self.output / STATE_NAME))

    @property
    def last_step(self) -> int:
        return self.config.steps or round(self.config.epochs * len(self.dataset) / self.config.batch_size)

    def learning_rate(self, step: int) -> float:
        """Divided at the end of the configured epochs."""
        if self.config.steps:
            epoch = self.config.epochs * step / self.config.steps
        else:
            epoch = step * self.config.batch_size / len(self.dataset)
        drops = sum(epoch >= drop for drop in self.config.drop_after)
        return self.config.learning_rate * self.config.drop_factor**drops

    def run(self, until: int | None = None) -> float:
        """Train to the end or to a step. :returns: the last step's loss, of this process."""
        last = min(self.last_step, until or self.last_step)
        everything, own = self.config.micro_batches, self.config.micro_batches // self.world
        numbers = [
            step * everything + self.rank * own + k for step in range(self.step, last) for k in range(own)
        ]
        stream = zip(numbers, self.batches.load(numbers, self.config.workers), strict=True)
        loss, started = float("nan"), time.monotonic()
        for step in range(self.step, last):
            loss = self._train_step(step, islice(stream, own))
            self.step = step + 1
            if self.step % _LOG_EVERY == 0 and self.rank == 0:
                rate = _LOG_EVERY * self.config.batch_size / (time.monotonic() - started)
                _log.info("step %d/%d  loss %.4f  %.0f samples/s", self.step, last, loss, rate)
                started = time.monotonic()
            if self.step % self.config.checkpoint_every == 0 or self.step == last:
                self.save()
        return loss

    def save(self) -> None:
        """The resumable state and the checkpoint; the processes' batch statistics are averaged first."""
        if self.world > 1:
            for buffer in self.model.buffers():
                if buffer.is_floating_point():
                    dist.all_reduce(buffer)
                    buffer /= self.world
        if self.rank == 0:
            state = {
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
                "model_config": self.config.model.to_dict(),
            }
            save_state(self.output / STATE_NAME, state)
            save_checkpoint(self.output / f"{self.config.name}.safetensors", self.checkpoint())

    def checkpoint(self) -> Checkpoint:
        """The network as it is now."""
        names = ", ".join(f"{source.name} ({source.split})" for source in self.config.data)
        info = CheckpointInfo(
            name=self.config.name,
            training_data=f"{names}; its licence binds these weights, too",
            provenance={"recipe": "paper", "steps": self.step, "batch_size": self.config.batch_size},
        )
        state = {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}
        return Checkpoint(self.config.model, self.topology, info, state)

    def evaluate(self) -> dict[str, float]:
        """The protocol's summary on the validation data; empty without any."""
        if self.config.validation is None:
            return {}
        dataset = open_source(self.config.validation)
        predict = NetworkPredictor(self.checkpoint(), str(self.device))
        return summarise_protocol(evaluate_dataset(predict, dataset).errors)

    def _train_step(self, step: int, micro_batches: Iterable[tuple[int, Batch]]) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = group["rate_scale"] * self.learning_rate(step)
        self.optimiser.zero_grad(set_to_none=False)
        losses = []
        for number, (crops, box, targets) in micro_batches:
            torch.manual_seed(self.config.seed * 1_000_003 + number)  # dropout is the micro-batch's own
            box = box.to(self.device)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bfloat16):
                outputs = self.model(normalise_crops(crops.to(self.device)), box)
            loss, _ = self.loss_function(outputs, box, _to(targets, self.device))
            (loss / self.config.micro_batches).backward()
            losses.append(float(loss.detach()))
        if self.world > 1:
            _sum_gradients(self.model)
        self.optimiser.step()
        return float(np.mean(losses))

    def _restore(self, saved: dict[str, Any]) -> None:
        if saved["model_config"] != self.config.model.to_dict():
            raise CheckpointError(
                f"{self.output / STATE_NAME} belongs to another model; choose another output"
            )
        self.model.load_state_dict(saved["model"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.step = saved["step"]
        _log.info("resuming %s at step %d", self.config.name, self.step)


def _make_optimiser(model: TRG, config: PaperConfig) -> torch.optim.Optimizer:
    slow = list(model.regressors.parameters())
    own = {id(parameter) for parameter in slow}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in own]
    groups: list[dict[str, Any]] = [
        {"params": rest, "rate_scale": 1.0},
        {"params": slow, "rate_scale": config.regressor_rate},
    ]
    return torch.optim.Adam(groups, lr=config.learning_rate, fused=True)


@contextmanager
def distributed() -> Iterator[tuple[int, int, str]]:
    """Rank, number of processes and device of this process, as torchrun started it, or alone.

    The process group ends with the context, threads and all: one that still runs when the interpreter ends
    can abort it.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    cuda = torch.cuda.is_available()
    device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if cuda else "cpu"
    if world > 1:
        # A group that is there while this is imported (optimisers do it) is kept by its functions' defaults.
        import_module("torch.distributed.nn")
        dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield int(os.environ.get("RANK", "0")), world, device
    finally:
        if world > 1:
            dist.destroy_process_group()


def mean_landmarks(dataset: HeadDataset, num_landmarks: int) -> np.ndarray:
    """(V, 3) metres: the mean of faces spread over the data set; where refinement starts.

    :raises InputError: when no sample has landmarks, or another number of them.
    """
    parts = dataset.datasets if isinstance(dataset, ConcatDataset) else [dataset]
    faces = [
        sample.landmarks_head
        for part in parts
        if part.topology is not None
        for sample in evenly(part, _FACES_FOR_MEAN)
        if sample.landmarks_head is not None
    ]
    if not faces or faces[0].shape != (num_landmarks, 3):
        found = f"{len(faces[0])} dense landmarks" if faces else "no dense landmarks"
        raise InputError(f"the data have {found}, the model's num_landmarks is {num_landmarks}")
    return np.mean(faces, axis=0).astype(np.float32)


def _open_all(config: PaperConfig) -> HeadDataset:
    datasets = [open_source(source) for source in config.data]
    return datasets[0] if len(datasets) == 1 else ConcatDataset(datasets, config.shares)


def open_source(source: SourceConfig) -> HeadDataset:
    """The samples that a configuration asks for.

    :raises InputError: when none is left, or the distances of the data set aren't known beforehand.
    """
    dataset = open_dataset(source.name, source.root, source.split, source.boxes, source.assets)
    if source.distance is not None:
        if not isinstance(dataset, RenderedHeads):
            raise InputError(f"{dataset.title}: distance can only be chosen for rendered heads")
        metres = dataset.distances()
        chosen = np.flatnonzero((metres >= source.distance[0]) & (metres < source.distance[1]))
        dataset = Subset(dataset, chosen.tolist())
    if source.first or source.every > 1:
        dataset = dataset[: source.first : source.every]
    if not len(dataset):
        raise InputError(f"{dataset.title} in {source.root} has no sample that fits {source}")
    return dataset


def _topology(dataset: HeadDataset, num_sampled: int) -> Topology:
    """The data set's, with as many of its sampled landmarks as the model wants."""
    topology = dataset.topology
    if topology is None:
        raise InputError(
            f"{dataset.title} has no dense landmarks: train it together with a data set that does"
        )
    return replace(topology, sampled=topology.sampled[:num_sampled])


def _to(targets: TRGTargets, device: torch.device) -> TRGTargets:
    return TRGTargets(**{name: value.to(device) for name, value in vars(targets).items()})


def _sum_gradients(model: TRG) -> None:
    """Over all processes, in one message."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
