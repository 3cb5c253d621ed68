"""An MCAP bag of raw messages, with the definitions that RViz, Foxglove and rosbags need to open it."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType

from rosbags.interfaces import Connection
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore


def typestore_with(msg_folder: Path) -> Typestore:
    """rosbags' types of ROS 2 plus those of trg_ros, from its folder of .msg files."""
    typestore = get_typestore(Stores.ROS2_JAZZY)
    types = {}
    for file in sorted(msg_folder.glob("*.msg")):
        types.update(get_types_from_msg(file.read_text(encoding="utf-8"), f"trg_ros/msg/{file.stem}"))
    typestore.register(types)
    return typestore


class Bag:
    """A context manager; on leaving it the bag is complete. An earlier bag of that name is replaced."""

    def __init__(self, path: Path, msg_folder: Path) -> None:
        self.path = path
        self.messages = 0
        self._typestore = typestore_with(msg_folder)
        if path.exists():
            shutil.rmtree(path)
        self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._connections: dict[str, Connection] = {}

    def __enter__(self) -> Bag:
        self._writer.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def write(self, topic: str, message_type: str, stamp_ns: int, data: bytes) -> None:
        """Appends one serialized (CDR) message; `message_type` as in "sensor_msgs/msg/Image"."""
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, message_type, typestore=self._typestore
            )
        self._writer.write(self._connections[topic], stamp_ns, data)
        self.messages += 1
