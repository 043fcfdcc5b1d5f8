"""The columns that kernels work on, and what they tell each other through `state`.

Guarantees: plain arrays with fixed types and C order, so that one compiled form of each kernel serves every call. N counts node
rows, R resources, M models of accelerators, D devices of a node, W ways to meet a request, S kept rows of keys, P places in
such a row, B blocks of places, G groups of blocks, L lines, E entries, Q queues with the whole fleet as the last of them, C quota
columns: the resources, then accelerators of all models together.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

NEVER = 2**31 - 1
"""The key of a node on which a task does not fit."""

FORGOTTEN = -(2**31)
"""The key at a place that another node has got."""

LAST_CHOICE = 2**30
"""Added to the key of a node that is taken only when no other will do."""

BLOCK = 128
"""Keys that share a minimum."""

MODELS_TOLD_APART = 62
"""The bit of a set of models that stands for all from this number on."""

WHOLE_DEVICE = 1000
INFINITE = 1 << 38
UNBOUNDED = 1 << 62
BONUS = 1 << 61

# Kinds of class: what serves its elements.
SINGLE = 0
TOGETHER = 1
IMPOSSIBLE = 2

# Causes for which a line waits; 0: it is not settled.
NO_NODE = 1
NO_ROOM = 2
QUOTA = 3
NOT_REACHED = 4

# How much of what a class may be met with the quota forbids.
NOTHING_OVER = 0
SOME_OVER = 1
ALL_OVER = 2

# Why `serve` came back.
DONE = 0
FULL = 1
APART = 2  # the head of LINE is a gang, or avoids some nodes
BLOCKED = 3  # the head of LINE does not fit and has waited long
CORE_SERVED = 4  # who is next would be beyond what its queue is entitled to

# Places in `state`.
CLOCK = 0
QUEUE = 1
LINE = 2
HEAP_SIZE = 3
STARTED = 4
START_LIMIT = 5
OVERDUE_MICROS = 6  # what was submitted before has waited long
REVISIT_MICROS = 7  # the earliest submission that will have waited long only later
KEEPING = 8  # nodes are already kept free for some job
CORE_ONLY = 9  # come back when those within their entitlement are served
LEARNT = 10  # grows when packing has learnt something else
STATE_SIZE = 11

# Rows of the pool of jobs.
KEY = 0
STARTABLE = 1
SUBMITTED = 2
EXPECTED = 3
SUBMITTER = 4
FLAGS = 5
POOL_ROWS = 6

GONE = 2**63 - 1
"""The key of a line that is empty."""

AVOIDS_NODES = 1
"""In FLAGS: some element of the job must avoid nodes."""


class Nodes(NamedTuple):
    free: Array  # [R, N] int64
    devices: Array  # [M, N, D] int16: free thousandths of each device
    closed: Array  # [N] bool: takes nothing more in this plan
    tie: Array  # [N] int64: of nodes with equal keys the smallest is taken
    score: Array  # [N] int64: what is free, as one number
    scale: Array  # [R] float64
    counts: Array  # [M, N] int16: devices that exist
    model: Array  # [N] int32: the model of most of its devices, -1 for none
    value: Array  # [N] float64: completion value with that model
    points: Array  # [N] int32: place in the order of nodes
    group: Array  # [N] int32
    place: Array  # [N] int32: where its keys lie
    cpu: int  # their columns
    memory: int
    largest_cpu: int
    largest_memory: int
    packing: Any  # Tables of what was learnt


class Ways(NamedTuple):
    mask: Array  # [W] int32
    cpu: Array  # [W] int64
    memory: Array  # [W] int64
    columns: Array  # [W, R] int32, ended by -1; accelerators apart
    amounts: Array  # [W, R] int64
    model: Array  # [W] int32, -1 for none
    devices: Array  # [W] int32: whole ones
    share: Array  # [W] int32: or a part of one
    device_column: Array  # [W] int32
    taken: Array  # [W] int64: of the device column
    needs: Array  # [W, C] int64: counts against the queue
    rank: Array  # [W] int32: ways of one class and rank are equally good, smaller ranks go first


class Classes(NamedTuple):
    first: Array  # int32: its ways are first…stop-1
    stop: Array  # int32
    kind: Array  # int8
    full: Array  # bool: nothing more of it fits in this plan
    possible: Array  # [W] bool: some node that may be used would hold it if it were empty
    needs: Array  # [classes, C] int64: what an element counts against its queue, all its tasks, met the first way


class Rows(NamedTuple):
    """Group 0 are the nodes without accelerators; the places of a group are whole blocks."""

    slot: Array  # [W] int32, -1 for none
    way: Array  # [S] int32, -1 for none
    used: Array  # [S] int64: when last asked
    seen: Array  # [S, G] int64: how far in the log its keys are right, -1 if they never were
    learnt: Array  # [S, G] int64: by which tables of packing
    keys: Array  # [S, P] int32
    best_key: Array  # [S, B] int32
    best_row: Array  # [S, B] int32: the node, not its place
    masks: Array  # [masks, N] int8: 0 not allowed, 1 allowed, 2 a last choice
    row_at: Array  # [P] int32: the node, -1 for none
    first_block: Array  # [G + 1] int64
    models: Array  # [G] int64: those that its nodes have, a bit each


class Log(NamedTuple):
    """For each group the places of nodes whose state or permission has changed, in order."""

    places: Array  # [G, …] int32
    length: Array  # [G] int64
    last: Array  # [P] int64: the last entry of the place, -1 for none


class Queues(NamedTuple):
    path: Array  # [Q, depth] int32: the queue and those above it, ended by -1
    ceiling: Array  # [Q, C] int64
    withheld: Array  # [Q, C] int64
    below: Array  # [Q, C] int64: own use and the charges of the queues below
    own: Array  # [Q, C] int64
    entitled: Array  # [Q, C] int64
    multiplier: Array  # [Q] int64: how much past use stretches a rank, in 1/1024
    name: Array  # [Q] int64: a number in order of names
    first: Array  # [Q] int64: its entries are first…first+left-1
    left: Array  # [Q] int64


class LineTable(NamedTuple):
    """An entry is a line that something may still start of; the entries of a queue lie side by side."""

    entry: Array  # [E] int32: its line
    entry_klass: Array  # [E] int32
    entry_key: Array  # [E] int64: no more than that of its first job, GONE for none
    klass: Array  # [L] int32
    start: Array  # [L] int64: its jobs are pool[:, start : start + length]
    length: Array  # [L] int64
    position: Array  # [L] int64: jobs dealt with
    taken: Array  # [L] int64: elements of the job at hand dealt with
    cause: Array  # [L] int8
    pool: Array  # [POOL_ROWS, …] int64


class Heap(NamedTuple):
    key: Array  # [Q] int64
    queue: Array  # [Q] int32


class Record(NamedTuple):
    """What was started, in order."""

    job: Array  # int64
    ordinal: Array  # int64: which of the job's pending elements
    line: Array  # int32
    way: Array  # int32, -1 when its placement is told apart
    row: Array  # int32
    devices: Array  # int64: bit d for device d


def new_state() -> Array:
    return np.zeros(STATE_SIZE, np.int64)
