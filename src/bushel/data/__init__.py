"""Data sets from within a task: read versions, write parts, set bad records aside, say how far one is.

    from bushel import data

    with data.output("frames") as out:
        for file in data.input("recordings").files():
            with out.open(f"{file.name}.parquet") as target:
                out.records += convert(file.local(), target)

A part appears whole or not at all, and no credential for Bushel is needed: the task leaves word of it in `BUSHEL_RESULT_FILE`, and the
platform commits it with the task's success.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bushel.data.bad_records import Failed, TooManyBadRecords, records
    from bushel.data.by_hand import NewVersion, new_version
    from bushel.data.inputs import Elsewhere, File, Part, Version, input, open_version, upstream
    from bushel.data.limits import BadRecord, check_expansion, check_file
    from bushel.data.outputs import Output, output
    from bushel.data.reporting import progress
    from bushel.data.result import partitions
    from bushel.data.task import local

_WHERE = {
    "bushel.data.by_hand": ("NewVersion", "new_version"),
    "bushel.data.inputs": ("Elsewhere", "File", "Part", "Version", "input", "open_version", "upstream"),
    "bushel.data.limits": ("BadRecord", "check_expansion", "check_file"),
    "bushel.data.outputs": ("Output", "output"),
    "bushel.data.reporting": ("progress",),
    "bushel.data.bad_records": ("Failed", "TooManyBadRecords", "records"),
    "bushel.data.result": ("partitions",),
    "bushel.data.task": ("local",),
}

__all__ = [
    "BadRecord",
    "Elsewhere",
    "Failed",
    "File",
    "NewVersion",
    "Output",
    "Part",
    "TooManyBadRecords",
    "Version",
    "check_expansion",
    "check_file",
    "input",
    "local",
    "new_version",
    "open_version",
    "output",
    "partitions",
    "progress",
    "records",
    "upstream",
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    for module, names in _WHERE.items():
        if name in names:
            return import_module(module).__dict__[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
