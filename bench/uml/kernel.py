"""A real kernel as a program: Debian's user-mode-linux, with a swap device and a disk, runs one program and halts."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from bench.measure import compile_c

__all__ = ["FILE_BYTES", "SWAP_BYTES", "Missing", "UserModeLinux", "figures"]

SWAP_BYTES = 256 << 20
FILE_BYTES = 96 << 20
MEMORY = "64M"
PROGRAMS = ("patterns", "groups")


class Missing(Exception):
    """What this machine lacks, for people."""


def figures(text: str) -> dict[str, int]:
    """The "name number" lines of a program's output."""
    return {name: int(number) for name, number in re.findall(r"^(\w+) (-?\d+)\r?$", text, re.MULTILINE)}


class UserModeLinux:
    """Its root directory, its devices, and the file that patterns read; all in ``folder``.

    folder/root      what the kernel sees as /: init, the programs, and places to mount on
    folder/d/file    the contents of data.img, for the model
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for tool in ("linux.uml", "mkfs.ext4", "setarch"):
            if shutil.which(tool) is None:
                raise Missing(f"{tool} is not installed (Debian: user-mode-linux, e2fsprogs, util-linux)")
        self.root = folder / "root"
        for name in ("proc", "sys", "dev", "data"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        for name in ("init", *PROGRAMS):
            shutil.copy(compile_c(f"uml/{name}.c", "-static"), self.root / name)
        self.swap = folder / "swap.img"
        self._make_swap()
        self.data = folder / "data.img"
        self.file = folder / "d" / "file"
        if not self.data.exists():
            self.file.parent.mkdir(exist_ok=True)
            with open(self.file, "wb") as out:
                for _ in range(FILE_BYTES >> 20):
                    out.write(os.urandom(1 << 20))
            make = ["mkfs.ext4", "-q", "-b", "4096", "-d", str(self.file.parent), str(self.data), "128M"]
            subprocess.run(make, check=True, stdout=subprocess.DEVNULL)

    def _make_swap(self) -> None:
        """An empty swap area: version 1, its last page and no bad ones behind the first KiB, the magic at the first
        page's end (mkswap(8))."""
        with open(self.swap, "wb") as out:
            out.truncate(SWAP_BYTES)
            out.seek(1024)
            out.write((1).to_bytes(4, "little") + (SWAP_BYTES // 4096 - 1).to_bytes(4, "little"))
            out.seek(4096 - 10)
            out.write(b"SWAPSPACE2")

    def run(self, program: list[str], timeout: float = 300) -> dict[str, int]:
        """What the program, one of PROGRAMS with its arguments, printed. Raises Missing where the kernel does not come
        up on this machine.

        Without setarch -R each boot has another size: the kernel's memory begins where its own heap ends.
        """
        command = [
            "setarch", "-R", "linux.uml",
            f"mem={MEMORY}", "root=/dev/root", "rootfstype=hostfs", f"rootflags={self.root}", "ro", f"ubda={self.swap}",
            f"ubdb={self.data}", "con=null", "con0=fd:0,fd:1", "quiet", "init=/init",
            "--", f"/{program[0]}", *program[1:],
        ]  # fmt: skip
        with tempfile.TemporaryDirectory() as home:  # it leaves a directory for its console there
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=timeout,
                env={**os.environ, "HOME": home},
            )  # fmt: skip
        text = done.stdout.replace("\r", "")
        if not re.search(r"^end 0$", text, re.MULTILINE):
            lines = [line for line in (text + done.stderr).splitlines() if line.strip()]
            raise Missing(f"user-mode Linux did not run {' '.join(program)}: {lines[-1] if lines else 'no output'}")
        return figures(text)
