#!/usr/bin/env python3
"""Computes what a call missed at each step of a run, by the text of results/README.md and from events.jsonl alone.

usage: recompute.py EVENTS.JSONL CLIENT SERVER DURATION_MS

Prints a JSON list: for each step `missed`, `delay_step_ms`, `up_ms` and `down_ms`.
"""

import json
import sys

MS = 1_000_000
HORIZON = 5_000 * MS
SECOND = 1_000 * MS


def median(values):
    """An observed value: the lower of the two middle ones."""
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2] if ordered else None


def read(path):
    with open(path, encoding="utf-8") as file:
        events = [json.loads(line) for line in file if line.strip()]
    return sorted(events, key=lambda event: event["t_ns"])


def of(events, host, kind):
    return [event for event in events if event["host"] == host and event["kind"] == kind]


def is_call(event):
    return event["fields"]["workload"] == "call"


def instants(events):
    """The steps, in groups that were due at one time."""
    groups = []
    for step in (event for event in events if event["kind"] == "disturbance"):
        if groups and groups[-1][0]["fields"]["due_t_ns"] == step["fields"]["due_t_ns"]:
            groups[-1].append(step)
        else:
            groups.append([step])
    return groups


def effect(group):
    return min(min(step["t_ns"], step["fields"]["due_t_ns"]) for step in group)


class Direction:
    """What one host sent to the other."""

    def __init__(self, events, sender, receiver, end):
        self.end = end
        declared = [event for event in of(events, sender, "workload") if is_call(event)]
        self.interval = declared[0]["fields"]["interval_ns"]
        sent = {}
        for event in filter(is_call, of(events, sender, "payload_sent")):
            sent.setdefault(event["fields"]["sequence"], event["t_ns"])
        arrived = {}
        for event in filter(is_call, of(events, receiver, "payload_received")):
            sequence = event["fields"]["sequence"]
            arrived.setdefault(sequence, event["t_ns"])
            sent.setdefault(sequence, event["fields"]["sent_t_ns"])
        # Time of sending, time of arrival or None.
        self.units = [(time, arrived.get(sequence)) for sequence, time in sent.items()]
        self.units += self.not_produced(events, sender, sorted(sent.values()))
        self.units.sort(key=lambda unit: unit[0])
        self.arrivals = sorted((to, to - at) for at, to in self.units if to is not None)

    def not_produced(self, events, sender, times):
        finished = [e["t_ns"] for e in of(events, sender, "stopped") if e["fields"]["why"] == "finished"]
        added = set()
        lost = [
            event["t_ns"]
            for event in of(events, sender, "connection_closed")
            if not any(event["t_ns"] <= time <= event["t_ns"] + SECOND for time in finished)
        ]
        lost += [e["t_ns"] for e in of(events, sender, "stopped") if e["fields"]["why"] != "finished"]
        for closed in lost:
            before = [time for time in times if time <= closed]
            if not before:
                continue
            last = before[-1]
            following = min([time for time in times if time > closed] + [self.end])
            time = last + self.interval
            while time + self.interval // 2 < following:
                added.add(time)
                time += self.interval
        return [(time, None) for time in added]

    def usual_delay(self, begin, until):
        delays = [delay for time, delay in self.arrivals if begin <= time < until]
        if not delays:
            return None
        latest = median(delays) + 60 * MS
        played = [delay for delay in delays if delay <= latest]
        return median(played) if len(played) >= 10 else None

    def is_missed(self, unit, delay, budget):
        at, to = unit
        deadline = at + delay + budget
        return deadline <= self.end if to is None else to > deadline

    def missed(self, begin, until, delay, budget):
        counted, longest = 0, 0
        run, begun_within = 0, None
        for unit in self.units:
            if not self.is_missed(unit, delay, budget):
                run, begun_within = 0, None
                continue
            within = begin <= unit[0] + delay < until
            if begun_within is None:
                begun_within = within
            if within or begun_within:
                run += 1
                counted += 1
                longest = max(longest, run)
        in_ms = self.interval / MS
        return {"longest_ms": longest * in_ms, "total_ms": counted * in_ms}

    def gap(self, step, following, delay):
        """Length less the interval, and where it ends; the end is None where nothing ends it."""
        times = [time for time, _ in self.arrivals]
        if not times:
            return None
        gaps = [(a, b, b) for a, b in zip(times, times[1:])]
        last = max(at for at, _ in self.units)
        stopped = self.end - last > SECOND or delay is None
        open_end = self.end if stopped else min(self.end, last + delay)
        if open_end - times[-1] - self.interval > 60 * MS:
            gaps.append((times[-1], open_end, None))
        charged = []
        for a, b, end in gaps:
            is_of_next = following is not None and a > step and a + 2 * self.interval >= following
            if a < step + HORIZON and b > step and not is_of_next:
                charged.append((max(0, b - a - self.interval), end))
        # Of equals the last.
        return max(enumerate(charged), key=lambda one: (one[1][0], one[0]))[1] if charged else None


def main():
    path, client, server, duration = sys.argv[1:]
    events = read(path)
    finished = [
        event["t_ns"]
        for host in (client, server)
        for event in of(events, host, "stopped")
        if event["fields"]["why"] == "finished"
    ]
    end = min(finished + [round(float(duration) * MS)])
    directions = {
        "up": Direction(events, client, server, end),
        "down": Direction(events, server, client, end),
    }
    groups = instants(events)
    results = []
    for place, group in enumerate(groups):
        step, begin = group[0]["t_ns"], effect(group)
        following = effect(groups[place + 1]) if place + 1 < len(groups) else None
        previous = effect(groups[place - 1]) if place > 0 else begin - HORIZON
        until = step + HORIZON if following is None else min(step + HORIZON, following)
        figures = {"missed": {}, "delay_step_ms": {}}
        for way, direction in directions.items():
            delay = direction.usual_delay(max(previous, begin - HORIZON), begin)
            gap = direction.gap(step, following, delay)
            figures[way + "_ms"] = None if gap is None else gap[0] / MS
            figures["missed"][way], figures["delay_step_ms"][way] = None, None
            if delay is None:
                continue
            figures["missed"][way] = {
                "j%d" % budget: direction.missed(begin, until, delay, budget * MS) for budget in (20, 60, 150)
            }
            if gap is not None and gap[1] is not None:
                after = [d for time, d in direction.arrivals if gap[1] <= time < gap[1] + SECOND]
                figures["delay_step_ms"][way] = (median(after) - delay) / MS
        results += [dict(figures, step=one["fields"]["index"]) for one in group]
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
