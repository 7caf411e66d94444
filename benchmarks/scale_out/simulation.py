"""A discrete-event simulation of clients and servers, by simpy."""

from __future__ import annotations

import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import simpy

QUANTUM = 0.001
"""Seconds that a process keeps a processor while others wait for one."""
Steps = Generator[simpy.Event, object, None]


@dataclass(frozen=True)
class Outcome:
    """The responses and their times that callers saw in a simulated time.

    Attributes:
        rate: responses per second.
        seconds: duration of every call, in the order of their ends.
        ends: when each call ended.
    """

    rate: float
    seconds: list[float]
    ends: list[float]

    def percentile(self, share: float) -> float:
        """Return a percentile of the durations, in seconds."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass
class Machine:
    """Processors that several processes share in turns."""

    environment: simpy.Environment
    n_cores: int
    quantum: float
    cores: simpy.Resource = field(init=False)

    def __post_init__(self) -> None:
        self.cores = simpy.Resource(self.environment, self.n_cores)

    def compute(self, seconds: float) -> Steps:
        """Use a processor for a time, in turns with others."""
        while seconds > 0:
            with self.cores.request() as turn:
                yield turn
                step = min(seconds, self.quantum)
                yield self.environment.timeout(step)
            seconds -= step


@dataclass(frozen=True)
class CallCost:
    """The times of a call.

    Attributes:
        services: processor seconds of a server, one of which a call takes at random.
        client: processor seconds of the one client process.
        delay: seconds in which neither computes: the network and wake-ups.
    """

    services: Sequence[float]
    client: float
    delay: float = 0.0


def closed_loop(
    n_servers: int,
    in_flight: int,
    cost: CallCost,
    n_cores: int,
    seconds: float,
    seed: int,
    quantum: float = QUANTUM,
) -> Outcome:
    """Simulate callers that send the next call when the last one has ended, on one machine.

    Args:
        n_servers: servers that get calls in turn; each handles one at a time.
        in_flight: number of callers.
        cost: of a call.
        n_cores: processors that client and servers share.
        seconds: time to simulate.
        seed: of the choice of services.
        quantum: seconds that a process keeps a processor while others wait for one.
    """
    environment, generator = simpy.Environment(), random.Random(seed)
    machine = Machine(environment, n_cores, quantum)
    servers = [simpy.Resource(environment, 1) for _ in range(n_servers)]
    caller_process = simpy.Resource(environment, 1)
    found: list[float] = []
    ends: list[float] = []
    turn = 0

    def client_work() -> Steps:
        with caller_process.request() as mine:
            yield mine
            yield from machine.compute(cost.client / 2)

    def caller() -> Steps:
        nonlocal turn
        while True:
            start, server = environment.now, servers[turn % n_servers]
            turn += 1
            yield from client_work()
            with server.request() as mine:
                yield mine
                yield from machine.compute(generator.choice(cost.services))
            yield environment.timeout(cost.delay)
            yield from client_work()
            found.append(environment.now - start)
            ends.append(environment.now)

    for _ in range(in_flight):
        environment.process(caller())
    environment.run(until=seconds)
    return Outcome(len(found) / seconds, found, ends)


@dataclass(frozen=True)
class Zones:
    """Servers in zones, of which one is lost.

    Attributes:
        per_zone: servers in each zone, of one core.
        n_zones: number of zones.
        lost_at: when a zone is lost, seconds; infinite for never.
        notice: how long after that callers still try its servers.
    """

    per_zone: int
    n_zones: int
    lost_at: float
    notice: float


def open_loop(zones: Zones, rate: float, services: Sequence[float], seconds: float, seed: int) -> Outcome:
    """Simulate calls that arrive at random times (Poisson) at servers in several zones.

    Each of many callers takes servers in turn; together that is a random server for each call. A call to a lost server
    waits until the loss is noticed, and then runs on another server.
    """
    environment, generator = simpy.Environment(), random.Random(seed)
    n_servers = zones.per_zone * zones.n_zones
    servers = [simpy.Resource(environment, 1) for _ in range(n_servers)]
    found: list[float] = []
    ends: list[float] = []

    def is_lost(number: int) -> bool:
        return number % zones.n_zones == 0 and environment.now >= zones.lost_at

    def choose() -> int:
        noticed = environment.now >= zones.lost_at + zones.notice
        while True:
            number = generator.randrange(n_servers)
            if not (noticed and is_lost(number)):
                return number

    def call() -> Steps:
        start, number = environment.now, choose()
        if is_lost(number):
            yield environment.timeout(zones.lost_at + zones.notice - environment.now)
            number = choose()
        with servers[number].request() as mine:
            yield mine
            yield environment.timeout(generator.choice(services))
            if is_lost(number):  # it was lost during the call
                yield environment.timeout(max(0.0, zones.lost_at + zones.notice - environment.now))
                number = choose()
        found.append(environment.now - start)
        ends.append(environment.now)

    def arrivals() -> Steps:
        while True:
            yield environment.timeout(generator.expovariate(rate))
            environment.process(call())

    environment.process(arrivals())
    environment.run(until=seconds)
    return Outcome(len(found) / seconds, found, ends)
