"""How long ``pagewalk run -- /bin/true`` takes: warm, and the first time ever (no compiled code of Numba's kept)."""

import os
import subprocess
import tempfile
import time

from bench.measure import Measurement, median, pagewalk_command

RUNS = 5
LARGER = ("perl", "-e", "my %h; $h{$_} = $_ for 1 .. 100000")  # takes enough faults to need Numba's code


def once(cache: str | None = None, *program: str) -> float:
    """Seconds for one run, with ``cache`` as the folder for caches."""
    env = dict(os.environ)
    if cache is not None:
        env["XDG_CACHE_HOME"] = cache
    start = time.perf_counter()
    subprocess.run(
        [*pagewalk_command("--quiet"), *(program or ["/bin/true"])], check=True, env=env, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - start


def measure() -> list[Measurement]:
    """Warm and cold."""
    with tempfile.TemporaryDirectory(prefix="pagewalk-bench-") as cache:
        cold = once(cache)
    with tempfile.TemporaryDirectory(prefix="pagewalk-bench-") as cache:
        larger = once(cache, *LARGER)
    once()
    warm = [once() for _ in range(RUNS)]
    return [
        Measurement("/bin/true, warm", median(warm), "s", 2.0, samples=warm),
        Measurement("/bin/true, first use", cold, "s", 20.0),
        Measurement("larger program, first use", larger, "s", detail="perl, a hash of 100 000 keys; compiles the walk"),
    ]
