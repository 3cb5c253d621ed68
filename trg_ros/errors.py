"""The errors that trg_ros raises on purpose; everything else is a bug.

A message says what was wrong, which value it had and what to do about it, in one line.
"""


class TrgRosError(Exception):
    """Base of all errors a user can cause or mend."""


class InputError(TrgRosError, ValueError):
    """An image, video, array or argument that can't be used."""


class DatasetError(InputError):
    """A data set that is not where or what it should be; the message ends with the expected layout."""


class CameraError(TrgRosError, ValueError):
    """Camera intrinsics or distortion that can't be used."""


class CheckpointError(TrgRosError, ValueError):
    """A checkpoint file that is missing, damaged or of another kind."""


class DetectorError(TrgRosError, RuntimeError):
    """A face detector that can't be loaded or failed."""


class DeviceError(TrgRosError, RuntimeError):
    """A compute device that was asked for and is not there."""
