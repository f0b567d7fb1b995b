/* First touch of anonymous memory: prints nanoseconds for each fault, several rounds. faults ROUNDS MIB */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 5;
    size_t size = (size_t)(argc > 2 ? atoi(argv[2]) : 256) << 20;
    for (int round = 0; round < rounds; round++) {
        struct rusage before, after;
        char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED || madvise(p, size, MADV_NOHUGEPAGE) < 0)
            return perror("mmap"), 1;
        getrusage(RUSAGE_SELF, &before);
        double start = now();
        for (size_t i = 0; i < size; i += 4096)
            p[i] = 1;
        double took = now() - start;
        getrusage(RUSAGE_SELF, &after);
        long faults = after.ru_minflt - before.ru_minflt;
        printf("%ld %.1f\n", faults, took / faults);
        munmap(p, size);
    }
    return 0;
}
