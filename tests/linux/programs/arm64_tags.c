/* Pointers with a tag in the highest byte: the CPU ignores it always, system calls that change mappings too, other
   system calls once the thread has asked for it (PR_SET_TAGGED_ADDR_CTRL). */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef PR_SET_TAGGED_ADDR_CTRL
#define PR_SET_TAGGED_ADDR_CTRL 55
#define PR_GET_TAGGED_ADDR_CTRL 56
#endif

static char *tagged(const void *p, unsigned tag)
{
    return (char *)((uintptr_t)p | (uintptr_t)tag << 56);
}

static void say(const char *what, long answer)
{
    printf("%s: %ld %d\n", what, answer < 0 ? -1 : answer, answer < 0 ? errno : 0);
    fflush(stdout);
}

static void calls(char *area, int *pipes)
{
    char text[8] = "";
    struct iovec vectors[2] = {{tagged("ab", 0x11), 2}, {tagged("cd", 0xfe), 2}};
    say("write", write(pipes[1], tagged("hello", 5), 5));
    say("writev", writev(pipes[1], vectors, 2));
    say("readv", read(pipes[0], tagged(area + 64, 0x80), 5));
    say("read", read(pipes[0], text, sizeof text));
    say("access", access(tagged("/", 7), R_OK));
    say("pipe", pipe((int *)tagged(area + 128, 3)));
}

int main(int argc, char **argv)
{
    (void)argv;
    int pipes[2], status;
    long page = sysconf(_SC_PAGESIZE), sum = 0;
    char *area = mmap(0, 64 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 64; i++)
        *(tagged(area, 3 * i) + i * page) = i;
    for (int i = 0; i < 64; i++)
        sum += area[i * page];
    say("sum", sum);
    if (pipe(pipes) || write(pipes[1], "12345678", 8) != 8)
        return 1;
    say("get", prctl(PR_GET_TAGGED_ADDR_CTRL, 0, 0, 0, 0));
    calls(area, pipes);
    say("bad bits", prctl(PR_SET_TAGGED_ADDR_CTRL, 1 << 30, 0, 0, 0));
    say("bad argument", prctl(PR_SET_TAGGED_ADDR_CTRL, 1, 1, 0, 0));
    say("set", prctl(PR_SET_TAGGED_ADDR_CTRL, 1, 0, 0, 0));
    say("get", prctl(PR_GET_TAGGED_ADDR_CTRL, 0, 0, 0, 0));
    calls(area, pipes);
    if (fork() == 0) {
        say("child", prctl(PR_GET_TAGGED_ADDR_CTRL, 0, 0, 0, 0));
        _exit(0);
    }
    wait(&status);
    if (argc > 1) {
        say("clear", prctl(PR_SET_TAGGED_ADDR_CTRL, 0, 0, 0, 0));
        say("write", write(pipes[1], tagged("hello", 5), 5));
    }
    say("mprotect", mprotect(tagged(area, 9), page, PROT_READ));
    say("madvise", madvise(tagged(area, 9) + page, page, MADV_DONTNEED));
    say("mlock", mlock(tagged(area, 0xff) + 2 * page, page));
    say("munlock", munlock(tagged(area, 0xff) + 2 * page, page));
    say("msync", msync(tagged(area, 1), page, MS_ASYNC));
    say("mremap", (char *)mremap(tagged(area, 9) + 8 * page, 4 * page, 2 * page, 0) == area + 8 * page);
    say("munmap", munmap(tagged(area, 9), page));
    say("mmap", (long)mmap(tagged(area, 9), page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    return 0;
}
