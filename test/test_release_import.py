"""Importing the paper's release: wrong, damaged and malicious files are refused by name, nothing is written.

Everything here is made up: tensors of the right names and shapes, but no memory, and side files to match.
`test_parity.py` imports real side files.
"""

import argparse
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trg_ros.checkpoint import load_checkpoint
from trg_ros.commands import import_release as command
from trg_ros.errors import CheckpointError
from trg_ros.model.config import TRGConfig
from trg_ros.model.state import expected_state
from trg_ros.model.topology import Topology
from trg_ros.plain_pickle import UNREADABLE, read_pickle_entry
from trg_ros.release_import import SIDE_FILES, import_release, tensor_names

CONFIG = TRGConfig()
FACE = np.random.default_rng(0).normal(0, 0.05, (1220, 3)).astype(np.float32)
STATE = "state_dict.bin"
SUBSAMPLE, INITIAL_FACE, KEYPOINTS, TRIANGLES = SIDE_FILES


def _type_of(name: str) -> torch.dtype:
    return torch.int64 if name.endswith("num_batches_tracked") else torch.float32


def fake_state() -> dict[str, torch.Tensor]:
    """The release's names and shapes; each tensor is one number seen many times."""
    triangles = np.array([[0, 1, 2]])
    shapes = expected_state(CONFIG, Topology(triangles, np.arange(305), np.arange(68)))
    state = {
        theirs: torch.ones((), dtype=_type_of(ours)).expand(shapes[ours])
        for theirs, ours in tensor_names(CONFIG)
    }
    line = torch.linspace(-1, 1, 18)
    state["points_grid"] = torch.cartesian_prod(line, line).T[None].contiguous()
    for iteration in range(3):
        state[f"regressor.{iteration}.init_face"] = torch.tensor(FACE)[None]
        state[f"regressor.{iteration}.init_head_pose"] = torch.tensor([[1.0, 0, 0, 1, 0, 0, 1, 0, 0]])
    return state


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A folder with a state dict and the side files."""
    folder = tmp_path / "release"
    folder.mkdir()
    torch.save(fake_state(), folder / STATE)
    (folder / SUBSAMPLE).write_bytes(pickle.dumps({"1220_to_305": list(range(0, 1220, 4)), "faces": FACE}))
    (folder / INITIAL_FACE).write_bytes(pickle.dumps({"t_vtx_1220": FACE}))
    np.save(folder / KEYPOINTS, np.arange(68))
    np.save(folder / TRIANGLES, np.array([[0, 1, 2], [2, 1, 3]], dtype=np.uint16))
    return folder


def imported(folder: Path) -> Path:
    return import_release(folder / STATE, folder, folder.parent / "out.safetensors")


def test_import(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = release.parent / "out.safetensors"
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert (
        command.main(parser.parse_args([str(release / STATE), "--assets", str(release), "--out", str(out)]))
        == 0
    )
    assert f"wrote {out}" in capsys.readouterr().out
    checkpoint = load_checkpoint(out)
    assert checkpoint.config == CONFIG
    np.testing.assert_array_equal(checkpoint.state_dict["initial_landmarks"].numpy(), FACE)
    np.testing.assert_array_equal(checkpoint.topology.sampled, range(0, 1220, 4))
    assert len(checkpoint.info.provenance["sha256 of state_dict.bin"]) == 64
    assert "face anchor" in checkpoint.info.origin_convention
    assert "(S-1)" in checkpoint.info.crop_convention


class Bomb:
    """What an attacker would pickle: unpickled by pickle itself, it leaves a file behind."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def state_becomes(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        state = fake_state()
        change(state)
        torch.save(state, folder / STATE)

    return apply


def state_is(make: Callable[[Path], object]) -> Callable[[Path], None]:
    return lambda folder: torch.save(make(folder), folder / STATE)


def cut(name: str, keep: float) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(keep * len(content))])

    return apply


def removed(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def pickled(name: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(pickle.dumps(make(folder)))


def array(name: str, value: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, value, allow_pickle=True)


def trace(folder: Path) -> Path:
    return folder.parent / "trace"


FC1 = "regressor.0.fc1.weight"
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no state dict": (removed(STATE), "state_dict.bin: no such file"),
    "empty state dict": (cut(STATE, 0), "state_dict.bin: not a state dict of tensors, or a damaged one"),
    "state dict cut early": (cut(STATE, 0.1), "damaged"),
    "state dict cut in half": (cut(STATE, 0.5), "damaged"),
    "state dict cut late": (cut(STATE, 0.99), "damaged"),
    "state dict is text": (lambda f: (f / STATE).write_text("hello"), "damaged"),
    "state dict is a list": (state_is(lambda _: [torch.zeros(1)]), "holds list, not a dict of named tensors"),
    "state dict is a checkpoint": (
        state_is(lambda _: {"epoch": 3, "model": {}}),
        "not a dict of named tensors",
    ),
    "state dict bomb": (
        state_is(lambda folder: {"a": Bomb(trace(folder))}),
        "state_dict.bin: not a state dict",
    ),
    "tensor missing": (state_becomes(lambda s: s.pop(FC1)), r"1 missing: regressor\.0\.fc1\.weight$"),
    "tensor extra": (state_becomes(lambda s: s.update(more=torch.zeros(1))), "1 extra: more$"),
    "tensor shape": (
        state_becomes(lambda s: s.update({FC1: torch.zeros(1024, 2452)})),
        r"of another shape: regressor\.0\.fc1\.weight 1024x2452 instead of 1024x2547$",
    ),
    "tensor NaN": (state_becomes(lambda s: s["regressor.1.init_face"][0, 3].fill_(torch.nan)), "NaN"),
    "tensor type": (state_becomes(lambda s: s.update({FC1: s[FC1].int()})), r"another type: .*fc1\.weight"),
    "no init_face": (
        state_becomes(lambda s: s.pop("regressor.2.init_face")),
        r"missing: regressor\.2\.init_face",
    ),
    "other init_face": (
        state_becomes(lambda s: s.update({"regressor.1.init_face": s["regressor.1.init_face"] + 0.1})),
        r"regressor\.1\.init_face differs from that of regressor\.0",
    ),
    "other init pose": (
        state_becomes(lambda s: s.update({"regressor.2.init_head_pose": torch.zeros(1, 9)})),
        r"regressor\.2\.init_head_pose differs",
    ),
    "other grid": (
        state_becomes(lambda s: s["points_grid"].mul_(0.5)),
        "points_grid is not the 18 x 18 grid",
    ),
    "no side file": (
        removed(TRIANGLES),
        r"triangles\.npy: can't be read .* --assets needs arkit_subsample\.pkl",
    ),
    "side pickle cut": (cut(SUBSAMPLE, 0.5), r"arkit_subsample\.pkl: not a pickle of arrays"),
    "side pickle empty": (cut(INITIAL_FACE, 0), r"init_vtx_cam\.pkl: not a pickle of arrays"),
    "side array cut": (cut(TRIANGLES, 0.9), r"triangles\.npy: not a plain \.npy array"),
    "side pickle bomb": (pickled(SUBSAMPLE, lambda f: Bomb(trace(f))), "which is refused"),
    "side pickle hidden bomb": (
        pickled(INITIAL_FACE, lambda f: {"t_vtx_1220": FACE, "x": [Bomb(trace(f))]}),
        "which is refused",
    ),
    "side array of bombs": (
        pickled(INITIAL_FACE, lambda f: {"t_vtx_1220": np.array([Bomb(trace(f))], dtype=object)}),
        "refused|not a plain number",
    ),
    "side npy of objects": (array(KEYPOINTS, np.array([{}], dtype=object)), r"kpt_ind\.npy: not a plain"),
    "side file too large": (
        lambda f: (f / KEYPOINTS).write_bytes(bytes(17 * 2**20)),
        "too many for a side file",
    ),
    "no such entry": (pickled(SUBSAMPLE, lambda _: {"1220_to_306": []}), "no entry '1220_to_305'"),
    "not a dict": (pickled(SUBSAMPLE, lambda _: [1, 2]), "no entry '1220_to_305'"),
    "subsample of words": (
        pickled(SUBSAMPLE, lambda _: {"1220_to_305": ["a"]}),
        "sampled must hold integers",
    ),
    "subsample ragged": (pickled(SUBSAMPLE, lambda _: {"1220_to_305": [[1], [2, 3]]}), "not the side files"),
    "subsample short": (pickled(SUBSAMPLE, lambda _: {"1220_to_305": list(range(300))}), "300 sampled"),
    "subsample range": (pickled(SUBSAMPLE, lambda _: {"1220_to_305": list(range(1000, 1305))}), "1304"),
    "68 of 67": (array(KEYPOINTS, np.arange(67)), "landmarks68 must have shape"),
    "triangles of another mesh": (array(TRIANGLES, np.array([[0, 1, 5000]])), "triangles has indices"),
    "face of another size": (pickled(INITIAL_FACE, lambda _: {"t_vtx_1220": FACE[:9]}), "must be 1220 x 3"),
    "face is a list": (pickled(INITIAL_FACE, lambda _: {"t_vtx_1220": [1]}), "must be 1220 x 3"),
    "another face": (
        pickled(INITIAL_FACE, lambda _: {"t_vtx_1220": FACE + 0.01}),
        r"another face .*0\.01 m apart",
    ),
}


@pytest.mark.parametrize(("spoil", "complaint"), REFUSED.values(), ids=REFUSED.keys())
def test_wrong_releases_are_refused(release: Path, spoil: Callable[[Path], object], complaint: str) -> None:
    spoil(release)
    with pytest.raises(CheckpointError, match=complaint) as error:
        imported(release)
    assert "\n" not in str(error.value)
    assert [path.name for path in release.parent.iterdir()] == ["release"]  # no output, and no bomb went off


def test_the_bomb_is_live(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "trace")))
    assert (tmp_path / "trace").exists()


@pytest.mark.parametrize("protocol", range(3, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=np.int32).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        np.array([[True, False]]),
        np.arange(4, dtype=">f8"),
        np.array(3.0),
        np.zeros((0, 3)),
    ],
)
def test_plain_pickles_hold_arrays(protocol: int, value: np.ndarray) -> None:
    found = read_pickle_entry(pickle.dumps({"a": value, "b": [1, "x", (2.0, None)]}, protocol), "a")
    np.testing.assert_array_equal(found, value)
    assert found.dtype == value.dtype and found.shape == value.shape


@pytest.mark.parametrize("core", [b"numpy._core", b"numpy.core"])
def test_plain_pickles_of_old_and_new_numpy(core: bytes) -> None:
    content = pickle.dumps({"a": FACE}, 3)
    current = b"numpy._core" if b"numpy._core" in content else b"numpy.core"
    np.testing.assert_array_equal(read_pickle_entry(content.replace(current, core), "a"), FACE)


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cbuiltins\ngetattr\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\nscalar\n(S'x'\ntR.",
        b"(ios\nsystem\n.",
        b"\x80\x02\x82\x01.",
        b"Psomething\n.",
        b"}.",
        b"",
        pickle.dumps({"a": np.array(["text"])}),
        pickle.dumps({"a": np.array([object], dtype=object)}),
        pickle.dumps({"a": np.array([(1, 2.0)], dtype="i4,f8")}),
        pickle.dumps({"a": np.datetime64("2024")}),
        pickle.dumps({"a": np.float64(3)}),
        pickle.dumps({"a": FACE}, 3).replace(b"M\xc4\x04K\x03", b"M\xff\xffK\x03"),
    ],
)
def test_other_pickles_are_refused(content: bytes) -> None:
    with pytest.raises(UNREADABLE):
        read_pickle_entry(content, "a")
