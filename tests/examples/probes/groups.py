# pyright: reportMissingImports=false
"""Group many recordings, then one more: how many groups there are, how many became others, the largest, and what is together."""

import json
import os
import random
import sys

os.environ["BUSHEL_PARAMETER_LIBRARY"] = sys.argv[1]
from task import SHORT_BYTES, groups

rng = random.Random(7)
recordings = [
    {
        "id": f"{rng.getrandbits(64):016x}",
        "kind": rng.choice(["mdf", "video"]),
        "files": [{"bytes": rng.choice([SHORT_BYTES // 8, SHORT_BYTES])}, {"bytes": SHORT_BYTES // 8}],
    }
    for _ in range(2000)
]
before, after = groups("dk", recordings[:-1]), groups("dk", recordings)


def long(recording: dict[str, list[dict[str, int]]]) -> bool:
    return sum(file["bytes"] for file in recording["files"]) >= SHORT_BYTES


told = [one for group in after.values() for one in group]
print(
    json.dumps({
        "groups": len(before),
        "changed": sum(after.get(name) != group for name, group in before.items()),
        "largest": max(map(len, after.values())),
        "mixed": sum(len({one["kind"] for one in group}) > 1 for group in after.values() if any(map(long, group))),
        "apart": sum(len(set(map(long, group))) > 1 for group in after.values()),
        "short": sum(not any(map(long, group)) for group in after.values()),
        "once": sorted(one["id"] for one in told) == sorted(one["id"] for one in recordings),
    })
)  # fmt: skip
