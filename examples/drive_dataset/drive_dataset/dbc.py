"""CAN frames to signals, as a DBC describes them, all frames of a message at once.

Guarantees: the same numbers as cantools gives frame by frame, which the tests hold; the description that explains the frames is chosen
among those at hand, and one that explains none of them is refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cantools
import numpy as np
from cantools.database import UnsupportedDatabaseFormatError
from cantools.database.can import Database, Message
from cantools.database.can.signal import Signal as Described
from cantools.database.errors import Error as CantoolsError

from drive_dataset.canonical import canonical
from drive_dataset.errors import DescriptionMismatch, NoDescription
from drive_dataset.records import Signal

EXTENDED = 1 << 31
LEAST_EXPLAINED = 0.05  # share of the frames
MOST_OUT_OF_RANGE = 0.5  # share of a signal's values beyond what the DBC itself allows

_FIRST_OF_ALL = 240  # SAE J1939-21: from this PDU format on the next byte belongs to the group, below it is who is addressed
_GROUP_OF_ALL, _GROUP_OF_ONE = 0x03FFFF00, 0x03FF0000
_NO_SENDER = 0xFE  # whom descriptions of J1939 name as the sender of a message that many send


@dataclass
class CanFrames:
    """Columns: seconds, identifier (bit 31 = extended), length, payload padded with zeros to the longest."""

    t: np.ndarray
    identifier: np.ndarray
    length: np.ndarray
    data: np.ndarray  # uint8 (frames, bytes)

    def where(self, here: np.ndarray) -> CanFrames:
        return CanFrames(self.t[here], self.identifier[here], self.length[here], self.data[here])

    def of(self, message: Message) -> CanFrames:
        """The frames that carry a message. In SAE J1939 any control unit may send it, with any urgency."""
        if not is_j1939(message):
            return self.where(self.identifier == key_of(message))
        mask = EXTENDED | (_GROUP_OF_ALL if message.frame_id >> 16 & 0xFF >= _FIRST_OF_ALL else _GROUP_OF_ONE)
        return self.where(self.identifier & mask == key_of(message) & mask)


def load_databases(paths: Sequence[Path]) -> list[tuple[Path, Database]]:
    databases: list[tuple[Path, Database]] = []
    for path in paths:
        try:
            database = cantools.database.load_file(path, strict=False, database_format="dbc")
        except (UnsupportedDatabaseFormatError, CantoolsError, ValueError, UnicodeDecodeError):
            continue  # another description may do; if none does, the choice below says so
        if isinstance(database, Database):
            databases.append((path, database))
    return databases


def choose_database(frames: CanFrames, paths: Sequence[Path]) -> tuple[Path, Database]:
    """The description that explains most frames.

    Raises:
        NoDescription: there is none.
        DescriptionMismatch: none explains them.
    """
    if not paths:
        raise NoDescription("CAN frames, and no DBC beside them")
    best = max(
        ((_explained(frames, database), path.name, path, database) for path, database in load_databases(paths)),
        key=lambda found: found[:2],
        default=None,
    )
    if best is None or best[0] < LEAST_EXPLAINED:
        names = ", ".join(sorted(path.name for path in paths))
        share = 0.0 if best is None else best[0]
        raise DescriptionMismatch(f"{names}: explains {share:.0%} of {len(frames.t):,} frames; it describes another vehicle")
    return best[2], best[3]


def key_of(message: Message) -> int:
    return message.frame_id | (EXTENDED if message.is_extended_frame else 0)


def is_j1939(message: Message) -> bool:
    return message.is_extended_frame and (message.protocol == "j1939" or message.frame_id & 0xFF == _NO_SENDER)


def _explained(frames: CanFrames, database: Database) -> float:
    """Share of the frames whose message is described and long enough, and decodes to values that the description allows."""
    explained = 0
    for message in database.messages:
        mine = frames.of(message)
        whole = mine.length >= _needed_bytes(message)
        if whole.any() and _plausible(message, mine.where(whole)):
            explained += int(whole.sum())
    return explained / max(1, len(frames.t))


def _plausible(message: Message, frames: CanFrames) -> bool:
    if message.is_multiplexed() or message.length > 8 or is_j1939(message):  # there, what is not known is beyond the range
        return True
    words = words_of(frames.data)
    for signal in message.signals:
        if signal.minimum is not None and signal.maximum is not None and signal.maximum > signal.minimum:
            values = physical(words, signal)
            beyond = (values < signal.minimum - abs(signal.scale)) | (values > signal.maximum + abs(signal.scale))
            if beyond.mean() > MOST_OUT_OF_RANGE:
                return False
    return True


def _needed_bytes(message: Message) -> int:
    """Recorders leave off the padding of a message, so only the bytes that signals lie in are needed."""
    if message.is_multiplexed():
        return 1
    ends = [(s.start // 8 + 1) if s.byte_order == "big_endian" and s.length <= s.start % 8 + 1 else _last_byte(s) for s in message.signals]
    return max(ends, default=0)


def _last_byte(signal: Described) -> int:
    if signal.byte_order == "little_endian":
        return (signal.start + signal.length - 1) // 8 + 1
    return signal.start // 8 + 1 + -(-(signal.length - signal.start % 8 - 1) // 8)


def decode(frames: CanFrames, database: Database) -> list[Signal]:
    """Every described signal that the frames hold, under our name where there is one, else `message.signal`."""
    signals: dict[str, Signal] = {}
    for message in sorted(database.messages, key=key_of):
        mine = frames.of(message)
        whole = mine.length >= _needed_bytes(message)
        if not whole.any():
            continue
        for signal, t, value in _message_signals(message, mine.where(whole)):
            if is_j1939(message) and signal.maximum is not None:  # J1939-71: values above mean that there is none, or an error
                t, value = t[value <= signal.maximum], value[value <= signal.maximum]
            named = _named(message, signal, t, value)
            if named.name in signals:  # two messages tell the same: the first keeps our name
                named = Signal(f"{message.name}.{signal.name}", signal.unit or "", t, value)
            signals[named.name] = named
    return list(signals.values())


def _named(message: Message, signal: Described, t: np.ndarray, value: np.ndarray) -> Signal:
    ours = canonical(signal.name, signal.unit or "") if signal.unit else None
    if ours is None:
        return Signal(f"{message.name}.{signal.name}", signal.unit or "", t, value)
    name, unit, factor = ours
    return Signal(name, unit, t, value * factor)


def _message_signals(message: Message, frames: CanFrames) -> list[tuple[Described, np.ndarray, np.ndarray]]:
    if message.is_multiplexed() or message.length > 8:
        return _one_by_one(message, frames)
    words = words_of(frames.data)
    values = {signal.name: physical(words, signal) for signal in message.signals}
    valid = np.ones(len(frames.t), bool)
    for signal in message.signals:  # what a message itself says is not valid is not used
        if signal.length == 1 and signal.name.lower().endswith("valid"):
            valid &= values[signal.name] != 0
    flags = {signal.name for signal in message.signals if signal.length == 1}
    return [
        (signal, frames.t, values[signal.name]) if signal.name in flags else (signal, frames.t[valid], values[signal.name][valid])
        for signal in message.signals
    ]


def _one_by_one(message: Message, frames: CanFrames) -> list[tuple[Described, np.ndarray, np.ndarray]]:
    """The slow way, for what the fast one does not know: multiplexed messages and those of CAN FD."""
    found: dict[str, tuple[list[float], list[float]]] = {signal.name: ([], []) for signal in message.signals}
    for t, length, data in zip(frames.t, frames.length, frames.data, strict=True):
        try:
            values = message.decode(data[:length].tobytes(), decode_choices=False, allow_truncated=True)
        except (CantoolsError, ValueError):
            continue
        for name, value in values.items():  # type: ignore[union-attr]
            found[name][0].append(float(t))
            found[name][1].append(float(value))  # type: ignore[arg-type]
    by_name = {signal.name: signal for signal in message.signals}
    return [(by_name[name], np.array(t), np.array(value)) for name, (t, value) in found.items() if t]


def words_of(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first eight bytes of each payload as one number, read from either end."""
    eight = np.zeros((len(data), 8), np.uint8)
    width = min(8, data.shape[1])
    eight[:, :width] = data[:, :width]
    return eight.view("<u8")[:, 0], eight.view(">u8")[:, 0].astype(np.uint64)


def physical(words: tuple[np.ndarray, np.ndarray], signal: Described) -> np.ndarray:
    little, big = words
    if signal.byte_order == "little_endian":
        raw = little >> np.uint64(signal.start)
    else:  # the DBC gives the most significant bit; bit 7 of byte 0 is the first bit of the word
        first = signal.start // 8 * 8 + 7 - signal.start % 8
        raw = big >> np.uint64(64 - first - signal.length)
    if signal.length < 64:
        raw = raw & np.uint64((1 << signal.length) - 1)
    if signal.is_float:
        kind = np.float32 if signal.length == 32 else np.float64
        raw = raw.astype(np.uint32 if signal.length == 32 else np.uint64).view(kind)
        return raw.astype(np.float64) * signal.scale + signal.offset
    if signal.is_signed:
        number = raw.astype(np.int64)
        if signal.length < 64:
            number = np.where(raw >> np.uint64(signal.length - 1), number - (1 << signal.length), number)
        return number * float(signal.scale) + float(signal.offset)
    return raw * float(signal.scale) + float(signal.offset)
