/* fork of a process with touched memory, and copy-on-write faults in its child: prints for each round milliseconds of the
 * fork and nanoseconds for each fault. fork ROUNDS MIB */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 5;
    size_t size = (size_t)(argc > 2 ? atoi(argv[2]) : 256) << 20, some = size / 4;
    double *result = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || result == MAP_FAILED || madvise(p, size, MADV_NOHUGEPAGE) < 0)
        return perror("mmap"), 1;
    for (size_t i = 0; i < size; i += 4096)
        p[i] = 1;
    for (int round = 0; round < rounds; round++) {
        double start = now();
        pid_t child = fork();
        if (child == 0) {
            double before = now();
            for (size_t i = 0; i < some; i += 4096)
                p[i] = 2;
            *result = (now() - before) / (some / 4096);
            _exit(0);
        }
        double took = now() - start;
        waitpid(child, NULL, 0);
        printf("%.3f %.1f\n", took / 1e6, *result);
        for (size_t i = 0; i < size; i += 4096) /* writable again */
            p[i] = 1;
    }
    return 0;
}
