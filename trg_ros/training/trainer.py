"""The trainer: one loop, resumable after a kill at any time."""

import logging
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import torch

from trg_ros.errors import CheckpointError, DeviceError
from trg_ros.evaluation.metrics import per_sample_errors, summarise
from trg_ros.evaluation.rendered import HeldOutSet, predict_poses
from trg_ros.geometry import geodesic_distance
from trg_ros.model.config import TRGConfig
from trg_ros.model.losses import TRGLoss, TRGTargets
from trg_ros.model.network import MIN_DEPTH, TRG, TRGOutput
from trg_ros.model.topology import Topology
from trg_ros.synthetic.dataset import RenderedDataset
from trg_ros.synthetic.landmark_set import LandmarkSet, default_landmark_set
from trg_ros.training.batches import BatchStream, Growth, load_backgrounds, to_tensors
from trg_ros.training.config import OptimisationConfig, TrainingConfig
from trg_ros.training.health import blind_iterations
from trg_ros.training.helpers import GradientHelpers
from trg_ros.training.progress import RunLog
from trg_ros.training.state import WeightAverage, load_state, save_state

_log = logging.getLogger(__name__)
STATE_NAME = "state.pt"

Inputs = tuple[torch.Tensor, torch.Tensor, TRGTargets]


def make_landmarks(config: TRGConfig) -> tuple[LandmarkSet, Topology]:
    """The packaged landmark set, and the same as a model topology with as many sampled as the model wants.

    Any prefix of the sampled landmarks is well spread; one of odd length closes its mirror pairs.
    """
    chosen = default_landmark_set()
    sampled = chosen.sampled[: config.num_sampled]
    return chosen, Topology(chosen.triangles, sampled, chosen.landmarks68, chosen.flip)


def make_dataset(config: TrainingConfig, limit_shards: int | None) -> RenderedDataset:
    return RenderedDataset(Path(config.data.root).expanduser(), limit_shards)


def choose_device(name: str) -> torch.device:
    """ "cpu", "cuda" or "cuda:1"; "auto" is the GPU where there is one.

    :raises DeviceError: for a GPU that is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(f"optimisation.device is {name!r} but there is no CUDA GPU; use 'cpu' or 'auto'")
    return torch.device(name)


def channels_last(model: TRG) -> TRG:
    """The model with its convolutions' weights in the layout that CPUs and GPUs compute in."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def forward_loss(
    model: TRG, loss_function: TRGLoss, inputs: Inputs, config: OptimisationConfig
) -> tuple[torch.Tensor, dict[str, torch.Tensor], list[TRGOutput]]:
    """One forward pass in mixed precision; the losses in full precision.

    To the paper's terms comes the relative depth error: in metres, far heads would drown the near ones.
    """
    crops, box, targets = inputs
    with torch.autocast(crops.device.type, dtype=torch.bfloat16, enabled=config.bfloat16):
        outputs = model(crops, box)
    loss, terms = loss_function(outputs, box, targets)
    if config.relative_depth > 0:
        decay = loss_function.weights.iteration_decay
        errors = [
            _relative_depth(output, targets) * decay**age for age, output in enumerate(reversed(outputs))
        ]
        depth = config.relative_depth * torch.stack(errors).sum()
        loss, terms = loss + depth, {**terms, "depth": depth.detach()}
    return loss, terms, outputs


def _relative_depth(output: TRGOutput, targets: TRGTargets) -> torch.Tensor:
    """Mean absolute logarithm of predicted over true depth of the head's origin."""
    ratio = output.translation[:, 2].clamp(min=MIN_DEPTH) / targets.translation[:, 2]
    return ratio.log().abs().mean()


class Trainer:
    """Trains one network as the configuration says; ``run`` goes on from the last saved state if there is
    one."""

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config
        self.output = Path(config.output).expanduser()
        self.output.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(config.optimisation.threads)
        cv2.setNumThreads(1)
        torch.manual_seed(config.seed)
        self.landmark_set, topology = make_landmarks(config.model)
        saved = load_state(self.output / STATE_NAME) if (self.output / STATE_NAME).exists() else None
        self.growth = Growth([tuple(entry) for entry in saved["growth"]] if saved else [])
        self.dataset = make_dataset(config, self.growth.entries[-1][1] if saved else None)
        self.device = choose_device(config.optimisation.device)
        self.model = channels_last(TRG(config.model, topology)).to(self.device).train()
        self.model.set_initial_state(self.dataset.mean_landmarks())
        self.loss_function = TRGLoss(topology, config.loss).to(self.device)
        self.average = WeightAverage(self.model, config.optimisation.ema_decay)
        self.optimiser = self._make_optimiser()
        self.step, self.samples_seen, self.seconds = 0, 0, 0.0
        self._stopping = False
        if saved:
            self._restore(saved)
        elif config.init:
            self._start_from(Path(config.init).expanduser())
        self._held_out: HeldOutSet | None = None

    def run(self, stop_at: int | None = None) -> dict[str, float]:
        """Train to the end (or to a step), saving and measuring on the way; returns the last measurement."""
        config = self.config
        backgrounds = load_backgrounds(config.data, config.seed)
        stream = BatchStream(config, self.dataset, backgrounds, self.landmark_set, self.growth)
        last = min(config.optimisation.steps, stop_at or config.optimisation.steps)
        helpers = None
        if config.optimisation.helpers:
            helpers = GradientHelpers(config, self.model, self.step, config.optimisation.helpers)
        result: dict[str, float] = {}
        log = RunLog(self.output / "log.csv", last)
        try:
            for step, batch in stream.prefetched(self.step, last):
                started = time.monotonic()
                row = self._train_step(batch, helpers)
                self.step = step + 1
                self.seconds += time.monotonic() - started
                log.add(self, row)
                if self.step % config.checkpoint_every == 0 or self.step == last or self._stopping:
                    self.save()
                if self._stopping:
                    _log.info("stopped at step %d; the same command goes on from there", self.step)
                    break
                if self.step % config.evaluate_every == 0 or self.step == last:
                    result = self.evaluate()
                    log.measurement(self, result)
        finally:
            log.close()
            if helpers:
                helpers.stop()
        return result

    def stop(self) -> None:
        """Let ``run`` end, saved, after the step at hand; signal handlers may call it."""
        self._stopping = True

    def _train_step(self, batch: Any, helpers: GradientHelpers | None) -> dict[str, float]:
        optimisation = self.config.optimisation
        rate = self.learning_rate(self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["rate_scale"]
        inputs = to_tensors(batch, self.landmark_set.landmarks68, optimisation.focal, self.device)
        loss, terms, outputs = forward_loss(self.model, self.loss_function, inputs, optimisation)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = self._apply_gradient()
        contributions = 1
        for _ in helpers.take() if helpers else ():
            self._apply_gradient()
            contributions += 1
        self.average.update(self.model, self.step)
        self.samples_seen += contributions * len(batch.box)
        angle = geodesic_distance(outputs[-1].rotation.detach(), inputs[2].rotation).mean()
        row = {
            "loss": float(loss.detach()),
            "geodesic_deg": math.degrees(float(angle)),
            "rate": rate,
            "norm": float(norm),
        }
        return row | {name: float(value) for name, value in terms.items()}

    def _apply_gradient(self) -> torch.Tensor:
        """Clip and step; a gradient that is not finite is skipped. Returns its norm."""
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optimisation.gradient_clip)
        if torch.isfinite(norm):
            self.optimiser.step()
        return norm

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then a cosine down to the final rate."""
        o = self.config.optimisation
        warm = min(1.0, (step + 1) / max(1, o.warmup_steps))
        cosine = 0.5 * (1 + math.cos(math.pi * step / o.steps))
        return warm * (o.final_learning_rate + (o.learning_rate - o.final_learning_rate) * cosine)

    def evaluate(self) -> dict[str, float]:
        """Errors of the averaged weights on the held-out set, at the configured input size."""
        if self._held_out is None:
            self._held_out = HeldOutSet.load(
                Path(self.config.data.validation).expanduser(), self.config.data.validation_samples
            )
        crops = self._held_out.crops(self.config.crop_size(max(0, self.step - 1)))
        model = self.average.model
        predicted = predict_poses(model, crops, self.config.optimisation.bfloat16)
        for iteration in blind_iterations(model, crops):
            _log.warning("iteration %d is blind: none of its point features is ever active", iteration + 1)
        return summarise(per_sample_errors(predicted, self._held_out.truth(crops)))

    def save(self) -> None:
        """Everything that the next step depends on, into one file."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "samples_seen": self.samples_seen,
            "seconds": self.seconds,
            "growth": [list(entry) for entry in self.growth.entries],
            "random_state": torch.get_rng_state(),
            "cuda_random_state": torch.cuda.get_rng_state() if self.device.type == "cuda" else None,
            "model_config": self.config.model.to_dict(),
            "config": _plain(asdict(self.config)),
        }
        save_state(self.output / STATE_NAME, state)

    def _restore(self, saved: dict[str, Any]) -> None:
        if TRGConfig.from_dict(saved["model_config"]) != self.config.model:
            raise CheckpointError(
                f"{self.output / STATE_NAME} is of another model configuration; choose another output"
            )
        self.model.load_state_dict(saved["model"])
        self.average.model.load_state_dict(saved["average"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.step, self.samples_seen, self.seconds = saved["step"], saved["samples_seen"], saved["seconds"]
        torch.set_rng_state(saved["random_state"])
        if self.device.type == "cuda" and saved["cuda_random_state"] is not None:
            torch.cuda.set_rng_state(saved["cuda_random_state"])
        _log.info("resuming %s at step %d (%d samples seen)", self.config.name, self.step, self.samples_seen)

    def _start_from(self, path: Path) -> None:
        """Warm start from the averaged weights of another run's state."""
        saved = load_state(path)
        self.model.load_state_dict(saved["average"])
        self.average.model.load_state_dict(saved["average"])
        self.samples_seen = saved["samples_seen"]

    def _make_optimiser(self) -> torch.optim.Optimizer:
        """AdamW; biases and normalisation are not decayed, the regressors learn more slowly.

        Their inputs are a thousand numbers that rise and fall together: at the full rate a few steps push a
        unit below zero for every head there is, for good.
        """
        o = self.config.optimisation
        slow = {id(p) for regressor in self.model.regressors for p in regressor.parameters()}
        groups = []
        for is_slow, scale in ((False, 1.0), (True, o.regressor_rate)):
            for is_matrix, decay in ((True, o.weight_decay), (False, 0.0)):
                chosen = [
                    p
                    for p in self.model.parameters()
                    if (id(p) in slow) == is_slow and (p.ndim > 1) == is_matrix
                ]
                groups.append({"params": chosen, "weight_decay": decay, "rate_scale": scale})
        return torch.optim.AdamW(groups, lr=o.learning_rate, fused=True)


def _plain(value: Any) -> Any:
    """Nested dataclass values as what a weights-only load accepts."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
