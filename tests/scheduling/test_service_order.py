"""Who is served first when everything is compared, each a sentence of docs/concepts/scheduling.md."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bushel.scheduling.service_order import ServiceOrder, scores

rows = st.lists(st.tuples(st.floats(1, 1e6), st.integers(0, 3), st.integers(1, 8), st.booleans()), min_size=1, max_size=20)
services = st.lists(st.floats(0, 1e6), min_size=4, max_size=4)
ENTITLED = np.array([8.0, 8.0, 4.0, 0.0])


def score(found, recent, order=None):
    remaining, queue, size, running = (np.array(column) for column in zip(*found, strict=True))
    return scores(remaining.astype(float), queue, size, running, np.array(recent), ENTITLED, order or ServiceOrder())


@given(rows, services, st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_the_order_of_the_rows_changes_no_score(found, recent, random):
    order = list(range(len(found)))
    random.shuffle(order)
    straight, _ = score(found, recent)
    mixed, _ = score([found[at] for at in order], recent)
    assert (straight[order] == mixed).all()


@given(rows, services)
@settings(max_examples=50)
def test_no_more_than_its_part_of_an_entitlement_is_core(found, recent):
    _, core = score(found, recent, ServiceOrder(core_share=0.5))
    for queue in range(4):
        held = sum(size for (_, of, size, _), first in zip(found, core, strict=True) if of == queue and first)
        assert held <= 0.5 * ENTITLED[queue] + 1e-9


@given(st.floats(1, 1e6), st.floats(1, 1e6), services)
def test_of_one_queue_the_shorter_goes_first_and_of_equals_the_one_that_runs(one, other, recent):
    (first, second), _ = score([(one, 0, 1, False), (other, 0, 1, False)], recent)
    assert (first < second) == (one < other)
    (waiting, running), _ = score([(one, 0, 1, False), (one, 0, 1, True)], recent)
    assert running < waiting


def test_of_equal_jobs_that_of_the_queue_which_got_less_of_late_goes_first():
    (much, little), _ = score([(100.0, 0, 1, False), (100.0, 1, 1, False)], [900.0, 100.0, 0.0, 0.0])
    assert little < much
    (much, little), _ = score([(100.0, 0, 1, False), (100.0, 1, 1, False)], [900.0, 100.0, 0.0, 0.0], ServiceOrder(balance=0))
    assert little == much
