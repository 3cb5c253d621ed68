"""Training the uncertainty head of a finished checkpoint, after finding out how to compute it in integers.

The head learns from the checkpoint's errors on augmented training crops, half of them as first and half as
second looks see them, by the negative log likelihood of a Gaussian. A network is more at home with the heads
that it was trained on; so each axis' standard deviations are then scaled to its errors on held-out heads,
after all looks of the estimator; and measured on others.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from trg_ros.checkpoint import Checkpoint
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.evaluation.calibration import INSIDE_95, calibration_report, held_out_looks
from trg_ros.evaluation.looks import Looks, joined_looks, single_looks
from trg_ros.evaluation.quantization import TRAINING_SAMPLES, with_integers
from trg_ros.evaluation.rendered import HeldOutSet
from trg_ros.model.uncertainty import INPUTS, NUMBERS, RESIDUAL_UNIT, UncertaintyHead, pose_factor
from trg_ros.synthetic.augmentation import Augmenter, TrainingBatch
from trg_ros.synthetic.dataset import RenderedDataset
from trg_ros.synthetic.landmark_set import default_landmark_set
from trg_ros.training.batches import load_backgrounds
from trg_ros.training.config import TrainingConfig
from trg_ros.uncertainty import uncertainty_inputs

Array = NDArray[np.float64]

_HIDDEN = 32
_EPOCHS, _BATCH = 20, 128
_LEARNING_RATE, _WEIGHT_DECAY = 2e-3, 0.1
_CLIP = 5.0
_SETTLED, _TRACKED = 0.3, 0.3  # of the crops are as second looks and as trackers see them
_CUT = 50  # crops at a time
MIN_SAMPLES = 100  # to learn from, and held out


def calibrate(
    checkpoint: Checkpoint, config: TrainingConfig, held_out: HeldOutSet, samples: int, threads: int = 1
) -> Checkpoint:
    """The checkpoint with activation peaks and an uncertainty head, and with how well both do among its
    measured errors.

    :param config: of a training run: where training heads and backgrounds are, and how crops are made.
    :param held_out: half of it scales the standard deviations, the other half measures.
    :param samples: training crops.
    """
    size = checkpoint.config.input_size
    training = list(training_batches(config, size, TRAINING_SAMPLES))
    plain = with_integers(
        dataclasses.replace(checkpoint, uncertainty=None),
        np.concatenate([batch.crops for batch in training]),
        np.concatenate([batch.box for batch in training]),
        held_out.crops(size),
    )
    estimator = HeadPoseEstimator.load(plain, detector=None, threads=threads)
    looks = training_looks(estimator, config, samples)
    head = fit_head(uncertainty_inputs(looks.result, looks.windows), looks.residuals(), config.seed)
    held = held_out_looks(estimator, held_out)
    fitting, measuring = slice(0, None, 2), slice(1, None, 2)
    chosen = held["all_looks"][fitting]
    head = scaled_to(head, uncertainty_inputs(chosen.result, chosen.windows), chosen.residuals())
    calibrated = dataclasses.replace(plain, uncertainty=head)
    report: dict[str, Any] = {
        name: calibration_report(some[measuring], calibrated) for name, some in held.items()
    }
    info = dataclasses.replace(
        plain.info,
        measured_errors={**plain.info.measured_errors, "calibration": report},
        provenance={
            **plain.info.provenance,
            "uncertainty": f"trg-headpose calibrate: learned from {samples} training crops; scaled and "
            f"measured on {len(held['all_looks'])} held-out heads, half each",
        },
    )
    return dataclasses.replace(calibrated, info=info)


def training_looks(estimator: HeadPoseEstimator, config: TrainingConfig, samples: int) -> Looks:
    """One look at each of so many augmented crops of the training set."""
    batches = training_batches(config, estimator.checkpoint.config.input_size, samples)
    return joined_looks(
        single_looks(estimator.backend, batch)
        for batch in tqdm(batches, "training crops", -(-samples // _CUT), leave=False)
    )


def training_batches(config: TrainingConfig, size: int, samples: int) -> Iterator[TrainingBatch]:
    """So many augmented crops of the training set, of ``size`` px, as detectors, second looks and trackers
    see them."""
    augmentation = dataclasses.replace(
        config.augmentation,
        settled_probability=_SETTLED,
        tracked_probability=_TRACKED,
        clear_probability=0.0,
        focal_error_probability=0.0,
    )
    chosen = default_landmark_set()
    augmenter = Augmenter(
        size,
        chosen.flip,
        chosen.landmarks68,
        load_backgrounds(config.data, config.seed),
        augmentation,
        settled_scale=config.model.second_look_scale,
    )
    dataset = RenderedDataset(Path(config.data.root).expanduser())
    rng = np.random.default_rng(config.seed)
    for _ in range(-(-samples // _CUT)):
        yield augmenter(dataset.gather(rng.integers(0, len(dataset), _CUT)), rng)


def fit_head(inputs: Array, residuals: Array, seed: int = 1) -> UncertaintyHead:
    """The head with the largest likelihood of residuals (N, 6) given inputs (N, 26)."""
    torch.manual_seed(seed)
    mean, deviation = inputs.mean(axis=0), inputs.std(axis=0) + 1e-3
    x = torch.from_numpy((inputs - mean) / deviation).float()
    y = torch.from_numpy(residuals).float()
    network = _initial_network(residuals)
    steps = max(1, _EPOCHS * len(x) // _BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        chosen = torch.randint(len(x), (_BATCH,))
        loss = negative_log_likelihood(network(x[chosen]), y[chosen]).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
        optimiser.step()
        schedule.step()
    hidden_weight, hidden_bias, output_weight, output_bias = (
        parameter.detach().numpy() for parameter in network.parameters()
    )
    unstandardised = hidden_weight / deviation
    return UncertaintyHead(
        unstandardised.astype(np.float32),
        (hidden_bias - unstandardised @ mean).astype(np.float32),
        output_weight,
        output_bias,
    )


def negative_log_likelihood(numbers: Tensor, residuals: Tensor) -> Tensor:
    """(N,) of residuals (N, 6), up to a constant, under Gaussians given by numbers (N, 21)."""
    factor = pose_factor(numbers)
    white = torch.linalg.solve_triangular(factor, residuals[..., None], upper=False)[..., 0]
    return 0.5 * (white * white).sum(dim=1) + factor.diagonal(dim1=1, dim2=2).log().sum(dim=1)


def scaled_to(head: UncertaintyHead, inputs: Array, residuals: Array) -> UncertaintyHead:
    """The head with each axis' standard deviation scaled, half-way between what brings the mean squares of
    the normalised residuals to 1 and what brings 95 % of them inside the 95 % ellipsoids: errors have longer
    tails than a Gaussian, which can't satisfy both."""
    factor = head(inputs)
    by_axis = np.sqrt((residuals**2 / (factor * factor).sum(axis=2)).mean(axis=0))
    white = np.linalg.solve(factor * by_axis[:, None], residuals[..., None])[..., 0]
    stretch = np.quantile((white * white).sum(axis=1), 0.95) / INSIDE_95
    return head.scaled(by_axis * stretch**0.25)


def _initial_network(residuals: Array) -> nn.Sequential:
    """It says the same of all heads: the residuals' root mean square."""
    output = nn.Linear(_HIDDEN, NUMBERS)
    nn.init.zeros_(output.weight)
    nn.init.zeros_(output.bias)
    usual = np.sqrt((residuals**2).mean(axis=0)) / RESIDUAL_UNIT
    with torch.no_grad():
        output.bias[:6] = torch.from_numpy(np.log(usual))
    return nn.Sequential(nn.Linear(INPUTS, _HIDDEN), nn.Tanh(), output)
