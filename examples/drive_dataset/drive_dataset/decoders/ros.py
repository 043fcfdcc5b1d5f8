"""ROS bags (1 and 2) and MCAP files, by the types of their messages.

Guarantees: what a message is depends on its type and on its topic's name, never on a list of known topics; times are those in the
headers, and those of the recorder only where a header has none. A file that ends early is read up to there.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap.records import Channel, Message, Schema
from mcap.stream_reader import StreamReader
from mcap_ros2.decoder import DecoderFactory
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.typesys import Stores, get_typestore

from drive_dataset.canonical import canonical
from drive_dataset.errors import Damaged, NothingUsable
from drive_dataset.kinds import MCAP, SQLITE, kind_of_file
from drive_dataset.records import UNIX, Decoded, Finding, Frames, Poses, Recording, Signal, Sweeps

MOST_MESSAGES = 50_000_000
MOST_RECORD_BYTES = 256 << 20
IMAGE_TYPES = ("sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/Image")


def decode(recording: Recording) -> Decoded:
    columns = _Columns()
    findings: list[Finding] = []
    for topic, kind, received, message in messages(recording.paths(), recording.kind, findings):
        columns.add(topic, kind, received, message)
    if not columns.counts:
        raise NothingUsable(f"{recording.name} holds no message that can be read")
    decoded = Decoded(recording.id, recording.kind, UNIX, columns.signals(), findings=findings)
    source = recording.relative(bag_root(recording.paths(), recording.kind))
    decoded.frames = [
        Frames(topic, np.array(t), source, *columns.image_sizes[topic]) for topic, t in sorted(columns.image_times.items())
    ]  # fmt: skip
    decoded.poses = columns.poses()
    decoded.sweeps = columns.sweeps()
    decoded.facts = {f"messages {topic}": count for topic, count in sorted(columns.counts.items())}
    return decoded


def bag_root(paths: list[Path], kind: str) -> Path:
    """What to open: the folder of a ROS 2 bag, the file itself otherwise."""
    return paths[0].parent if kind == "ros2" else paths[0]


def messages(
    paths: list[Path], kind: str, findings: list[Finding], topics: frozenset[str] | None = None
) -> Iterator[tuple[str, str, float, Any]]:
    """(topic, type, seconds when received, message) in the order of the file."""
    return _of_mcap(paths[0], findings, topics) if kind == MCAP else _of_bag(bag_root(paths, kind), findings, topics)


def _of_bag(path: Path, findings: list[Finding], topics: frozenset[str] | None) -> Iterator[tuple[str, str, float, Any]]:
    try:
        reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
        reader.open()
    except (AnyReaderError, OSError, ValueError, KeyError, AssertionError, sqlite3.Error) as error:
        raise Damaged(f"{path.name} cannot be opened as a bag: {error}") from error
    except Exception as error:  # a bag's index is foreign bytes: whatever its reader trips over
        raise Damaged(f"{path.name} cannot be opened as a bag: {type(error).__name__}: {error}") from error
    try:
        chosen = [c for c in reader.connections if topics is None or c.topic in topics]
        known = [c for c in chosen if c.msgtype in reader.typestore.types]
        read = reader.messages(connections=known) if known else iter(())
        for connection, received, raw in _until_broken(read, findings, path.name):
            yield connection.topic, connection.msgtype, received / 1e9, reader.deserialize(raw, connection.msgtype)
    finally:
        with suppress(Exception):
            reader.close()


def _of_mcap(path: Path, findings: list[Finding], topics: frozenset[str] | None) -> Iterator[tuple[str, str, float, Any]]:
    with path.open("rb") as file:
        try:
            whole = make_reader(file).get_summary() is not None
        except (McapError, ValueError, OSError, KeyError):
            whole = False
        except Exception:  # struct.error: the footer is cut
            whole = False
        if not whole:
            findings.append(Finding("truncated", "the file was not finished; what is there is read in order", path.name))
        file.seek(0)
        read = make_reader(file, decoder_factories=[DecoderFactory()]).iter_decoded_messages() if whole else _unfinished(file)
        for schema, channel, record, message in _until_broken(iter(read), findings, path.name):
            if topics is None or channel.topic in topics:
                name = schema.name if schema is not None else ""
                yield channel.topic, name if "/msg/" in name else name.replace("/", "/msg/", 1), record.log_time / 1e9, message


def _unfinished(file: Any) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Messages chunk by chunk as they lie in the file, up to the chunk that was cut."""
    schemas: dict[int, Any] = {}
    channels: dict[int, Any] = {}
    factory = DecoderFactory()
    decoders: dict[int, Any] = {}
    for record in StreamReader(file, record_size_limit=MOST_RECORD_BYTES).records:
        if isinstance(record, Schema):
            schemas[record.id] = record
        elif isinstance(record, Channel):
            channels[record.id] = record
        elif isinstance(record, Message):
            channel = channels[record.channel_id]
            schema = schemas.get(channel.schema_id)
            if channel.id not in decoders:
                decoders[channel.id] = factory.decoder_for(channel.message_encoding, schema)
            if decoders[channel.id] is not None:
                yield schema, channel, record, decoders[channel.id](record.data)


def _until_broken(read: Iterator[Any], findings: list[Finding], name: str) -> Iterator[Any]:
    """All that can be read, then a finding instead of an error."""
    count = 0
    while True:
        try:
            item = next(read)
        except StopIteration:
            return
        except (McapError, OSError, ValueError, KeyError, sqlite3.Error, EOFError, AnyReaderError) as error:
            findings.append(Finding("truncated", f"after {count:,} messages: {error or type(error).__name__}", name))
            return
        except Exception as error:  # struct.error and its like: cut in the middle of a record
            findings.append(Finding("truncated", f"after {count:,} messages: {type(error).__name__}: {error}", name))
            return
        count += 1
        if count > MOST_MESSAGES:
            findings.append(Finding("too_many_messages", f"only the first {MOST_MESSAGES:,} are used", name))
            return
        yield item


class _Columns:
    """What the messages say, one list for each signal."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.values: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
        self.image_times: dict[str, list[float]] = {}
        self.image_sizes: dict[str, tuple[int, int]] = {}
        self.pose_rows: dict[str, list[tuple[float, ...]]] = {}
        self.units: dict[tuple[str, str], str] = {}
        self.clouds: list[tuple[float, int, int]] = []

    def add(self, topic: str, kind: str, received: float, message: Any) -> None:
        self.counts[topic] += 1
        stamp = getattr(getattr(message, "header", None), "stamp", None)
        t = received if stamp is None else stamp.sec + stamp.nanosec / 1e9
        t = t or received
        match kind.rsplit("/", 1)[-1]:
            case "Imu":
                acceleration = message.linear_acceleration
                self.put(topic, t, "acceleration_x", acceleration.x, "m/s²")
                self.put(topic, t, "acceleration_y", acceleration.y, "m/s²")
                self.put(topic, t, "acceleration_z", acceleration.z, "m/s²")
                rate = message.angular_velocity
                self.put(topic, t, "angular_rate_x", rate.x, "rad/s")
                self.put(topic, t, "angular_rate_y", rate.y, "rad/s")
                self.put(topic, t, "angular_rate_z", rate.z, "rad/s")
            case "NavSatFix":
                if message.status.status >= 0:  # -1: no fix
                    self.put(topic, t, "latitude", message.latitude, "deg")
                    self.put(topic, t, "longitude", message.longitude, "deg")
                    self.put(topic, t, "altitude", message.altitude, "m")
            case "Odometry":
                self.put(topic, t, "speed", message.twist.twist.linear.x, "m/s")
                self.pose(topic, t, message.pose.pose)
            case "TwistStamped":
                self.put(topic, t, "speed", message.twist.linear.x, "m/s")
            case "PoseStamped":
                self.pose(topic, t, message.pose)
            case "Float32" | "Float64" | "Int32" | "Int64" | "UInt8":
                self.put(topic, t, topic, message.data, "")
            case "Range":
                self.put(topic, t, topic, message.range, "m")
            case "CompressedImage" | "Image":
                self.image_times.setdefault(topic, []).append(t)
                if topic not in self.image_sizes:
                    self.image_sizes[topic] = _size(message)
            case "PointCloud2":
                self.clouds.append((t, message.height, message.width))

    def put(self, topic: str, t: float, name: str, value: float, unit: str) -> None:
        t_list, values = self.values.setdefault((topic, name), ([], []))
        t_list.append(t)
        values.append(value)
        self.units[topic, name] = unit

    def pose(self, topic: str, t: float, pose: Any) -> None:
        p, q = pose.position, pose.orientation
        self.pose_rows.setdefault(topic, []).append((t, p.x, p.y, p.z, q.w, q.x, q.y, q.z))

    def signals(self) -> list[Signal]:
        """One signal a name: the topic with most samples has it, others keep theirs."""
        found: dict[str, Signal] = {}
        for (topic, name), (t, values) in sorted(self.values.items(), key=lambda item: (-len(item[1][0]), item[0])):
            unit, factor = self.units[topic, name], 1.0
            if name == topic:  # a plain number: its topic says what it is
                named = canonical(topic.strip("/").rsplit("/", 1)[-1], unit)
                name, unit, factor = named or (topic.strip("/").replace("/", "."), unit, 1.0)
            if name in found:
                name = f"{topic.strip('/').replace('/', '.')}.{name}"
            found[name] = Signal(name, unit, np.array(t), np.array(values, np.float64) * factor)
        return list(found.values())

    def poses(self) -> Poses | None:
        if not self.pose_rows:
            return None
        rows = np.array(max(self.pose_rows.values(), key=len))
        return Poses(rows[:, 0], rows[:, 1:4], rows[:, 4:8], "local")

    def sweeps(self) -> Sweeps | None:
        if not self.clouds:
            return None
        t, height, width = (np.array(column) for column in zip(*self.clouds, strict=True))
        return Sweeps(t.astype(float), int(height.max()), int(width.max()), width, height * width, np.full(len(t), np.nan))


def _size(message: Any) -> tuple[int, int]:
    if hasattr(message, "width"):
        return int(message.width), int(message.height)
    image = to_pixels(message)
    return (0, 0) if image is None else (image.shape[1], image.shape[0])


def to_pixels(message: Any) -> np.ndarray | None:
    """BGR pixels of an image message, or None for a coding that nobody can tell."""
    data = np.frombuffer(bytes(message.data), np.uint8)
    if not hasattr(message, "encoding"):
        return cv2.imdecode(data, cv2.IMREAD_COLOR)
    channels = {"rgb8": 3, "bgr8": 3, "mono8": 1}.get(message.encoding)
    if channels is None:
        return None
    image = data.reshape(message.height, message.step)[:, : message.width * channels].reshape(message.height, message.width, channels)
    codes = {"rgb8": cv2.COLOR_RGB2BGR, "mono8": cv2.COLOR_GRAY2BGR}
    return cv2.cvtColor(image, codes[message.encoding]) if message.encoding in codes else image


def pictures(source: Path, kind: str, topic: str, wanted: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The images of a topic with these numbers, as BGR pixels."""
    paths = sorted(source.iterdir()) if source.is_dir() else [source]
    remaining = {int(number) for number in wanted}
    for number, (_, _, _, message) in enumerate(messages(paths, kind, [], frozenset({topic}))):
        if number in remaining:
            image = to_pixels(message)
            if image is not None:
                yield number, image
            remaining.discard(number)
        if not remaining:
            return


def is_bag_folder(folder: Path) -> bool:
    """metadata.yaml beside the storage that it names."""
    about = folder / "metadata.yaml"
    return about.is_file() and "rosbag2_bagfile_information" in about.read_text(errors="ignore")[:4096] and any(
        kind_of_file(path) in (SQLITE, MCAP) for path in folder.iterdir() if path.is_file() and path != about and path.stat().st_size
    )  # fmt: skip
