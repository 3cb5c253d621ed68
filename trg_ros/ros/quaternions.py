"""tf_transformations, loaded only by those who need it."""

from __future__ import annotations

from types import ModuleType

from trg_ros.errors import InputError


def load_tf_transformations(purpose: str) -> ModuleType:
    """The module tf_transformations: quaternions x, y, z, w to and from 4x4 matrices.

    A distribution's transforms3d doesn't load beside a newer NumPy from pip; that must not take down nodes
    that turn nothing.

    :param purpose: who needs it, for the error.
    :raises InputError: where it can't be loaded.
    """
    try:
        import tf_transformations
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"{purpose} needs tf_transformations, which can't be loaded ({error}): install it with rosdep or "
            "apt; if NumPy came from pip, 'pip install -U transforms3d' helps"
        ) from error
    return tf_transformations
