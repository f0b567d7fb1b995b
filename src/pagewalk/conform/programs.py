"""The programs that are compared: those of the host, and small static ones of the tests.

Arguments in braces are files that ``make_inputs`` makes: 20M, 2M (bytes), lines (200 000), few, few2 (5000 lines),
few.gz, few.xz, few.tar, hello.c.
"""

import lzma
import random
import shutil
import tarfile
import zlib
from pathlib import Path

__all__ = ["FAMILIES", "FRAMED", "LARGE", "SMALL", "STATIC", "TIMED", "commands", "fill", "make_inputs"]

INPUTS = ("few.gz", "few.xz", "few.tar", "few2", "few", "lines", "20M", "2M", "hello.c")

SMALL: dict[str, list[str]] = {
    "true": ["/bin/true"],
    "false": ["/bin/false"],
    "echo": ["/bin/echo", "-e", "a\\tb", "and more", ""],
    "ls": ["/bin/ls", "-l", "/usr/bin"],
    "ls -la with ids": ["/bin/ls", "-lan", "--time-style=full-iso", "/etc"],
    "wc": ["/usr/bin/wc", "{few}", "{2M}"],
    "head": ["/usr/bin/head", "-n", "5", "{few}"],
    "head bytes": ["/usr/bin/head", "-c", "100000", "{2M}"],
    "tail": ["/usr/bin/tail", "-n", "7", "{lines}"],
    "cut": ["/usr/bin/cut", "-f", "2,3", "{few}"],
    "uniq": ["/usr/bin/uniq", "-c", "{few}"],
    "sort few": ["/usr/bin/sort", "-t", "\t", "-k", "1n,1", "-k", "2r", "{few}"],
    "md5sum": ["/usr/bin/md5sum", "{2M}"],
    "sha1sum": ["/usr/bin/sha1sum", "{few}"],
    "cksum": ["/usr/bin/cksum", "{few}"],
    "od": ["/usr/bin/od", "-A", "x", "-t", "x1z", "-N", "20000", "{2M}"],
    "base64": ["/usr/bin/base64", "{few}"],
    "seq": ["/usr/bin/seq", "1", "3", "5000"],
    "seq with fractions": ["/usr/bin/seq", "-f", "%.3f", "0", "0.125", "20"],
    "factor": ["/usr/bin/factor", "1234567890123456789", "18446744073709551615", "600851475143"],
    "date": ["/bin/date", "-u", "-d", "@0"],
    "date elsewhere": ["/bin/date", "-d", "@86400", "+%A %d %B %Y %T %Z"],
    "stat": ["/usr/bin/stat", "-c", "%n %s %a %u %g %F %h %i %Y", "{few}", "/", "/etc/passwd", "/usr/bin/awk"],
    "find": ["/usr/bin/find", "/etc", "-maxdepth", "2", "-name", "*.conf"],
    "grep": ["/bin/grep", "-n", "-E", "^3.*(ab|cd)+", "{few}"],
    "grep counting": ["/bin/grep", "-c", "a", "{lines}"],
    "grep finding nothing": ["/bin/grep", "QQQQ", "{few}"],
    "diff": ["/usr/bin/diff", "-u", "--label", "a", "--label", "b", "{few}", "{few2}"],
    "cmp": ["/usr/bin/cmp", "{few}", "{few2}"],
    "comm": ["/usr/bin/comm", "--nocheck-order", "{few}", "{few2}"],
    "tar": ["/bin/tar", "-tvf", "{few.tar}"],
    "xz": ["/usr/bin/xz", "-dc", "{few.xz}"],
    "bzip2": ["/bin/bzip2", "-c", "{few}"],
    "gunzip small": ["/bin/gzip", "-dc", "{few.gz}"],
    "env": ["/usr/bin/env"],
    "env with a program": ["/usr/bin/env", "A=b", "/usr/bin/printenv", "A", "PATH"],
    "nice of nothing": ["/usr/bin/nice"],
    "pwd": ["/bin/pwd"],
    "id": ["/usr/bin/id", "-u"],
    "uname": ["/bin/uname", "-s", "-m"],
    "test": ["/usr/bin/test", "-d", "/etc"],
    "expr": ["/usr/bin/expr", "12", "*", "12"],
    "basename": ["/usr/bin/basename", "/a/b/c.txt", ".txt"],
    "realpath": ["/usr/bin/realpath", "/etc/../usr/./bin"],
    "readlink": ["/bin/readlink", "-f", "/usr/bin/awk"],
    "printf": ["/usr/bin/printf", "%05d|%-6s|%x|%.3f\\n", "42", "ab", "255", "3.14159"],
    "fold": ["/usr/bin/fold", "-w", "33", "{few}"],
    "fmt": ["/usr/bin/fmt", "-w", "60", "{few}"],
    "join": ["/usr/bin/join", "--nocheck-order", "-t", "\t", "{few}", "{few2}"],
    "nl": ["/usr/bin/nl", "{few}"],
    "paste": ["/usr/bin/paste", "-d", ",", "{few}", "{few2}"],
    "rev": ["/usr/bin/rev", "{few}"],
    "shuf": ["/usr/bin/shuf", "--random-source={2M}", "{few}"],
    "split to nothing": ["/usr/bin/split", "-n", "l/1/3", "{few}"],
    "strings": ["/usr/bin/strings", "-n", "9", "/bin/true"],
    "sum": ["/usr/bin/sum", "{few}"],
    "tac": ["/usr/bin/tac", "{few}"],
    "tsort": ["/usr/bin/tsort", "/dev/null"],
    "unexpand": ["/usr/bin/unexpand", "-a", "{few}"],
    "yes with arguments that fail": ["/usr/bin/yes", "--no-such-option"],
    "ls of nothing": ["/bin/ls", "/no/such/directory"],
    "cat of a directory": ["/bin/cat", "/etc"],
    "dd": ["/bin/dd", "if={2M}", "bs=1000", "skip=7", "count=50", "status=none"],
    "awk": ["/usr/bin/awk", "{ n[$1] += length($2) } END { for (i = 0; i < 37; i++) print i, n[i], sqrt(i) }", "{few}"],
    "sed": ["/bin/sed", "-E", r"s/([a-z]+)\t([a-z]+)/\2-\1/; /^1/d; y/abc/ABC/; 5,9p", "{few}"],
    "perl words": ["/usr/bin/perl", "-ne", "$n{$_}++ for split; END { print \"$_ $n{$_}|\" for sort keys %n}", "{few}"],
    "dynamic loader itself": ["/lib64/ld-linux-x86-64.so.2", "/bin/echo", "loaded"],
    "getconf": ["/usr/bin/getconf", "PAGE_SIZE"],
    "locale": ["/usr/bin/locale"],
    "file": ["/usr/bin/file", "-b", "/etc/passwd", "/bin/true"],
    "objdump": ["/usr/bin/objdump", "-d", "--start-address=0x2000", "--stop-address=0x2400", "/bin/true"],
    "readelf": ["/usr/bin/readelf", "-a", "-W", "/bin/true"],
    "as": ["/usr/bin/as", "--version"],
    "sh": ["/bin/sh", "-c", "x=0; while [ $x -lt 100 ]; do x=$((x+1)); done; echo $x; exit 7"],
    "bash": ["/bin/bash", "-c", "for i in {1..200}; do a[i]=$((i*i)); done; echo ${a[@]: -3} ${#a[@]}; exit 9"],
    "m4": ["/usr/bin/m4", "-DX=5", "/dev/null"],
    "git": ["/usr/bin/git", "--version"],
}  # fmt: skip

LARGE: dict[str, list[str]] = {
    "cat of 20 MB": ["/bin/cat", "{20M}"],
    "sort of 200000 lines": ["/usr/bin/sort", "{lines}"],
    "sha256sum of 20 MB": ["/usr/bin/sha256sum", "{20M}"],
    "gzip": ["/bin/gzip", "-nc", "{lines}"],
    "awk over 200000 lines": ["/usr/bin/awk", "{ s += $1; n[$3]++ } END { for (w in n) k++; print s, k }", "{lines}"],
    "sed over 200000 lines": ["/bin/sed", "-n", r"s/^\([0-9]*\) a/\1:A/p", "{lines}"],
    "perl, 100000 keys": ["/usr/bin/perl", "-e", "$h{$_} = $_ for 1..100000; print scalar(keys %h), qq(\\n)"],
    "sqlite3": [
        "/usr/bin/sqlite3", ":memory:",
        "create table t(a integer primary key, b text); with recursive n(i) as (select 1 union all select i + 1 from n "
        "where i < 5000) insert into t select i, 'row' || i % 97 from n; select b, count(*) from t group by b limit 9;",
    ],
    "python3": [
        "/usr/bin/python3", "-I", "-c",
        "import json, re; t = json.dumps({str(i): [i, i / 3] for i in range(2000)}); "
        "print(len(t), len(re.findall('[0-9]+', t)), len([0] * (6 << 20)))",
    ],
    "gcc": ["/usr/bin/gcc", "-O2", "-S", "-o", "-", "{hello.c}"],
}  # fmt: skip

# Pipelines, scripts, children and threads.
FAMILIES: dict[str, list[str]] = {
    "sort": ["sh", "-c", "seq 20000 | sort -r | tail -3"],
    "gzip": ["sh", "-c", "gzip -nc /bin/sh | gzip -dc | cmp - /bin/sh; echo $?"],
    "perl": ["perl", "-e", "$h{$_} = $_ for 1..20000; print scalar(keys %h), qq(\\n)"],
    "bc": ["sh", "-c", "echo '2^200' | bc"],
    "python": ["python3", "-I", "-c", "import json, re; print(sum(range(100000)), json.dumps([1, 2]))"],
    "sqlite": ["sqlite3", ":memory:", "create table t(a); insert into t values (1), (2); select sum(a) from t;"],
    "xargs": ["sh", "-c", "seq 20 | xargs -P4 -n2 echo | sort"],
    "tar": ["sh", "-c", "cd /; tar cf - etc/apt 2>/dev/null | gzip -n | gzip -dc | tar tf - | sort | tail -3"],
    "pipeline": ["sh", "-c", "ls /usr/bin | sort | head"],
    "background": ["sh", "-c", "(exit 3) & wait $!; echo $?; sleep 0.1 & wait; echo done"],
    "bash": ["bash", "-c", "for i in $(seq 30); do (exit $i); echo -n $?,; done; diff <(echo a) <(echo b); echo $?"],
    "subprocess": ["python3", "-I", "-c", "import subprocess; print(subprocess.getoutput('echo a; echo b'))"],
    "multiprocessing": [
        "python3", "-I", "-c",
        "import multiprocessing as m; p = m.get_context('fork').Pool(2); print(p.map(abs, [-1, 2, -3])); p.close()",
    ],
    "threading": [
        "python3", "-I", "-c",
        "import threading as t; l = []; x = [t.Thread(target=l.append, args=(i,)) for i in range(8)]; "
        "[y.start() for y in x]; [y.join() for y in x]; print(sorted(l))",
    ],
}  # fmt: skip

# Whose maps at exit depend on which thread has ended first: the C library keeps stacks for threads to come.
TIMED = frozenset({"threading", "sort of 200000 lines"})

# Whose faults depend on the processor: signal frames hold its vector registers, which AVX-512 makes many.
FRAMED = frozenset({"signals"})

# Programs of tests/linux/programs, linked statically, and their arguments.
STATIC: dict[str, list[str]] = {
    "malloc_stress": [],
    "sorting": [],
    "floats": [],
    "strings": [],
    "jumps": [],
    "jit": [],
    "tls": ["one", "two words", ""],
    "overflow": [],
    "signals": [],
}


def make_inputs(directory: Path) -> None:
    """The files that programs are given, the same every time."""
    rng = random.Random(20250101)
    (directory / "20M").write_bytes(rng.randbytes(1 << 20) * 20)
    (directory / "2M").write_bytes(rng.randbytes(1 << 21))
    words = [bytes(rng.choices(b"abcdefghijklmnopqrstuvwxyz", k=rng.randint(1, 9))) for _ in range(3000)]
    lines = [b"%d %s %s\n" % (rng.randrange(10**6), rng.choice(words), rng.choice(words)) for _ in range(200_000)]
    (directory / "lines").write_bytes(b"".join(lines))
    few = b"".join([b"%d\t%s\t%s\n" % (i % 37, rng.choice(words), rng.choice(words)) for i in range(5000)])
    (directory / "few").write_bytes(few)
    (directory / "few2").write_bytes(few.replace(b"a", b"A", 20))
    (directory / "few.gz").write_bytes(zlib.compress(few, wbits=31))
    (directory / "few.xz").write_bytes(lzma.compress(few))
    with tarfile.open(directory / "few.tar", "w") as archive:
        for name in ("few", "few2"):
            archive.add(directory / name, name)
    (directory / "hello.c").write_text(
        "#include <stddef.h>\nstruct s { int a; double b; };\n"
        "static int f(int n) { return n < 2 ? n : f(n - 1) + f(n - 2); }\n"
        "double g(struct s *p, size_t n)\n"
        "{ double t = 0; for (size_t i = 0; i < n; i++) t += p[i].a * p[i].b; return t; }\n"
        "int main(void) { struct s v[4] = {{1, 2.5}, {3, 4.5}}; return f(20) + (int)g(v, 4); }\n"
    )


def fill(argument: str, directory: Path) -> str:
    """An argument with the names of inputs in braces replaced by their paths."""
    for name in INPUTS:
        argument = argument.replace("{" + name + "}", str(directory / name))
    return argument


def commands(directory: Path) -> dict[str, list[str]]:
    """Every command whose program is installed, with the inputs of ``directory``."""
    found = {}
    for name, argv in {**SMALL, **LARGE, **FAMILIES}.items():
        program = shutil.which(argv[0], path="/usr/local/bin:/usr/bin:/bin")
        if program is not None:
            found[name] = [program, *[fill(argument, directory) for argument in argv[1:]]]
    return found
