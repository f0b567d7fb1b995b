"""Processes and threads: what their programs see is what the kernel shows."""

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
    "job control": "set -m; sleep 5 & kill -STOP %1; jobs; kill %1; kill -CONT %1; wait; echo $?",
}


@pytest.mark.parametrize("script", BASH.values(), ids=BASH.keys())
def test_a_bash_script(script: str) -> None:
    harness.check([harness.need("bash"), "-c", script])


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
