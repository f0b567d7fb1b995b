/* Random calls of memory management, from a seed: random_calls SEED STEPS [FILE]. With FILE, one of its mappings is of
   that file, which it writes and truncates. Accesses that are refused are counted and passed over. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef PAGE
#define PAGE 4096L
#endif
#define AREA 256 /* pages that everything happens in */

static unsigned long long state;
static char *area;
static int files[3], nr_files;
static int segment;
static long refused, failed, sum;
static sigjmp_buf back;

static unsigned random_below(unsigned limit) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(state >> 33) % limit;
}

static void handler(int sig) { siglongjmp(back, sig); }

static void access_page(char *at, int write) {
    if (sigsetjmp(back, 1)) {
        refused++;
        return;
    }
    if (write)
        *(volatile char *)at = (char)(long)at;
    else
        sum += *(volatile char *)at;
}

static char *place(long *pages) {
    unsigned first = random_below(AREA);
    *pages = 1 + random_below(random_below(4) ? 8 : 64);
    if (first + *pages > AREA)
        *pages = AREA - first;
    return area + first * PAGE;
}

static int prots[] = {PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE, PROT_READ | PROT_EXEC};
static int advices[] = {MADV_DONTNEED, MADV_DONTNEED, MADV_FREE, MADV_REMOVE, MADV_WILLNEED, 20, 22, 23,
                        MADV_DONTFORK, MADV_DOFORK, 18, 19, 102, 103, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_SEQUENTIAL};

static void check(long result) { failed += result == -1; }

static void step(int depth) {
    long pages, more;
    char *at = place(&pages), *to;
    int fd = files[random_below(nr_files)], prot = prots[random_below(5)];
    switch (random_below(26)) {
    case 0: case 1:
        check((long)mmap(at, pages * PAGE, prot, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        break;
    case 2:
        check((long)mmap(at, pages * PAGE, prot, MAP_FIXED | MAP_SHARED | MAP_ANONYMOUS, -1, 0));
        break;
    case 3: case 4:
        check((long)mmap(at, pages * PAGE, prot, MAP_FIXED | (random_below(2) ? MAP_SHARED : MAP_PRIVATE), fd,
                         random_below(32) * PAGE));
        break;
    case 5:
        check((long)mmap(at, pages * PAGE, prot, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0));
        break;
    case 6:
        check(munmap(at, pages * PAGE - random_below(4095)));
        break;
    case 7: case 8:
        check(mprotect(at, pages * PAGE, prot));
        break;
    case 9:
        to = place(&more);
        check((long)mremap(at, pages * PAGE, more * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to));
        break;
    case 10:
        check((long)mremap(at, pages * PAGE, (1 + random_below(pages)) * PAGE, 0));
        break;
    case 11: case 12: case 13:
        check(madvise(at, pages * PAGE, advices[random_below(sizeof advices / sizeof *advices)]));
        break;
    case 14:
        check(random_below(2) ? mlock(at, pages * PAGE) : mlock2(at, pages * PAGE, MLOCK_ONFAULT));
        break;
    case 15:
        check(munlock(at, pages * PAGE));
        break;
    case 16:
        if (random_below(6) == 0)
            check(random_below(2) ? mlockall(1 + random_below(3)) : munlockall());
        else
            check(msync(at, pages * PAGE, random_below(2) ? MS_SYNC : MS_ASYNC));
        break;
    case 17:
        check(ftruncate(fd, random_below(40) * PAGE + random_below(2) * 100));
        break;
    case 18:
        check(fallocate(fd, random_below(2) ? 3 : 0, random_below(32) * PAGE, (1 + random_below(8)) * PAGE));
        break;
    case 19:
        check(pwrite(fd, area - 3 * PAGE, 1 + random_below(3 * PAGE), random_below(40) * PAGE));
        break;
    case 20:
        sum += pread(fd, at, pages * PAGE, random_below(8) * PAGE); /* the kernel's own faults */
        break;
    case 21:
        sum += (long)sbrk(((long)random_below(9) - 4) * 5000);
        break;
    case 22:
        to = shmat(segment, at, SHM_REMAP | (random_below(2) ? SHM_RDONLY : 0));
        check((long)to);
        if (to != (void *)-1 && random_below(2)) {
            access_page(to + PAGE, 0);
            check(shmdt(to));
        }
        break;
    case 23:
        check(remap_file_pages(at, pages * PAGE, 0, random_below(16), 0));
        break;
    case 24:
        check(fsync(fd));
        break;
    case 25:
        if (depth == 0 && random_below(3) == 0) {
            fflush(stdout);
            if (fork() == 0) {
                for (int i = 0; i < 12; i++)
                    step(1);
                _exit(0);
            }
            wait(0);
        }
        break;
    }
    for (int i = random_below(6); i > 0; i--) {
        at = place(&pages);
        access_page(at + random_below(PAGE), random_below(2));
    }
}

int main(int argc, char **argv) {
    state = strtoull(argv[1], 0, 10) * 77777 + 1;
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGSEGV, &action, 0);
    sigaction(SIGBUS, &action, 0);
    files[nr_files++] = memfd_create("random", 0);
    files[nr_files++] = open("/tmp/random", O_RDWR | O_CREAT, 0600);
    if (argc > 3)
        files[nr_files++] = open(argv[3], O_RDWR);
    segment = shmget(IPC_PRIVATE, 20 * PAGE, 0600);
    area = mmap(0, (AREA + 3) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    area += 3 * PAGE;
    for (int i = 0; i < nr_files; i++)
        ftruncate(files[i], 20 * PAGE);
    for (long i = strtol(argv[2], 0, 10); i > 0; i--)
        step(0);
    munlockall();
    shmctl(segment, IPC_RMID, 0);
    printf("refused %ld, failed %ld\n", refused, failed);
    return 0;
}
