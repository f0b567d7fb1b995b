"""Programs that nobody here wrote: the same output and status natively and in the model."""

import shutil

__all__ = ["PROGRAMS", "available"]

PROGRAMS: dict[str, list[str]] = {
    "true": ["true"],
    "false": ["false"],
    "echo": ["echo", "hello", "world"],
    "ls": ["ls", "-l", "/usr/bin"],
    "cat": ["cat", "/etc/passwd", "/etc/services"],
    "sort": ["sh", "-c", "seq 20000 | sort -r | tail -3"],
    "sha256sum": ["sha256sum", "/bin/sh"],
    "gzip": ["sh", "-c", "gzip -nc /bin/sh | gzip -dc | cmp - /bin/sh; echo $?"],
    "awk": ["awk", "BEGIN { for (i = 0; i < 10000; i++) s += i * i; print s }"],
    "sed": ["sed", "-n", "s/root/ROOT/p", "/etc/passwd"],
    "grep": ["grep", "-c", "bin", "/etc/passwd"],
    "perl": ["perl", "-e", "$h{$_} = $_ for 1..20000; print scalar(keys %h), qq(\\n)"],
    "bc": ["sh", "-c", "echo '2^200' | bc"],
    "python": ["python3", "-I", "-c", "import json, re; print(sum(range(100000)), json.dumps([1, 2]))"],
    "sqlite": ["sqlite3", ":memory:", "create table t(a); insert into t values (1), (2); select sum(a) from t;"],
    "find": ["find", "/etc/apt", "-type", "f"],
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


def available() -> dict[str, list[str]]:
    """Those whose program is installed, with its path."""
    found = {}
    for name, argv in PROGRAMS.items():
        program = shutil.which(argv[0], path="/usr/local/bin:/usr/bin:/bin")
        if program is not None:
            found[name] = [program, *argv[1:]]
    return found
