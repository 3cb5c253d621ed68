"""Real-time metric 6DoF head pose for robots, from one RGB camera, with TRG (ECCV 2024)."""

from pkgutil import extend_path

# A checkout beside an installed package would hide the generated `trg_ros.msg`.
__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"
