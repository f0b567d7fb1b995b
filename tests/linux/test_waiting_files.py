"""What processes wait for: pipes, epoll, AF_UNIX sockets, timers, signals and processes as files, locks."""

import harness
import pytest
from harness import check, compile_c

pytestmark = [pytest.mark.linux]


@pytest.fixture(autouse=True)
def reference() -> None:
    harness.need_reference_kernel()


def test_epoll() -> None:
    check([compile_c("epoll_calls")])


def test_timers_signals_and_processes_as_files() -> None:
    check([compile_c("event_files")])


def test_locks() -> None:
    check([compile_c("lock_calls"), "{work}"], work={})


def test_the_table_of_locks() -> None:
    """/proc/locks, line for line, while locks are split, merged, converted and waited for."""
    check([compile_c("lock_table", flags=["-pthread"]), "{work}"], work={})


def test_pipes_and_fifos() -> None:
    check([compile_c("pipe_calls"), "{work}"], work={})


def test_unix_sockets() -> None:
    check([compile_c("unix_calls"), "{work}"], work={})


def test_the_table_of_unix_sockets_and_circles_of_them() -> None:
    """/proc/net/unix while sockets are bound, connected and closed; SCM_RIGHTS in circles that nobody can reach."""
    check([compile_c("unix_table", flags=["-pthread"]), "{work}"], work={})


def test_urgent_bytes_of_unix_streams() -> None:
    check([compile_c("unix_oob")])


def test_inotify() -> None:
    check([compile_c("inotify_calls"), "{work}"], work={})


def test_posix_timers() -> None:
    check([compile_c("posix_timers")])


PYTHON = """
import asyncio, concurrent.futures, multiprocessing, os

def square(x):
    return x * x

def answer(queue, end):
    queue.put(end.recv())
    end.send('bye')

async def streams():
    process = await asyncio.create_subprocess_exec('echo', 'async', stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    def serve(reader, writer):
        writer.write(b'served')
        writer.close()
    server = await asyncio.start_unix_server(serve, path='/tmp/pagewalk-test-server')
    reader, writer = await asyncio.open_unix_connection('/tmp/pagewalk-test-server')
    got = await reader.read()
    server.close()
    os.unlink('/tmp/pagewalk-test-server')
    return out, got

if __name__ == '__main__':
    print(asyncio.run(streams()), flush=True)
    for method in ('fork', 'spawn'):
        context = multiprocessing.get_context(method)
        with context.Pool(3) as pool:
            print(method, pool.map(square, range(10)), flush=True)
        mine, theirs = context.Pipe()
        queue = context.Queue()
        process = context.Process(target=answer, args=(queue, theirs))
        process.start()
        mine.send('hi')
        print(queue.get(), mine.recv())
        process.join()
        print(process.exitcode, flush=True)
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        print(list(pool.map(square, range(5))))
"""


@pytest.mark.slow
def test_asyncio_and_multiprocessing() -> None:
    check([harness.need("python3"), "{work}/program.py"], work={"program.py": PYTHON.encode()}, cwd="{work}")
