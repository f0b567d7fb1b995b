"""Compiles the kernel rooms (arch, mm, kernel, fs) with mypyc. Everything else is in pyproject.toml.

The package is complete without this: where there is no C compiler, or mypyc fails, it is installed interpreted and the
stamp says why (pagewalk/_build.py reads it). PAGEWALK_COMPILE=0 asks for that; with PAGEWALK_COMPILE=1 a failure is
fatal.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PACKAGE = ROOT / "src" / "pagewalk"
ROOMS = ("arch", "mm", "kernel", "fs")
WORK = Path("build") / f"mypyc-{sysconfig.get_platform()}-{sys.implementation.cache_tag}"
OPT_LEVEL = os.environ.get("PAGEWALK_OPT", "3")
LARGE = 3 << 20  # bytes of C: a table, whose initialiser runs once and takes a minute to optimise

sys.path.insert(0, str(ROOT / "src"))
from pagewalk._build import STAMP, fingerprint  # noqa: E402


def kernel_modules() -> list[Path]:
    """The sources to compile, in a stable order; package markers stay interpreted."""
    return sorted(path for room in ROOMS for path in (PACKAGE / room).rglob("*.py") if path.name != "__init__.py")


def compiler_problem() -> str:
    """Why C extensions cannot be built here, in a few words; "" where they can."""
    command = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()
    includes = {sysconfig.get_path("include"), sysconfig.get_path("platinclude")}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.c"
        source.write_text("#include <Python.h>\nint probe(void) { return PY_VERSION_HEX; }\n")
        flags = [f"-I{path}" for path in sorted(includes)] + ["-fPIC", "-c", str(source), "-o", str(source) + ".o"]
        try:
            done = subprocess.run(command + flags, capture_output=True, text=True, timeout=120)
        except (OSError, subprocess.SubprocessError) as error:
            return f"no C compiler ({command[0]}: {type(error).__name__})"
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0]
        return f"the C compiler cannot build Python extensions ({command[0]}: {last[:160]})"
    return ""


def compiled_extensions() -> tuple[list[Extension], str]:
    """What mypyc makes of the kernel rooms, and why that is nothing where it is nothing."""
    if os.environ.get("PAGEWALK_COMPILE") == "0":
        return [], "PAGEWALK_COMPILE=0 was set when it was built"
    if problem := compiler_problem():
        return [], problem
    sources = [str(path.relative_to(ROOT)) for path in kernel_modules()]
    options = [
        "--config-file=",
        "--ignore-missing-imports",
        f"--cache-dir={WORK / 'mypy_cache'}",
        f"--python-version={sys.version_info[0]}.{sys.version_info[1]}",
    ]
    os.environ["MYPYPATH"] = str(PACKAGE.parent)
    try:
        from mypyc.build import mypycify

        extensions = mypycify(
            options + sources,
            opt_level=OPT_LEVEL,
            debug_level="0",
            multi_file=True,
            target_dir=str(WORK),
            group_name="pagewalk",
        )
    except (Exception, SystemExit) as error:  # mypyc ends the process where the sources do not type-check
        return [], f"mypyc failed ({type(error).__name__}: {str(error)[:160]}); its messages are in the build's output"
    for extension in extensions:
        flags = [flag for flag in extension.extra_compile_args if flag != "-Werror"]
        if os.name == "posix":  # modules find each other's functions through tables: they call their own directly
            flags.append("-fvisibility=hidden")
        extension.extra_compile_args = flags
    return extensions, ""


def one_by_one(compile_all: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """distutils' ``compile`` with all processors, leaving out objects that are newer than everything they depend on."""

    def compile_each(sources: list[str], output_dir: str | None = None, **options: Any) -> list[str]:
        headers = max((path.stat().st_mtime_ns for path in WORK.rglob("*.h")), default=0)

        def compile_one(source: str) -> list[str]:
            made = Path(output_dir or "") / (os.path.splitext(source)[0].lstrip("/") + ".o")
            newest = max(headers, os.stat(source).st_mtime_ns, os.stat(__file__).st_mtime_ns)
            if made.exists() and made.stat().st_mtime_ns > newest:
                return [str(made)]
            if os.stat(source).st_size > LARGE:
                options_here = {**options, "extra_postargs": [*(options.get("extra_postargs") or []), "-O0"]}
                return compile_all([source], output_dir=output_dir, **options_here)
            return compile_all([source], output_dir=output_dir, **options)

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            return [made for objects in pool.map(compile_one, sources) for made in objects]

    return compile_each


class Package(build_py):
    """Copies the sources, after removing what an earlier build left: a deleted module must not live on."""

    def run(self) -> None:
        here = Path(self.build_lib) / "pagewalk"
        if not self.editable_mode and here.exists():
            for path in here.rglob("*"):
                if path.suffix in (".py", ".so"):
                    path.unlink()
        super().run()
        self.stamp_uncompiled(here)

    def stamp_uncompiled(self, here: Path) -> None:
        """Without extensions build_ext does not run: the stamp says why there are none."""
        if not self.distribution.ext_modules and not self.editable_mode and here.exists():
            write_stamp(here, NOT_COMPILED)


class Compile(build_ext):
    """Builds the extensions, and the stamp that says which sources they were made of."""

    def run(self) -> None:
        why = ""
        try:
            super().run()
        except Exception as error:  # distutils has a dozen kinds; whichever it is, the package works interpreted
            if os.environ.get("PAGEWALK_COMPILE") == "1":
                raise
            why = f"the C compiler failed ({type(error).__name__}: {str(error)[:160]})"
            print(f"pagewalk: installing without compiled parts: {why}", file=sys.stderr)
            for left in Path(self.build_lib).rglob("*.so"):
                left.unlink()
            self.extensions = []
        if not self.inplace:
            write_stamp(Path(self.build_lib) / "pagewalk", why)

    def build_extensions(self) -> None:
        self.compiler.compile = one_by_one(self.compiler.compile)
        super().build_extensions()


def write_stamp(package: Path, why: str) -> None:
    """Leaves ``package``/_compiled.txt: why nothing is compiled, or each compiled source's fingerprint."""
    lines = [f"why {why}"] if why else list(FINGERPRINTS)
    if (ROOT / ".git").exists():  # a developer's build: an edit in the checkout makes it stale too
        lines.append(f"source {PACKAGE}")
    (package / STAMP).write_text("\n".join(lines) + "\n")


BUILDING = any(word.startswith(("build", "bdist", "install", "develop", "editable")) for word in sys.argv[1:])
FINGERPRINTS = [fingerprint(PACKAGE, path.relative_to(PACKAGE)) for path in kernel_modules()]  # before mypyc reads them
EXTENSIONS, NOT_COMPILED = compiled_extensions() if BUILDING else ([], "")
if NOT_COMPILED:
    print(f"pagewalk: building without compiled parts: {NOT_COMPILED}", file=sys.stderr)
    if os.environ.get("PAGEWALK_COMPILE") == "1":
        raise SystemExit(1)

setup(ext_modules=EXTENSIONS, cmdclass={"build_ext": Compile, "build_py": Package})
