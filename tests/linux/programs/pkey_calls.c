/* Protection keys on a CPU that has none: which calls are refused, and how. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *what, int result) { printf("%s %d %d\n", what, result, result < 0 ? errno : 0); }

static void allocate(const char *who) {
    printf("%s\n", who);
    say("flags", pkey_alloc(1, 0));
    say("rights", pkey_alloc(0, 8));
    say("first", pkey_alloc(0, 0));
    say("again", pkey_alloc(0, PKEY_DISABLE_WRITE));
    fflush(stdout);
}

int main(void) {
    char *page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    allocate("parent");
    if (fork() == 0) {
        allocate("child");
        _exit(0);
    }
    wait(0);
    for (int key = -1; key < 3; key++) {
        say("mprotect", pkey_mprotect(page, 4096, PROT_READ, key));
        say("free", pkey_free(key));
    }
    return 0;
}
