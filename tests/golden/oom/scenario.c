/* Processes of given sizes and oom_score_adj, the last of which grows until somebody dies.
 *
 *     scenario LIMIT_MIB DEATHS NAME:MIB:ADJ... GROWER:0:ADJ
 *
 * Prints the first DEATHS ends and how they came, then whether the others still have what they wrote. LIMIT_MIB bounds
 * the grower, so that the program ends where nobody is killed. Not among the programs that are compared with the running kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1UL << 20)
static char *area(size_t size)
{
    char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        perror("mmap");
        _exit(2);
    }
    for (size_t i = 0; i < size; i += 4096)
        at[i] = (char)(i >> 12);
    return at;
}

static int intact(const char *at, size_t size)
{
    for (size_t i = 0; i < size; i += 4096)
        if (at[i] != (char)(i >> 12))
            return 0;
    return 1;
}

int main(int argc, char **argv)
{
    int limit = atoi(argv[1]), deaths = atoi(argv[2]), ready[2], children = argc - 3;
    pid_t pids[16];
    char names[16][16];
    if (pipe(ready))
        return 2;
    for (int i = 0; i < children; i++) {
        int mib, adj;
        if (sscanf(argv[i + 3], "%15[^:]:%d:%d", names[i], &mib, &adj) != 3)
            return 2;
        pids[i] = fork();
        if (pids[i] == 0) {
            char text[16];
            int fd = open("/proc/self/oom_score_adj", O_WRONLY), grows = i == children - 1;
            prctl(PR_SET_NAME, names[i]);
            if (fd < 0 || write(fd, text, sprintf(text, "%d", adj)) < 0) {
                kill(getppid(), SIGTERM); /* not allowed here: the parent would wait for ever */
                _exit(3);
            }
            close(fd);
            char *mine = mib ? area(mib * MIB) : NULL;
            if (write(ready[1], "x", 1) != 1)
                _exit(4);
            for (int done = 0; grows && done < limit; done++)
                area(MIB);
            if (grows)
                _exit(5);
            sigset_t set;
            int sig;
            sigemptyset(&set);
            sigaddset(&set, SIGUSR1);
            sigprocmask(SIG_BLOCK, &set, NULL);
            sigwait(&set, &sig);
            _exit(intact(mine, mib * MIB) ? 0 : 6);
        }
        char byte;
        if (read(ready[0], &byte, 1) != 1)
            return 2;
    }
    int status, ended[16] = {0};
    while (deaths-- > 0) {
        pid_t dead = wait(&status);
        for (int i = 0; i < children; i++)
            if (pids[i] == dead) {
                ended[i] = 1;
                printf("died %s signal %d status %d\n", names[i], WIFSIGNALED(status) ? WTERMSIG(status) : 0,
                       WIFEXITED(status) ? WEXITSTATUS(status) : -1);
            }
    }
    fflush(stdout);
    kill(pids[children - 1], SIGKILL);
    for (int i = 0; i < children; i++) {
        if (ended[i])
            continue;
        if (i < children - 1)
            kill(pids[i], SIGUSR1);
        if (waitpid(pids[i], &status, 0) != pids[i])
            return 2;
        printf("%s %s\n", names[i], WIFEXITED(status) && WEXITSTATUS(status) == 0 ? "intact"
               : WIFSIGNALED(status) ? "killed" : "broken");
    }
    return 0;
}
