"""One pass over the queues: who is next, whether its queue may hold more, which node it takes.

Guarantees: the queue with the smallest key goes next: core before bonus, then the least rank stretched by past use, then the name; in
a queue the higher priority, then the older job. A class of which nothing fits is asked once, not once a job. No charge
passes a ceiling. What this pass does not serve itself (gangs, elements that avoid nodes, a job that has waited long) it hands
back, and goes on from there when it is called again.
"""

from __future__ import annotations

from bushel.scheduling.kernels.mode import inner_kernel, lean_kernel
from bushel.scheduling.kernels.rows import best_of, take
from bushel.scheduling.kernels.tables import (
    ALL_OVER,
    APART,
    AVOIDS_NODES,
    BLOCKED,
    BONUS,
    CORE_ONLY,
    CORE_SERVED,
    DONE,
    FLAGS,
    FULL,
    GONE,
    HEAP_SIZE,
    IMPOSSIBLE,
    INFINITE,
    KEEPING,
    KEY,
    LINE,
    NO_NODE,
    NO_ROOM,
    NOT_REACHED,
    NOTHING_OVER,
    OVERDUE_MICROS,
    QUEUE,
    QUOTA,
    REVISIT_MICROS,
    SOME_OVER,
    START_LIMIT,
    STARTABLE,
    STARTED,
    SUBMITTED,
    TOGETHER,
    Array,
    Classes,
    Heap,
    LineTable,
    Log,
    Nodes,
    Queues,
    Record,
    Rows,
    Ways,
)

_JOB_MASK = (1 << 53) - 1
_LARGE = 1 << 42


@lean_kernel
def begin(queues: Queues, lines: LineTable, classes: Classes, heap: Heap, state: Array) -> None:
    """All queues that have something waiting, in the heap."""
    state[HEAP_SIZE] = 0
    state[QUEUE] = -1
    for queue in range(queues.left.shape[0]):
        queue_again(queues, lines, classes, heap, state, queue)


@lean_kernel
def serve(
    nodes: Nodes,
    ways: Ways,
    rows: Rows,
    log: Log,
    classes: Classes,
    queues: Queues,
    lines: LineTable,
    heap: Heap,
    record: Record,
    state: Array,
) -> int:
    """Go on until all is served, the plan is full, or something must be looked at apart: QUEUE and LINE say what."""
    if state[QUEUE] >= 0:
        queue_again(queues, lines, classes, heap, state, state[QUEUE])
        state[QUEUE] = -1
    while state[HEAP_SIZE] > 0:
        if state[STARTED] >= state[START_LIMIT]:
            return FULL
        promised = heap.key[0]
        if promised >= BONUS and state[CORE_ONLY] != 0:
            return CORE_SERVED
        queue = pop(heap, queues, state)
        line = head_of(queues, lines, classes, queue)
        if line < 0:
            continue
        klass = lines.klass[line]
        key = key_of_queue(queues, classes, queue, klass)
        if key > promised:  # its first job is another than when it was put there
            push(heap, queues, state, key, queue)
            continue
        at = lines.start[line] + lines.position[line]
        if classes.kind[klass] == TOGETHER or (lines.pool[FLAGS, at] & AVOIDS_NODES) != 0:
            state[QUEUE] = queue
            state[LINE] = line
            return APART
        way, row, over_quota = choose(nodes, ways, rows, log, classes, queues, state, queue, klass)
        if way >= 0:
            start = state[STARTED]
            record.job[start] = lines.pool[KEY, at] & _JOB_MASK
            record.ordinal[start] = lines.taken[line]
            record.line[start] = line
            record.way[start] = way
            record.row[start] = row
            record.devices[start] = take(nodes, ways, log, way, row)
            state[STARTED] += 1
            charge(queues, queue, ways.needs[way], 1)
            advance(lines, line)
        elif settle(classes, lines, state, line, over_quota):
            state[QUEUE] = queue
            state[LINE] = line
            return BLOCKED
        queue_again(queues, lines, classes, heap, state, queue)
    return DONE


@inner_kernel
def choose(
    nodes: Nodes, ways: Ways, rows: Rows, log: Log, classes: Classes, queues: Queues, state: Array, queue: int, klass: int
) -> tuple[int, int, int]:
    """The way and the node for one task of a class, -1 for none; and how much of its ways the quota forbids."""
    over, open_ways = False, False
    found_way, found_row, found_key, found_rank = -1, -1, 0, 0
    for way in range(classes.first[klass], classes.stop[klass]):
        if found_way >= 0 and ways.rank[way] > found_rank:
            break
        if not classes.possible[way]:
            continue
        if not allows(queues, queue, ways.needs[way], 1):
            over = True
            continue
        open_ways = True
        row = best_of(nodes, ways, rows, log, state, way)
        if row < 0:
            continue
        key = rows.keys[rows.slot[way], nodes.place[row]]
        if found_way < 0 or key < found_key or (key == found_key and nodes.tie[row] < nodes.tie[found_row]):
            found_way, found_row, found_key, found_rank = way, row, key, ways.rank[way]
    if over:
        return found_way, found_row, SOME_OVER if open_ways else ALL_OVER
    return found_way, found_row, NOTHING_OVER


@inner_kernel
def settle(classes: Classes, lines: LineTable, state: Array, line: int, over_quota: int) -> bool:
    """Nothing more of this line starts. True if nodes may have to be kept free for its head."""
    klass = lines.klass[line]
    if over_quota == ALL_OVER:
        lines.cause[line] = QUOTA
        return False
    lines.cause[line] = NO_ROOM
    if over_quota == NOTHING_OVER:  # or another queue may have quota for a model that this one has none for
        classes.full[klass] = True
    return waited_long(lines, state, line)


@inner_kernel
def waited_long(lines: LineTable, state: Array, line: int) -> bool:
    """Whether nodes may have to be kept free for the head of a line; if not yet, when."""
    if state[KEEPING] != 0:
        return False
    submitted = lines.pool[SUBMITTED, lines.start[line] + lines.position[line]]
    if submitted <= state[OVERDUE_MICROS]:
        return True
    if submitted < state[REVISIT_MICROS]:
        state[REVISIT_MICROS] = submitted
    return False


@inner_kernel
def advance(lines: LineTable, line: int) -> None:
    """The next element of the line is dealt with."""
    lines.taken[line] += 1
    if lines.taken[line] >= lines.pool[STARTABLE, lines.start[line] + lines.position[line]]:
        lines.taken[line] = 0
        lines.position[line] += 1


@lean_kernel
def left_over_lines(
    lines: LineTable, filled: Array, elements: Array, left: Array, cause: Array, first: Array, jobs: Array, count: Array
) -> int:
    """Of the filled lines those with something left, side by side; `elements` are those left of every line. How many."""
    found = 0
    for place in range(filled.shape[0]):
        line = filled[place]
        position = lines.position[line]
        if position < lines.length[line]:
            left[found] = line
            cause[found] = lines.cause[line] if lines.cause[line] != 0 else NOT_REACHED
            first[found] = lines.pool[KEY, lines.start[line] + position] & _JOB_MASK
            jobs[found] = lines.length[line] - position
            count[found] = elements[line]
            found += 1
    return found


# Queues in order -------------------------------------------------------------------------------------------------------


@inner_kernel
def queue_again(queues: Queues, lines: LineTable, classes: Classes, heap: Heap, state: Array, queue: int) -> None:
    line = head_of(queues, lines, classes, queue)
    if line >= 0:
        push(heap, queues, state, key_of_queue(queues, classes, queue, lines.klass[line]), queue)


@inner_kernel
def head_of(queues: Queues, lines: LineTable, classes: Classes, queue: int) -> int:
    """The line whose job is next in the queue, -1 for none. Entries that are dealt with are dropped on the way."""
    while True:
        best, best_key = -1, GONE
        at = queues.first[queue]
        stop = at + queues.left[queue]
        while at < stop:
            klass, key = lines.entry_klass[at], lines.entry_key[at]
            if key == GONE or classes.full[klass] or classes.kind[klass] == IMPOSSIBLE:
                if key != GONE:
                    note_cause(lines, int(lines.entry[at]), NO_NODE if classes.kind[klass] == IMPOSSIBLE else NO_ROOM)
                stop -= 1
                lines.entry[at], lines.entry_klass[at] = lines.entry[stop], lines.entry_klass[stop]
                lines.entry_key[at] = lines.entry_key[stop]
                continue
            if key < best_key:
                best, best_key = at, key
            at += 1
        queues.left[queue] = stop - queues.first[queue]
        if best < 0:
            return -1
        line = int(lines.entry[best])
        if lines.position[line] >= lines.length[line] or lines.cause[line] != 0:
            lines.entry_key[best] = GONE
            continue
        key = lines.pool[KEY, lines.start[line] + lines.position[line]]
        if key == best_key:
            return line
        lines.entry_key[best] = key


@inner_kernel
def note_cause(lines: LineTable, line: int, cause: int) -> None:
    """Why what is left of the line waits, if it is not known."""
    if lines.position[line] < lines.length[line] and lines.cause[line] == 0:
        lines.cause[line] = cause


@inner_kernel
def key_of_queue(queues: Queues, classes: Classes, queue: int, klass: int) -> int:
    """Where the queue stands with a job of this class: the rank that the job would have, stretched by past use."""
    core, rank = True, 0
    for column in range(queues.entitled.shape[1] - 1):
        need = classes.needs[klass, column]
        if need == 0:
            continue
        total, entitled = queues.own[queue, column] + need, queues.entitled[queue, column]
        if total > entitled:
            core = False
        part = INFINITE
        if entitled > 0:
            part = (total << 20) // entitled if total < _LARGE else total // max(1, entitled >> 20)
        rank = max(rank, min(part, INFINITE))
    rank = (rank * queues.multiplier[queue]) >> 10
    return rank if core else rank + BONUS


@inner_kernel
def push(heap: Heap, queues: Queues, state: Array, key: int, queue: int) -> None:
    at = int(state[HEAP_SIZE])
    state[HEAP_SIZE] += 1
    while at > 0:
        parent = (at - 1) >> 1
        if not goes_first(heap, queues, key, queue, parent):
            break
        heap.key[at], heap.queue[at] = heap.key[parent], heap.queue[parent]
        at = parent
    heap.key[at], heap.queue[at] = key, queue


@inner_kernel
def pop(heap: Heap, queues: Queues, state: Array) -> int:
    """The queue that goes first."""
    top = int(heap.queue[0])
    state[HEAP_SIZE] -= 1
    size = int(state[HEAP_SIZE])
    if size == 0:
        return top
    key, queue = heap.key[size], heap.queue[size]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and goes_first(heap, queues, heap.key[child + 1], heap.queue[child + 1], child):
            child += 1
        if goes_first(heap, queues, key, queue, child):
            break
        heap.key[at], heap.queue[at] = heap.key[child], heap.queue[child]
        at = child
    heap.key[at], heap.queue[at] = key, queue
    return top


@inner_kernel
def goes_first(heap: Heap, queues: Queues, key: int, queue: int, place: int) -> bool:
    """Whether this queue goes before the one at that place of the heap."""
    return key < heap.key[place] or (key == heap.key[place] and queues.name[queue] < queues.name[heap.queue[place]])


# Quota -----------------------------------------------------------------------------------------------------------------


@inner_kernel
def allows(queues: Queues, queue: int, needs: Array, count: int) -> bool:
    """Whether `count` more elements keep every charge on the path within its ceiling."""
    for column in range(needs.shape[0]):
        more = needs[column] * count
        for level in range(queues.path.shape[1]):
            if more <= 0:
                break
            above = queues.path[queue, level]
            if above < 0:
                break
            below, withheld = queues.below[above, column], queues.withheld[above, column]
            if below + more > queues.ceiling[above, column]:
                return False
            more = max(withheld, below + more) - max(withheld, below)
    return True


@inner_kernel
def charge(queues: Queues, queue: int, needs: Array, count: int) -> None:
    """The queue holds `count` more such elements, or fewer if it is negative."""
    for column in range(needs.shape[0]):
        more = needs[column] * count
        if more == 0:
            continue
        queues.own[queue, column] += more
        for level in range(queues.path.shape[1]):
            above = queues.path[queue, level]
            if above < 0:
                break
            below, withheld = queues.below[above, column], queues.withheld[above, column]
            queues.below[above, column] = below + more
            more = max(withheld, below + more) - max(withheld, below)
