"""The renderer's second back end paints what the first one paints: on a GPU where there is one, and
everywhere with its kernels compiled for the CPU."""

import ctypes
import shutil
import subprocess
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("numba", reason="rendering needs the extra [train]")

from cuda_rig import CPU, DEVICES
from cuda_twin import build_twin, twin_kernels

from trg_ros import cli
from trg_ros.errors import DeviceError
from trg_ros.synthetic.cuda_kernels import Kernels, compile_cuda, find_nvrtc, load_kernels
from trg_ros.synthetic.cuda_light import Normals
from trg_ros.synthetic.cuda_painter import KERNELS, CudaPainter
from trg_ros.synthetic.plan import HeadPlan
from trg_ros.synthetic.raster import FAR, NEAR, rasterise, vertex_normals
from trg_ros.synthetic.render import HeadRenderer, RenderSettings

EMPTY = 2**63 - 1
LOOKS = ("glasses", "sunglasses", "hat", "long_hair")


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return build_twin(tmp_path_factory.mktemp("twin"))


@pytest.fixture(scope="module", params=DEVICES, ids=str)
def device(request: pytest.FixtureRequest) -> torch.device:
    return request.param


@pytest.fixture(scope="module")
def kernels(request: pytest.FixtureRequest, device: torch.device) -> Kernels:
    if device == CPU:
        return twin_kernels(request.getfixturevalue("driver"))
    return load_kernels(KERNELS, device)


@pytest.fixture(scope="module")
def renderer(face_model: Path) -> HeadRenderer:
    return HeadRenderer(face_model, RenderSettings(crop_side=64))


class Collector:
    """A painter that keeps the plans."""

    def __init__(self) -> None:
        self.plans: list[HeadPlan] = []

    def paint(self, plans, side):
        self.plans += plans
        return np.zeros((len(plans), side, side, 4), np.uint8)


@pytest.fixture(scope="module")
def plans(renderer: HeadRenderer) -> list[HeadPlan]:
    """A dozen heads, among them every kind of thing that a head may wear, and a bald one."""
    collector, painter = Collector(), renderer.painter
    renderer.painter = collector
    chosen: dict[str, HeadPlan] = {}
    for block in count():
        list(renderer.heads(21, 16 * block, 16))
        for plan in collector.plans[16 * block :]:
            worn = [name for name in LOOKS if plan.look.attributes[name]]
            for name in [*worn, "bald" if plan.shell is None else "hair"]:
                chosen.setdefault(name, plan)
        if len(chosen) == len(LOOKS) + 2:
            break
    renderer.painter = painter
    return [*chosen.values(), *collector.plans[:6]]


def test_heads_look_as_on_the_cpu(
    renderer: HeadRenderer, plans: list[HeadPlan], kernels: Kernels, device: torch.device
) -> None:
    painter = CudaPainter(renderer.model, renderer.baked, device, kernels)
    expected, images = renderer.painter.paint(plans, 64), painter.paint(plans, 64)
    difference = np.abs(images.astype(int) - expected).max(axis=-1)
    assert (difference <= 2).mean() > 0.9995
    assert (difference <= 2).mean(axis=(1, 2)).min() > 0.995
    assert expected[..., 3].mean() > 40 and np.ptp(expected[..., :3]) > 200, "there is something to see"
    again = painter.paint(plans, 64)
    assert np.array_equal(again, images), "the same picture every time"
    alone = painter.paint(plans[3:4], 64)
    assert np.array_equal(alone[0], images[3]), "whoever else is painted with it"


def soup(generator: np.random.Generator, heads: int = 2) -> dict[str, np.ndarray]:
    """Random triangles of all sizes around and beyond a window of 40 px, also too near ones and ones that
    share a place, and which of the first thirty are drawn."""
    middles, spread = generator.uniform(-5, 45, (heads, 60, 1, 2)), generator.uniform(1, 9, (heads, 60, 1, 1))
    points = np.empty((heads, 180, 3), np.float32)
    points[..., :2] = (middles + spread * generator.normal(size=(heads, 60, 3, 2))).reshape(heads, 180, 2)
    points[..., 2] = generator.uniform(0.1, 2, (heads, 180))
    points[:, 6:9, 2] = NEAR / 2
    triangles = generator.permutation(180).reshape(60, 3).astype(np.int32)
    triangles[29] = triangles[30] = triangles[31]
    return {
        "points": points,
        "triangles": triangles,
        "colors": generator.uniform(0, 1, (heads, 180, 3)).astype(np.float32),
        "drawn": (generator.random((heads, 30)) < 0.7).astype(np.uint8),
        "opacities": np.float32([[0.3, 0.9], [0.6, 0.1]]),
    }


def on_the_cpu(soup: dict[str, np.ndarray], head: int, size: int) -> np.ndarray:
    """(S, S, 4): colour and coverage as numba's rasteriser draws them; 40 opaque triangles, 20 others."""
    image, coverage = np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32)
    depth = np.full((size, size), FAR, np.float32)
    alpha = np.ones(60, np.float32)
    alpha[40:52], alpha[52:] = soup["opacities"][head]
    cull = (np.arange(60) < 30).astype(np.int8)
    kept = np.concatenate([soup["drawn"][head] > 0, np.ones(30, bool)])
    rasterise(
        soup["points"][head], soup["triangles"][kept], soup["colors"][head], alpha[kept], cull[kept],
        image, depth, coverage,
    )  # fmt: skip
    return np.concatenate([image, coverage[..., None]], axis=-1)


@pytest.mark.parametrize("seed", range(5))
def test_the_kernels_draw_what_numba_draws(kernels: Kernels, device: torch.device, seed: int) -> None:
    size, parts = 40, soup(np.random.default_rng(seed))
    tensors = {name: torch.from_numpy(array).to(device) for name, array in parts.items()}
    nearest = torch.full((2, size, size), EMPTY, device=device)
    image = torch.empty((2, 4, size, size), device=device)
    bounds = torch.tensor([[-99.0, -99.0, 99.0, 99.0]] * 2, device=device)
    kernels.launch(
        "draw_opaque", (2, 2, 1), (32, 1, 1),
        [tensors["points"], tensors["triangles"], tensors["drawn"], nearest, 180, 40, 30, size],
    )  # fmt: skip
    kernels.launch(
        "draw_pixels", (3, 3, 2), (16, 16, 1),
        [tensors["points"], tensors["colors"], tensors["triangles"], nearest, tensors["opacities"], bounds,
         image, 180, 40, 52, 60, size],
    )  # fmt: skip
    for head in range(2):
        expected, drawn = on_the_cpu(parts, head, size), image[head].permute(1, 2, 0).cpu().numpy()
        same = np.abs(drawn - expected).max(axis=-1) < 1e-3
        assert same.mean() > 0.995, "but for pixels whose centre is on an edge"
        assert (expected[..., 3] == 1).mean() > 0.2 and len(np.unique(expected[..., 3])) > 4


def test_nothing_translucent_is_drawn_outside_its_bounds(kernels: Kernels, device: torch.device) -> None:
    points = torch.tensor([[[0.0, 0, 1], [0, 60, 1], [60, 0, 1]]], device=device)
    image = torch.empty((1, 4, 20, 20), device=device)
    kernels.launch(
        "draw_pixels", (2, 2, 1), (16, 16, 1),
        [points, torch.ones_like(points), torch.tensor([[0, 1, 2]], dtype=torch.int32, device=device),
         torch.full((1, 20, 20), EMPTY, device=device), torch.tensor([[0.5, 0.0]], device=device),
         torch.tensor([[4.0, 5.0, 10.0, 20.0]], device=device), image, 3, 0, 1, 1, 20],
    )  # fmt: skip
    expected = torch.zeros(20, 20)
    expected[5:20, 4:10] = 0.5
    torch.testing.assert_close(image[0].cpu(), expected.expand(4, 20, 20))


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_normals_are_those_of_the_cpu(device: torch.device) -> None:
    generator = np.random.default_rng(4)
    vertices = generator.normal(size=(3, 50, 3)).astype(np.float32)
    triangles = generator.integers(0, 48, (90, 3)).astype(np.int32)
    drawn = generator.random((3, 90)) < 0.6
    normals = Normals(triangles, 50, device)(
        torch.from_numpy(vertices).to(device), torch.from_numpy(drawn).to(device)
    )
    for head in range(3):
        expected = np.zeros((50, 3), np.float32)
        vertex_normals(vertices[head], triangles[drawn[head]], expected)
        np.testing.assert_allclose(normals[head].cpu(), expected, atol=1e-4)


def test_a_driver_that_fails_is_quoted(driver: ctypes.CDLL) -> None:
    with pytest.raises(DeviceError, match=r"couldn't load the kernels: device kernel image is invalid .*200"):
        Kernels(driver, b"damaged")
    with pytest.raises(DeviceError, match="couldn't find the kernel draw_hair: named symbol not found"):
        twin_kernels(driver).launch("draw_hair", (1, 1, 1), (1, 1, 1), [torch.zeros(1)])


def test_nvrtc_compiles_the_kernels() -> None:
    try:
        nvrtc = find_nvrtc()
    except DeviceError as error:
        pytest.skip(str(error))
    assert compile_cuda(nvrtc, KERNELS.read_text(), "sm_80")[:4] == b"\x7fELF"
    with pytest.raises(DeviceError, match="undefined"):
        compile_cuda(nvrtc, KERNELS.read_text().replace("float x0", "flat x0"), "sm_80")


def test_nvcc_compiles_the_kernels(tmp_path: Path) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("needs nvcc")
    binary = tmp_path / "raster.cubin"
    subprocess.run([nvcc, "-arch=sm_80", "-cubin", "-o", str(binary), str(KERNELS)], check=True)
    assert binary.read_bytes()[:4] == b"\x7fELF"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_the_renderer_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    face_model = tmp_path / "never_read.npz"
    with pytest.raises(
        DeviceError, match=r"'cuda' was asked for, but torch .* sees no CUDA GPU: use device 'cpu'"
    ):
        HeadRenderer(face_model, device="cuda")
    with pytest.raises(DeviceError, match="device 'gpu' is unknown"):
        HeadRenderer(face_model, device="gpu")
    out = tmp_path / "out"
    command = ["render", "--face-model", str(face_model), "--out", str(out), "-n", "1", "--device", "cuda"]
    assert cli.main(command) == 2
    assert "sees no CUDA GPU" in capsys.readouterr().err
    assert not out.exists(), "nothing half-written"
