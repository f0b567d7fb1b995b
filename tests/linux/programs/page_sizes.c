/* What a program sees of the size of pages: limits, rounding, faults, what /proc says, huge pages, fork, swap's absence.
   Everything is printed in bytes or counts, so that kernels with other pages print other figures. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

static long page;
static char text[1 << 16];

static long faults(void)
{
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

static char *map(size_t size, int flags)
{
	char *at = mmap(0, size, PROT_READ | PROT_WRITE, flags | (flags & MAP_SHARED ? 0 : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED) {
		printf("mmap: %s\n", strerror(errno));
		exit(1);
	}
	return at;
}

static const char *answer(long result)
{
	static char out[100];
	if (result >= 0)
		snprintf(out, sizeof out, "%ld", result);
	else
		snprintf(out, sizeof out, "%s", strerrorname_np(errno));
	return out;
}

/* lines of a file of /proc/self that begin with one of the words; of smaps only those of the mapping at addr */
static void lines(const char *path, const void *addr, const char *const *words)
{
	int fd = open(path, O_RDONLY), n = 0, got;
	while ((got = read(fd, text + n, sizeof text - 1 - n)) > 0)
		n += got;
	close(fd);
	text[n] = 0;
	int wanted = addr == 0;
	for (char *line = strtok(text, "\n"); line; line = strtok(0, "\n")) {
		unsigned long from, to;
		char dash;
		if (addr && sscanf(line, "%lx%c%lx ", &from, &dash, &to) == 3 && dash == '-')
			wanted = from <= (unsigned long)addr && (unsigned long)addr < to;
		for (int i = 0; wanted && words[i]; i++)
			if (!strncmp(line, words[i], strlen(words[i])))
				printf("  %s\n", line);
	}
}

static void smaps(const void *addr)
{
	static const char *const words[] = { "Size:", "KernelPageSize:", "MMUPageSize:", "Rss:", "Pss:", "Shared_Dirty:",
		"Private_Dirty:", "Private_Clean:", "Anonymous:", "AnonHugePages:", "Swap:", "Locked:", "THPeligible:", "VmFlags:", 0 };
	lines("/proc/self/smaps", addr, words);
}

static sigjmp_buf back;
static void *where;
static int code;

static void handler(int number, siginfo_t *info, void *context)
{
	(void)context;
	where = info->si_addr;
	code = info->si_code;
	siglongjmp(back, number);
}

static void poke(const char *what, volatile char *at, volatile char *base)
{
	int number = sigsetjmp(back, 1);
	if (!number) {
		*at = 1;
		printf("%s: stored\n", what);
	} else
		printf("%s: signal %d code %d at +%ld\n", what, number, code, (long)((char *)where - base));
}

static void limits(void)
{
	int ends[2];
	struct stat st;
	struct statfs fs;
	printf("page %ld auxv %lu sysconf %ld\n", page, getauxval(AT_PAGESZ), sysconf(_SC_PAGESIZE));
	if (pipe(ends))
		exit(1);
	printf("pipe %d", fcntl(ends[1], F_GETPIPE_SZ));
	printf(" to 1: %d", fcntl(ends[1], F_SETPIPE_SZ, 1));
	printf(" to 100000: %d\n", fcntl(ends[1], F_SETPIPE_SZ, 100000));
	fcntl(ends[1], F_SETFL, O_NONBLOCK);
	static char block[400000];
	long wrote = write(ends[1], block, sizeof block), small = 0;
	printf("pipe takes %ld\n", wrote);
	while (read(ends[0], block, sizeof block) == sizeof block)
		;
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	while (read(ends[0], block, sizeof block) > 0)
		;
	while (write(ends[1], block, 1000) == 1000)
		small++;
	printf("pipe takes %ld of 1000\n", small);
	fstat(ends[0], &st);
	printf("pipe blksize %ld\n", (long)st.st_blksize);
	int memory = memfd_create("m", 0);
	fstat(memory, &st);
	fstatfs(memory, &fs);
	printf("memfd blksize %ld bsize %ld\n", (long)st.st_blksize, (long)fs.f_bsize);
	if (write(memory, block, 100000) != 100000 || fstat(memory, &st))
		exit(1);
	printf("memfd of 100000 bytes: blocks %ld\n", (long)st.st_blocks);
	printf("fallocate %s", answer(fallocate(memory, 0, 200000, 1)));
	fstat(memory, &st);
	printf(" blocks %ld size %ld\n", (long)st.st_blocks, (long)st.st_size);
	printf("hole %ld data %ld\n", (long)lseek(memory, 0, SEEK_HOLE), (long)lseek(memory, 150000, SEEK_DATA));
	printf("punch %s", answer(fallocate(memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5000, 60000)));
	fstat(memory, &st);
	printf(" blocks %ld hole %ld data %ld\n", (long)st.st_blocks, (long)lseek(memory, 0, SEEK_HOLE), (long)lseek(memory, 6000, SEEK_DATA));
	close(memory);
	int pair[2];
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair);
	for (int size = 1; size <= 100000; size *= 10) {
		long count = 0, sum = 0, got;
		while ((got = write(pair[0], block, size)) > 0)
			count++, sum += got;
		printf("socket takes %ld of %d: %ld\n", count, size, sum);
		while (read(pair[1], block, sizeof block) > 0)
			;
	}
	int id = shmget(IPC_PRIVATE, 5000, 0600);
	char *at = shmat(id, 0, 0);
	printf("shmat aligned to its page %d; odd %s", (uintptr_t)at % page == 0, answer((long)shmat(id, at + 4096 * 3 + 8, 0) < 0 ? -1 : 0));
	printf("; rounded %d\n", shmat(id, at + (8 << 20) + 4097, SHM_RND) == at + (8 << 20) + 4097 / page * page);
	shmctl(id, IPC_RMID, 0);
}

static void rounding(void)
{
	char *at = map(16 * page, 0);
	int fd = memfd_create("r", 0);
	if (ftruncate(fd, 20 * page))
		exit(1);
	for (long offset = 4096; offset <= 65536; offset *= 2) {
		void *found = mmap(0, 4096, PROT_READ, MAP_SHARED, fd, offset);
		printf("offset %ld: %s", offset, answer(found == MAP_FAILED ? -1 : 0));
		printf(" fixed %s", answer(mmap(at + offset, 1, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED ? -1 : 0));
		printf(" mprotect %s", answer(mprotect(at + offset, 1, PROT_READ)));
		printf(" munmap %s", answer(munmap(at + offset, 1)));
		printf(" madvise %s", answer(madvise(at + offset, 1, MADV_NORMAL)));
		printf(" mlock %s", answer(mlock(at + offset, 1)));
		printf(" msync %s", answer(msync(at + offset, 1, MS_SYNC)));
		unsigned char in = 9;
		printf(" mincore %s %d\n", answer(mincore(at + offset, 1, &in)), in);
	}
	printf("length 0 %s", answer(mmap(0, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0));
	char *odd = map(3 * page + 1, 0);
	printf(" of 3 pages and a byte: last %s", answer(mprotect(odd + 3 * page, page, PROT_READ)));
	printf(" grown %d\n", mremap(odd, 3 * page + 1, 6 * page - 5, MREMAP_MAYMOVE) != MAP_FAILED);
	char *brk0 = sbrk(0);
	sbrk(1);
	poke("brk: the last byte of its page", (char *)(((uintptr_t)brk0 + page) & -page) - 1, brk0);
	close(fd);
}

static void counts(void)
{
	long before;
	char *at = map(64 * page, 0);
	madvise(at, 64 * page, MADV_NOHUGEPAGE);
	before = faults();
	for (long i = 0; i < 64; i++)
		at[i * page] = 1;
	printf("first stores to 64 pages: %ld\n", faults() - before);
	before = faults();
	for (long i = 0; i < 64 * page; i += 4096)
		at[i] = 2;
	printf("stores each 4096: %ld\n", faults() - before);
	smaps(at);
	madvise(at + 8 * page, 16 * page, MADV_DONTNEED);
	before = faults();
	long sum = 0;
	for (long i = 0; i < 64 * page; i += 4096)
		sum += at[i];
	printf("reads after MADV_DONTNEED of 16 pages: %ld sum %ld\n", faults() - before, sum * 4096 / page);
	smaps(at);
	before = faults();
	for (long i = 8; i < 24; i++)
		at[i * page] = 3;
	printf("stores to zero pages: %ld\n", faults() - before);
	before = faults();
	char *populated = map(32 * page, MAP_POPULATE);
	printf("populated: %ld", faults() - before);
	before = faults();
	for (long i = 0; i < 32; i++)
		populated[i * page] = 1;
	printf(" then %ld\n", faults() - before);
	char *advised = map(32 * page, 0);
	madvise(advised, 32 * page, MADV_NOHUGEPAGE);
	before = faults();
	printf("populate write %s", answer(madvise(advised, 32 * page, MADV_POPULATE_WRITE)));
	printf(" faults %ld\n", faults() - before);
	printf("free %s\n", answer(madvise(advised, 16 * page, MADV_FREE)));
	smaps(advised);
	int fd = memfd_create("c", 0);
	if (ftruncate(fd, 64 * page))
		exit(1);
	char *shared = mmap(0, 64 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	before = faults();
	for (long i = 0; i < 64; i++)
		shared[i * page] = 1;
	printf("stores to a memfd: %ld\n", faults() - before);
	char *private = mmap(0, 64 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	before = faults();
	for (long i = 0; i < 64; i++)
		sum += ((volatile char *)private)[i * page];
	printf("reads of it, private (fault-around): %ld\n", faults() - before);
	before = faults();
	for (long i = 0; i < 10; i++)
		private[i * page] = 1;
	printf("copies: %ld\n", faults() - before);
	smaps(private);
	poke("beyond the file", mmap(0, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 64 * page), shared);
	close(fd);
}

static void families(void)
{
	char *at = map(40 * page, 0), *both = map(20 * page, MAP_SHARED);
	madvise(at, 40 * page, MADV_NOHUGEPAGE);
	memset(at, 1, 40 * page);
	memset(both, 1, 20 * page);
	fflush(stdout);
	int pid = fork();
	if (!pid) {
		faults(); /* copies the stack */
		long before = faults();
		for (long i = 0; i < 10; i++)
			at[i * page + 5] = 2;
		printf("child copies 10: %ld\n", faults() - before);
		before = faults();
		for (long i = 0; i < 20; i++)
			both[i * page] = 2;
		printf("child, shared memory: %ld\n", faults() - before);
		smaps(at);
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid, 0, 0);
	long before = faults();
	for (long i = 0; i < 40; i++)
		at[i * page] = 3;
	printf("parent reuses 40: %ld\n", faults() - before);
	printf("at %d %d, shared %d\n", at[5], at[0], both[0]);
	smaps(both);
}

static void stack(void)
{
	struct rlimit limit;
	getrlimit(RLIMIT_STACK, &limit);
	char *here = (char *)__builtin_frame_address(0);
	char *top = here - (2 << 20);
	fflush(stdout);
	if (!fork()) {
		long before = faults();
		for (char *at = here; at > top; at -= page)
			*(volatile char *)at = 0;
		printf("stack of 2 MiB more: %d\n", (faults() - before + 4) * page >= 2 << 20);
		/* a mapping below: the gap */
		char *low = (char *)((uintptr_t)(here - (4 << 20)) & -65536L);
		if (mmap(low, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
			printf("no room: %s\n", strerror(errno));
		poke("two pages above it", low + 2 * page, low);
		poke("1 MiB above it", low + (1 << 20), low);
		poke("3 MiB above it", low + (3 << 20), low);
		fflush(stdout);
		_exit(0);
	}
	wait(0);
}

/* where huge pages would lie; none is touched, and there is none in the pools */
static void huge(void)
{
	for (int shift = 15; shift < 36; shift++) {
		void *at = mmap(0, 1, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (int)((unsigned)shift << 26), -1, 0);
		if (errno != EINVAL)
			printf("pages of 2**%d: %s\n", shift, answer(at == MAP_FAILED ? -1 : 0));
		int memory = memfd_create("h", MFD_HUGETLB | (unsigned)shift << 26);
		if (memory >= 0)
			printf("memfd of 2**%d\n", shift), close(memory);
	}
	char unit[40] = "";
	int fd = open("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", O_RDONLY);
	if (read(fd, unit, sizeof unit - 1) <= 0)
		printf("no hpage_pmd_size\n");
	close(fd);
	long size = atol(unit);
	printf("huge page %ld\n", size);
	map(page, 0);
	char *at = map(3 * size, 0);
	printf("aligned by itself %d, MADV_HUGEPAGE %s\n", ((uintptr_t)at & (size - 1)) == 0, answer(madvise(at, 2 * size, MADV_HUGEPAGE)));
	smaps(at);
	at = map(3 * size - page, 0);
	printf("a page less: aligned by itself %d\n", ((uintptr_t)at & (size - 1)) == 0);
	madvise(at, size - page, MADV_HUGEPAGE);
	smaps(at);
}

/* the longest argument of a program */
static void arguments(void)
{
	for (int more = 0; more < 2; more++) {
		char *string = malloc(32 * page + 1);
		memset(string, 'x', 32 * page);
		string[32 * page - 1 + more] = 0;
		char *argv[] = { "page_sizes", string, 0 };
		fflush(stdout);
		if (!fork()) {
			execv("/proc/self/exe", argv);
			printf("argument of %zu: %s\n", strlen(string), strerror(errno));
			fflush(stdout);
			_exit(0);
		}
		wait(0);
		free(string);
	}
}

int main(int argc, char **argv)
{
	if (argc > 1) {
		printf("argument of %zu taken\n", strlen(argv[1]));
		return 0;
	}
	static char alternate[65536];
	stack_t other = { .ss_sp = alternate, .ss_size = sizeof alternate };
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	static const char *const status[] = { "VmStk", "VmPTE", "VmLib", 0 };
	page = getpagesize();
	setvbuf(stdout, 0, _IOFBF, 1 << 16);
	sigaltstack(&other, 0);
	sigaction(SIGSEGV, &action, 0);
	sigaction(SIGBUS, &action, 0);
	limits();
	fflush(stdout);
	rounding();
	fflush(stdout);
	counts();
	fflush(stdout);
	families();
	stack();
	huge();
	arguments();
	lines("/proc/self/status", 0, status);
	char *bad = map(2 * page, 0);
	mprotect(bad + page, page, PROT_NONE);
	poke("a guard", bad + page + 4099 % page, bad);
	return 0;
}
