"""Anything may happen to a connection in any order, and its promises hold."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.protocol.worlds import CELLS, ConnectionWorld

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


def test_a_connection_keeps_its_promises():
    run_state_machine_as_test(
        ConnectionMachine, settings=settings(max_examples=300, stateful_step_count=50)
    )


@pytest.mark.oracle
def test_a_connection_keeps_its_promises_for_long():
    run_state_machine_as_test(
        ConnectionMachine, settings=settings(max_examples=3_000, stateful_step_count=80)
    )
