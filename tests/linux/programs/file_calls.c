/* read and write where the buffer is the file itself, memfds of huge pages, write-protected and missing buffers.
   usage: file_calls WORKDIR */
#include "calls.h"

static ul sum(ul addr, ul len)
{
	ul hash = 14695981039346656037UL;
	for (ul i = 0; i < len; i++)
		hash = (hash ^ *(vu8 *)(addr + i)) * 1099511628211UL;
	return hash;
}

/* A file of 8 pages, each byte its page's number, mapped at A(0). */
static void numbered(int fd)
{
	SC(SYS_ftruncate, fd, 0);
	SC(SYS_ftruncate, fd, 8 * PAGE);
	MMAP(A(0), 8 * PAGE, RW, MAP_SHARED | FIX, fd, 0);
	for (ul i = 0; i < 8; i++)
		memset((void *)A(i), 'a' + i, PAGE);
}

static void pages(const char *what)
{
	char text[9] = { 0 };
	for (ul i = 0; i < 8; i++)
		text[i] = *(vu8 *)(A(i) + PAGE / 2);
	say("  %s: %s %016lx\n", what, text, sum(A(0), 8 * PAGE));
}

static void overlap(const char *name, int fd)
{
	struct iovec parts[3];
	group(name);
	numbered(fd);
	V(SC(SYS_pread64, fd, A(1), 4 * PAGE, 0));
	pages("a page further on");
	numbered(fd);
	V(SC(SYS_pread64, fd, A(0), 4 * PAGE, PAGE));
	pages("a page back");
	numbered(fd);
	V(SC(SYS_pread64, fd, A(0) + 1000, 5 * PAGE, 10));
	pages("within a page");
	numbered(fd);
	V(SC(SYS_pwrite64, fd, A(0), 4 * PAGE, PAGE));
	pages("written a page further on");
	numbered(fd);
	V(SC(SYS_pwrite64, fd, A(0) + 10, 4 * PAGE, 1000));
	pages("written within a page");
	numbered(fd);
	parts[0].iov_base = (void *)A(1), parts[0].iov_len = 100;
	parts[1].iov_base = (void *)A(2), parts[1].iov_len = 0;
	parts[2].iov_base = (void *)(A(1) + 200), parts[2].iov_len = 2 * PAGE;
	V(SC(SYS_preadv, fd, parts, 3, 0, 0));
	pages("preadv");
	numbered(fd);
	V(SC(SYS_pwritev, fd, parts, 3, 2 * PAGE - 50, 0));
	pages("pwritev");
	/* A buffer that ends: what was copied counts, and moves the position. */
	numbered(fd);
	anon(20, 2, RW);
	MUNMAP(A(22), PAGE);
	V(SC(SYS_lseek, fd, 100, SEEK_SET));
	V(SC(SYS_read, fd, A(21) + 1000, 3 * PAGE));
	V(SC(SYS_lseek, fd, 0, SEEK_CUR));
	V(SC(SYS_read, fd, A(22), 10));
	V(SC(SYS_lseek, fd, 0, SEEK_CUR));
	V(SC(SYS_write, fd, A(21) + 1000, 3 * PAGE));
	V(SC(SYS_lseek, fd, 0, SEEK_CUR));
	V(SC(SYS_write, fd, A(22), 10));
	V(SC(SYS_lseek, fd, 0, SEEK_CUR));
	pages("after them");
	/* The source is touched only as far as it goes. */
	anon(30, 4, RW);
	unsigned char in[4];
	V(SC(SYS_pwrite64, fd, A(30) + 2000, PAGE, 0));
	V(MINCORE(A(30), 4 * PAGE, in));
	say("  resident %d%d%d%d\n", in[0], in[1], in[2], in[3]);
	parts[0].iov_base = (void *)A(33), parts[0].iov_len = 100;
	parts[1].iov_base = (void *)A(40), parts[1].iov_len = 100;
	V(SC(SYS_pwritev, fd, parts, 2, 0, 0));
	V(SC(SYS_pwritev, fd, parts + 1, 2, 0, 0));
	V(SC(SYS_preadv, fd, parts, 2, 0, 0));
	V(SC(SYS_readv, fd, parts, 0));
	V(SC(SYS_writev, fd, parts, 0));
	/* Beyond the end. */
	V(SC(SYS_pwrite64, fd, A(40), 10, 20 * PAGE + 5));
	V(SC(SYS_lseek, fd, 0, SEEK_END));
	V(SC(SYS_pread64, fd, A(40), 10, 30 * PAGE));
	V(SC(SYS_pread64, fd, A(40), 0, 0));
	/* A limit on the size of files. */
	struct rlimit limit = { 3 * PAGE + 100, RLIM_INFINITY };
	numbered(fd);
	signal(SIGXFSZ, SIG_IGN);
	V(SC(SYS_setrlimit, RLIMIT_FSIZE, &limit));
	V(SC(SYS_pwrite64, fd, A(0), 4 * PAGE, 2 * PAGE));
	V(SC(SYS_pwrite64, fd, A(0), 1, 3 * PAGE + 99));
	V(SC(SYS_pwrite64, fd, A(0), 1, 3 * PAGE + 100));
	limit.rlim_cur = RLIM_INFINITY;
	V(SC(SYS_setrlimit, RLIMIT_FSIZE, &limit));
	pages("at the limit");
}

static void half_written(void)
{
	group("a part of a page");
	unsigned char in[8];
	int fd = make_file("parts", 8 * PAGE);
	V(SC(SYS_fsync, fd));
	V(SC(SYS_fadvise64, fd, 0, 0, 4));
	V(SC(SYS_fadvise64, fd, 0, 0, 1));
	MMAP(A(0), 8 * PAGE, PROT_NONE, MAP_SHARED | FIX, fd, 0);
	V(SC(SYS_pwrite64, fd, "x", 1, 3 * PAGE + 7));
	V(SC(SYS_pwrite64, fd, A(100), 10, 5 * PAGE + 7));
	V(MINCORE(A(0), 8 * PAGE, in));
	for (int i = 0; i < 8; i++)
		say(" %d", in[i]);
	say("\n");
	SC(SYS_close, fd);
}

static void huge_memfd(const char *name, unsigned flags)
{
	struct stat st;
	char byte[16] = "hello";
	group(name);
	long fd = SC(SYS_memfd_create, "huge", flags);
	say_result("create", failed(fd) ? fd : 0);
	if (failed(fd))
		return;
	V(SC(SYS_fstat, fd, &st));
	say("  size %ld mode %o blocks %ld block size %ld links %ld\n", st.st_size, st.st_mode, st.st_blocks, st.st_blksize, st.st_nlink);
	V(SC(SYS_write, fd, byte, 5));
	V(SC(SYS_pwrite64, fd, byte, 5, 0));
	V(SC(SYS_pwrite64, fd, byte, 0, 0));
	V(SC(SYS_read, fd, byte, 5));
	V(SC(SYS_ftruncate, fd, 4096));
	V(SC(SYS_ftruncate, fd, 2 * MB + 1));
	V(SC(SYS_ftruncate, fd, 1 * GB));
	V(SC(SYS_fstat, fd, &st));
	say("  size %ld blocks %ld\n", st.st_size, st.st_blocks);
	V(SC(SYS_pread64, fd, byte, 5, 0));
	say("  read %d %d\n", byte[0], byte[4]);
	V(SC(SYS_pread64, fd, byte, 5, GB - 2));
	V(SC(SYS_pread64, fd, byte, 5, GB));
	V(SC(SYS_pread64, fd, A(500), 5, 0));
	V(SC(SYS_lseek, fd, 0, SEEK_END));
	V(SC(SYS_lseek, fd, 0, 3));
	V(SC(SYS_lseek, fd, 0, 4));
	V(MMAP(0, 2 * MB, RW, MAP_SHARED, fd, 0));
	V(MMAP(0, 2 * MB, RW, MAP_PRIVATE, fd, 0));
	V(MMAP(0, 2 * MB, R, MAP_PRIVATE, fd, 0));
	V(MMAP(0, PAGE, RW, MAP_SHARED, fd, 0));
	V(MMAP(0, 2 * MB, RW, MAP_SHARED, fd, PAGE));
	V(MMAP(0, 1 * GB, RW, MAP_SHARED, fd, 0));
	V(MMAP(A(0), 2 * MB, RW, MAP_SHARED | FIX, fd, 0));
	V(MMAP(A(1), 2 * MB, RW, MAP_SHARED | FIX, fd, 0));
	V(MMAP(A(0), 2 * MB, RW, MAP_SHARED | FIX, fd, 3 * GB));
	V(SC(SYS_fallocate, fd, 0, 0, 2 * MB));
	V(SC(SYS_fallocate, fd, 1, 0, 2 * MB));
	V(SC(SYS_fallocate, fd, 3, 0, 2 * MB));
	V(SC(SYS_fallocate, fd, 3, 0, PAGE));
	V(SC(SYS_fallocate, fd, 8, 0, 2 * MB));
	V(SC(SYS_fcntl, fd, 1034));
	V(SC(SYS_fcntl, fd, 1033, 2));
	V(SC(SYS_ftruncate, fd, 0));
	V(SC(SYS_fsync, fd));
	V(SC(SYS_fcntl, fd, F_GETFL));
	char path[64], target[64] = { 0 };
	snprintf(path, sizeof path, "/proc/self/fd/%ld", fd);
	V(SC(SYS_readlink, path, target, 63));
	say("  %s\n", target);
	V(SC(SYS_close, fd));
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	int disk = make_file("disk", 8 * PAGE);
	SC(SYS_fadvise64, disk, 0, 0, 1);
	overlap("memory", SC(SYS_memfd_create, "overlap", 0));
	overlap("disk", disk);
	half_written();
	huge_memfd("MFD_HUGETLB", 4);
	huge_memfd("MFD_HUGETLB, sealing", 4 | 2);
	huge_memfd("MFD_HUGETLB of 2 MB", 4 | 1 | 21U << 26);
	huge_memfd("MFD_HUGETLB of 1 GB", 4 | 30U << 26);
	huge_memfd("MFD_HUGETLB of 64 KB", 4 | 16U << 26);
	quit(0);
}
