"""The benchmark measures what it says; how long things take is not tested."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_fixtures import write_rendered
from discs import DiscBackend, DiscDetector, box_of, checkpoint, draw
from small_network import small_network

from trg_ros.backends.openvino_backend import openvino_installed
from trg_ros.benchmark.candidates import read_candidates, stopped_after
from trg_ros.benchmark.fronts import architectures_markdown, pareto
from trg_ros.benchmark.machine import describe_machine
from trg_ros.benchmark.report import markdown, performance_page
from trg_ros.benchmark.scene import Scene, make_scene
from trg_ros.benchmark.timing import Call, interleave
from trg_ros.benchmark.tracked import tracked_frame
from trg_ros.camera import CameraModel
from trg_ros.checkpoint import Checkpoint, CheckpointInfo, load_checkpoint, save_checkpoint
from trg_ros.cli import main
from trg_ros.errors import InputError
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.model.topology import Topology
from trg_ros.synthetic.landmark_set import default_landmark_set


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    model = small_network(seed=3)
    checkpoint = Checkpoint(model.config, model.topology, CheckpointInfo(name="tiny"), model.state_dict())
    return save_checkpoint(tmp_path_factory.mktemp("weights") / "tiny.safetensors", checkpoint)


@pytest.fixture(scope="module")
def head_weights(tmp_path_factory):
    """Of a network with the landmarks that rendered heads have."""
    chosen = default_landmark_set()
    topology = Topology(chosen.triangles, chosen.sampled[:19], chosen.landmarks68, chosen.flip)
    model = small_network(3, topology, num_landmarks=len(chosen.vertices), num_sampled=19, heatmap_level=1)
    checkpoint = Checkpoint(model.config, topology, CheckpointInfo(name="heads"), model.state_dict())
    return save_checkpoint(tmp_path_factory.mktemp("weights") / "heads.safetensors", checkpoint)


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


CANDIDATES = """
as it is: {checkpoint: WEIGHTS}
stopped early: {checkpoint: WEIGHTS, iterations: 1}
smaller: {hidden_width: 8, num_sampled: 69}
"""


def test_architectures(tmp_path, head_weights, capsys):
    if not openvino_installed():
        pytest.skip("the cost is measured in OpenVINO")
    pytest.importorskip("skimage", reason="the photo comes from scikit-image")
    pytest.importorskip("numba", reason="rendered pictures are spoiled by numba kernels")
    write_rendered(tmp_path / "heads", 3)
    candidates, out = tmp_path / "candidates.yaml", tmp_path / "out"
    candidates.write_text(CANDIDATES.replace("WEIGHTS", str(head_weights)))
    arguments = ["benchmark", "--architectures", str(candidates), "--checkpoint", str(head_weights)]
    arguments += ["--held-out", str(tmp_path / "heads"), "--held-out-heads", "3"]
    assert main([*arguments, "--rounds", "1", "--out", str(out)]) == 0
    report = json.loads((out / "architectures.json").read_text())
    rows = {row["name"]: row for row in report["architectures"]}
    assert list(rows) == ["as it is", "stopped early", "smaller"]
    assert report["settings"]["held_out_heads"] == 3 and rows["as it is"]["calls"] == 5
    for name in ("stopped early", "smaller"):
        assert rows[name]["parameters"] < rows["as it is"]["parameters"]
        assert rows[name]["gflop"] <= rows["as it is"]["gflop"]
    assert rows["as it is"]["errors"].keys() == {"settled", "hard"}
    assert rows["as it is"]["errors"] != rows["stopped early"]["errors"]
    assert rows["smaller"]["errors"] == {} and rows["smaller"]["tracked"] is None
    page = capsys.readouterr().out
    assert page == architectures_markdown(report) + "\n" and "| stopped early |" in page


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("- a list", "expected names"),
        ("one: {precision: fp64}", "fp64"),
        ("one: {checkpoint: packaged, hidden_width: 8}", "hidden_width"),
        ("one: {checkpoint: packaged, iterations: 9}", "from 1 to"),
        ("one: {no_such_option: 1}", "no_such_option"),
    ],
)
def test_bad_candidates_are_refused(tmp_path, weights, content, complaint):
    path = tmp_path / "candidates.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=complaint):
        _ = [candidate.build(load_checkpoint(weights)) for candidate in read_candidates([str(path)])]
    path.write_text("one: {}")
    with pytest.raises(InputError, match="one: each name"):
        read_candidates([str(path), str(path)])


def test_a_network_stopped_early_says_what_it_said_then(weights):
    """And nothing is left of what it doesn't need."""
    checkpoint = load_checkpoint(weights)
    crops = torch.randn(2, 3, checkpoint.config.input_size, checkpoint.config.input_size)
    box = torch.tensor([[0.0, 0.1, 0.3], [0.1, 0.0, 0.2]])
    with torch.inference_mode():
        outputs = checkpoint.build_model()(crops, box)
        for iterations in range(1, checkpoint.config.iterations + 1):
            last = stopped_after(checkpoint, iterations).build_model()(crops, box)[-1]
            torch.testing.assert_close(last.landmarks_camera, outputs[iterations - 1].landmarks_camera)
    assert not [name for name in stopped_after(checkpoint, 1).weights if name.startswith("regressors.1")]


def test_integers_stopped_early_have_no_peaks_of_maps_they_do_not_make(head_weights):
    checkpoint = load_checkpoint(head_weights)
    levels = len(checkpoint.config.deconv_widths)
    assert levels > 1 + checkpoint.config.heatmap_level % levels, "the last map is only for iterations"
    peaks = {f"upsamplers.{level}.conv": 1.0 for level in range(levels)}
    stopped = stopped_after(dataclasses.replace(checkpoint, activation_peaks=peaks), 1)
    assert list(stopped.activation_peaks) == [
        f"upsamplers.{n}.conv" for n in range(len(stopped.config.deconv_widths))
    ]
    assert len(stopped.activation_peaks) < levels


def test_pareto_front():
    points = {"good": (3.0, 2.0), "cheap": (1.0, 9.0), "beaten": (4.0, 3.0), "random": (0.5, None)}
    rows = [
        {
            "name": name,
            "cpu_median_ms": ms,
            "errors": {} if degrees is None else {"settled": {"geodesic_mean_deg": degrees}},
        }
        for name, (ms, degrees) in points.items()
    ]
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


def test_one_core_where_the_system_knows_no_such_thing(tmp_path, monkeypatch, capsys):
    """macOS and Windows."""
    monkeypatch.delattr("os.sched_setaffinity")
    assert main(["benchmark", "--out", str(tmp_path / "out"), "--one-core"]) == 2
    assert "--one-core: this system can't" in capsys.readouterr().err


def test_performance_page_says_what_the_results_say():
    docs = Path(__file__).resolve().parents[1] / "docs"
    assert list((docs / "benchmarks").glob("*.json"))
    assert (docs / "performance.md").read_text(encoding="utf-8") == performance_page(docs / "benchmarks")
