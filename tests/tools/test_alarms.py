"""Calls that have the same time share a timer, and each is told in its own time."""

from actguard.tools.alarms import Alarms


class Loop:
    """Of an event loop what alarms see of it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers = []

    def time(self):
        return self.now

    def call_at(self, when, ring, context):
        self.timers.append((when, lambda: context.run(ring)))

    def run_until(self, now):
        while self.timers and self.timers[0][0] <= now:
            when, ring = self.timers.pop(0)
            self.now = max(self.now, when)
            ring()
        self.now = now


class Call:
    def __init__(self, loop, alarms) -> None:
        self.loop = loop
        self.told = []
        self.running = alarms.add(self, loop)

    def over(self):
        self.told.append(self.loop.now)

    def end(self):
        self.running.pop(self)


def test_each_is_told_in_its_own_time_and_once():
    loop, alarms = Loop(), Alarms(10.0)
    calls = []
    for moment in (100.0, 103.0, 103.0, 109.0):
        loop.run_until(moment)
        calls.append(Call(loop, alarms))
        assert len(loop.timers) == 1
    loop.run_until(200.0)
    assert [call.told for call in calls] == [[110.0], [113.0], [113.0], [119.0]]
    assert loop.timers == []


def test_who_has_ended_is_not_told_and_the_timer_goes_with_the_last():
    loop, alarms = Loop(), Alarms(10.0)
    first, second = Call(loop, alarms), Call(loop, alarms)
    first.end()
    loop.run_until(105.0)
    third = Call(loop, alarms)
    second.end()
    loop.run_until(110.0)
    assert [when for when, _ in loop.timers] == [115.0]
    third.end()
    loop.run_until(300.0)
    assert (first.told, second.told, third.told, loop.timers) == ([], [], [], [])
    fourth = Call(loop, alarms)
    loop.run_until(400.0)
    assert fourth.told == [310.0]


def test_a_timer_that_rings_a_little_early_is_set_again():
    loop, alarms = Loop(), Alarms(10.0)
    call = Call(loop, alarms)
    _, ring = loop.timers.pop()
    loop.now = 109.999
    ring()
    assert call.told == []
    loop.run_until(111.0)
    assert call.told == [110.0]


def test_another_event_loop_has_another_timer():
    one, other, alarms = Loop(), Loop(), Alarms(10.0)
    first, second, third = Call(one, alarms), Call(other, alarms), Call(one, alarms)
    other.run_until(200.0)
    assert (first.told, second.told, third.told) == ([], [110.0], [])
    one.run_until(200.0)
    assert (first.told, second.told, third.told) == ([110.0], [110.0], [110.0])


def test_one_that_ends_while_others_are_told_is_not_told():
    loop, alarms = Loop(), Alarms(10.0)
    calls = [Call(loop, alarms) for _ in range(3)]
    calls[0].over = calls[2].end
    loop.run_until(200.0)
    assert [call.told for call in calls] == [[], [110.0], []]
