"""The drive as ROS writes it: an MCAP file, a ROS 2 bag (SQLite), a ROS 1 bag."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mcap_ros2.writer import Writer as McapWriter
from rosbags.rosbag1 import Writer as Bag1Writer
from rosbags.rosbag2 import Writer as Bag2Writer
from rosbags.typesys import Stores, get_typestore

from drive_dataset.generate.camera import pictures
from drive_dataset.generate.sensors import Sensed
from drive_dataset.generate.vehicle import HERTZ, Motion, Plan

IMU, FIX, ODOMETRY, IMAGE, NUMBER = (
    "sensor_msgs/msg/Imu", "sensor_msgs/msg/NavSatFix", "nav_msgs/msg/Odometry", "sensor_msgs/msg/CompressedImage", "std_msgs/msg/Float64",
)  # fmt: skip
TOPICS = {"/imu": IMU, "/fix": FIX, "/odometry": ODOMETRY, "/camera/front": IMAGE, "/radar/lead_distance": NUMBER}
CAMERA_HERTZ = 5.0


def messages(plan: Plan, motion: Motion, sensed: Sensed) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """(nanoseconds, topic, fields) in order of time."""
    rows: list[tuple[int, str, dict[str, Any]]] = []

    def add(t: float, topic: str, frame: str, **fields: Any) -> None:
        at = round((plan.start + t) * 1e9)
        head = {"header": {"stamp": {"sec": at // 10**9, "nanosec": at % 10**9}, "frame_id": frame}} if frame else {}
        rows.append((at, topic, {**head, **fields}))

    nine, gnss = [0.0] * 9, {"position_covariance": [0.0] * 9, "position_covariance_type": 0}
    imu = {f"{name}_covariance": nine for name in ("orientation", "angular_velocity", "linear_acceleration")}
    for i, t in enumerate(sensed.fast_t.tolist()):
        felt = {"angular_velocity": _vector(sensed.rates[i]), "linear_acceleration": _vector(sensed.acceleration[i])}
        add(t, "/imu", "imu", orientation=_quaternion(0.0), **felt, **imu)
    for i, t in enumerate(sensed.fix_t.tolist()):
        place = {"latitude": sensed.latitude[i], "longitude": sensed.longitude[i], "altitude": sensed.altitude[i]}
        place = {name: float(value) for name, value in place.items()}
        add(t, "/fix", "gnss", status={"status": 0, "service": 1}, **place, **gnss)
        add(t, "/radar/lead_distance", "", data=float(sensed.lead_distance[i]))
    for i in range(0, len(motion.t), round(HERTZ / 20)):
        here = _vector((motion.east[i], motion.north[i], 0.0))
        pose = {"pose": {"position": here, "orientation": _quaternion(float(motion.yaw[i]))}, "covariance": [0.0] * 36}
        twist = {"linear": _vector((motion.speed[i], 0, 0)), "angular": _vector((0, 0, motion.yaw_rate[i]))}
        add(float(motion.t[i]), "/odometry", "odom", child_frame_id="car", pose=pose, twist={"twist": twist, "covariance": [0.0] * 36})
    for t, picture, _ in pictures(plan, motion, CAMERA_HERTZ):
        add(t, "/camera/front", "camera", format="jpeg", data=cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes())
    yield from sorted(rows, key=lambda row: row[:2])


def _vector(values: Any) -> dict[str, float]:
    return dict(zip("xyz", (float(value) for value in values), strict=True))


def _quaternion(yaw: float) -> dict[str, float]:
    return {"x": 0.0, "y": 0.0, "z": float(np.sin(yaw / 2)), "w": float(np.cos(yaw / 2))}


def write_mcap(path: Path, rows: list[tuple[int, str, dict[str, Any]]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    store = get_typestore(Stores.ROS2_HUMBLE)
    with path.open("wb") as file:
        writer = McapWriter(file, chunk_size=64 << 10)
        schemas = {kind: writer.register_msgdef(kind, store.generate_msgdef(kind, ros_version=2)[0]) for kind in TOPICS.values()}
        for number, (at, topic, fields) in enumerate(rows):
            writer.write_message(topic, schemas[TOPICS[topic]], fields, log_time=at, publish_time=at, sequence=number)
        writer.finish()


def write_bag2(path: Path, rows: list[tuple[int, str, dict[str, Any]]]) -> None:
    store = get_typestore(Stores.ROS2_HUMBLE)
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with Bag2Writer(path) as writer:
        connections = {topic: writer.add_connection(topic, kind, typestore=store) for topic, kind in TOPICS.items()}
        for at, topic, fields in rows:
            writer.write(connections[topic], at, store.serialize_cdr(_message(store, TOPICS[topic], fields), TOPICS[topic]))


def write_bag1(path: Path, rows: list[tuple[int, str, dict[str, Any]]]) -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with Bag1Writer(path) as writer:
        connections = {topic: writer.add_connection(topic, kind, typestore=store) for topic, kind in TOPICS.items()}
        for number, (at, topic, fields) in enumerate(rows):
            numbered = {**fields, "header": {**fields["header"], "seq": number}} if "header" in fields else fields
            writer.write(connections[topic], at, store.serialize_ros1(_message(store, TOPICS[topic], numbered), TOPICS[topic]))


def _message(store: Any, kind: str, fields: dict[str, Any]) -> Any:
    """Nested dictionaries as the store's own classes."""
    made = {}
    for name, (node, about) in store.get_msgdef(kind).fields:
        value = fields[name]
        if node.name == "NAME":
            made[name] = _message(store, about, value)
        elif isinstance(value, list | bytes):
            made[name] = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else np.array(value, np.float64)
        else:
            made[name] = value
    return store.types[kind](**made)
