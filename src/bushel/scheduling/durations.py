"""How long a job is likely to run, from what its submitter ran before.

Guarantees: pure and streaming; the forecasts depend on what was told, not on when it is asked; what is kept of a family of jobs is
bounded. A declared duration is corrected by how far off the submitter's declarations were; without one the class of the job
(what it is called, say) stands in for it. Every forecast comes with its spread.

The logarithm of a duration is taken as a sum: the declared duration or the effect of the class, which all families share, plus the level
of the family (queue, submitter, size) around the moment of submission, plus noise. People submit in bouts, and jobs of one bout are alike:
so the level is a mean over the family's ended jobs whose weight falls with the distance in order of submission, on both sides. Where a
family has few of them it leans on those of the submitter, then of the queue, then of all (empirical Bayes; Efron and Morris 1975).
"""

from __future__ import annotations

import bisect
import math
from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr, ndtri, ndtri_exp

Floats = npt.NDArray[np.float64]

NEARNESS = 0.9
"""How much less a job counts for each one submitted between it and the one that is forecast."""
KEPT = 256
"""Ended jobs that a family remembers."""
PRIOR_JOBS = 2.0
"""How many jobs the wider group stands for."""
PRIOR_WEIGHT = 0.5
"""What the family as a whole weighs beside the jobs around the one that is forecast."""
UNKNOWN_SECONDS = 3600.0
"""The typical job of an installation that has seen none."""
PRIOR_VARIANCE = 4.0
LEAST_VARIANCE = 0.05
_LEAST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Kind:
    """What a job has in common with others. `size` tells apart what one submitter runs small and large."""

    queue: Hashable
    submitter: Hashable = ""
    name: Hashable = ""
    size: Hashable = 1
    declared_seconds: float | None = None

    @property
    def family(self) -> Hashable:
        return self.queue, self.submitter, self.size, self.declared_seconds is None


@dataclass(frozen=True, slots=True)
class Forecast:
    """A log-normal duration."""

    location: float
    scale: float

    @property
    def median(self) -> float:
        return math.exp(self.location)

    def quantile(self, part: float) -> float:
        return math.exp(self.location + self.scale * float(ndtri(part)))

    def interval(self, part: float = 0.8) -> tuple[float, float]:
        return self.quantile(0.5 - part / 2), self.quantile(0.5 + part / 2)

    def remaining(self, served_seconds: float) -> float:
        """Expected seconds still to come, of a job that has run so long and not ended."""
        return float(remaining_seconds(np.array([self.location]), np.array([self.scale]), np.array([served_seconds]))[0])

    def quantile_after(self, served_seconds: float, part: float) -> float:
        """As `quantile` of the whole duration, given that it is longer than `served_seconds`."""
        found = quantiles_after(np.array([self.location]), np.array([self.scale]), np.array([served_seconds]), np.array([part]))
        return float(found[0])


def remaining_seconds(location: Floats, scale: Floats, served_seconds: Floats) -> Floats:
    """Mean residual life of log-normal durations, element by element."""
    past = (np.log(np.maximum(served_seconds, 1e-9)) - location) / scale
    beyond = np.exp(np.minimum(700.0, location + scale * scale / 2 + log_ndtr(scale - past) - log_ndtr(-past)))
    return np.maximum(_LEAST_SECONDS, beyond - served_seconds)


def quantiles_after(location: Floats, scale: Floats, served_seconds: Floats, parts: Floats) -> Floats:
    """Of whole durations that are longer than `served_seconds`; `parts` may have more dimensions in front."""
    past = np.where(served_seconds > 0, (np.log(np.maximum(served_seconds, 1e-9)) - location) / scale, -np.inf)
    found = -ndtri_exp(log_ndtr(-past) + np.log1p(-parts))
    return np.maximum(served_seconds, np.exp(np.minimum(700.0, location + scale * found)))


@dataclass(slots=True)
class _Mean:
    """A running mean and the sum of squares about it."""

    count: float = 0.0
    mean: float = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self.mean += (value - self.mean) / self.count

    def toward(self, prior: float) -> float:
        return (self.count * self.mean + PRIOR_JOBS * prior) / (self.count + PRIOR_JOBS)


@dataclass(slots=True)
class _Family:
    """`places` and `levels` of the ended jobs, by order of submission."""

    submitted: int = 0
    version: int = 0
    mean: _Mean = field(default_factory=_Mean)
    places: list[int] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)
    order: deque[int] = field(default_factory=deque)

    def add(self, place: int, level: float) -> None:
        at = bisect.bisect(self.places, place)
        self.places.insert(at, place)
        self.levels.insert(at, level)
        self.order.append(place)
        if len(self.order) > KEPT:  # the one that ended first goes
            at = bisect.bisect_left(self.places, self.order.popleft())
            del self.places[at], self.levels[at]
        self.mean.add(level)
        self.version += 1

    def near(self, place: int) -> tuple[float, float, float]:
        weights = np.power(NEARNESS, np.abs(np.array(self.places) - place))
        levels = np.array(self.levels)
        return float(weights.sum()), float(weights @ levels), float(weights @ (levels * levels))


@dataclass(slots=True)
class _Known:
    """`near` are weight, weighted sum and weighted sum of squares of the family's levels around it, as of the family's `version`."""

    kind: Kind
    family: Hashable
    place: int
    near: tuple[float, float, float] = (0.0, 0.0, 0.0)
    version: int = -1


class Durations:
    """Told of submissions and ends in the order in which they happened."""

    def __init__(self) -> None:
        self._jobs: dict[Hashable, _Known] = {}
        self._families: dict[Hashable, _Family] = {}
        self._wider: dict[Hashable, _Mean] = {}
        self._names: dict[Hashable, _Mean] = {}

    def submitted(self, job: Hashable, kind: Kind) -> None:
        family = self._families.setdefault(kind.family, _Family())
        self._jobs[job] = _Known(kind, kind.family, family.submitted)
        family.submitted += 1

    def ended(self, job: Hashable, seconds: float) -> None:
        """It ran to its end in `seconds`. Jobs that failed or were cancelled say little: `forget` them."""
        known = self._jobs.pop(job, None)
        if known is None:
            return
        kind, value = known.kind, math.log(max(_LEAST_SECONDS, seconds))
        predicted = self._forecast(known).location
        family = self._families[kind.family]
        if kind.declared_seconds is None:  # what the levels do not explain is the name's; slower than the levels move
            name = self._names.setdefault(kind.name, _Mean())
            name.count += 1
            name.mean += (value - predicted) / (name.count + PRIOR_JOBS)
        level = value - self._base(kind)
        family.add(known.place, level)
        for wider in self._groups(kind):
            self._wider.setdefault(wider, _Mean()).add(level)

    def forget(self, job: Hashable) -> None:
        self._jobs.pop(job, None)

    def knows(self, job: Hashable) -> bool:
        """Whether it was submitted and has not ended."""
        return job in self._jobs

    def forecast(self, job: Hashable) -> Forecast:
        """Of a job that was submitted and has not ended."""
        return self._forecast(self._jobs[job])

    def of_kind(self, kind: Kind) -> Forecast:
        """Of a job that would be submitted now."""
        family = self._families.get(kind.family)
        return self._forecast(_Known(kind, kind.family, family.submitted if family else 0))

    def forecasts(self, jobs: Iterable[Hashable]) -> tuple[Floats, Floats]:
        """Locations and scales of many at once."""
        priors: dict[Hashable, float] = {}
        found: list[tuple[float, float]] = []
        for job in jobs:
            known = self._jobs[job]
            prior = priors.get(known.family)
            if prior is None:
                prior = priors[known.family] = self._prior(known.kind)
            found.append(self._around(known, prior))
        columns = np.array(found).reshape(-1, 2)
        return columns[:, 0], columns[:, 1]

    def _forecast(self, known: _Known) -> Forecast:
        return Forecast(*self._around(known, self._prior(known.kind)))

    def _prior(self, kind: Kind) -> float:
        """The level of the family, as far as it is known, leaning on the wider groups."""
        prior = math.log(UNKNOWN_SECONDS) if kind.declared_seconds is None else 0.0
        for wider in reversed(self._groups(kind)):
            if (mean := self._wider.get(wider)) is not None:
                prior = mean.toward(prior)
        family = self._families.get(kind.family)
        return family.mean.toward(prior) if family is not None else prior

    def _around(self, known: _Known, prior: float) -> tuple[float, float]:
        """Location and scale, from the jobs submitted around it."""
        base, family = self._base(known.kind), self._families.get(known.family)
        if family is None or not family.places:
            return base + prior, math.sqrt(PRIOR_VARIANCE)
        if known.version != family.version:
            known.near, known.version = family.near(known.place), family.version
        weight, total, squares = known.near
        level = (total + PRIOR_WEIGHT * prior) / (weight + PRIOR_WEIGHT)
        spread = squares - 2 * level * total + level * level * weight
        variance = (spread + PRIOR_WEIGHT * PRIOR_VARIANCE) / (weight + PRIOR_WEIGHT)
        return base + level, math.sqrt(max(LEAST_VARIANCE, variance))

    def _base(self, kind: Kind) -> float:
        if kind.declared_seconds is not None:
            return math.log(max(_LEAST_SECONDS, kind.declared_seconds))
        name = self._names.get(kind.name)
        return name.mean if name else 0.0

    @staticmethod
    def _groups(kind: Kind) -> tuple[Hashable, ...]:
        declared = kind.declared_seconds is None
        return (kind.queue, kind.submitter, declared), (kind.queue, declared), declared
