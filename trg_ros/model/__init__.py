"""TRG, the network: its configuration, landmark topology, layers and losses. Pure torch, no I/O."""

from trg_ros.model.config import TRGConfig
from trg_ros.model.network import TRG, TRGOutput, project_to_crop
from trg_ros.model.topology import Topology

__all__ = ["TRG", "TRGConfig", "TRGOutput", "Topology", "project_to_crop"]
