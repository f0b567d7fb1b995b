/* Random programs of several tasks: random_tasks SEED STEPS [FILE]. What random_calls does with mappings, and: forks,
   vforks, threads, new programs, signals, pipes that are read into fresh memory, memory of other processes, policies of
   nodes, clear_refs, advice from outside, more memory than there may be. Accesses that are refused are passed over. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef PAGE
#define PAGE 4096L
#endif
#define AREA 1024 /* pages that everything happens in */

static __thread unsigned long long state;
static __thread sigjmp_buf back;
static __thread volatile int guarded;
static char *area, *self;
static int files[4], nr_files, ends[2];
static long sum;

static unsigned below(unsigned limit) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(state >> 33) % limit;
}

static void handler(int sig) {
    char deep[9000];
    for (unsigned i = 0; i < sizeof deep; i += 3000)
        *(volatile char *)(deep + i) = sig;
    if ((sig == SIGSEGV || sig == SIGBUS) && guarded)
        siglongjmp(back, sig);
    if (sig == SIGSEGV || sig == SIGBUS)
        _exit(99);
}

static void touch(char *at, long pages, int write, long stride) {
    for (long i = 0; i < pages; i += stride) {
        guarded = 1;
        if (sigsetjmp(back, 1) == 0) {
            if (write)
                *(volatile char *)(at + i * PAGE) += 1;
            else
                sum += *(volatile char *)(at + i * PAGE);
        }
        guarded = 0;
    }
}

static char *place(long *pages, int most) {
    unsigned first = below(AREA);
    *pages = 1 + below(below(4) ? 12 : most);
    if (first + *pages > AREA)
        *pages = AREA - first;
    return area + first * PAGE;
}

static int prots[] = {PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE, PROT_READ | PROT_EXEC};
static int advices[] = {MADV_DONTNEED, MADV_FREE, MADV_REMOVE, MADV_WILLNEED, 20, 21, 22, 23, MADV_DONTFORK, MADV_DOFORK,
                        18, 19, 102, 103, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_SEQUENTIAL, 25, 12, 13};

static void clear_refs(void) {
    int fd = open("/proc/self/clear_refs", O_WRONLY);
    char digit = '1' + below(4);
    if (fd >= 0) {
        sum += write(fd, &digit, 1);
        close(fd);
    }
}

static void pipes(char *at, long pages) {
    static char block[60000];
    long count = 1 + below(sizeof block);
    if (count > pages * PAGE)
        count = pages * PAGE;
    if (write(ends[1], block, count) == count)
        sum += read(ends[0], at + below(100), count - 100 > 0 ? count - 100 : count);
    while (read(ends[0], block, sizeof block) > 0)
        ;
}

static void nodes(char *at, long pages) {
    unsigned long mask = 1 + below(3);
    void *list[16];
    int wanted[16], status[16];
    switch (below(4)) {
    case 0:
        syscall(SYS_mbind, at, pages * PAGE, 1 + below(4), &mask, 8L, below(4));
        break;
    case 1:
        syscall(SYS_set_mempolicy, below(4), &mask, 8L);
        break;
    case 2: {
        unsigned long other = 3 & ~mask;
        syscall(SYS_migrate_pages, 0, 8L, &mask, &other);
        break;
    }
    case 3:
        for (int i = 0; i < 16; i++)
            list[i] = at + (i % pages) * PAGE, wanted[i] = below(2);
        syscall(SYS_move_pages, 0, 16L, list, below(3) ? wanted : 0, status, 2);
        break;
    }
}

static void step(int depth);

static void *thread(void *seed) {
    state = (unsigned long)seed;
    for (int i = 0; i < 6; i++)
        step(2);
    return 0;
}

static void family(int depth) {
    int status, pid;
    pthread_t threads[3];
    char number[24];
    switch (below(depth == 0 ? 6 : 2)) {
    case 0: case 1:
        pid = fork();
        if (pid == 0) {
            for (int i = below(8); i >= 0; i--)
                step(depth + 1);
            if (below(8) == 0)
                kill(getpid(), SIGKILL);
            _exit(0);
        }
        if (below(3) == 0 && pid > 0) {
            long pages;
            char *at = place(&pages, 64), *to = place(&pages, 64);
            struct iovec mine = {at, pages * PAGE}, his = {to, pages * PAGE};
            if (below(2))
                sum += syscall(SYS_process_vm_readv, pid, &mine, 1L, &his, 1L, 0L);
            else
                sum += syscall(SYS_process_vm_writev, pid, &mine, 1L, &his, 1L, 0L);
        }
        if (pid > 0)
            waitpid(pid, &status, 0);
        break;
    case 2:
        if (vfork() == 0) {
            if (self && below(2))
                execl(self, self, "0", "0", (char *)0);
            _exit(0);
        }
        break;
    case 3:
        if (fork() == 0) {
            snprintf(number, sizeof number, "%u", below(1000));
            execl(self, self, number, "5", (char *)0);
            _exit(1);
        }
        wait(&status);
        break;
    case 4: case 5: {
        int nr = 1 + below(3);
        for (int i = 0; i < nr; i++)
            pthread_create(&threads[i], 0, thread, (void *)(long)(state % 1000000 + i));
        for (int i = 0; i < 8; i++)
            step(2);
        for (int i = 0; i < nr; i++)
            pthread_join(threads[i], 0);
        break;
    }
    }
}

static void step(int depth) {
    long pages, more;
    char *at = place(&pages, 200), *to;
    int fd = files[below(nr_files)], prot = prots[below(5)];
    switch (below(34)) {
    case 0: case 1: case 2:
        mmap(at, pages * PAGE, prot, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | (below(4) ? 0 : MAP_POPULATE), -1, 0);
        break;
    case 3:
        mmap(at, pages * PAGE, prot, MAP_FIXED | MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        break;
    case 4: case 5:
        mmap(at, pages * PAGE, prot, MAP_FIXED | (below(2) ? MAP_SHARED : MAP_PRIVATE), fd, below(64) * PAGE);
        break;
    case 6:
        munmap(at, pages * PAGE);
        break;
    case 7: case 8:
        mprotect(at, pages * PAGE, prot);
        break;
    case 9:
        to = place(&more, 200);
        mremap(at, pages * PAGE, more * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED | (below(3) ? 0 : 4), to);
        break;
    case 10:
        mremap(at, pages * PAGE, (1 + below(pages)) * PAGE, 0);
        break;
    case 11: case 12: case 13:
        madvise(at, pages * PAGE, advices[below(sizeof advices / sizeof *advices)]);
        break;
    case 14:
        below(2) ? mlock(at, pages * PAGE) : munlock(at, pages * PAGE);
        break;
    case 15:
        if (below(5) == 0)
            below(2) ? mlockall(1 + below(3)) : munlockall();
        msync(at, pages * PAGE, below(2) ? MS_SYNC : MS_ASYNC);
        break;
    case 16:
        ftruncate(fd, below(80) * PAGE + below(2) * 100);
        break;
    case 17:
        fallocate(fd, below(2) ? 3 : 0, below(64) * PAGE, (1 + below(16)) * PAGE);
        break;
    case 18: case 19:
        pwrite(fd, area - 4 * PAGE, 1 + below(4 * PAGE), below(80) * PAGE);
        break;
    case 20:
        sum += pread(fd, at, pages * PAGE, below(8) * PAGE);
        break;
    case 21:
        sum += (long)sbrk(((long)below(9) - 3) * 50000);
        break;
    case 22:
        fsync(fd);
        break;
    case 23:
        remap_file_pages(at, pages * PAGE, 0, below(16), 0);
        break;
    case 24:
        clear_refs();
        break;
    case 25:
        pipes(at, pages);
        break;
    case 26: case 27:
        nodes(at, pages);
        break;
    case 28:
        raise(SIGUSR1);
        break;
    case 29:
        posix_fadvise(fd, below(40) * PAGE, below(40) * PAGE, below(6));
        break;
    case 30: {
        struct iovec parts[2] = {{at, pages * PAGE}, {area, PAGE}};
        int pidfd = syscall(434, getpid(), 0);
        syscall(440, pidfd, parts, 2L, (int[]){3, 20, 21, 25}[below(4)], 0L);
        close(pidfd);
        break;
    }
    case 31: case 32: case 33:
        if (depth < 2)
            family(depth);
        break;
    }
    if (below(6) == 0)
        touch(area, AREA, below(2), 1 + below(8));
    for (int i = below(5); i > 0; i--) {
        at = place(&pages, 300);
        touch(at + below(PAGE - 8), pages, below(2), 1);
    }
}

int main(int argc, char **argv) {
    state = strtoull(argv[1], 0, 10) * 77777 + 1;
    self = argv[0];
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGSEGV, &action, 0);
    sigaction(SIGBUS, &action, 0);
    sigaction(SIGUSR1, &action, 0);
    pipe2(ends, O_NONBLOCK);
    files[nr_files++] = memfd_create("random", 0);
    files[nr_files++] = open("/tmp/random", O_RDWR | O_CREAT, 0600);
    if (argc > 3)
        files[nr_files++] = open(argv[3], O_RDWR);
    area = mmap(0, (AREA + 4) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    area += 4 * PAGE;
    for (int i = 0; i < nr_files; i++)
        ftruncate(files[i], 60 * PAGE);
    for (long i = strtol(argv[2], 0, 10); i > 0; i--)
        step(0);
    munlockall();
    return 0;
}
