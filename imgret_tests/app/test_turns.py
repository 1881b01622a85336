"""Few views at a time, the others in the order of asking, nobody waits for good."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from imgret_assets.app.turns import Turns

WITHIN_S = 20.0


class Holder:
    """A thread that asks for a turn, notes its name when it has it, and holds it until it is told to end."""

    def __init__(self, turns: Turns, name: str, order: list[str]) -> None:
        self.has_turn, self.end = threading.Event(), threading.Event()
        self._turns, self._name, self._order = turns, name, order
        self.thread = threading.Thread(target=self._hold, daemon=True)
        self.thread.start()

    def _hold(self) -> None:
        with self._turns.turn():
            self._order.append(self._name)
            self.has_turn.set()
            assert self.end.wait(WITHIN_S)

    def finish(self) -> None:
        self.end.set()
        self.thread.join(WITHIN_S)
        assert not self.thread.is_alive()


def asked(turns: Turns, name: str, order: list[str]) -> Holder:
    """A holder that stands in the queue before the next one asks."""
    holder = Holder(turns, name, order)
    time.sleep(0.05)
    return holder


def test_no_more_than_so_many_at_once() -> None:
    turns, lock = Turns(3), threading.Lock()
    now, most = 0, 0

    def view(_: int) -> None:
        nonlocal now, most
        with turns.turn():
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.002)
            with lock:
                now -= 1

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(view, range(200)))
    assert (now, most) == (0, 3)


def test_who_waits_is_next_in_the_order_of_asking() -> None:
    turns, order = Turns(1), []
    holders = [asked(turns, name, order) for name in "abcd"]
    assert order == ["a"]
    holders[0].finish()
    assert holders[1].has_turn.wait(WITHIN_S)
    # Who comes now is behind those that wait, though a turn has just passed on.
    holders.append(asked(turns, "late", order))
    for holder in holders[1:]:
        assert holder.has_turn.wait(WITHIN_S)
        holder.finish()
    assert order == ["a", "b", "c", "d", "late"]


def test_a_view_that_fails_passes_its_turn_on() -> None:
    turns, order = Turns(1), []
    for _ in range(3):
        with pytest.raises(ValueError, match="drawn"), turns.turn():
            raise ValueError("cannot be drawn")
    holder = asked(turns, "next", order)
    assert holder.has_turn.wait(WITHIN_S)
    holder.finish()


def test_who_has_waited_long_goes_on_beside_the_others_and_leaves_the_queue() -> None:
    turns, order = Turns(1, patience_s=0.2), []
    stuck = asked(turns, "stuck", order)
    impatient = asked(turns, "impatient", order)
    assert impatient.has_turn.wait(WITHIN_S)
    impatient.finish()
    # The turn of the stuck one is still the only one.
    waiting = asked(turns, "waiting", order)
    assert not waiting.has_turn.is_set()
    stuck.finish()
    assert waiting.has_turn.wait(WITHIN_S)
    next_in_line = asked(turns, "next", order)
    assert not next_in_line.has_turn.is_set()
    waiting.finish()
    assert next_in_line.has_turn.wait(WITHIN_S)
    next_in_line.finish()
    assert order == ["stuck", "impatient", "waiting", "next"]
