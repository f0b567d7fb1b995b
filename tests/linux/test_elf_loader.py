"""The loader against the kernel's: mutated programs get the same errno, the same death or the same address space."""

import random
import subprocess
from pathlib import Path

import harness
import pytest
from elf_rig import Elf, Rig, Segment
from test_elf_fuzz import mutate, seeds

from pagewalk.fs.procfs.task_mmu import maps_text
from pagewalk.mm.uaccess import copy_from_user

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
    """What the kernel says of each program: ["errno 8"], ["killed 11"] or ["loaded ARGUMENTS", maps...]."""
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
        mm = task.mm
        arguments = copy_from_user(mm, mm.arg_start, mm.arg_end - mm.arg_start)
        assert arguments is not None
        answer = ["loaded " + arguments.decode().replace("\0", "|"), *without_devices(maps_text(mm))]
    elif bprm.point_of_no_return:
        answer = ["killed 11"]
    else:
        answer = [f"errno {-bprm.error}"]
    rig.drop(task)
    return answer


def compare(programs: list[str]) -> int:
    """Asserts that kernel and model agree on each of ``programs``; how many were loaded."""
    rig = Rig(aslr=False, ram=f"{total_ram()}K")  # heuristic overcommit compares with it
    wrong = []
    loaded = 0
    for program, theirs in zip(programs, native_answers(programs), strict=True):
        ours = model_answer(rig, program)
        loaded += theirs[0].startswith("loaded")
        if ours != theirs:
            wrong.append(f"{program}\n  kernel: " + "\n    ".join(theirs) + "\n  model:  " + "\n    ".join(ours))
    assert not wrong, f"{len(wrong)} of {len(programs)} differ\n" + "\n".join(wrong[:5])
    return loaded


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
    assert compare(programs) > len(programs) // 10


FIRST_LINES = (
    "#!{i}\n", "#! {i} \n", "#!\t{i}\targument\n", "#!{i} two words  \n", "#!{i}", "#!{i} ", "#!{i} x", "#!\n",
    "#!   \n", "#!/nonexistent\n", "#!{dir}\n", "#!relative\n", "#!{i}\r\n", "#!{script}\n",
    "#!{i} " + "a" * 200 + "\n",
    "#!{i} " + "a" * 300 + "\n", "#!" + "/" * 250 + "x\n", "#!" + "/" * 300 + "x\n", "#!" + " " * 260 + "\n",
    "#! ", "#!", "#!{i}\0rest\n", "#!\0\n", "#!{i} a\0b\n", " #!{i}\n", "echo hello\n", "", "\n", "#",
    "#!{i} \t last \t\n",
)  # fmt: skip


@pytest.mark.linux
def test_scripts_are_taken_or_refused_as_by_the_kernel(work: Path) -> None:
    harness.need_reference_kernel()
    if not harness.setarch_works():
        pytest.skip("personality(ADDR_NO_RANDOMIZE) is not allowed here")
    names = {"i": str(work / "i"), "dir": str(work), "script": str(work / "s0")}
    (work / "i").write_bytes(seeds()[0])
    (work / "i").chmod(0o755)
    programs = []
    for number, line in enumerate(FIRST_LINES):
        path = work / f"s{number}"
        path.write_text(line.format(**names))
        path.chmod(0o755)
        programs.append(str(path))
    for depth in range(7):  # interpreters of interpreters
        path = work / f"d{depth}"
        path.write_text(f"#!{work / f'd{depth - 1}'} {depth}\n" if depth else f"#!{names['i']}\n")
        path.chmod(0o755)
        programs.append(str(path))
    plain = work / "plain"
    plain.write_text(f"#!{names['i']}\n")
    programs += [str(plain), str(work), str(work / "missing"), str(work / "i" / "x"), "/dev/null", "/proc/self/exe"[:5]]
    assert compare(programs) > 10
