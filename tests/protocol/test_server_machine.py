"""Anything may happen to a connection in any order, and its promises hold."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.protocol.worlds import CELLS, ConnectionWorld
from tests.thorough import examples

cells = st.integers(0, CELLS - 1)


class ConnectionMachine(RuleBasedStateMachine):
    """Random messages, completions, touches and sends."""

    def __init__(self):
        super().__init__()
        self.world = ConnectionWorld()

    @rule(add=st.lists(cells, max_size=3), remove=st.integers(0, 2), is_reused=st.booleans())
    def modify(self, add, remove, is_reused):
        self.world.modify(add, remove, is_reused=is_reused)

    @rule(name=st.sampled_from(["ann", "ben", "nobody"]))
    def authenticate(self, name):
        self.world.authenticate(name)

    @rule(cell=cells, is_action=st.booleans())
    def call(self, cell, is_action):
        self.world.call(cell, is_action=is_action)

    @rule(choice=st.integers(0, 7), again=st.integers(1, 4))
    def serve(self, choice, again):
        for _ in range(again):
            self.world.serve(choice)

    @rule(cell=cells)
    def others_commit(self, cell):
        self.world.others_commit(cell)

    def teardown(self):
        self.world.settle()


def run_connections(seeds: range, steps: int) -> None:
    """The same at random, which goes further than hypothesis does and shrinks nothing."""
    for seed in seeds:
        random = Random(seed)
        world = ConnectionWorld()
        for _ in range(steps):
            match random.randrange(20):
                case 0:
                    added = random.choices(range(CELLS), k=random.randrange(3))
                    world.modify(added, random.randrange(3), is_reused=random.random() < 0.5)
                case 1 if random.random() < 0.3:
                    world.authenticate(random.choice(["ann", "ben", "nobody"]))
                case 2 | 3:
                    world.call(random.randrange(CELLS), is_action=random.random() < 0.3)
                case 4:
                    world.others_commit(random.randrange(CELLS))
                case _:
                    world.serve(random.randrange(8))
        world.settle()


def test_a_connection_keeps_its_promises():
    run_state_machine_as_test(
        ConnectionMachine, settings=settings(max_examples=examples(60), stateful_step_count=40)
    )


@pytest.mark.oracle
def test_a_connection_keeps_its_promises_for_long():
    run_state_machine_as_test(
        ConnectionMachine, settings=settings(max_examples=3_000, stateful_step_count=80)
    )


def test_a_connection_keeps_its_promises_at_random():
    run_connections(range(100), 400)


@pytest.mark.oracle
def test_a_connection_keeps_its_promises_at_random_for_long():
    run_connections(range(1_000, 3_000), 1_000)
