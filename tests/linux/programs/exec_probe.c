/* What the kernel makes of each program named on the command line, without running it: an errno, death, or its maps. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void copy(int pid, const char *name) {
    char path[64], line[65536];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int fd = open(path, O_RDONLY);
    ssize_t n;
    while ((n = read(fd, line, sizeof line)) > 0)
        for (ssize_t i = 0; i < n; i++) putchar(line[i] ? line[i] : '|');
    close(fd);
}

int main(int argc, char **argv) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    for (int i = 1; i < argc; i++) {
        int fds[2], failed = 0, status;
        if (pipe2(fds, O_CLOEXEC)) return 1;
        fflush(stdout);
        int pid = fork();
        if (pid == 0) {
            char *args[] = {"prog", 0}, *env[] = {0};
            personality(ADDR_NO_RANDOMIZE);
            ptrace(PTRACE_TRACEME, 0, 0, 0);
            execve(argv[i], args, env);
            failed = errno;
            if (write(fds[1], &failed, sizeof failed)) _exit(1);
            _exit(2);
        }
        close(fds[1]);
        waitpid(pid, &status, 0);
        if (read(fds[0], &failed, sizeof failed) == sizeof failed) {
            printf("= errno %d\n", failed);
        } else if (WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP) {
            printf("= loaded ");
            copy(pid, "cmdline");
            putchar('\n');
            copy(pid, "maps");
        } else {
            printf("= killed %d\n", WIFSTOPPED(status) ? WSTOPSIG(status) : WTERMSIG(status));
        }
        close(fds[0]);
        kill(pid, SIGKILL);
        if (WIFSTOPPED(status)) waitpid(pid, &status, 0);
    }
    return 0;
}
