"""Runs a peer in a process, and if need be a Python, of its own; knows nothing of trg_ros.

    python peer_worker.py KIND LOCATION SCENE.npz

SCENE.npz has image_bgr (H, W, 3) uint8 and box (4,) LTRB px of its one face. Prints a line of JSON when it is
ready, and one for every line with a number of calls on the standard input: wall and CPU milliseconds of each.
"""

import json
import os
import sys
import time
from pathlib import Path


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
    """3DDFA_V2 on ONNX Runtime from a checkout: sparse landmarks and pose parameters for a known box."""
    import yaml

    sys.path.insert(0, location)
    os.chdir(location)
    from TDDFA_ONNX import TDDFA_ONNX

    model = TDDFA_ONNX(**yaml.safe_load(Path("configs/mb1_120x120.yml").read_text(encoding="utf-8")))
    faces = [[*map(float, box), 1.0]]

    def call():
        parameters, boxes = model(image_bgr, faces)
        return model.recon_vers(parameters, boxes, dense_flag=False)

    return call, "checkout"


KINDS = {"mediapipe": mediapipe_mesh, "3ddfa": three_ddfa}


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
