"""How far the jobs of every leaf are served: each queue uses its own slices first; what they cannot use goes to its siblings,
then to its cousins.

A *shape* is the jobs of one leaf that need the same resources, added up; `served` is the part of it that is served, and all its
resources move together. The queues are visited children first. At a queue, the shapes below it rise while its charge stays
within its slice and those below it within their ceilings; the slice is offered downward by weight to the children that
still want some of that resource, and a shape moves at the pace of its scarcest offer. It stops for this visit where a ceiling on
its path is full. Progressive filling for jobs that need several resources at once (dominant resource fairness, Ghodsi et al.,
NSDI 2011; on trees Bhattacharya et al., SoCC 2013), made to hold on trees by the slices.

Guarantees: no charge ever passes a ceiling, to the grain. Every shape ends complete, or with a ceiling on its path that is full to
within `SLACK_GRAINS` a shape (of 2**52 in a capacity). No shape ends with less than it would have alone on the slices of any queue
above it. Held amounts and paces are sums of integers, quotients are of single elements: the order of anything decides nothing. The
visit of a queue depends on its subtree and slices alone, so that visits of unchanged subtrees are not made again.
"""

from __future__ import annotations

import numpy as np

from bushel.scheduling.fairness.arrays import Flags, Floats, Integers
from bushel.scheduling.kernels.mode import kernel

SLACK_GRAINS = 16
MARGIN_GRAINS = 6
COMPLETE = 1.0 - 2.0**-50


@kernel
def _recall(
    at: int, last: Integers, parent: Integers, depth: Integers, floor: Integers, shape_start: Integers, shape_leaf: Integers,
    part_start: Integers, part_column: Integers, part_amount: Integers, grain: Floats, memory: Floats, served: Floats, held: Integers,
) -> None:  # fmt: skip
    """Take the outcome of an earlier visit of `at`, and what is held below it then."""
    for k in range(shape_start[at], shape_start[last[at]]):
        served[k] = memory[depth[at], k]
        for p in range(part_start[k], part_start[k + 1]):
            held[shape_leaf[k], part_column[p]] += int(part_amount[p] * served[k] * grain[part_column[p]])
    for row in range(last[at] - 1, at, -1):
        for c in range(held.shape[1]):
            held[parent[row], c] += max(held[row, c], floor[row, c])


@kernel
def _mark_live(
    at: int, end: int, active: Integers, count: int, shape_leaf: Integers, parent: Integers, live: Integers, is_live: Flags
) -> int:  # fmt: skip
    """The rows between the leaves of active shapes and `at`, children before parents. Returns how many."""
    for row in range(at, end):
        is_live[row] = False
    is_live[at] = True
    for i in range(count):
        row = shape_leaf[active[i]]
        while not is_live[row]:
            is_live[row] = True
            row = parent[row]
    number = 0
    for row in range(end - 1, at - 1, -1):
        if is_live[row]:
            live[number] = row
            number += 1
    return number


@kernel
def _keep_unblocked(
    at: int, active: Integers, count: int, live: Integers, live_count: int, parent: Integers, shape_leaf: Integers, part_start: Integers,
    part_column: Integers, held: Integers, floor: Integers, top: Integers, slack: int, stuck: Flags, served: Floats,
) -> int:  # fmt: skip
    """Drop the shapes that are complete, or of which some resource meets a full ceiling; a withheld part that is idle absorbs it."""
    for i in range(live_count - 1, -1, -1):
        row = live[i]
        for c in range(held.shape[1]):
            full = held[row, c] >= top[row, c] - slack or (row != at and stuck[parent[row], c])
            stuck[row, c] = full and held[row, c] >= floor[row, c] - slack
    kept = 0
    for i in range(count):
        k = active[i]
        blocked = served[k] >= 1.0
        for p in range(part_start[k], part_start[k + 1]):
            blocked = blocked or stuck[shape_leaf[k], part_column[p]]
        if not blocked:
            active[kept] = k
            kept += 1
    return kept


@kernel
def _find_speeds(
    at: int, active: Integers, count: int, live: Integers, live_count: int, parent: Integers, weight: Integers, share: Integers,
    shape_leaf: Integers, part_start: Integers, part_column: Integers, part_amount: Integers, grain: Floats,
    wants: Integers, weights: Integers, takers: Integers, offer: Floats, speed: Floats,
) -> bool:  # fmt: skip
    """Offer the slice of `at` down by weight to those who want some of it. Whether anything moves."""
    columns = wants.shape[1]
    for i in range(live_count):
        row = live[i]
        for c in range(columns):
            wants[row, c], weights[row, c], takers[row, c] = 0, 0, 0
    for i in range(count):
        k = active[i]
        for p in range(part_start[k], part_start[k + 1]):
            wants[shape_leaf[k], part_column[p]] += part_amount[p]
    for i in range(live_count):
        row = live[i]
        if row != at:
            for c in range(columns):
                if wants[row, c] > 0:
                    wants[parent[row], c] = 1
                    weights[parent[row], c] += weight[row]
                    takers[parent[row], c] += 1
    for c in range(columns):
        offer[at, c] = share[at, c] / grain[c]
    for i in range(live_count - 2, -1, -1):
        row = live[i]
        above = parent[row]
        for c in range(columns):
            if wants[row, c] > 0:
                if weights[above, c] > 0:
                    offer[row, c] = offer[above, c] * weight[row] / weights[above, c]
                else:
                    offer[row, c] = offer[above, c] / takers[above, c]
    moving = False
    for i in range(count):
        k = active[i]
        scarcest = float(np.inf)
        for p in range(part_start[k], part_start[k + 1]):
            scarcest = min(scarcest, offer[shape_leaf[k], part_column[p]] / wants[shape_leaf[k], part_column[p]])
        speed[k] = scarcest
        moving = moving or scarcest > 0.0
    return bool(moving)


@kernel
def _longest_step(
    at: int, active: Integers, count: int, live: Integers, live_count: int, parent: Integers, floor: Integers, top: Integers,
    shape_leaf: Integers, part_start: Integers, part_column: Integers, part_amount: Integers, grain: Floats, held: Integers,
    pace: Integers, speed: Floats, served: Floats, slack: int, margin: int,
) -> float:  # fmt: skip
    """Until a shape is complete, a ceiling full or a withheld part used up."""
    columns = held.shape[1]
    for i in range(live_count):
        for c in range(columns):
            pace[live[i], c] = 0
    step = np.inf
    for i in range(count):
        k = active[i]
        if speed[k] > 0.0:
            step = min(step, (1.0 - served[k]) / speed[k])
            for p in range(part_start[k], part_start[k + 1]):
                pace[shape_leaf[k], part_column[p]] += int(part_amount[p] * speed[k] * grain[part_column[p]]) + 1
    for i in range(live_count):
        row = live[i]
        for c in range(columns):
            if pace[row, c] > 0:
                if held[row, c] < floor[row, c] - slack:
                    step = min(step, (floor[row, c] - held[row, c] - margin) / pace[row, c])
                else:
                    step = min(step, (top[row, c] - held[row, c] - margin) / pace[row, c])
                    if row != at:
                        pace[parent[row], c] += pace[row, c]
    return float(step)


@kernel
def _advance(
    at: int, active: Integers, count: int, live: Integers, live_count: int, parent: Integers, floor: Integers, shape_leaf: Integers,
    part_start: Integers, part_column: Integers, part_amount: Integers, grain: Floats, held: Integers, more: Integers,
    speed: Floats, served: Floats, step: float,
) -> None:  # fmt: skip
    """Move every shape, and what is held above it. `more` is scratch."""
    columns = held.shape[1]
    for i in range(live_count):
        for c in range(columns):
            more[live[i], c] = 0
    for i in range(count):
        k = active[i]
        if speed[k] > 0.0:
            before, after = served[k], served[k] + speed[k] * step
            if after >= COMPLETE:
                after = 1.0
            served[k] = after
            for p in range(part_start[k], part_start[k + 1]):
                one = grain[part_column[p]]
                more[shape_leaf[k], part_column[p]] += int(part_amount[p] * after * one) - int(part_amount[p] * before * one)
    for i in range(live_count):
        row = live[i]
        for c in range(columns):
            if more[row, c] != 0:
                before_charge = max(held[row, c], floor[row, c])
                held[row, c] += more[row, c]
                if row != at:
                    more[parent[row], c] += max(held[row, c], floor[row, c]) - before_charge


@kernel
def fill(
    parent: Integers, first_child: Integers, next_sibling: Integers, last: Integers, depth: Integers, weight: Integers, grain: Floats,
    ceiling: Integers, floor: Integers, share: Integers, shape_start: Integers, shape_leaf: Integers, part_start: Integers,
    part_column: Integers, part_amount: Integers, visited: Flags, memory: Floats, served: Floats, held: Integers,
) -> int:  # fmt: skip
    """Fill `served`, and `held` with what is charged to each row before its own floor. Returns the number of steps.

    `visited[v]`: the visit is to be made; else its outcome is read from `memory[depth]`. `shape_start[v]` is the first shape of the
    rows from `v` on; the parts from `part_start[k]` on are what shape `k` needs, in units; `grain[c]` is how many grains a unit
    has; `floor` is what is withheld, at most the slice. `served` and `held` come as zeros.
    """
    rows, columns = share.shape
    pace, wants = np.zeros((rows, columns), np.int64), np.zeros((rows, columns), np.int64)
    weights, takers = np.zeros((rows, columns), np.int64), np.zeros((rows, columns), np.int64)
    offer, stuck, top = np.zeros((rows, columns), np.float64), np.zeros((rows, columns), np.bool_), ceiling.copy()
    speed, active = np.zeros(len(served), np.float64), np.empty(len(served), np.int64)
    live, is_live = np.empty(rows, np.int64), np.zeros(rows, np.bool_)
    steps = 0
    for at in range(rows - 1, -1, -1):
        if not visited[at]:
            if at == 0 or visited[parent[at]]:
                _recall(at, last, parent, depth, floor, shape_start, shape_leaf, part_start, part_column, part_amount, grain, memory,
                        served, held)  # fmt: skip
            continue
        child = first_child[at]
        while child >= 0:
            for c in range(columns):
                held[at, c] += max(held[child, c], floor[child, c])
            child = next_sibling[child]
        count = 0
        for k in range(shape_start[at], shape_start[last[at]]):
            if served[k] < 1.0:
                active[count] = k
                count += 1
        slack, margin = SLACK_GRAINS * (count + 16), MARGIN_GRAINS * (count + 16)
        for c in range(columns):
            if at > 0:
                top[at, c] = share[at, c]
        live_count, marked = 0, 0
        patience = 16 * (count + 16) * (columns + 1)
        while count > 0 and patience > 0:
            patience -= 1
            if 2 * count < marked or marked == 0:
                marked = count
                live_count = _mark_live(at, last[at], active, count, shape_leaf, parent, live, is_live)
            count = _keep_unblocked(at, active, count, live, live_count, parent, shape_leaf, part_start, part_column, held, floor, top,
                                    slack, stuck, served)  # fmt: skip
            if not _find_speeds(at, active, count, live, live_count, parent, weight, share, shape_leaf, part_start, part_column,
                                part_amount, grain, wants, weights, takers, offer, speed):  # fmt: skip
                break
            step = _longest_step(at, active, count, live, live_count, parent, floor, top, shape_leaf, part_start, part_column,
                                 part_amount, grain, held, pace, speed, served, slack, margin)  # fmt: skip
            _advance(at, active, count, live, live_count, parent, floor, shape_leaf, part_start, part_column, part_amount, grain, held,
                     pace, speed, served, step)  # fmt: skip
            steps += 1
        for c in range(columns):
            top[at, c] = ceiling[at, c]
        for k in range(shape_start[at], shape_start[last[at]]):
            memory[depth[at], k] = served[k]
    return steps
