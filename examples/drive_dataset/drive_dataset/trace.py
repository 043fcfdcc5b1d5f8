"""From a shard back to the second of the drive that a sample came from: `python -m drive_dataset.trace INDEX [KEY]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from drive_dataset.files import read_parquet


def trace(index: Path, key: str = "") -> dict[str, Any]:
    """The row of a sample; without a key, of one that was chosen for something out of the ordinary, if there is any.

    Raises:
        KeyError: there is none of that name.
    """
    rows = sorted(read_parquet(index).to_pylist(), key=lambda row: (row["reasons"] == ["ordinary"], row["key"]))
    for row in rows:
        if key in ("", row["key"]):
            return row
    raise KeyError(key)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m drive_dataset.trace", description=__doc__)
    parser.add_argument("index", type=Path, help="index.parquet of a version")
    parser.add_argument("key", nargs="?", default="")
    chosen = parser.parse_args()
    row = trace(chosen.index, chosen.key)
    print(
        f"sample {row['key']} in {row['shard']} is second {row['second']:.1f} of {row['name']} (recording {row['recording']}), "
        f"chosen for {', '.join(row['reasons'])}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
