"""Programs of the host print the same, byte for byte, and exit with the same status, natively and in pagewalk."""

import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from harness import check, compile_c, need

from pagewalk.conform.programs import SMALL, STATIC, fill, make_inputs

pytestmark = [pytest.mark.linux]


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """Input files that no test changes."""
    harness.need_x86_64_linux()
    directory = harness.new_work()
    make_inputs(directory)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.parametrize("name", SMALL)
def test_small_programs(name: str, data: Path) -> None:
    argv = [fill(argument, data) for argument in SMALL[name]]
    if not Path(argv[0]).exists():
        pytest.skip(f"{argv[0]} is not installed")
    if "few.xz" in argv[-1]:
        need("xz")
    check(argv, cwd=str(data))


@pytest.mark.slow
def test_cat_of_20_mb(data: Path) -> None:
    assert len(check(["/bin/cat", str(data / "20M")]).stdout) == 20 << 20


@pytest.mark.slow
def test_sort_of_200000_lines(data: Path) -> None:
    assert check(["/usr/bin/sort", str(data / "lines")]).stdout.count(b"\n") == 200_000


@pytest.mark.slow
def test_sha256sum_of_20_mb(data: Path) -> None:
    check(["/usr/bin/sha256sum", str(data / "20M")])


@pytest.mark.slow
def test_gzip_and_back(data: Path) -> None:
    packed = check(["/bin/gzip", "-nc", str(data / "lines")]).stdout
    unpacked = check(["/bin/gzip", "-dc"], stdin=packed)
    assert unpacked.stdout == (data / "lines").read_bytes()


@pytest.mark.slow
def test_awk_over_200000_lines(data: Path) -> None:
    program = (
        "{ sum += $1; if (length($2) > longest) longest = length($2); seen[$3]++ } "
        "END { for (w in seen) n++; print sum, longest, n }"
    )
    check([need("awk"), program, str(data / "lines")])


@pytest.mark.slow
def test_sed_over_200000_lines(data: Path) -> None:
    check([need("sed"), "-n", "s/^\\([0-9]*\\) a/\\1:A/p", str(data / "lines")])


@pytest.mark.slow
def test_perl_with_a_hash_of_100000_keys() -> None:
    script = (
        'for (1..100000) { $h{"key$_"} = $_ * 3 } $s = 0; $s += $h{$_} for keys %h; print scalar(keys %h), " $s\\n";'
    )
    out = check([need("perl"), "-e", script]).stdout
    assert out == b"100000 15000150000\n"


def test_bc() -> None:
    check([need("bc"), "-l", "-q"], stdin=b"scale=60\n4*a(1)\n2^521-1\nsqrt(2)\nfor (i=0; i<20; i++) i^i\ne(1)\nquit\n")


def test_python_imports_json_and_re() -> None:
    python = "/usr/bin/python3"
    if not Path(python).exists():
        pytest.skip(f"{python} is not installed")
    script = (
        "import json, re\n"
        "text = json.dumps({str(i): [i, i / 3, None, 'x' * (i % 7)] for i in range(2000)})\n"
        "back = json.loads(text)\n"
        "print(len(text), sum(v[0] for v in back.values()), len(re.findall(r'\\d+\\.\\d{3}', text)))\n"
    )
    check([python, "-c", script])


@pytest.mark.slow
def test_python_sums_and_a_list_of_50_mb() -> None:
    python = "/usr/bin/python3"
    if not Path(python).exists():
        pytest.skip(f"{python} is not installed")
    script = (
        "print(sum(i * i % 7 for i in range(200000)))\n"
        "big = [0] * (50 * 1024 * 1024 // 8)\n"
        "big[::1000] = range(len(big[::1000]))\n"
        "print(len(big), sum(big), big[-1])\n"
        "print(2 ** 2000 % 10 ** 30, sorted(str(i) for i in range(3000))[-1])\n"
    )
    check([python, "-c", script])


def test_python_traceback_and_status() -> None:
    python = "/usr/bin/python3"
    if not Path(python).exists():
        pytest.skip(f"{python} is not installed")
    check([python, "-c", "import sys; print('out'); sys.exit(3)"])
    check([python, "-S", "-E", "-c", "1/0"], stderr=True)


def test_sqlite_in_memory() -> None:
    query = (
        "create table t(a integer primary key, b text, c real);"
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000) "
        "insert into t select i, 'row' || i % 97, i * 1.5 from n;"
        "create index tb on t(b);"
        "select b, count(*), sum(c) from t group by b order by 3 desc limit 10;"
        "select avg(a), max(b) from t;"
    )
    check([need("sqlite3"), ":memory:", query])


@pytest.mark.slow
def test_the_c_compiler_proper(data: Path) -> None:
    gcc = need("gcc")
    cc1 = subprocess.run([gcc, "-print-prog-name=cc1"], capture_output=True, text=True).stdout.strip()
    if not Path(cc1).is_absolute():
        pytest.skip("gcc has no cc1 of its own")
    check([cc1, "-quiet", "-O2", "-fno-asynchronous-unwind-tables", str(data / "hello.c"), "-o", "-"], cwd="/")


@pytest.mark.parametrize(
    ("interpreter", "text", "arguments"),
    [
        ("awk", "#!{awk} -f\nBEGIN {{ for (i = 1; i < ARGC; i++) print i, ARGV[i]; exit 4 }}\n", ["a", "b c"]),
        ("perl", '#!{perl} -w\nprint "$0 @ARGV\\n"; exit 5;\n', ["x"]),
        ("python3", "#!{python3}\nimport sys\nprint(sys.argv[1:])\nsys.exit(6)\n", ["1", "2"]),
        ("sed", "#!{sed} -nf\n2p\n", ["/etc/passwd"]),
        ("cat", "#! {cat}\nshows itself\n", []),
        ("env", "#!{env} -S cat -n\nthrough env\n", []),
    ],
)
def test_scripts(interpreter: str, text: str, arguments: list[str], work: Path) -> None:
    script = work / "script"
    script.write_text(text.format(**{interpreter: need(interpreter)}))
    script.chmod(0o755)
    check([str(script), *arguments])


def test_a_script_of_a_script_and_one_that_never_ends(work: Path) -> None:
    inner, outer, ring = work / "inner", work / "outer", work / "ring"
    inner.write_text(f"#!{need('cat')}\ninner\n")
    outer.write_text(f"#!{inner} with arguments\nouter\n")
    ring.write_text(f"#!{ring}\n")
    for script in (inner, outer, ring):
        script.chmod(0o755)
    check([str(outer)])
    assert harness.modelled([str(ring)]).status == 126


@pytest.mark.parametrize(
    ("argv", "stdin"),
    [
        (["/bin/cat"], b"through standard input\n" * 5000),
        (["/usr/bin/wc", "-c"], b""),
        (["/usr/bin/wc"], bytes(range(256)) * 1000),
        (["/usr/bin/tr", "a-z", "A-Z"], b"some text\n" * 3000),
        (["/usr/bin/sort", "-u"], b"b\na\nc\na\n"),
        (["/usr/bin/md5sum"], b"x" * 100_000),
        (["/usr/bin/head", "-n", "2"], b"1\n2\n3\n4\n" * 50_000),
        (["/bin/sh"], b"echo from a script; read x; echo $x\nthis line\n"),
    ],
)
def test_standard_input(argv: list[str], stdin: bytes) -> None:
    check(argv, stdin=stdin)


@pytest.mark.parametrize("name", STATIC)
def test_static_programs_of_our_own(name: str) -> None:
    check([compile_c(name, flags=["-lm"]), *STATIC[name]])


@pytest.mark.parametrize("link", ["static-pie", "pie", "dynamic"])
@pytest.mark.parametrize("name", ["tls", "signals", "strings", "malloc_stress"])
def test_programs_linked_in_other_ways(name: str, link: str) -> None:
    check(
        [compile_c(name, link, flags=["-lm"]), "argument"] if name == "tls" else [compile_c(name, link, flags=["-lm"])]
    )


def test_instructions_that_trap() -> None:
    check([compile_c("traps")], aslr=False)


@pytest.mark.parametrize("interpreted", ["", "1"])
@pytest.mark.parametrize("pages", ["0", "20000"])
def test_a_program_goes_on_exactly_where_a_timer_interrupted_it(
    pages: str, interpreted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGEWALK_INTERPRETED", interpreted)
    check([compile_c("alarms"), pages])


def test_the_vdso() -> None:
    check([compile_c("vdso", "dynamic", flags=["-ldl"])])


@pytest.mark.parametrize("optimize", ["-O0", "-O3"])
@pytest.mark.parametrize("name", ["sorting", "floats"])
def test_programs_compiled_otherwise(name: str, optimize: str) -> None:
    check([compile_c(name, flags=[optimize, "-fno-strict-aliasing", "-lm"])])


@pytest.mark.parametrize("link", ["static", "pie"])
def test_cxx_with_exceptions(link: str) -> None:
    outcome = check([compile_c("exceptions.cc", link, flags=["-std=c++17"], compiler="g++")], stderr=True)
    assert outcome.status == 128 + 6


def test_a_program_that_opens_libraries() -> None:
    check([compile_c("loads", "pie")])


def test_a_program_of_musl() -> None:
    check([compile_c("tls", compiler="musl-gcc"), "a"])


@pytest.mark.parametrize("signal", [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 13, 14, 15, 24, 31, 34])
def test_killed_by_a_signal(signal: int) -> None:
    outcome = check([compile_c("signals"), str(signal)])
    assert outcome.status == 128 + signal


@pytest.mark.parametrize("signal", [17, 18, 23, 28])
def test_signals_that_are_ignored_by_default(signal: int) -> None:
    assert check([compile_c("signals"), str(signal)]).status == 0


def test_stdio_on_files() -> None:
    outcome = check([compile_c("stdio_files"), "{work}"], work={})
    assert set(outcome.files) == {"binary", "hard", "soft"}


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 300_000])
def test_a_file_copied_by_mapping_it(size: int) -> None:
    contents = random.Random(size).randbytes(size)
    outcome = check([compile_c("mmapcopy"), "{work}/from", "{work}/to"], work={"from": contents})
    assert len(outcome.files["to"]) == size


@pytest.mark.parametrize(
    "argv",
    [
        ["/bin/cp", "-a", "{work}/a", "{work}/b"],
        ["/bin/mv", "{work}/a", "{work}/d/b"],
        ["/bin/rm", "-rf", "{work}/d"],
        ["/bin/ln", "{work}/a", "{work}/hard"],
        ["/bin/ln", "-s", "a", "{work}/soft"],
        ["/bin/mkdir", "-p", "{work}/x/y/z"],
        ["/bin/touch", "-d", "@1000000000", "{work}/new"],
        ["/usr/bin/truncate", "-s", "100000", "{work}/a"],
        ["/bin/dd", "if={work}/a", "of={work}/b", "bs=100", "conv=notrunc", "status=none"],
        ["/usr/bin/tee", "{work}/copy"],
        ["/usr/bin/split", "-b", "1000", "{work}/a", "{work}/part-"],
        ["/bin/sed", "-i", "s/a/b/g", "{work}/a"],
        ["/usr/bin/sort", "-o", "{work}/sorted", "{work}/a"],
        ["/bin/gzip", "-n", "{work}/a"],
        ["/bin/tar", "-C", "{work}", "-cf", "{work}/all.tar", "--mtime=@0", "--sort=name", "a"],
        ["/usr/bin/install", "-m", "640", "{work}/a", "{work}/installed"],
        [
            "/usr/bin/sqlite3",
            "{work}/base.db",
            "pragma journal_mode=delete; create table t(x); insert into t values (1), (2); select sum(x) from t;",
        ],
    ],
)
def test_programs_that_write_files(argv: list[str]) -> None:
    if not Path(argv[0]).exists():
        pytest.skip(f"{argv[0]} is not installed")
    contents = b"".join(b"line %d a\n" % (i * 7919 % 1000) for i in range(1000))
    check(argv, stdin=contents[:500], work={"a": contents, "d/c": b"c\n"})
