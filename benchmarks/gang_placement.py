"""Gangs of accelerators on equal servers: compiled loops that the simulated policies of `philly` share.

A gang of no more than a server's accelerators takes one server; a larger one takes whole servers and what is left over of one more.
`servers` and `counts` hold, by job, where it is: a row of server numbers, -1 for none, and how many accelerators of each.
"""

# pyright: reportIndexIssue=false
from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def fits(gpus, free, per_server):
    whole, rest = gpus // per_server, gpus % per_server
    idle = 0
    hole = False
    for server in range(len(free)):
        if free[server] == per_server:
            idle += 1
        elif free[server] >= rest:
            hole = True
    return idle > whole or (idle == whole and (rest == 0 or hole))


@njit(cache=True)
def take(job, gpus, free, servers, counts, per_server):
    """Best fit: whole servers by number, the rest where least is left. False: no room."""
    if not fits(gpus, free, per_server):
        return False
    piece = 0
    for server in range(len(free)):
        if gpus >= per_server and free[server] == per_server:
            servers[job, piece], counts[job, piece] = server, per_server
            free[server] = 0
            gpus -= per_server
            piece += 1
    if gpus > 0:
        best = -1
        for server in range(len(free)):
            if free[server] >= gpus and (best < 0 or free[server] < free[best]):
                best = server
        servers[job, piece], counts[job, piece] = best, gpus
        free[best] -= gpus
    return True


@njit(cache=True)
def release(job, free, servers, counts):
    for piece in range(servers.shape[1]):
        if servers[job, piece] >= 0:
            free[servers[job, piece]] += counts[job, piece]
            servers[job, piece] = -1


@njit(cache=True)
def start_in_order(order, gpus, free, servers, counts, per_server, strict, started):
    """Start what fits, in order; `strict`: nothing goes ahead of the first that does not."""
    too_large = 1 << 30
    for job in order:
        if gpus[job] >= too_large:
            continue
        if take(job, gpus[job], free, servers, counts, per_server):
            started[job] = True
        else:
            if strict:
                return
            too_large = gpus[job]  # what did not fit now does not fit larger


@njit(cache=True)
def start_by_share(waiting, tenant, gpus, used, free, servers, counts, per_server, started):
    """Dominant resource fairness, one resource: the tenant that holds least is next, its oldest job that fits."""
    tenants = len(used)
    position = np.zeros(tenants, np.int64)
    too_large = 1 << 30
    while True:
        best = -1
        best_at = 0
        for number in range(tenants):
            at = position[number]
            while at < len(waiting) and (tenant[waiting[at]] != number or gpus[waiting[at]] >= too_large):
                at += 1
            position[number] = at
            if at < len(waiting) and (best < 0 or used[number] < used[best]):
                best, best_at = number, at
        if best < 0:
            return
        job = waiting[best_at]
        position[best] = best_at + 1
        if take(job, gpus[job], free, servers, counts, per_server):
            started[job] = True
            used[best] += gpus[job]
        else:
            too_large = gpus[job]


@njit(cache=True)
def start_with_backfill(waiting, running_by_end, ends, now, seconds, gpus, free, servers, counts, per_server, started):
    """EASY: the first that does not fit has a start reserved; a later one may start if it ends before, or leaves that room."""
    blocked = -1
    for at in range(len(waiting)):
        job = waiting[at]
        if take(job, gpus[job], free, servers, counts, per_server):
            started[job] = True
        else:
            blocked = at
            break
    if blocked < 0:
        return
    head = waiting[blocked]
    later = free.copy()
    shadow = np.inf
    for at in range(blocked):  # those just started end too
        if started[waiting[at]]:
            ends[waiting[at]] = now + seconds[waiting[at]]
    everyone = np.concatenate((running_by_end, waiting[:blocked]))
    everyone = everyone[np.argsort(ends[everyone])]
    for job in everyone:
        for piece in range(servers.shape[1]):
            if servers[job, piece] >= 0:
                later[servers[job, piece]] += counts[job, piece]
        if fits(gpus[head], later, per_server):
            shadow = ends[job]
            break
    ghost_servers, ghost_counts = np.full((1, servers.shape[1]), -1), np.zeros((1, servers.shape[1]), np.int64)
    take(0, gpus[head], later, ghost_servers, ghost_counts, per_server)
    for at in range(blocked + 1, len(waiting)):
        job = waiting[at]
        if now + seconds[job] <= shadow:
            if take(job, gpus[job], free, servers, counts, per_server):
                started[job] = True
            continue
        both = np.minimum(free, later)
        if take(job, gpus[job], both, servers, counts, per_server):
            started[job] = True
            for piece in range(servers.shape[1]):
                if servers[job, piece] >= 0:
                    free[servers[job, piece]] -= counts[job, piece]
                    later[servers[job, piece]] -= counts[job, piece]


@njit(cache=True)
def choose(order, gpus, running, server_count, servers, counts, per_server, new_servers, new_counts, chosen):
    """Who runs from now on, the first in order first. What runs stays where it is if nobody before it took the place.

    `chosen` becomes 1 for what stays and 2 for what starts at its row of `new_servers`. A start prefers room that is empty over
    room of those that come later in order.
    """
    free = np.full(server_count, per_server, np.int64)
    promised = np.zeros(server_count, np.int64)  # held by running jobs that were not looked at yet
    for job in order:
        if running[job]:
            for piece in range(servers.shape[1]):
                if servers[job, piece] >= 0:
                    promised[servers[job, piece]] += counts[job, piece]
    left = server_count * per_server
    for job in order:
        if running[job]:
            stays = True
            for piece in range(servers.shape[1]):
                server = servers[job, piece]
                if server >= 0:
                    promised[server] -= counts[job, piece]
                    stays = stays and free[server] >= counts[job, piece]
            if stays:
                chosen[job] = 1
                left -= gpus[job]
                for piece in range(servers.shape[1]):
                    if servers[job, piece] >= 0:
                        free[servers[job, piece]] -= counts[job, piece]
        elif gpus[job] <= left and fits(gpus[job], free, per_server):
            need, piece = gpus[job], 0
            left -= need
            while need > 0:
                wanted = min(need, per_server)
                best, best_cost = -1, 1 << 60
                for server in range(server_count):
                    if free[server] >= wanted:
                        conflict = max(0, wanted + promised[server] - free[server])
                        cost = conflict * 1000 + free[server] - promised[server]
                        if cost < best_cost:
                            best, best_cost = server, cost
                new_servers[job, piece], new_counts[job, piece] = best, wanted
                free[best] -= wanted
                need -= wanted
                piece += 1
            chosen[job] = 2


@njit(cache=True)
def max_min(demand, capacity):
    """What each tenant may hold: equal parts, no more than it asks for."""
    part = np.zeros(len(demand))
    left, open_count = float(capacity), 0
    for number in range(len(demand)):
        open_count += demand[number] > 0
    for number in np.argsort(demand):
        if demand[number] > 0:
            part[number] = min(float(demand[number]), left / open_count)
            left -= part[number]
            open_count -= 1
    return part
