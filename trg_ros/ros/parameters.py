"""The parameters of the node `headpose`."""

from __future__ import annotations

from dataclasses import dataclass

from trg_ros.ros.parameter_table import ParameterTable, parameter


@dataclass(frozen=True)
class Settings(ParameterTable):
    """The values of all parameters at one moment. `live` ones may change while the node is configured."""

    checkpoint: str = parameter("", "Weights, a .safetensors file; empty: the packaged ones.")
    device: str = parameter(
        "auto",
        "Where the network runs: auto, cpu, cuda or cuda:<n>. A device that is asked for by "
        "name and is missing is an error.",
        pattern=r"auto|cpu|cuda(:[0-9]{1,3})?",
    )
    backend: str = parameter(
        "auto",
        "What runs the network: torch, openvino, openvino-int8, openvino-bf16 or cuda; auto: the fastest.",
    )
    pose_source: str = parameter(
        "trg",
        "What the pose comes from: trg, or pnp, the landmarks-then-PnP baseline with the same network.",
        choices=("trg", "pnp"),
    )
    mirror: bool = parameter(
        False,
        "Look at each face's mirror image, too: less error for about 1.4 times the time of a frame.",
        live=True,
    )
    threads: int = parameter(0, "CPU threads of the network; 0: the library's choice.", low=0, high=256)
    detector: str = parameter(
        "auto",
        "Face detector; auto: the best that is installed; topic: boxes come from `detections`.",
        choices=("auto", "libfacedetection", "trg", "yunet", "topic"),
    )
    detector_model: str = parameter(
        "", "Detector model file (yunet: its ONNX file) or library; empty: search the usual places."
    )
    detection_interval: int = parameter(
        5,
        "Run the detector on every n-th frame, below 30 Hz as often a second as there; "
        "in between a face's box comes from its own landmarks.",
        low=1,
        high=10000,
    )
    detection_max_side: int = parameter(
        320,
        "Detect on the image reduced to this longer side, in pixels. Larger finds smaller faces, slower.",
        low=64,
        high=8192,
    )
    detection_min_score: float = parameter(0.6, "Ignore detections below this score.", low=0.0, high=1.0)
    min_score: float = parameter(
        0.35,
        "Drop a head below this score: the detector's, or how well crop and landmarks agree if lower.",
        low=0.0,
        high=1.0,
    )
    smoothing: bool = parameter(
        True,
        "Smooth the poses over time: quiet while a head is still, no lag when it moves. "
        "~/faces_raw stays as measured.",
        live=True,
    )
    latency_compensation: float = parameter(
        0.0,
        "Predict poses and transforms to the moment when they're published, at most this many seconds "
        "after their image; they are stamped with that time. Needs `smoothing`. 0: off.",
        low=0.0,
        high=0.5,
        live=True,
    )
    filtering_frame: str = parameter(
        "",
        "Smooth in this TF frame, which stands still (odom, map), if the camera moves; empty: in the "
        "camera's own.",
        pattern="[A-Za-z0-9_./-]*",
    )
    max_faces: int = parameter(
        8, "At most this many faces at a time; also the number of `~/face_<k>/pose` topics.", low=1, high=64
    )
    image_transport: str = parameter(
        "raw", "raw: subscribe to `image`; compressed: to `image/compressed`.", choices=("raw", "compressed")
    )
    image_reliability: str = parameter(
        "auto",
        "QoS of the image subscription; auto: as the publisher offers.",
        choices=("auto", "reliable", "best_effort"),
    )
    image_rectified: bool = parameter(
        False,
        "The image is rectified already (image_rect): use P of camera_info and no distortion.",
        live=True,
    )
    assume_fov_deg: float = parameter(
        0.0,
        "Horizontal field of view in degrees to go on with when camera_info is missing or unusable; "
        "every message then says `intrinsics_assumed`. 0: no poses without a calibration.",
        low=0.0,
        high=170.0,
        live=True,
    )
    camera_info_timeout: float = parameter(
        0.0,
        "Seconds after which a camera_info no longer counts; 0: it stays valid until the next one.",
        low=0.0,
        high=3600.0,
        live=True,
    )
    max_rate: float = parameter(
        0.0,
        "Process at most this many images per second; 0: as many as possible.",
        low=0.0,
        high=1000.0,
        live=True,
    )
    publish_tf: bool = parameter(
        True,
        "Publish camera -> face_<k> and gaze_<k> on /tf. Whoever listens to "
        "/tf then keeps the network running.",
        live=True,
    )
    tf_prefix: str = parameter(
        "auto",
        "Put before the names of the frames face_<k> and gaze_<k>. auto: the node's full name without "
        "`headpose` at its end, so nothing for /headpose and `left/` for /left/headpose; empty: nothing.",
        pattern="[A-Za-z0-9_./-]*",
        live=True,
    )
    publish_hri: bool = parameter(
        True, "Publish /humans/faces/... (REP 155) if hri_msgs is installed, to whoever listens.", live=True
    )
    publish_landmarks_in_faces: bool = parameter(
        False,
        "Fill `landmarks` of ~/faces (5 kB a face with the packaged weights); ~/landmark_cloud is cheaper.",
        live=True,
    )
    marker_landmarks: bool = parameter(True, "~/landmarks: the dense landmarks as points.", live=True)
    marker_axes: bool = parameter(
        True, "~/landmarks: x red, y green, z blue at the bridge of the nose.", live=True
    )
    marker_mesh: bool = parameter(
        False, "~/landmarks: the face as triangles; costs some milliseconds a face.", live=True
    )
    marker_point_size: float = parameter(
        0.002, "~/landmarks: size of a point in metres.", low=0.0001, high=0.1, live=True
    )
    marker_axes_length: float = parameter(
        0.1, "~/landmarks and ~/overlay: length of the axes in metres.", low=0.001, high=10.0, live=True
    )
    autostart: bool = parameter(
        True, "Configure and activate at start; false: leave it to a lifecycle manager.", read_only=True
    )
