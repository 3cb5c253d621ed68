"""The renderer: the same picture every time, labels on the picture, sizes in metres, scenes of known pose."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("numba", reason="rendering needs the extra [train]")

from trg_ros.cli import main
from trg_ros.errors import InputError
from trg_ros.synthetic.backgrounds import procedural_background
from trg_ros.synthetic.childhood import childlike_offsets
from trg_ros.synthetic.dataset import RenderedDataset
from trg_ros.synthetic.face_model import FaceModel
from trg_ros.synthetic.generate import contact_sheet, generate
from trg_ros.synthetic.head_frame import rigid_reference, scan_R_head
from trg_ros.synthetic.landmark_set import default_landmark_set
from trg_ros.synthetic.person import PoseRange, draw_placement, rotation_to_ray
from trg_ros.synthetic.raster import rasterise
from trg_ros.synthetic.render import HeadRenderer, RenderSettings

RENDERED = Path(__file__).parent / "data" / "rendered"


@pytest.fixture(scope="module")
def renderer(face_model: Path) -> HeadRenderer:
    return HeadRenderer(face_model, RenderSettings(crop_side=96, supersampling=1))


def test_a_sample_is_the_same_picture_however_it_is_reached(renderer: HeadRenderer) -> None:
    block = list(renderer.heads(3, 0, 5))
    alone = next(iter(renderer.heads(3, 4, 1)))
    assert np.array_equal(block[4].image, alone.image)
    assert np.array_equal(block[4].landmarks_head, alone.landmarks_head)
    other_seed = next(iter(renderer.heads(4, 4, 1)))
    assert not np.array_equal(other_seed.image, alone.image)


def test_profiles_are_seen_from_above_and_below_too() -> None:
    rng, ahead = np.random.default_rng(5), PoseRange(offset=(0.0, 0.0))
    rotations = np.stack([draw_placement(ahead, rng).rotation for _ in range(2000)])
    leans = np.degrees(np.arcsin(rotations[:, 2, 1]))  # of the chin away from the camera
    in_profile = np.abs(rotations[:, 2, 2]) < np.cos(np.radians(60))
    assert in_profile.sum() > 300
    assert 13 < leans[in_profile].std() < 25 and 13 < leans[~in_profile].std() < 25


def test_labels_describe_the_picture(renderer: HeadRenderer) -> None:
    chosen = default_landmark_set()
    on_head = []
    for head in renderer.heads(11, 0, 12):
        camera = head.landmarks_head @ head.rotation.T + head.translation
        plane = camera[:, :2] / camera[:, 2:]
        extent = np.ptp(plane[:68], axis=0)
        assert head.box[2] == pytest.approx(1.5 * extent.max(), rel=1e-5)
        pixels = ((plane - head.box[:2]) / (head.box[2] * renderer.settings.margin) + 0.5) * 96 - 0.5
        columns, rows = np.rint(pixels[17:68]).astype(int).clip(0, 95).T
        covered = head.image[rows, columns, 3]
        on_head.append((covered > 200).mean())
        assert head.image[0, 0, 3] < 255 or head.image[0, -1, 3] < 255
        assert (head.image[..., :3] <= head.image[..., 3:].astype(int) + 1).all(), "premultiplied"
        np.testing.assert_allclose(head.rotation @ head.rotation.T, np.eye(3), atol=1e-5)
        assert len(camera) == len(chosen.vertices)
    # In profile some points are on the silhouette, half a pixel outside.
    assert np.mean(on_head) > 0.92 and np.min(on_head) > 0.7, "brows, eyes, nose and mouth lie on the head"


def test_heads_have_the_size_of_heads(renderer: HeadRenderer) -> None:
    eyes = []
    for head in renderer.heads(12, 0, 32):
        corners = head.landmarks_head[[36, 39, 42, 45]]
        eyes.append(np.linalg.norm(corners[:2].mean(0) - corners[2:].mean(0)))
    assert 0.055 < np.mean(eyes) < 0.072 and 0.001 < np.std(eyes) < 0.006


def test_children_have_short_faces_and_large_round_eyes(face_model: Path) -> None:
    model = FaceModel.load(face_model)
    child = model.neutral + childlike_offsets(model)
    adult68, child68 = model.neutral[model.landmarks68], child[model.landmarks68]

    def ratio(first: int, second: int) -> float:
        """Child's distance of two of the 68 landmarks over the adult's."""
        lengths = [np.linalg.norm(points[first] - points[second]) for points in (child68, adult68)]
        return float(lengths[0] / lengths[1])

    assert ratio(27, 8) < 0.9 < 1.1 < ratio(36, 39)  # sellion to chin; one eye's corners
    assert ratio(33, 30) < 0.85  # the nose's tip over its base
    eyeball = [points[model.regions["sclera_left"]] for points in (child, model.neutral)]
    widths = np.ptp(eyeball[0], axis=0) / np.ptp(eyeball[1], axis=0)
    assert np.ptp(widths) < 0.2
    left, right = childlike_offsets(model)[model.landmarks68][[54, 48]]
    np.testing.assert_allclose(left * [-1, 1, 1], right, atol=0.02)


def test_the_landmark_set_is_symmetric(face_model: Path) -> None:
    chosen, model = default_landmark_set(), FaceModel.load(face_model)
    points = model.neutral[chosen.vertices]
    np.testing.assert_allclose(points[chosen.flip] * [-1, 1, 1], points, atol=1e-2)
    assert np.array_equal(chosen.flip[chosen.flip], np.arange(len(points)))
    assert np.array_equal(chosen.vertices[chosen.landmarks68], model.landmarks68)
    assert set(chosen.flip[chosen.sampled]) == set(chosen.sampled)
    a, b, c = (points[chosen.triangles[:, k]] for k in range(3))
    outward = np.cross(b - a, c - a)
    assert (np.einsum("ij,ij->i", outward, (a + b + c) / 3) > 0).all(), "all triangles face outward"
    mirrored = {tuple(np.roll(t, -t.argmin())) for t in chosen.flip[chosen.triangles][:, ::-1]}
    assert mirrored == {tuple(np.roll(t, -t.argmin())) for t in chosen.triangles}


def test_the_head_frame_is_the_one_of_the_checkpoints(face_model: Path) -> None:
    model = FaceModel.load(face_model)
    points = model.to_head_frame(model.neutral[model.landmarks68].astype(float))
    assert np.abs(points.mean(axis=0)).max() < 1e-6
    assert points[:, 2].argmin() in range(27, 36), "the nose has the most negative z"
    assert points[8, 1] > 0.05 > points[27, 1], "the chin is at positive y"
    assert points[45, 0] > 0 > points[36, 0], "the person's left eye is at positive x"


def test_the_head_frame_turns_with_what_is_rigid_in_a_face(face_model: Path) -> None:
    model = FaceModel.load(face_model)
    reference = rigid_reference(model)
    neutral = model.to_head_frame(model.neutral[model.landmarks68].astype(float))
    np.testing.assert_allclose(scan_R_head(neutral, reference), np.eye(3), atol=2e-3)
    turn = rotation_to_ray(np.array([0.1, 0.2, 0.97]) / np.linalg.norm([0.1, 0.2, 0.97]))
    moved = 1.1 * neutral @ turn.T + 0.01  # another size and place
    moved[48:60, 1] += 0.02  # an open mouth
    moved[17:27, 1] -= 0.01  # raised brows
    np.testing.assert_allclose(scan_R_head(np.stack([moved]), reference)[0], turn, atol=2e-3)


def test_labels_are_in_the_head_frame(renderer: HeadRenderer) -> None:
    reference = rigid_reference(renderer.model)
    for head in renderer.heads(13, 0, 4):
        np.testing.assert_allclose(scan_R_head(head.landmarks_head[:68], reference), np.eye(3), atol=1e-5)


def test_generating_writes_a_data_set_once(face_model: Path, tmp_path: Path) -> None:
    settings = RenderSettings(crop_side=48, supersampling=1)
    generate(face_model, tmp_path, seed=2, count=6, settings=settings)
    stamp = (tmp_path / "shard_00000000" / "images.npy").stat().st_mtime_ns
    generate(face_model, tmp_path, seed=2, count=6, settings=settings)
    assert (tmp_path / "shard_00000000" / "images.npy").stat().st_mtime_ns == stamp
    dataset = RenderedDataset(tmp_path)
    assert len(dataset) == 6 and dataset.num_landmarks == 433
    sheet = cv2.imread(str(contact_sheet(tmp_path)))
    assert sheet.shape == (5 * 160, 8 * 160, 3) and sheet[:160, : 6 * 160].std() > 10
    with pytest.raises(InputError, match="multiple of 500"):
        generate(face_model, tmp_path, seed=2, count=6, first=3)
    with pytest.raises(InputError, match=r"0 processes \(--processes\)"):
        generate(face_model, tmp_path, seed=2, count=6, processes=0)


def test_data_sets_with_other_axes_do_not_mix(face_model: Path, tmp_path: Path) -> None:
    settings = RenderSettings(crop_side=48, supersampling=1)
    generate(face_model, tmp_path, seed=2, count=2, settings=settings)
    info = tmp_path / "shard_00000000" / "info.json"
    facts = json.loads(info.read_text())
    assert facts["head_frame"] == "rigid"
    generate(face_model, tmp_path, seed=2, count=2, first=500, settings=settings)
    assert len(RenderedDataset(tmp_path)) == 4
    del facts["head_frame"]  # as sets were written before
    info.write_text(json.dumps(facts))
    with pytest.raises(InputError, match="head frame 'rigid', the shards before it in 'scan'"):
        RenderedDataset(tmp_path)


def test_several_processes_render_what_one_does(
    face_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trg_ros.synthetic.generate.SHARD", 3)  # workers are told what to render
    settings = RenderSettings(crop_side=48, supersampling=1)
    for processes in (1, 2):
        generate(
            face_model, tmp_path / str(processes), seed=2, count=5, settings=settings, processes=processes
        )
    alone, together = (RenderedDataset(tmp_path / str(processes)) for processes in (1, 2))
    assert together.shard_count == 2 and len(together) == 5
    everything = np.arange(5)
    assert np.array_equal(alone.gather(everything).images, together.gather(everything).images)


def test_render_stores_pictures_of_the_side_that_is_asked_for(face_model: Path, tmp_path: Path) -> None:
    command = ["render", "--face-model", str(face_model), "--out", str(tmp_path), "-n", "1", "--side", "64"]
    assert main(command) == 0
    assert RenderedDataset(tmp_path).gather(np.arange(1)).images[0].shape == (64, 64, 4)


def test_a_wrong_face_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't read the face model"):
        FaceModel.load(tmp_path / "absent.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    np.savez(tmp_path / "whole.npz", neutral=np.zeros(300))
    contents = (b"", b"\xff\xd8\xff a picture", (tmp_path / "whole.npz").read_bytes()[:200])
    for index, content in enumerate([*contents, (tmp_path / "array.npy").read_bytes()]):
        path = tmp_path / f"{index}.npz"
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"{index}.npz \(not an .npz file\); see docs"):
            FaceModel.load(path)
    np.savez(tmp_path / "other.npz", neutral=np.zeros(3))
    with pytest.raises(InputError, match="'identity' is missing"):
        FaceModel.load(tmp_path / "other.npz")


def test_the_rasteriser_draws_what_geometry_says() -> None:
    size = 32
    points = np.array([[4, 4, 1], [4, 28, 1], [28, 4, 1], [4, 4, 2], [4, 28, 2], [28, 28, 2]], np.float32)
    colors = np.repeat(np.float32([[0.25, 0.5, 1.0], [1.0, 0.0, 0.0]]), 3, axis=0)
    triangles = np.int32([[0, 1, 2], [3, 4, 5]])
    image, coverage = np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32)
    depth = np.full((size, size), 1e9, np.float32)
    rasterise(points, triangles, colors, np.ones(2, np.float32), np.zeros(2, np.int8), image, depth, coverage)
    y, x = np.mgrid[:size, :size] + 0.5
    front = (x > 4) & (y > 4) & (x + y < 32)
    behind = (x > 4) & (y < 28) & (x < y) & ~front
    unsure = np.abs(x + y - 32) < 1e-3
    assert np.array_equal(depth[~unsure] == 1, front[~unsure])
    np.testing.assert_allclose(
        image[front & ~unsure], np.tile([0.25, 0.5, 1.0], ((front & ~unsure).sum(), 1)), atol=1e-5
    )
    assert (image[behind & ~unsure & (np.abs(x - y) > 1e-3)][:, 0] == 1).all()
    assert coverage[(x < 4) | (y > 28)].max() == 0


def test_rotation_to_ray_is_the_smallest_one() -> None:
    ray = np.array([0.3, -0.2, 0.9]) / np.linalg.norm([0.3, -0.2, 0.9])
    rotation = rotation_to_ray(ray)
    np.testing.assert_allclose(rotation @ [0, 0, 1], ray, atol=1e-12)
    angle = np.arccos((np.trace(rotation) - 1) / 2)
    assert angle == pytest.approx(np.arccos(ray[2]))


def test_procedural_backgrounds_differ() -> None:
    one, two = (procedural_background(48, 64, np.random.default_rng(seed)) for seed in (1, 2))
    assert one.shape == (48, 64, 3) and one.std() > 2
    assert np.abs(one.astype(int) - two).mean() > 5


def test_the_committed_pictures_carry_consistent_labels() -> None:
    labels = json.loads((RENDERED / "labels.json").read_text())
    assert len(labels["pictures"]) == 6
    for picture in labels["pictures"]:
        image = cv2.imread(str(RENDERED / picture["file"]))
        assert image.shape == (picture["height"], picture["width"], 3)
        intrinsics = np.array(picture["K"])
        for head in picture["heads"]:
            pose, sellion = np.array(head["camera_T_head"]), np.array(head["sellion_head"])
            pixel = intrinsics @ (pose[:3, :3] @ sellion + pose[:3, 3])
            np.testing.assert_allclose(pixel[:2] / pixel[2], head["landmarks68_image"][27], atol=0.05)
            extent = np.ptp(head["landmarks68_image"], axis=0) / intrinsics[[0, 1], [0, 1]]
            width = (head["box"][2] - head["box"][0]) / intrinsics[0, 0]
            assert width == pytest.approx(1.5 * extent.max(), rel=1e-2)
