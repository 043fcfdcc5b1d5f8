"""`python -m bushel.simulation TRACE… --nodes NODES`: what `bushel simulate` starts.

Guarantees: data on standard output and talk on standard error; the same words and the same seed write the same bytes.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import NoReturn

from bushel.domain.errors import BushelError
from bushel.scheduling.kernels.mode import serve_compiled
from bushel.scheduling.plan import Policy
from bushel.simulation.conditions import Conditions
from bushel.simulation.engine import Setting, Simulation
from bushel.simulation.estimating import EstimateTrial
from bushel.simulation.measures import Outcomes
from bushel.simulation.nodes import world_from
from bushel.simulation.readers import read_traces
from bushel.simulation.report import Summary, table
from bushel.simulation.trace import TraceProblem

WRONG, MISUSED = 1, 2
_YES_OR_NO = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
WORTH_COMPILING = 5000
"""Jobs from which on compiled kernels are quicker, even where they are yet to be compiled."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(MISUSED, f"{self.prog}: {message.removeprefix('argument ')}\nSee: {self.prog} --help\n")


def _number(kind: Callable[[str], float], least: float) -> Callable[[str], float]:
    """Not below `least`: failures with no time between them would never end."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if math.isfinite(value) and value >= least:
            return kind(text)
        raise argparse.ArgumentTypeError(f"a {'whole ' if kind is int else ''}number, {least} at least, not {text!r}")

    return read


def parser() -> argparse.ArgumentParser:
    made = _Parser(prog="bushel simulate", description="Replay a trace in virtual time under one policy or several.")
    made.add_argument("trace", nargs="+", type=Path, metavar="TRACE", help="SWF, openb, gangs, or jobs as JSON lines or CSV")
    made.add_argument("--nodes", required=True, metavar="NODES", help="16xV100:8, 40x32c/128g, 8xH100:8:spot, joined by commas; or a CSV")
    made.add_argument("--policy", action="append", default=[], metavar="NAME[:KEY=VALUE,…]", help="may be given more than once")
    made.add_argument("--jobs", type=_number(int, 1), metavar="N", help="only the first N arrivals")
    made.add_argument("--seed", type=_number(int, 0), default=1, metavar="N", help="of what goes wrong (default 1)")
    made.add_argument(
        "--node-failures", type=_number(float, 1.0), metavar="SECONDS", help="mean time between failures of a node (default: none)"
    )
    made.add_argument(
        "--spot-reclaims", type=_number(float, 1.0), metavar="SECONDS", help="mean time until a spot node is taken back (default: never)"
    )
    made.add_argument(
        "--period", type=_number(float, 0.0), default=0.0, metavar="SECONDS", help="plan no more often (default: at every change)"
    )
    made.add_argument("--estimates", action="store_true", help="also try start estimates on every job that waits")
    made.add_argument("--figures", type=Path, metavar="FOLDER", help="write pictures there")
    made.add_argument("--parquet", type=Path, metavar="FOLDER", help="write columns there")
    made.add_argument("--json", action="store_true", help="print records instead of the table")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        return _run(options)
    except BushelError as problem:
        print(f"bushel simulate: {problem}", file=sys.stderr)
        return WRONG
    except OSError as problem:
        print(f"bushel simulate: {problem.filename}: {problem.strerror}", file=sys.stderr)
        return WRONG
    except ModuleNotFoundError as missing:
        print(f"bushel simulate: {missing.name} is not installed; it comes with: pip install 'bushel[simulation]'", file=sys.stderr)
        return WRONG


def _run(options: argparse.Namespace) -> int:
    trace = read_traces(options.trace, limit=options.jobs)
    world = world_from(options.nodes)
    conditions = Conditions(seed=options.seed, node_failure_seconds=options.node_failures, spot_reclaim_seconds=options.spot_reclaims)
    if trace.left_out:
        print(f"left out: {trace.left_out:,} rows that say no runtime or no size", file=sys.stderr)
    if len(trace.jobs) >= WORTH_COMPILING:
        serve_compiled()
    runs: list[Outcomes] = []
    for setting in [setting_from(text, options.period) for text in options.policy or ["default"]]:
        trial = EstimateTrial() if options.estimates else None
        runs.append(Simulation(trace.jobs, world, setting, conditions, trial).run())
        never = sum(math.isnan(job.first_start) for job in runs[-1].jobs)
        if never:
            print(
                f"{setting.name}: {never:,} jobs never began: these nodes have too little for them, or other accelerators", file=sys.stderr
            )
        if trial is not None:
            print(f"{setting.name}: {trial.coverage:.1%} of {len(trial.tried):,} starts in their 80 % interval", file=sys.stderr)
    if options.json:
        print(json.dumps([asdict(Summary.of(run)) for run in runs], indent=2))
    else:
        print(table(runs))
    if options.figures:
        from bushel.simulation import pictures

        _say(pictures.draw(runs, options.figures))
    if options.parquet:
        from bushel.simulation import columns

        _say(columns.write(runs, options.parquet))
    return 0


def setting_from(text: str, period_seconds: float = 0.0) -> Setting:
    """`NAME`, or `NAME:KEY=VALUE,…` with the fields of a policy."""
    name, _, rest = text.partition(":")
    kinds = {field.name: type(getattr(Policy(), field.name)) for field in fields(Policy)}
    values: dict[str, object] = {}
    for pair in filter(None, rest.split(",")):
        key, _, value = pair.partition("=")
        if key not in kinds or kinds[key] not in (bool, int, float, str):
            raise TraceProblem(f"a policy has no {key!r}; it has: {', '.join(sorted(kinds))}")
        try:
            values[key] = _YES_OR_NO[value] if kinds[key] is bool else kinds[key](value)
        except (KeyError, ValueError):
            raise TraceProblem(f"{key} is {'yes or no' if kinds[key] is bool else 'a number'}, not {value!r}") from None
    return Setting(name, Policy(**values), period_seconds)  # type: ignore[arg-type]


def _say(written: Sequence[Path]) -> None:
    for file in written:
        print(f"wrote {file}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
