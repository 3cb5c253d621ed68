"""`trg-headpose check-data`: what it says of complete, incomplete, broken and absent data sets."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset_fixtures import heads, write_300wlp, write_arkitface, write_biwi, write_rendered

from trg_ros.cli import main
from trg_ros.datasets import check
from trg_ros.datasets.pictures import draw_sample
from trg_ros.datasets.registry import open_dataset
from trg_ros.errors import InputError


def test_the_published_counts_are_checked(tmp_path, capsys):
    write_arkitface(tmp_path / "a", heads(2), split="train")
    write_arkitface(tmp_path / "a", heads(2), split="test")
    write_300wlp(tmp_path / "w", 1)
    write_biwi(tmp_path / "b", heads(1))
    for arguments, count in (
        (["arkitface", "a", "--split", "train"], "717,840"),
        (["arkitface", "a"], "184,884"),
        (["300w-lp", "w"], "122,450"),
        (["biwi", "b", "--boxes", "mesh"], "15,678"),
    ):
        name, folder, *options = arguments
        assert main(["check-data", name, str(tmp_path / folder), *options]) == 1
        assert f"but the complete data set has {count}" in capsys.readouterr().out


def test_a_complete_data_set_and_its_sheet(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(check.COMPLETE, ("ARKitFace", "test"), 3)
    write_arkitface(tmp_path, heads(3))
    assert main(["check-data", "arkitface", str(tmp_path), "--sheet", str(tmp_path / "sheet.png")]) == 0
    out = capsys.readouterr().out
    assert "3 samples, all there" in out and "pictures: 320x320 px" in out and "broken: 0" in out
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    assert picture.shape == (240 + 18, 3 * 240, 3) and picture.std() > 10


def test_broken_samples_are_named(tmp_path, capsys):
    write_rendered(tmp_path / "r", 2)
    assert main(["check-data", "synthetic", str(tmp_path / "r")]) == 0, "rendered data have no fixed number"
    write_300wlp(tmp_path / "w", 2)
    (tmp_path / "w" / "AFW" / "AFW_1001_1_0.jpg").write_bytes(b"\xff\xd8 half a picture")
    capsys.readouterr()
    sheet = tmp_path / "sheet.png"
    assert main(["check-data", "300w-lp", str(tmp_path / "w"), "--all", "--sheet", str(sheet)]) == 1
    assert cv2.imread(str(sheet)).shape[1] % 240 == 0, "the others are drawn"
    out = capsys.readouterr().out
    assert "read: 4, broken: 1" in out and "AFW/AFW_1001_1_0.jpg" in out


def test_a_sheet_that_cannot_be_written_is_told_before_the_data_are_read(tmp_path, capsys):
    assert main(["check-data", "300w-lp", str(tmp_path), "--sheet", str(tmp_path / "sheet.txt")]) == 2
    assert "pictures have other names" in capsys.readouterr().err


def test_an_absent_data_set_shows_the_expected_layout(tmp_path, capsys):
    assert main(["check-data", "300w-lp", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert (
        "files.txt: No such file" in error and "\n  landmarks/<AFW|HELEN|IBUG|LFPW>/<name>_pts.mat" in error
    )
    assert main(["check-data", "biwi", str(tmp_path), "--look-at", "0"]) == 2
    with pytest.raises(InputError, match="no data set 'aflw'"):
        open_dataset("aflw", tmp_path)
    with pytest.raises(InputError, match="boxes 'mesh' have no meaning for synthetic, only for biwi"):
        open_dataset("synthetic", tmp_path, boxes="mesh")


def test_frames_without_a_box_are_counted(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(check.COMPLETE, ("BIWI", ""), 3)
    write_biwi(tmp_path, heads(3))
    (tmp_path / "boxes.csv").write_text("image,left,top,right,bottom\n01/frame_00004_rgb.png,10,10,60,60\n")
    assert main(["check-data", "biwi", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "BIWI: 3 samples, all there" in out and "without a box, left out: 2" in out


def test_detected_boxes_are_written(tmp_path, capsys, monkeypatch):
    class Nobody:
        def detect(self, image):
            from trg_ros.detection import Detections

            return Detections()

    monkeypatch.setattr("trg_ros.commands.check_data.make_detector", Nobody)
    write_biwi(tmp_path, heads(1))
    assert main(["check-data", "biwi", str(tmp_path), "--detect-boxes"]) == 2
    captured = capsys.readouterr()
    assert "0 of 1 frames have a face" in captured.out and "no boxes" in captured.err
    assert main(["check-data", "arkitface", str(tmp_path), "--detect-boxes"]) == 2


def test_labels_are_drawn_where_the_face_is(tmp_path: Path) -> None:
    """Red, green and blue of the axes appear near the head's place, and the 68 points in their own colour."""
    write_arkitface(tmp_path, heads(1, seed=3))
    dataset = open_dataset("arkitface", tmp_path)
    sample = dataset[0]
    plain = draw_sample(sample).astype(int)
    drawn = draw_sample(sample, dataset.topology).astype(int)
    assert np.abs(drawn - plain).max() > 100, "the axes are at the sellion when the topology is known"
    strong = {name: (drawn[..., c] - drawn.sum(axis=2) / 3 > 60).sum() for c, name in enumerate("bgr")}
    assert min(strong.values()) > 10, strong
