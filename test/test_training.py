"""The trainer: a killed run goes on as if nothing had happened; what it writes says what it is."""

import signal
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

pytest.importorskip("numba", reason="training needs the extra [train]")

from rendered_samples import MARGIN, fake_samples

from trg_ros.checkpoint import default_checkpoint_path, load_checkpoint
from trg_ros.commands.train import signals_stop
from trg_ros.errors import CheckpointError, DeviceError, InputError
from trg_ros.synthetic.augmentation import AugmentationConfig, Augmenter
from trg_ros.synthetic.backgrounds import photo_patches, procedural_patches
from trg_ros.synthetic.dataset import RenderedDataset, write_shard
from trg_ros.synthetic.landmark_set import default_landmark_set
from trg_ros.training.batches import BatchStream, Growth
from trg_ros.training.config import TrainingConfig, load_training_config, training_config_from_dict
from trg_ros.training.packaging import package
from trg_ros.training.state import load_state
from trg_ros.training.trainer import STATE_NAME, Trainer


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rendered")
    for first in (0, 20):
        images, labels = fake_samples(20, first)
        write_shard(root, first, images, labels, margin=MARGIN)
    return root


def tiny_config(data_root: Path, output: Path, **optimisation: object) -> TrainingConfig:
    return training_config_from_dict(
        {
            "name": "tiny",
            "output": str(output),
            "checkpoint_every": 3,
            "evaluate_every": 1000,
            "data": {
                "root": str(data_root),
                "validation": str(data_root),
                "photo_patches": 0,
                "procedural_patches": 3,
                "patch_size": 64,
                "validation_samples": 8,
            },
            "model": {
                "input_size": 32,
                "stem": "compact",
                "backbone_widths": [8, 8],
                "backbone_blocks": [1, 1],
                "deconv_widths": [8, 8, 8],
                "point_feature_widths": [8, 2],
                "num_landmarks": 433,
                "num_sampled": 305,
                "grid_size": 4,
                "hidden_width": 16,
                "dropout": 0.3,
                "landmark_scale": 0.1,
            },
            "loss": {"rotation": 2.0, "rotation_loss": "frobenius"},
            "optimisation": {
                "steps": 6,
                "batch_size": 4,
                "warmup_steps": 2,
                "sizes": [[0.0, 32], [0.7, 48]],
                "bfloat16": False,
                "relative_depth": 1.0,
                **optimisation,
            },
        }
    )


def test_a_killed_run_resumes_to_the_same_weights(data_root: Path, tmp_path: Path) -> None:
    whole = Trainer(tiny_config(data_root, tmp_path / "whole"))
    whole.run()
    broken = tiny_config(data_root, tmp_path / "broken")
    first_part = Trainer(broken)
    first_part.run(stop_at=3)
    start = {name: value.clone() for name, value in first_part.model.state_dict().items()}
    resumed = Trainer(broken)
    assert (resumed.step, resumed.samples_seen) == (3, 12)
    resumed.run()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    for name, value in whole.average.model.state_dict().items():
        assert torch.equal(value, resumed.average.model.state_dict()[name]), name
    changed = [
        name for name, value in resumed.model.state_dict().items() if not torch.equal(value, start[name])
    ]
    assert len(changed) > 20, "the second half of the run must have trained something"
    assert (tmp_path / "whole" / "log.csv").read_text().startswith("step,samples,per_second,loss")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_saved(
    number: signal.Signals, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, before = Trainer(tiny_config(data_root, tmp_path / "run")), signal.getsignal(number)
    train_step = trainer._train_step

    def interrupted(*batch: object) -> dict[str, float]:
        signal.raise_signal(number)
        return train_step(*batch)

    monkeypatch.setattr(trainer, "_train_step", interrupted)
    with signals_stop(trainer):
        trainer.run()
    assert Trainer(trainer.config).step == 1, "saved though no checkpoint was due"
    assert signal.getsignal(number) is before


def test_another_seed_trains_otherwise(data_root: Path, tmp_path: Path) -> None:
    config = tiny_config(data_root, tmp_path / "a", steps=2)
    one, other = Trainer(config), Trainer(replace(config, seed=2, output=str(tmp_path / "b")))
    one.run()
    other.run()
    assert not torch.equal(one.model.state_dict()["initial_pose"], torch.zeros(9))
    weights = [t.model.regressors[0].pose_head.weight for t in (one, other)]
    assert not torch.equal(*weights)


def test_training_learns_a_batch_by_heart(data_root: Path, tmp_path: Path) -> None:
    config = tiny_config(
        data_root, tmp_path / "run", steps=1000, learning_rate=3e-3, regressor_rate=1.0, sizes=[[0.0, 32]]
    )
    trainer = Trainer(replace(config, model=replace(config.model, dropout=0.0)))
    stream = BatchStream(
        config, trainer.dataset, procedural_patches(1, 64, 0), trainer.landmark_set, Growth([])
    )
    batch = stream.batch(0)
    losses = [trainer._train_step(batch, None)["loss"] for _ in range(30)]
    assert min(losses[-5:]) < 0.7 * losses[0]


def test_a_state_of_another_network_is_refused(data_root: Path, tmp_path: Path) -> None:
    config = tiny_config(data_root, tmp_path / "run", steps=1)
    Trainer(config).run()
    with pytest.raises(CheckpointError, match="another model configuration"):
        Trainer(replace(config, model=replace(config.model, hidden_width=17)))
    (tmp_path / "run" / STATE_NAME).write_bytes(b"broken")
    with pytest.raises(CheckpointError, match="not a usable training state"):
        Trainer(config)


def test_a_missing_gpu_is_an_error(data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="no CUDA GPU"):
        Trainer(tiny_config(data_root, tmp_path, device="cuda"))
    assert Trainer(tiny_config(data_root, tmp_path, device="auto")).device.type == "cpu"


def test_batches_do_not_depend_on_when_they_are_made(data_root: Path, tmp_path: Path) -> None:
    config = tiny_config(data_root, tmp_path)
    backgrounds = procedural_patches(3, 64, 1)
    growth = Growth([(0, 1), (4, 2)])
    chosen = default_landmark_set()
    streams = [BatchStream(config, RenderedDataset(data_root), backgrounds, chosen, growth) for _ in range(2)]
    ahead = dict(streams[0].prefetched(2, 6))
    for step in (5, 2):
        again = streams[1].batch(step)
        assert np.array_equal(ahead[step].crops, again.crops) and np.array_equal(ahead[step].box, again.box)
    assert ahead[2].crops.shape[1:] == (32, 32, 3) and ahead[5].crops.shape[1:] == (48, 48, 3)


def test_new_shards_are_taken_in(data_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "growing"
    images, labels = fake_samples(4, 1)
    write_shard(root, 0, images, labels, margin=MARGIN)
    dataset = RenderedDataset(root)
    images, labels = fake_samples(3, 2)
    write_shard(root, 4, images, labels, margin=MARGIN)
    assert len(dataset) == 4 and dataset.refresh() == 7
    assert np.array_equal(dataset.gather(np.array([5])).images[0], images[1])
    assert len(RenderedDataset(root, limit_shards=1)) == 4


def test_pictures_of_several_sizes_give_the_same_batch(tmp_path: Path) -> None:
    images, labels = fake_samples(4, 1)
    ramp = np.linspace(20, 220, images.shape[1], dtype=np.float32)
    picture = np.dstack([*np.meshgrid(ramp, ramp), np.full((len(ramp), len(ramp)), 255, np.float32)])
    picture = picture[..., [0, 1, 0, 2]]  # red and blue grow to the right, green downwards; covered all over
    images[:] = np.rint(picture)
    doubled = np.stack([np.rint(cv2.resize(picture, None, fx=2, fy=2)).astype(np.uint8)] * len(images))
    batches = []
    for name, second in (("alike", images), ("mixed", doubled)):
        write_shard(tmp_path / name, 0, images, labels, margin=MARGIN)
        write_shard(tmp_path / name, 4, second, labels, margin=MARGIN)
        config = AugmentationConfig(photometric=0.0, hair_probability=0.0)
        landmark_set = default_landmark_set()
        backgrounds = np.full((1, 64, 64, 3), 90, np.uint8)
        augmenter = Augmenter(32, landmark_set.flip, landmark_set.landmarks68, backgrounds, config)
        samples = RenderedDataset(tmp_path / name).gather(np.arange(8))
        batches.append(augmenter(samples, np.random.default_rng(0)))
    alike, mixed = batches
    assert np.array_equal(alike.box, mixed.box)
    inside = (slice(None), slice(8, 24), slice(8, 24))  # away from the pictures' edges
    assert np.abs(alike.crops[inside].astype(int) - mixed.crops[inside]).max() <= 2


def test_packaging_writes_a_checkpoint_that_says_what_it_is(data_root: Path, tmp_path: Path) -> None:
    config = tiny_config(data_root, tmp_path / "run", steps=2)
    with pytest.raises(CheckpointError, match="train first"):
        package(config, tmp_path / "out.safetensors")
    Trainer(config).run()
    measured = package(config, tmp_path / "out.safetensors", version="7")
    checkpoint = load_checkpoint(tmp_path / "out.safetensors")
    assert checkpoint.info.version == "7" and "ICT-FaceKit" in checkpoint.info.license
    assert checkpoint.config.input_size == 32  # what it was trained at so far
    assert checkpoint.info.provenance["samples_seen"] == 8
    assert checkpoint.info.measured_errors == measured and len(measured["rotation_std_deg"]) == 3
    averaged = load_state(tmp_path / "run" / STATE_NAME)["average"]
    stem = checkpoint.state_dict["backbone.stem.conv.weight"]
    torch.testing.assert_close(stem, averaged["backbone.stem.conv.weight"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"speed": 1}, "unknown field 'speed'"),
        ({"data": None}, "data must be a mapping"),
        ({"optimisation": {"sizes": [[0.5, 64]]}}, "sizes must start at fraction 0.0"),
        ({"optimisation": {"batches": 2}}, "unknown field 'batches'"),
        ({"model": {"stem": "none"}}, "stem must be one of"),
        ({"loss": {"rotation_loss": "chordal"}}, "rotation_loss"),
    ],
)
def test_bad_configurations_are_named(
    change: dict[str, object], message: str, data_root: Path, tmp_path: Path
) -> None:
    good = {"name": "a", "output": "b", "data": {"root": "c", "validation": "d"}, "model": {}}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(good | change))
    with pytest.raises(InputError, match=message):
        load_training_config(path)


def test_missing_data_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="trg-headpose render"):
        RenderedDataset(tmp_path)
    with pytest.raises(InputError, match="no readable picture"):
        photo_patches(tmp_path, 3, 32, 0)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    for name in ("absent.yaml", "picture.png"):
        with pytest.raises(InputError, match="can't read the training configuration"):
            load_training_config(tmp_path / name)
    broken = tmp_path / "shard_00000000"
    broken.mkdir()
    (broken / "images.npy").write_bytes(b"")
    with pytest.raises(InputError, match="not a rendered shard"):
        RenderedDataset(tmp_path)


def test_the_packaged_network_is_the_one_of_its_configuration() -> None:
    config = Path(__file__).parents[1] / "config" / "train" / "trg-small.yaml"
    packaged = load_checkpoint(default_checkpoint_path())
    assert load_training_config(config).model == packaged.config


def test_the_packaged_configurations_are_valid() -> None:
    folder = Path(__file__).parents[1] / "config" / "train"
    paths = [
        path for path in sorted(folder.glob("*.yaml")) if "recipe" not in yaml.safe_load(path.read_text())
    ]
    assert paths
    for path in paths:
        config = load_training_config(path)
        assert config.model.num_landmarks == len(default_landmark_set().vertices)
