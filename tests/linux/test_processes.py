"""Processes and threads: what their programs see is what the kernel shows."""

import os

import harness
import pytest

pytestmark = [pytest.mark.linux]


def test_children_are_waited_for_as_in_the_kernel() -> None:
    """wait4 and waitid with every status; SIGCHLD; orphans, groups, sessions; what a child inherits; clone's flags."""
    harness.check([harness.compile_c("waits")], aslr=False)


@pytest.mark.parametrize("link", ["static", "dynamic"])
def test_eight_threads_contend_for_a_mutex_and_take_turns(link: str) -> None:
    harness.check([harness.compile_c("contend", link=link, flags=["-pthread"])])


SHELL = {
    "a pipeline": "ls /usr/bin | sort | head",
    "command substitution": 'x=$(echo $(echo inner) outer); echo "$x"; echo $?',
    "a here-document": "cat <<X | tr a-z A-Z\nhello\nworld\nX",
    "background jobs": "sleep 0.1 & a=$!; (exit 3) & b=$!; wait $b; echo $?; wait $a; echo $?",
    "a subshell's status": "(exit 5); echo $?; false || echo no; ! true; echo $?",
    "a trap": 'trap "echo got" USR1; kill -USR1 $$; echo end',
    "a killed child": "sleep 9 & kill -9 $!; wait $!; echo $?",
    "xargs": "seq 20 | xargs -P4 -n2 echo | sort",
    "find": 'find /etc/apt -name "*.list" -exec echo {} \\;',
    "tar and gzip": "cd /; tar cf - etc/apt 2>/dev/null | gzip -n | gzip -dc | tar tf - | sort | head -5",
}


@pytest.mark.parametrize("script", SHELL.values(), ids=SHELL.keys())
def test_a_shell_script(script: str) -> None:
    harness.check([harness.need("sh"), "-c", script])


BASH = {
    "two hundred children": "for i in $(seq 200); do (exit $((i % 7))) & done; wait; echo ok",
    "process substitution": "diff <(echo a) <(echo b); echo $?; mapfile -t a < <(seq 3); echo ${a[@]}",
    "a coprocess": "coproc cat; echo hi >&${COPROC[1]}; read x <&${COPROC[0]}; echo $x",
    "job control": (
        "set -m; sleep 5 & kill -STOP %1; until [[ $(jobs) == *Stopped* ]]; do :; done; "
        "jobs; kill %1; kill -CONT %1; wait; echo $?"
    ),
}


@pytest.mark.parametrize("script", BASH.values(), ids=BASH.keys())
def test_a_bash_script(script: str) -> None:
    harness.check([harness.need("bash"), "-c", script])


MAKEFILE = b"""
OBJECTS = $(patsubst %,f%.o,1 2 3 4 5 6) main.o
all: prog
	./prog
prog: $(OBJECTS)
	gcc -o $@ $^
%.o: %.c
	gcc -O1 -c -o $@ $<
"""


@pytest.mark.slow
def test_make_builds_a_project_with_four_jobs() -> None:
    """make, gcc, cc1, as, collect2, ld: what they wrote is compared byte for byte."""
    harness.need("gcc")
    files = {f"f{n}.c": f"int f{n}(int x)\n{{\n\treturn x * {n};\n}}\n".encode() for n in range(1, 7)}
    calls = " + ".join(f"f{n}({n})" for n in range(1, 7))
    declared = ", ".join(f"f{n}(int)" for n in range(1, 7))
    files["main.c"] = (
        f'#include <stdio.h>\nint {declared};\nint main(void)\n{{\n\tprintf("%d\\n", {calls});\n\treturn 0;\n}}\n'
    ).encode()
    files["Makefile"] = MAKEFILE
    argv = [harness.need("make"), "-s", "-j4"]
    theirs, ours = harness.run_both(argv, work=files, cwd="{work}")
    assert theirs.stdout == b"91\n"
    harness.assert_same(argv, theirs, ours)


PYTHON = {
    "subprocess": "import subprocess as s; print(s.run(['sh', '-c', 'echo $((6*7)); exit 3'], capture_output=True))",
    "multiprocessing by fork": (
        "import multiprocessing as m; p = m.get_context('fork').Pool(2); print(p.map(abs, range(-5, 5))); p.close()"
    ),
    "multiprocessing by spawn": (
        "import multiprocessing as m\n"
        "if __name__ == '__main__':\n"
        "    p = m.get_context('spawn').Process(target=print, args=('spawned',))\n"
        "    p.start(); p.join(); print(p.exitcode)"
    ),
    "threading": (
        "import threading as t, queue; q = queue.Queue(); "
        "x = [t.Thread(target=q.put, args=(i,)) for i in range(8)]; [y.start() for y in x]; [y.join() for y in x]; "
        "print(sorted(q.get() for _ in x))"
    ),
    "asyncio": "import asyncio; print(asyncio.run(asyncio.sleep(0.05, 'slept')))",
}


@pytest.mark.slow
@pytest.mark.parametrize("script", PYTHON.values(), ids=PYTHON.keys())
def test_python_with_processes_and_threads(script: str) -> None:
    harness.check([harness.need("python3"), "-I", "-c", script])


@pytest.mark.parametrize("cpus", ["1", "4"])
def test_the_same_program_has_the_same_interleaving_every_time(cpus: str) -> None:
    program = harness.compile_c("racing", flags=["-pthread"])
    runs = [harness.modelled([program], options=["--cpus", cpus]) for _ in range(3)]
    assert runs[0].status == 0
    threads, processes, _ = runs[0].stdout.decode().split("\n")
    assert sorted(threads) == sorted("abcdefgh" * 200), "every entry is there"
    assert sorted(processes) == sorted("0123" * 50)
    assert len({run.stdout for run in runs}) == 1, "threads and processes took turns in another order"


def test_a_deadlock_of_all_tasks_is_told_with_what_each_waits_for() -> None:
    program = harness.compile_c("deadlock", flags=["-pthread"])
    done = harness.modelled([program], quiet=False)
    text = done.stderr.decode()
    assert done.status == 137
    assert "deadlock: every task waits" in text
    assert text.count("in futex_do_wait") == 2
    assert "in anon_pipe_read" in text


def test_a_time_limit_ends_a_whole_family() -> None:
    script = "sleep 100 & (sleep 100; echo never) & while :; do :; done"
    done = harness.modelled([harness.need("sh"), "-c", script], options=["--timeout", "2"], quiet=False)
    assert done.status == 124
    assert done.stdout == b""
    assert "--timeout 2" in done.stderr.decode()


def test_what_outlives_the_program_runs_to_its_end() -> None:
    harness.check([harness.need("sh"), "-c", "(sleep 0.3; echo later) & echo now"])


def test_a_fork_bomb_ends_at_the_limit_of_processes() -> None:
    """RLIMIT_NPROC: twenty processes and EAGAIN; threads and zombies count; whom it binds; execve after setuid."""
    if os.getuid() != 0:
        pytest.skip("needs root to become another user")
    harness.check([harness.compile_c("fork_bomb", flags=["-pthread"])])
