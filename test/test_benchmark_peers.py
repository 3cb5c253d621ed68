"""The other methods that the benchmark runs: called as their own demos call them."""

import sys

import numpy as np
import pytest

from trg_ros.benchmark import peer_worker
from trg_ros.benchmark.peers import Peer
from trg_ros.errors import InputError

THREE_DDFA = """
import onnxruntime, torch

class TDDFA_ONNX:
    def __init__(self, size):
        print('noise on the standard output', size)
        inputs = {'input_names': ['input'], 'dynamic_axes': {'input': [0]}}
        torch.onnx.export(torch.nn.ReLU(), (torch.zeros(1, 3),), 'a.onnx', **inputs)
        session = onnxruntime.InferenceSession('a.onnx', None)
        assert session.get_session_options().intra_op_num_threads == 1

    def __call__(self, image, boxes):
        assert image.shape == (4, 6, 3) and len(boxes) == 1
        return 1, 2

    def recon_vers(self, parameters, boxes, dense_flag):
        print('more noise')
"""


def test_three_ddfa_is_called_as_its_demo_calls_it(tmp_path):
    """With a stand-in for its module that exports and starts a network as it does."""
    for module in ("onnx", "onnxruntime"):
        pytest.importorskip(module, reason="the peer runs on it")
    for folder, name in (("configs", "mb05_120x120.yml"), ("weights", "mb05_120x120.pth")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text("size: 120\n")
    (tmp_path / "TDDFA_ONNX.py").write_text(THREE_DDFA)
    scene = tmp_path / "scene.npz"
    np.savez(scene, image_bgr=np.zeros((4, 6, 3), np.uint8), box=np.zeros(4))
    with Peer("3ddfa", str(tmp_path), scene) as peer:
        assert peer.version == "mb05"
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
    with pytest.raises(InputError, match=r"peer 3ddfa failed: weights/ of the checkout has neither"):
        Peer("3ddfa", str(tmp_path), scene)
    with pytest.raises(InputError, match=r"peer trg-release failed: ModuleNotFoundError.*models"):
        Peer("trg-release", str(tmp_path), scene)
    with pytest.raises(InputError, match="can't be started"):
        Peer("mediapipe", str(tmp_path / "no" / "python"), scene)
    assert sorted(peer_worker.KINDS) == ["3ddfa", "mediapipe", "trg-release"] and sys.executable
