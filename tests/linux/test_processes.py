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
