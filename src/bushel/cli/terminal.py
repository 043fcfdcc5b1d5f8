"""What may reach a terminal of text that somebody else wrote: job messages, agents' words, tasks' output.

Guarantees: nothing that passes moves the cursor off its line, asks the terminal anything, or sets its title or clipboard. Our own
colours pass, and so do a task's. Data keeps its values: JSON and YAML escape what is replaced elsewhere. Output of tasks is
touched on a terminal alone, where colours, tabs, backspaces and carriage returns, which progress bars use, pass.
"""

from __future__ import annotations

import json
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DIRECTIONS = "\u202a-\u202e\u2066-\u2069"
_COMMANDS = re.compile(f"\x1b(?!\\[[0-9;]{{0,20}}m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f{_DIRECTIONS}]")
_HIDDEN_IN_JSON = f"[\x7f-\x9f{_DIRECTIONS}]"  # compiled when it is used, as most commands never do
_IN_OUTPUT = (
    rb"(\x1b\[[0-9;:]{0,20}[mK])|\x1b|[\x00-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]"
    rb"|\xc2(?:[\x80-\x9f]|\Z)|\xe2\x80[\xaa-\xae]|\xe2\x81[\xa6-\xa9]"
)
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def defused(text: str) -> str:
    """Lines of text of ours, with whatever others' words in it."""
    return _COMMANDS.sub(_REPLACEMENT, text)


def defused_output(data: bytes) -> bytes:
    """What a task printed, for a terminal."""
    return re.sub(_IN_OUTPUT, lambda found: found[1] or _REPLACEMENT.encode(), data)


def to_json(value: Any, *, indent: int | None = None) -> str:
    """JSON that people can look at and programs read unchanged."""
    return re.sub(_HIDDEN_IN_JSON, lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, indent=indent, ensure_ascii=False))


def to_yaml(value: Any) -> str:
    """As `to_json`."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump(value, Dumper=dumper, sort_keys=False, allow_unicode=True, width=100)
    if _COMMANDS.search(text):
        text = yaml.dump(value, Dumper=dumper, sort_keys=False, width=100)
    return text.rstrip("\n")
