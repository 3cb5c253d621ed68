"""Photos and folders in, and which source a name stands for; bad ones refused by name."""

import itertools

import cv2
import numpy as np
import pytest
from cli_files import with_exif, write_video

from trg_ros.errors import InputError
from trg_ros.media import sources
from trg_ros.media.photo import read_photo
from trg_ros.media.sources import natural_key, open_source


@pytest.fixture
def picture():
    """(48, 64, 3) uint8 BGR with structure, so that JPEG and video keep something of it."""
    y, x = np.mgrid[:48, :64]
    return np.stack([4 * x, 5 * y, 2 * (x + y)], axis=2).astype(np.uint8)


def frames_of(spec, **options):
    with open_source(spec, **options) as source:
        return list(source)


def test_photo(tmp_path, picture):
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    with open_source(str(tmp_path / "a.png")) as source:
        assert (source.kind, source.length, source.fps, source.name) == ("photo", 1, None, "a.png")
        (frame,) = source
    assert np.array_equal(frame.image_bgr, picture)
    assert (frame.stamp_s, frame.name, frame.index) == (0.0, "a.png", 0)


@pytest.mark.parametrize("shift", [0, 2, 4, 8])
def test_16_bit_photo_keeps_its_8_leading_bits(tmp_path, picture, shift):
    picture[0, 0] = 255
    cv2.imwrite(str(tmp_path / "deep.png"), picture.astype(np.uint16) << shift)
    assert np.array_equal(frames_of(tmp_path / "deep.png")[0].image_bgr, picture)


def test_grey_and_transparent_photos_become_bgr(tmp_path, picture):
    cv2.imwrite(str(tmp_path / "grey.png"), picture[..., 0])
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack([picture, picture[..., 0]]))
    cv2.imwrite(str(tmp_path / "grey16.tiff"), picture[..., 0].astype(np.uint16) * 257)
    grey = np.repeat(picture[..., :1], 3, axis=2)
    assert np.array_equal(frames_of(tmp_path / "grey.png")[0].image_bgr, grey)
    assert np.array_equal(frames_of(tmp_path / "grey16.tiff")[0].image_bgr, grey)
    assert np.array_equal(frames_of(tmp_path / "alpha.png")[0].image_bgr, picture)


def test_exif_orientation_is_applied(tmp_path, picture):
    upright = cv2.imencode(".jpg", picture)[1].tobytes()
    (tmp_path / "upright.jpg").write_bytes(upright)
    (tmp_path / "turned.jpg").write_bytes(with_exif(upright, {0x0112: 6}))
    expected = cv2.rotate(frames_of(tmp_path / "upright.jpg")[0].image_bgr, cv2.ROTATE_90_CLOCKWISE)
    assert np.array_equal(frames_of(tmp_path / "turned.jpg")[0].image_bgr, expected)


def test_a_photo_without_a_suffix_is_known_by_its_content(tmp_path, picture):
    (tmp_path / "photo").write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())
    assert frames_of(tmp_path / "photo")[0].image_bgr.shape == picture.shape


def test_folder_in_natural_order(tmp_path, picture):
    for name in ("10.png", "9.png", "B2.png", "b1.png", ".hidden.png"):
        cv2.imwrite(str(tmp_path / name), picture)
    (tmp_path / "notes.txt").write_text("not a photo")
    (tmp_path / "sub.png").mkdir()
    with open_source(tmp_path) as source:
        assert (source.kind, source.length) == ("folder", 4)
        assert [(frame.name, frame.index) for frame in source] == [
            ("9.png", 0), ("10.png", 1), ("b1.png", 2), ("B2.png", 3),
        ]  # fmt: skip


def test_folder_loop_goes_on_counting(tmp_path, picture):
    for name in ("1.png", "2.png"):
        cv2.imwrite(str(tmp_path / name), picture)
    with open_source(tmp_path, loop=True) as source:
        seen = [(frame.name, frame.index) for frame, _ in zip(source, range(5), strict=False)]
    assert seen == [("1.png", 0), ("2.png", 1), ("1.png", 2), ("2.png", 3), ("1.png", 4)]


@pytest.mark.parametrize("loop", [False, True])
def test_a_folder_goes_on_without_its_damaged_photos(tmp_path, picture, loop):
    for name in ("1.png", "3.png"):
        cv2.imwrite(str(tmp_path / name), picture)
    (tmp_path / "2.png").write_bytes(b"not a photo")
    (tmp_path / "4.heic").write_bytes(b"\0\0\0\x18ftypheic")
    told = []
    with open_source(tmp_path, loop=loop, on_damaged=told.append) as source:
        frames = list(itertools.islice(source, 5))
    names = ["1.png", "3.png"]
    assert [(frame.name, frame.index) for frame in frames] == [
        (names[index % 2], index) for index in range(5 if loop else 2)
    ]
    damaged, telephone = map(str, told)
    assert "2.png' is not an image" in damaged and "HEIC: convert it to JPEG" in telephone


def test_a_jpeg_as_browsers_on_windows_call_it(tmp_path, picture):
    (tmp_path / "1.JFIF").write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())
    assert [frame.name for frame in frames_of(tmp_path)] == ["1.JFIF"]


def test_a_loop_without_any_photo_left_ends(tmp_path):
    (tmp_path / "1.png").write_bytes(b"not a photo")
    told = []
    with open_source(tmp_path, loop=True, on_damaged=told.append) as source:
        assert list(source) == [] and len(told) == 1


def test_natural_key():
    assert sorted(["a10", "a9", "A1", "b", "a", "9", "10", "a9b"], key=natural_key) == [
        "9", "10", "a", "A1", "a9", "a9b", "a10", "b",
    ]  # fmt: skip


def bad_inputs(folder):
    """Name -> path of something that no source can read."""
    y, x = np.mgrid[:48, :64]
    picture = np.stack([4 * x, 5 * y, 2 * (x + y)], axis=2).astype(np.uint8)
    png, jpeg = (cv2.imencode(suffix, picture)[1].tobytes() for suffix in (".png", ".jpg"))
    video = write_video(folder / "good.mp4", codec="mp4v").read_bytes()
    content = {
        "zero.jpg": b"",
        "zero.mp4": b"",
        "text.jpg": b"This is not a photo.\n" * 10,
        "text.txt": b"This is not a video either.\n" * 100,
        "playlist.m3u8": b"#EXTM3U\nhttp://localhost/video.ts\n",
        "noise.bin": np.random.default_rng(0).integers(0, 255, 5000).astype(np.uint8).tobytes(),
        "zeros.mp4": bytes(5000),
        "truncated.png": png[: len(png) // 2],
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "thumbnail_only.jpg": with_exif(jpeg, {0x0112: 1})[:60],
        "signature.jpg": jpeg[:4],
        "signature.png": png[:8],
        "truncated.mp4": video[: len(video) // 2],
        "beginning.mp4": video[:300],
    }
    for name, data in content.items():
        (folder / name).write_bytes(data)
    cv2.imwrite(str(folder / "float.tiff"), picture.astype(np.float32))
    (folder / "no_photos").mkdir()
    (folder / "no_photos" / "notes.txt").write_text("nothing to see")
    (folder / "one_bad").mkdir()
    cv2.imwrite(str(folder / "one_bad" / "good.png"), picture)
    (folder / "one_bad" / "bad.png").write_bytes(b"not a photo at all")
    return [*content, "float.tiff", "no_photos", "one_bad", "missing.jpg", "missing_folder/video.mp4"]


def test_bad_inputs_are_named(tmp_path):
    for name in bad_inputs(tmp_path):
        with pytest.raises(InputError) as raised:
            frames_of(tmp_path / name)
        message = str(raised.value)
        assert name.split("/")[0] in message, name
        assert "\n" not in message


@pytest.mark.parametrize("name", ["caf\udce9.png", "caf\udce9.mp4"])
def test_a_name_that_is_not_utf_8_is_refused(name, tmp_path, picture):
    """OpenCV would end the process."""
    (tmp_path / name).write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    with pytest.raises(InputError, match=r"caf\\udce9.* is not UTF-8"):
        frames_of(tmp_path / name)
    with pytest.raises(InputError, match="is not UTF-8"):
        read_photo(tmp_path / name)


def test_such_a_photo_is_left_out_of_a_folder(tmp_path, picture):
    for name in ("a.png", "caf\udce9.png"):
        (tmp_path / name).write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    left_out = []
    with open_source(tmp_path, on_damaged=left_out.append) as photos:
        assert [photo.name for photo in photos] == ["a.png"]
    assert len(left_out) == 1


def test_a_webcams_device_and_a_link_to_it(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(sources, "WebcamSource", opened.append)
    link = tmp_path / "by-id"
    link.symlink_to("/dev/video7")
    open_source("/dev/video2")
    open_source(link)
    assert opened == [2, 7]


@pytest.mark.parametrize(
    "spec",
    [
        -1,
        9999,
        "9" * 30,
        "~nobody_of_that_name/a.jpg",
        "9999",
        "",
        "  ",
        "rtsp://camera",
        "a\0b",
        None,
        1.5,
        True,
    ],
)
def test_impossible_sources(spec):
    with pytest.raises(InputError):
        frames_of(spec)


def test_a_file_of_a_webcams_name_wins(tmp_path, picture, monkeypatch):
    (tmp_path / "0").write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    monkeypatch.chdir(tmp_path)
    assert frames_of("0")[0].image_bgr.shape == picture.shape
