"""The tables: printed for people, written as JSON for whoever compares later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from tests.bench.measure import Seen

MIB = 1 << 20
_HEAD = ("way", "seconds (median)", "of the first", "seconds of cores", "peak MiB", "MiB made")


def table(title: str, seen: Mapping[str, Seen]) -> str:
    """Markdown; the first way is 1.00."""
    first = next(iter(seen.values())).median
    rows = [_HEAD, *(_row(name, found, first) for name, found in seen.items())]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join([f"\n{title}\n", *lines])


def _row(name: str, found: Seen, first: float) -> tuple[str, ...]:
    made = f"{found.made_bytes / MIB:.0f}" if found.made_bytes else ""
    share = f"{found.median / first:.2f}"
    cpu = f"{median(found.cpu_seconds):.2f}"
    return name, f"{found.median:.2f}", share, cpu, f"{found.peak_bytes / MIB:.0f}", made


def as_json(seen: Mapping[str, Seen]) -> list[dict[str, object]]:
    """The same, with every round."""
    return [
        {
            "way": name,
            "seconds": [round(one, 3) for one in found.seconds],
            "cpu_seconds": [round(one, 3) for one in found.cpu_seconds],
            "median": round(found.median, 3),
            "peak_bytes": found.peak_bytes,
            "made_bytes": found.made_bytes,
        }
        for name, found in seen.items()
    ]


def growth(title: str, by_size: Sequence[tuple[float, Mapping[str, Seen]]]) -> str:
    """Seconds for each GiB at every size, of all ways: a line that stays level is linear."""
    lines = [f"\n{title}: seconds a GiB at {', '.join(f'{size:g}' for size, _ in by_size)} GiB\n"]
    for name in by_size[0][1]:
        costs = [seen[name].median / size for size, seen in by_size if name in seen]
        lines.append(f"  {name:38} " + "  ".join(f"{cost:7.2f}" for cost in costs))
    return "\n".join(lines)


def figures_in_words(title: str, figures: Mapping[str, float]) -> str:
    """One line a figure; names end with their unit."""
    lines = [f"\n{title}\n"]
    for name, value in figures.items():
        words = name.replace("_", " ")
        if name.endswith("_bytes"):
            lines.append(f"  {words.removesuffix(' bytes'):24} {value / MIB:.0f} MiB")
        elif name.endswith("_seconds"):
            lines.append(f"  {words.removesuffix(' seconds'):24} {value * 1000:.0f} ms")
        else:
            lines.append(f"  {words:24} {value:g}")
    return "\n".join(lines)
