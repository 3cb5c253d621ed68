"""The benchmark measures what it says; how long things take is not tested."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from discs import DiscBackend, DiscDetector, box_of, checkpoint, draw
from small_network import small_network

from trg_ros.benchmark import peer_worker
from trg_ros.benchmark.architectures import pareto
from trg_ros.benchmark.machine import describe_machine
from trg_ros.benchmark.peers import Peer
from trg_ros.benchmark.report import markdown, performance_page
from trg_ros.benchmark.scene import Scene, make_scene
from trg_ros.benchmark.timing import Call, interleave
from trg_ros.benchmark.tracked import tracked_frame
from trg_ros.camera import CameraModel
from trg_ros.checkpoint import Checkpoint, CheckpointInfo, save_checkpoint
from trg_ros.cli import main
from trg_ros.errors import InputError
from trg_ros.estimator import HeadPoseEstimator


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    model = small_network(seed=3)
    checkpoint = Checkpoint(model.config, model.topology, CheckpointInfo(name="tiny"), model.state_dict())
    return save_checkpoint(tmp_path_factory.mktemp("weights") / "tiny.safetensors", checkpoint)


@pytest.mark.parametrize("faces", [0, 1, 2, 4, 10, 32])
@pytest.mark.parametrize("size", [(640, 480), (1920, 1080)])
def test_scene_has_as_many_faces_as_asked_for(faces, size):
    """A photo that is dark but for the bright face: bright is what the boxes hold."""
    photo = np.full((200, 300, 3), 10, np.uint8)
    photo[60:140, 100:180] = 250
    scene = make_scene(photo, np.array([100.0, 60, 180, 140]), faces, size)
    assert scene.image_bgr.shape == (size[1], size[0], 3) and scene.boxes.shape == (faces, 4)
    assert (scene.camera.width, scene.camera.height) == size
    blur = max(3, size[1] // 100)  # at the edges, where the photo is enlarged
    inside = np.zeros(scene.image_bgr.shape[:2], bool)
    for left, top, right, bottom in scene.boxes:
        patch = (
            slice(round(top) + blur, round(bottom) - blur),
            slice(round(left) + blur, round(right) - blur),
        )
        assert (scene.image_bgr[patch] > 200).all()
        assert not inside[patch].any(), "no two faces in one place"
        inside[round(top) - blur : round(bottom) + blur, round(left) - blur : round(right) + blur] = True
    assert (scene.image_bgr[~inside] < 200).all()


def test_contenders_take_turns():
    calls = []
    contenders = {name: Call(lambda name=name: calls.append(name)) for name in "ab"}
    samples = interleave(contenders, rounds=2, calls=3)
    assert "".join(calls) == "aaabbb" * 3
    assert [len(samples[name].wall_ms) for name in "ab"] == [6, 6], "the first turn doesn't count"
    assert set(samples["a"].summary()) >= {"calls", "wall_median_ms", "wall_p95_ms", "cpu_median_ms"}


def test_machine_is_described_without_names(monkeypatch):
    machine = describe_machine("a robot's computer")
    assert machine["machine"] == "a robot's computer" and machine["versions"]["torch"]
    assert not {"hostname", "user", "path"} & set(machine)


def test_command(tmp_path, weights, capsys):
    pytest.importorskip("skimage", reason="the photo comes from scikit-image")
    out = tmp_path / "results"
    arguments = ["benchmark", "--out", str(out), "--checkpoint", str(weights), "--label", "test"]
    arguments += ["--faces", "0", "2", "--sizes", "VGA", "--rounds", "1", "--backends", "torch", "--no-paper"]
    assert main(arguments) == 0
    report = json.loads((out / "benchmark.json").read_text())
    assert report["settings"]["checkpoint"] == "tiny" and len(report["load_before"]) == 3
    assert [row["contender"] for row in report["peers"]] == ["trg_ros, torch fp32"]
    stages = {(row["stage"], row["faces"]) for row in report["stages"]}
    for stage in ("crop", "network: torch fp32", "pack"):
        assert (stage, 2) in stages and (stage, 0) not in stages
    for stage in ("decode jpeg", "frame: torch fp32"):
        assert {(stage, 0), (stage, 2)} <= stages
    assert all(row["calls"] == 5 for row in report["stages"])
    assert (out / "benchmark.md").read_text() == markdown(report)
    assert "| crop |" in capsys.readouterr().out
    pytest.importorskip("matplotlib", reason="the plot needs it")
    assert (out / "benchmark.png").read_bytes().startswith(b"\x89PNG")


def test_cost_of_architectures(tmp_path, weights, capsys):
    pytest.importorskip("openvino", reason="the cost is measured in OpenVINO")
    candidates = tmp_path / "candidates.yaml"
    candidates.write_text("as it is: {}\nsmaller: {hidden_width: 8, num_sampled: 69, accuracy: 5.0}\n")
    arguments = ["benchmark", "--architectures", str(candidates), "--checkpoint", str(weights)]
    assert main([*arguments, "--rounds", "1", "--out", str(tmp_path / "out")]) == 0
    rows = json.loads((tmp_path / "out" / "architectures.json").read_text())["architectures"]
    assert [row["name"] for row in rows] == ["as it is", "smaller"]
    assert rows[1]["parameters"] < rows[0]["parameters"] and rows[1]["options"]["hidden_width"] == 8
    assert [row["accuracy"] for row in rows] == [None, 5.0] and rows[0]["calls"] == 5
    assert "| smaller |" in capsys.readouterr().out
    candidates.write_text("- a list\n")
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert "expected names" in capsys.readouterr().err


def test_pareto_front():
    points = {"cheap": (1.0, 9.0), "good": (3.0, 2.0), "beaten": (4.0, 3.0), "unknown": (0.5, None)}
    rows = [{"name": name, "cpu_median_ms": ms, "accuracy": error} for name, (ms, error) in points.items()]
    assert pareto(rows) == ["cheap", "good"]


@pytest.mark.parametrize("faces", [0, 2])
def test_a_frame_is_a_tracked_one(faces):
    """Nothing is detected, the heads keep their ids, and every virtual camera faces its head."""
    camera = CameraModel.pinhole(600, 600, 330, 230, 640, 480)
    centers = np.array([[-0.15, 0.05, 0.9], [0.2, -0.1, 0.7]])[:faces]
    detector = DiscDetector()
    estimator = HeadPoseEstimator(checkpoint(), DiscBackend(), detector)
    boxes = np.array([box_of(camera, center) for center in centers]).reshape(-1, 4)
    frame = tracked_frame(estimator, Scene(draw(camera, centers), camera, boxes))
    heads = frame()
    assert detector.calls == 0 and [one.id for one in heads] == list(range(1, faces + 1))
    for one in heads:
        np.testing.assert_allclose(one.head.window.center, 0, atol=0.02)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--rounds", "0"], "--rounds"),
        (["--faces", "-1"], "--faces"),
        (["--peer", "mediapipe"], "KIND=PATH"),
        (["--backends", "abacus"], "abacus"),
        (["--photo", "nowhere.jpg"], "nowhere.jpg"),
        (["--peer", "somebody=here", "--backends", "torch", "--rounds", "1"], "somebody"),
    ],
)
def test_bad_arguments_are_one_line(tmp_path, weights, capsys, options, complaint):
    arguments = ["benchmark", "--out", str(tmp_path / "out"), "--checkpoint", str(weights), *options]
    assert main(arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(lines) == 1 and complaint in lines[0]
    assert not (tmp_path / "out" / "benchmark.json").exists()


def test_a_peer_in_its_own_process(tmp_path, monkeypatch):
    """With a stand-in for 3DDFA_V2's module, whose answers and noise are known."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mb1_120x120.yml").write_text("size: 120\n")
    (tmp_path / "TDDFA_ONNX.py").write_text(
        "class TDDFA_ONNX:\n"
        "    def __init__(self, size): print('noise on the standard output', size)\n"
        "    def __call__(self, image, boxes):\n"
        "        assert image.shape == (4, 6, 3) and len(boxes) == 1\n"
        "        return 1, 2\n"
        "    def recon_vers(self, parameters, boxes, dense_flag): print('more noise')\n"
    )
    scene = tmp_path / "scene.npz"
    np.savez(scene, image_bgr=np.zeros((4, 6, 3), np.uint8), box=np.zeros(4))
    with Peer("3ddfa", str(tmp_path), scene) as peer:
        samples = peer.measure(3)
        assert len(samples.wall_ms) == len(samples.cpu_ms) == 3
        assert len(peer.measure(2).wall_ms) == 2


RELEASE = {
    "models/trg_model/__init__.py": """
import torch

class Model(torch.nn.Module):
    def forward(self, pixels, intrinsics, row):
        assert pixels.shape == (1, 3, 192, 192) and pixels.dtype == intrinsics.dtype == torch.float32
        assert not self.training and pixels[0, 0, 96, 96] > 2, "normalised, red first"
        left, top, right, bottom, focal, height, width = row[0].tolist()
        assert (left, right, height, width) == (30, 221, 240, 320)
        point = torch.tensor([0.25, 0.5, 2.0, 1.0]) @ intrinsics[0]
        u, v = (width / 2 + focal * 0.125 - left, height / 2 + focal * 0.25 - top)
        assert torch.allclose(point[:2] / point[2], torch.tensor([u, v])), "crop pixels"
        return {"output": [None, {"pred_R_t": torch.eye(4)[None]}]}, []

def load_trg(config, face, pose):
    assert (config, face, pose) == ("models/trg_model/configs/trg_face_config.yaml", 1, 2)
    return Model()
""",
    "models/trg_model/core/cfgs.py": "def parse_args(path): return path\n",
    "util/pkl.py": "def read_pkl(path): return {'t_vtx_1220': 1, 'R_t': 2}\n",
}


def test_the_papers_release_is_called_as_its_demo_calls_it(tmp_path):
    """With a stand-in for its modules."""
    for name, content in RELEASE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    image = np.zeros((240, 320, 3), np.uint8)
    image[..., 2] = 255
    scene = tmp_path / "scene.npz"
    np.savez(scene, image_bgr=image, box=np.array([30.0, 20, 221, 211]))
    with Peer("trg-release", str(tmp_path), scene) as peer:
        assert peer.version == "checkout, random weights"
        assert len(peer.measure(2).cpu_ms) == 2


def test_a_peer_that_fails_says_why(tmp_path):
    scene = tmp_path / "scene.npz"
    np.savez(scene, image_bgr=np.zeros((4, 6, 3), np.uint8), box=np.zeros(4))
    with pytest.raises(InputError, match=r"peer 3ddfa failed: ModuleNotFoundError.*TDDFA_ONNX"):
        Peer("3ddfa", str(tmp_path), scene)
    with pytest.raises(InputError, match="can't be started"):
        Peer("mediapipe", str(tmp_path / "no" / "python"), scene)
    assert sorted(peer_worker.KINDS) == ["3ddfa", "mediapipe", "trg-release"] and sys.executable


def test_performance_page_says_what_the_results_say():
    docs = Path(__file__).resolve().parents[1] / "docs"
    assert list((docs / "benchmarks").glob("*.json"))
    assert (docs / "performance.md").read_text(encoding="utf-8") == performance_page(docs / "benchmarks")
