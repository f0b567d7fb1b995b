"""The loader against the kernel's: mutated programs get the same errno, the same death or the same address space."""

import random
import subprocess
import sys
from pathlib import Path

import harness
import pytest

for room in ("unit", "property"):
    sys.path.insert(0, str(Path(__file__).parents[1] / room))
from elf_rig import Elf, Rig, Segment
from test_elf_fuzz import mutate, seeds

from pagewalk.fs.procfs.task_mmu import maps_text

NR_PROGRAMS = 3000


def without_devices(maps: str) -> list[str]:
    """Lines of /proc/PID/maps: addresses, rights, offset, name."""
    lines = []
    for line in maps.splitlines():
        words = line.split(None, 5)
        lines.append(" ".join([*words[:3], *words[5:]]))
    return lines


def total_ram() -> int:
    """The host's MemTotal in KiB, a multiple of 4."""
    return int(Path("/proc/meminfo").read_text().split()[1]) & ~3


def native_answers(programs: list[str]) -> list[list[str]]:
    """What the kernel says of each program: ["errno 8"], ["killed 11"] or ["loaded", maps...]."""
    probe = harness.compile_c("exec_probe")
    answers = []
    for at in range(0, len(programs), 100):
        done = subprocess.run([probe, *programs[at : at + 100]], capture_output=True, text=True, check=True)
        for part in done.stdout.split("= ")[1:]:
            head, _, maps = part.partition("\n")
            answers.append([head, *without_devices(maps)])
    return answers


def model_answer(rig: Rig, program: str) -> list[str]:
    """The same of the model."""
    task, bprm = rig.exec_path(program)
    if bprm.error == 0:
        answer = ["loaded", *without_devices(maps_text(task.mm))]
    elif bprm.point_of_no_return:
        answer = ["killed 11"]
    else:
        answer = [f"errno {-bprm.error}"]
    rig.drop(task)
    return answer


@pytest.mark.linux
@pytest.mark.parametrize("seed", [1, 2])
def test_mutated_programs_are_taken_or_refused_as_by_the_kernel(work: Path, seed: int) -> None:
    harness.need_reference_kernel()
    if not harness.setarch_works():
        pytest.skip("personality(ADDR_NO_RANDOMIZE) is not allowed here")
    rnd = random.Random(seed)
    interp = str(work / "i")
    files = seeds(interp.encode())
    Path(interp).write_bytes(Elf([Segment(0, b"\x0f\x0b" * 10)], e_type=3, entry=0).build())
    Path(interp).chmod(0o755)
    programs = []
    for number in range(NR_PROGRAMS // 2):
        path = work / f"p{number}"
        path.write_bytes(mutate(rnd.choice(files), rnd) if number >= len(files) else files[number])
        path.chmod(0o755)
        programs.append(str(path))
    rig = Rig(aslr=False, ram=f"{total_ram()}K")  # heuristic overcommit compares with it
    wrong = []
    loaded = 0
    for program, theirs in zip(programs, native_answers(programs), strict=True):
        ours = model_answer(rig, program)
        loaded += theirs[0] == "loaded"
        if ours != theirs:
            wrong.append(f"{program}\n  kernel: " + "\n    ".join(theirs) + "\n  model:  " + "\n    ".join(ours))
    assert not wrong, f"{len(wrong)} of {len(programs)} differ\n" + "\n".join(wrong[:5])
    assert loaded > len(programs) // 10
