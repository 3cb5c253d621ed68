"""Runs a peer in a process, and if need be a Python, of its own; knows nothing of trg_ros.

    python peer_worker.py KIND LOCATION SCENE.npz

SCENE.npz has image_bgr (H, W, 3) uint8 and box (4,) LTRB px of its one face. Prints a line of JSON when it is
ready, and one for every line with a number of calls on the standard input: wall and CPU milliseconds of each.
"""

import functools
import json
import os
import sys
import time
from pathlib import Path

_RELEASE_CROP = 192  # pixels


def mediapipe_mesh(location, image_bgr, box):
    """MediaPipe's face mesh while it tracks, with the models that its wheel carries."""
    import cv2
    import mediapipe

    mesh = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=False, max_num_faces=1)

    def call():
        # Its input is RGB: the conversion is a part of what a frame costs.
        return mesh.process(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB))

    if not call().multi_face_landmarks:
        raise SystemExit("MediaPipe finds no face in the image")
    return call, mediapipe.__version__


def three_ddfa(location, image_bgr, box):
    """3DDFA_V2 on ONNX Runtime from a checkout: sparse landmarks and pose parameters for a known box.

    With the larger of its MobileNets whose weights are there; the version says which.
    """
    import onnxruntime
    import torch
    import yaml

    sys.path.insert(0, location)
    os.chdir(location)
    networks = [name for name in ("mb1", "mb05") if list(Path("weights").glob(f"{name}_120x120.*"))]
    if not networks:
        raise SystemExit("weights/ of the checkout has neither mb1_120x120 nor mb05_120x120")
    options, session = onnxruntime.SessionOptions(), onnxruntime.InferenceSession
    # A second thread would spin while it waits, and count as work. It gives None for options.
    options.intra_op_num_threads = 1
    onnxruntime.InferenceSession = lambda path, _: session(path, options)
    # Its first start converts its weights, as torch's exporter did when it was written.
    torch.onnx.export = functools.partial(torch.onnx.export, dynamo=False)
    from TDDFA_ONNX import TDDFA_ONNX

    settings = yaml.safe_load(Path(f"configs/{networks[0]}_120x120.yml").read_text(encoding="utf-8"))
    model = TDDFA_ONNX(**settings)
    faces = [[*map(float, box), 1.0]]

    def call():
        parameters, boxes = model(image_bgr, faces)
        return model.recon_vers(parameters, boxes, dense_flag=False)

    return call, networks[0]


def trg_release(location, image_bgr, box):
    """The paper's release (TRG-Release) in eager torch from a checkout: crop and network for a known box.

    Its weights are used if they lie where its demo wants them; without them it takes as long.
    """
    import cv2
    import torch
    from torch.utils import model_zoo

    sys.path.insert(0, location)
    os.chdir(location)
    model_zoo.load_url = lambda *_, **__: {}  # it would download a backbone that its weights replace
    from models.trg_model import load_trg
    from models.trg_model.core.cfgs import parse_args
    from util.pkl import read_pkl

    start = read_pkl("data/init_vtx_cam.pkl")
    config = parse_args("models/trg_model/configs/trg_face_config.yaml")
    model = load_trg(config, start["t_vtx_1220"], start["R_t"]).eval()
    weights = Path("checkpoint/trg_240717/checkpoint-30/state_dict.bin")
    if weights.is_file():
        model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    to_crop, intrinsics, row = _release_geometry(box, *image_bgr.shape[:2])
    mean, deviation = (
        torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )

    @torch.inference_mode()
    def call():
        crop = cv2.warpAffine(image_bgr, to_crop, (_RELEASE_CROP, _RELEASE_CROP))[:, :, ::-1].copy()
        pixels = (torch.from_numpy(crop).permute(2, 0, 1).float() / 255 - mean) / deviation
        answers, _ = model(pixels[None], torch.from_numpy(intrinsics)[None], torch.tensor([row]))
        return answers["output"][-1]["pred_R_t"]

    return call, "checkout" if weights.is_file() else "checkout, random weights"


def _release_geometry(box, height, width):
    """How the release describes a crop: the affine map (2, 3) from the image; the crop's intrinsics (4, 3), a
    transposed matrix, as points are rows; and one row of box, focal length and image size."""
    import numpy

    focal = float(max(height, width))
    left, top, right, bottom = map(float, box)
    scale = (_RELEASE_CROP - 1) / (right - left)
    to_crop = numpy.array([[scale, 0, -scale * left], [0, scale, -scale * top]])
    intrinsics = numpy.zeros((4, 3), numpy.float32)
    intrinsics[0, 0] = intrinsics[1, 1] = scale * focal
    intrinsics[2] = scale * (width / 2 - left), scale * (height / 2 - top), 1
    return to_crop, intrinsics, [left, top, right, bottom, focal, height, width]


KINDS = {"mediapipe": mediapipe_mesh, "3ddfa": three_ddfa, "trg-release": trg_release}


def main():
    kind, location, scene_path = sys.argv[1:4]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what peers print must not end up among the answers
    import numpy

    scene = numpy.load(scene_path)
    call, version = KINDS[kind](location, numpy.ascontiguousarray(scene["image_bgr"]), scene["box"])
    call()
    print(json.dumps({"ready": version}), file=answers, flush=True)
    for line in sys.stdin:
        wall_ms, cpu_ms = [], []
        for _ in range(int(line)):
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            call()
            cpu_ms.append(1e3 * (time.process_time() - cpu_s))
            wall_ms.append(1e3 * (time.perf_counter() - wall_s))
        print(json.dumps({"wall_ms": wall_ms, "cpu_ms": cpu_ms}), file=answers, flush=True)


if __name__ == "__main__":
    main()
