"""The fast decoder of CAN frames against cantools, frame by frame: `can_twin.py FOLDER`."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import json
import sys
from pathlib import Path

from drive_dataset import dbc
from drive_dataset.decoders import mdf
from drive_dataset.ingest import ingest

EVERY = 50


def main() -> None:
    compared, largest = 0, 0.0
    for recording in [recording for recording in ingest(Path(sys.argv[1])).recordings if recording.kind == "mdf"]:
        with mdf.open_mdf(recording.paths()[0]) as file:
            frames = mdf.can_frames(file)
        _, database = dbc.choose_database(frames, [Path(recording.folder) / name for name in recording.companions])
        for message in database.messages:
            mine = frames.of(message)
            if message.is_multiplexed() or message.length > 8 or not len(mine.t):
                continue
            words = dbc.words_of(mine.data)
            fast = {signal.name: dbc.physical(words, signal) for signal in message.signals}
            for row in range(0, len(mine.t), EVERY):
                slow = message.decode(mine.data[row].tobytes(), decode_choices=False, allow_truncated=True)
                largest = max([largest, *(abs(fast[name][row] - value) for name, value in slow.items())])
                compared += 1
    print(json.dumps({"frames": compared, "largest_difference": largest}))


if __name__ == "__main__":
    main()
