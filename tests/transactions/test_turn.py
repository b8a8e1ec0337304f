"""The turn: one at a time, but nobody waits for ever behind one who sleeps."""

from __future__ import annotations

import threading

from livedb.clock import SystemClock
from livedb.transactions.turn import Turn, TurnHolder


def take_in_thread(turn, holder):
    taken = threading.Event()

    def take():
        turn.take(holder)
        taken.set()

    threading.Thread(target=take, daemon=True).start()
    return taken


def test_turns_are_taken_one_after_the_other():
    turn = Turn(SystemClock(), turn_ms_max=60_000)
    running, most = 0, []

    def work():
        nonlocal running
        for _ in range(50):
            holder = TurnHolder()
            with holder.running:
                turn.take(holder)
                running += 1
                most.append(running)
                running -= 1
                turn.give(holder)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(most) == 200


def test_a_holder_that_takes_too_long_is_overtaken():
    turn = Turn(SystemClock(), turn_ms_max=5)
    slow, quick, third = TurnHolder(), TurnHolder(), TurnHolder()
    with slow.running:
        turn.take(slow)
        assert take_in_thread(turn, quick).wait(10)
        turn.give(slow)  # has no effect any more
        turn.give(quick)
    assert take_in_thread(turn, third).wait(10)
    turn.give(third)


def test_an_exclusive_holder_is_not_overtaken():
    turn = Turn(SystemClock(), turn_ms_max=2)
    exclusive, other = TurnHolder(is_exclusive=True), TurnHolder()
    with exclusive.running:
        turn.take(exclusive)
        taken = take_in_thread(turn, other)
        assert not taken.wait(0.05)
        turn.give(exclusive)
        assert taken.wait(10)


def test_an_exclusive_caller_waits_for_a_slow_holder():
    turn = Turn(SystemClock(), turn_ms_max=2)
    slow, exclusive = TurnHolder(), TurnHolder(is_exclusive=True)
    with slow.running:
        turn.take(slow)
        taken = take_in_thread(turn, exclusive)
        assert not taken.wait(0.05)
        turn.give(slow)
        assert taken.wait(10)


def test_a_turn_that_was_never_given_back_heals():
    turn = Turn(SystemClock(), turn_ms_max=2)
    lost = TurnHolder(is_exclusive=True)
    with lost.running:
        turn.take(lost)  # and its run ends without giving it back
    assert take_in_thread(turn, TurnHolder(is_exclusive=True)).wait(10)
