"""The table for people and the JSON for machines."""

import json
import os
import platform

# What pushgate-load counts of messages that must not be.
MESSAGE_FAULTS = ("lost", "late", "duplicated", "out_of_order", "corrupt", "misrouted", "unknown", "publish_refused")

HEADINGS = ("what", "measured", "bare counterpart", "ratio", "budget", "", "")


def number(value):
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def cells(result):
    if result.error:
        return (result.name, "-", "-", "-", "-", "ERROR", result.error)
    bound = f"{'>=' if result.at_least else '<='} {number(result.budget)}{' x' if result.judged == 'ratio' else ''}"
    bare = f"{number(result.bare)} ({result.bare_what})" if result.bare is not None else "-"
    return (f"{result.name}: {result.what}", f"{number(result.measured)} {result.unit}", bare,
            number(result.ratio), bound, "pass" if result.passed else "MISSED", result.note)


def table(results):
    rows = [HEADINGS] + [cells(result) for result in results]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS) - 1)]
    right = (1, 3)
    lines = []
    for row in rows:
        padded = [row[c].rjust(width) if c in right else row[c].ljust(width) for c, width in enumerate(widths)]
        lines.append("  ".join(padded + [row[-1]]).rstrip())
    return "\n".join(lines)


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), platform.machine())


def as_json(results, sizes, seconds, foreign_share):
    def row(result):
        return {
            "name": result.name, "what": result.what, "unit": result.unit, "measured": result.measured, "bare": result.bare,
            "bare_what": result.bare_what, "ratio": result.ratio, "budget": result.budget,
            "bound": "min" if result.at_least else "max", "judged": result.judged, "passed": result.passed,
            "rounds": result.rounds, "more": result.more, "error": result.error or None,
        }

    return json.dumps({
        "tool": "loadtest/bench", "cpu": cpu_model(), "cores": os.cpu_count(), "kernel": platform.release(), "seconds": seconds,
        "foreign_cpu_share": foreign_share, "sizes": vars(sizes), "passed": all(result.passed for result in results),
        "results": [row(result) for result in results],
    }, indent=2) + "\n"
