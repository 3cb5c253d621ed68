"""What loss curves don't show: parts of a network that have stopped to take part."""

import torch
from torch import Tensor

from trg_ros.model.network import TRG
from trg_ros.model.preprocessing import normalise_crops
from trg_ros.synthetic.augmentation import TrainingBatch

_CROPS = 100


@torch.inference_mode()
def blind_iterations(model: TRG, batch: TrainingBatch) -> list[int]:
    """The iterations (0, 1, ...) whose point features are zero for every crop of a batch (the first 100).

    A ReLU that is never active has no gradient: such an iteration sees nothing and never will again.
    """
    seen = [False] * model.config.iterations

    def watch(iteration: int, features: Tensor) -> None:
        seen[iteration] = bool((features != 0).any())

    handles = [
        points.register_forward_hook(lambda _module, _inputs, out, iteration=iteration: watch(iteration, out))
        for iteration, points in enumerate(model.point_features)
    ]
    device = next(model.parameters()).device
    try:
        crops = normalise_crops(torch.from_numpy(batch.crops[:_CROPS]).to(device))
        model(crops, torch.from_numpy(batch.box[:_CROPS]).to(device))
    finally:
        for handle in handles:
            handle.remove()
    return [iteration for iteration, sees in enumerate(seen) if not sees]
