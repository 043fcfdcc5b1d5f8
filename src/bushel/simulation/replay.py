"""`python -m bushel.simulation.replay INSTALLATION`: what `bushel what-if` starts.

Guarantees: data on standard output, progress and talk on standard error; the same file and words write the same bytes. It ends within its
time-out, and then says how far it came.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bushel.domain.errors import BushelError
from bushel.scheduling.kernels.mode import serve_compiled
from bushel.scheduling.plan import Policy
from bushel.simulation.__main__ import WORTH_COMPILING, WRONG, setting_from
from bushel.simulation.engine import Setting, Simulation
from bushel.simulation.installation import Installation, read_installation, with_more_nodes, with_queue, without_nodes
from bushel.simulation.jobs import SimulatedJob
from bushel.simulation.report import Summary, span
from bushel.simulation.trace import TraceProblem, World
from bushel.simulation.what_if import records, resampled, table

AS_IT_IS = "as it is"


class TimedOut(BushelError):
    """The time that was given is over."""

    code = "timed_out"


@dataclass(frozen=True, slots=True)
class Variant:
    setting: Setting
    world: World


class _Clock:
    """Ends a run that takes too long; sees it and changes nothing in it."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._until = time.monotonic() + timeout_seconds
        self.run = ""

    def planned(self, simulation: Simulation) -> None:
        if time.monotonic() > self._until:
            raise TimedOut(
                f"not done within {self._timeout_seconds:g} s, at run {self.run}, after {span(simulation.now)} of it: "
                "ask for fewer --days or --seeds, or a longer --timeout"
            )

    def started(self, simulation: Simulation, job: SimulatedJob) -> None:
        pass


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="bushel what-if", description="Replay the past of an installation under changed rules.")
    made.add_argument("installation", type=Path, metavar="INSTALLATION", help="JSON with jobs, nodes and queues as the API tells them")
    for name in ("policy", "queue", "add", "remove"):
        made.add_argument(f"--{name}", action="append", default=[])
    made.add_argument("--seeds", type=int, default=5)
    made.add_argument("--timeout", type=float, default=600.0)
    made.add_argument("--json", action="store_true")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        return _run(options)
    except (BushelError, OSError) as problem:
        print(f"bushel what-if: {problem}", file=sys.stderr)
        return WRONG


def _run(options: argparse.Namespace) -> int:
    past = read_installation(options.installation)
    variants = variants_of(past, options)
    _say(_told(past))
    if len(past.jobs) >= WORTH_COMPILING:
        serve_compiled()
    clock = _Clock(options.timeout)
    runs: list[list[Summary]] = [[] for _ in variants]
    for sample in range(options.seeds):
        jobs = resampled(past.jobs, sample)
        for number, variant in enumerate(variants):
            clock.run = f"{sample * len(variants) + number + 1} of {options.seeds * len(variants)}"
            _say(f"{clock.run}: {variant.setting.name}, {'what happened' if sample == 0 else f'sample {sample}'}")
            runs[number].append(Summary.of(Simulation(jobs, variant.world, variant.setting, watcher=clock).run()))
    names = [variant.setting.name for variant in variants]
    print(json.dumps(records(names, runs), indent=2) if options.json else table(names, runs))
    return 0


def variants_of(past: Installation, options: argparse.Namespace) -> list[Variant]:
    """As it is, then the changed world under each policy that is named, or under the one that there is.

    Raises:
        TraceProblem: a change names what is not there, or nothing changes.
    """
    if options.seeds < 1:
        raise TraceProblem("--seeds is how many samples are replayed: 1 or more")
    changed = past.world
    for words in options.add:
        changed = with_more_nodes(changed, words)
    for pattern in options.remove:
        changed = without_nodes(changed, pattern)
    for words in options.queue:
        changed = with_queue(changed, words)
    if not options.policy and changed == past.world:
        raise TraceProblem("nothing is changed: say what, with --policy, --queue, --add or --remove")
    today = Setting(AS_IT_IS, Policy(reclaim=True))
    settings = [_setting(text) for text in options.policy] or [replace(today, name="changed")]
    return [Variant(today, past.world), *(Variant(setting, changed) for setting in settings)]


def _setting(text: str) -> Setting:
    """What is not named is as it is, so others are stopped for those whose right it is."""
    setting = setting_from(text)
    return setting if "reclaim=" in text else replace(setting, policy=replace(setting.policy, reclaim=True))


def _told(past: Installation) -> str:
    left = f"; left out: {past.jobs_left_out:,} that have not run to an end" if past.jobs_left_out else ""
    gone = f", {past.nodes_left_out:,} lost or cordoned left out" if past.nodes_left_out else ""
    return f"{len(past.jobs):,} jobs over {span(past.span_seconds)}{left}; {len(past.world.nodes):,} nodes{gone}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
