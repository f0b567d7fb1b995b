"""One scenario under three killers, as a table and as docs/killers.svg: PYTHONPATH=src python docs/killers_scenario.py

A small machine of 96 MiB with 16 MiB of swap: five applications, some in use and some only kept, a file of 16 MiB
that is read now and then, and the application in front, which grows by 1 MiB a step and goes over all that it has every
sixth.
"""

import sys
import tempfile
from pathlib import Path

from pagewalk import Machine, OutOfMemory, Process

MB = 1 << 20
STEPS = 90
APPS = (("cached", 906, 8), ("older", 900, 6), ("service", 500, 5), ("music", 200, 3), ("front", 0, 2))
LEVELS = ([0, 100, 200, 300, 900, 906], [512, 768, 1024, 1536, 2560, 3584])
MODES = (
    ("", "Linux's OOM killer", "#4c566a"),
    ("driver", "lowmemorykiller", "#bf616a"),
    ("lmkd", "lmkd (PSI)", "#5e81ac"),
)
Kill = tuple[int, str, int, int, int, str]


def scenario(lmk: str, path: str) -> tuple[list[int], list[Kill]]:
    """Available MiB (free and page cache) after each step, and the kills: (step, who, adj, free, cache)."""
    available: list[int] = []
    kills: list[Kill] = []
    with Machine(ram="96M", swap="16M", overcommit_memory=1, aslr=False, warm=False, lmk=lmk) as machine:
        machine.kernel.clock.count()
        driver = machine.kernel.low_memory_driver()
        if driver is not None:
            driver.adj, driver.minfree = LEVELS
        apps: dict[str, Process] = {}
        for name, adj, megabytes in APPS:
            apps[name] = machine.spawn()
            apps[name]._task.comm = name
            apps[name].oom_score_adj = adj
            apps[name].touch(apps[name].mmap(megabytes * MB), megabytes * MB)
        front = apps["front"]
        file = front.mmap(16 * MB, 1, 2, path=path)
        area = front.mmap(STEPS * MB)
        seen = 0
        for step in range(STEPS):
            machine.kernel.clock.advance(20_000_000)
            free = machine.system.node.nr_free_pages() >> 8
            cache = int(machine.system.vmstat.nr_file_pages - machine.system.vmstat.nr_shmem) >> 8
            try:
                front.touch(area + step * MB, MB)
                if step % 6 == 0:
                    front.touch(area, (step + 1) * MB)
                    front.touch(file, 16 * MB, write=False)
            except OutOfMemory:
                pass
            for kill in machine.kernel.oom.kills[seen:]:
                why = kill.report[-1].partition(":")[0]
                kills.append((step, kill.victim.comm, kill.victim.oom_score_adj, free, cache, why))
            seen = len(machine.kernel.oom.kills)
            if not front.alive:
                break
            free = machine.system.node.nr_free_pages() >> 8
            cache = int(machine.system.vmstat.nr_file_pages - machine.system.vmstat.nr_shmem) >> 8
            available.append(free + cache)
    return available, kills


def picture(runs: dict[str, tuple[list[int], list[Kill]]]) -> str:
    """The SVG: available memory by steps, a line each, with the kills on it."""
    width, height, left, top = 760, 330, 50, 20
    high = max(max(available) for available, _ in runs.values())

    def place(step: float, megabytes: float) -> tuple[float, float]:
        return left + step * (width - left - 20) / STEPS, top + (high - megabytes) * (height - 60 - top) / high

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for megabytes in range(0, high + 1, 10):
        x, y = place(0, megabytes)
        parts.append(
            f'<path d="M{x:.0f} {y:.0f}H{width - 20}" stroke="#ddd"/><text x="8" y="{y + 4:.0f}">{megabytes}</text>'
        )
    for step in range(0, STEPS + 1, 10):
        x, y = place(step, 0)
        parts.append(f'<text x="{x:.0f}" y="{y + 16:.0f}" text-anchor="middle">{step}</text>')
    parts.append(
        f'<text x="{left}" y="{height - 26}">MiB that the application in front has grown by; up: free + cache</text>'
    )
    for number, (lmk, title, colour) in enumerate(MODES):
        available, kills = runs[lmk]
        points = " ".join("{:.0f},{:.0f}".format(*place(step, value)) for step, value in enumerate(available))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        x = left + number * 200
        parts.append(f'<rect x="{x}" y="{height - 18}" width="12" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18}" y="{height - 9}">{title}</text>')
        for at, (step, name, *_) in enumerate(kills):
            x, y = place(step, available[min(step, len(available) - 1)])
            parts.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3.5" fill="{colour}"/>')
            label = y - 8 - 11 * ((at + number) % 3)
            parts.append(f'<text x="{x:.0f}" y="{label:.0f}" fill="{colour}" text-anchor="middle">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    """Runs all three; prints the table, writes the picture beside this file."""
    runs = {}
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = Path(folder) / "file"
        path.write_bytes(b"x" * 16 * MB)
        for lmk, _, _ in MODES:
            runs[lmk] = scenario(lmk, str(path.resolve()))
    print("| machine with | front has grown by | dies | oom_score_adj | free before | page cache before | killed by |")
    print("|---|---|---|---|---|---|---|")
    for lmk, title, _ in MODES:
        for step, name, adj, free, cache, why in runs[lmk][1]:
            print(f"| {title} | {step} MiB | {name} | {adj} | {free} MiB | {cache} MiB | {why} |")
    (Path(__file__).parent / "killers.svg").write_text(picture(runs))


if __name__ == "__main__":
    sys.exit(main())
