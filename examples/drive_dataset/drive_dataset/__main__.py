"""`python -m drive_dataset STAGE WORKSPACE …`: one stage, without any platform."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from drive_dataset import stages
from drive_dataset.workspace import DECODED, PROTECTED, SELECTED, SYNCHRONISED, VALIDATED, command, once

VERBS = {"validate": VALIDATED, "decode": DECODED, "synchronise": SYNCHRONISED, "protect": PROTECTED, "select": SELECTED}


def ingest(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m drive_dataset ingest")
    parser.add_argument("workspace", type=Path)
    parser.add_argument("data", type=Path, help="folder of recordings; read in place, never written to")
    parser.add_argument("--jurisdiction", default="", help="where they were recorded: its policy holds for them")
    parser.add_argument("--only", action="append", default=[], metavar="FOLDER", help="of the folders in it; may be repeated")
    chosen = parser.parse_args(argv)
    data, jurisdiction = chosen.data.resolve(), chosen.jurisdiction
    return once("ingest", lambda workspace: stages.register(workspace, data, jurisdiction, chosen.only), [str(chosen.workspace)])


def main(argv: list[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    names = ["ingest", *VERBS, *stages.ONCE]
    if not words or words[0] not in names:
        print(f"usage: python -m drive_dataset {{{','.join(names)}}} WORKSPACE …", file=sys.stderr)
        return 2
    stage, rest = words[0], words[1:]
    if stage == "ingest":
        return ingest(rest)
    if stage in stages.ONCE:
        return once(stage, stages.ONCE[stage], rest)
    before, work = stages.BY_RECORDING[VERBS[stage]]
    return command(stage, before, work, rest)


if __name__ == "__main__":
    sys.exit(main())
