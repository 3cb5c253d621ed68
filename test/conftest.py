"""What several tests need."""

import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Tests fill a cache of their own, also those that start processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of reference material (parity goldens, sketches); tests skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared"
    path = Path(os.environ.get("TRG_SHARED", default))
    if not path.is_dir():
        pytest.skip(f"no reference material at {path}: set TRG_SHARED")
    return path


@pytest.fixture(scope="session")
def astronaut_bgr() -> np.ndarray:
    """NASA's portrait of Eileen Collins, public domain, (512, 512, 3) uint8 BGR; one face, about frontal."""
    data = pytest.importorskip("skimage.data", reason="the real photo comes from scikit-image")
    return np.ascontiguousarray(data.astronaut()[:, :, ::-1])
