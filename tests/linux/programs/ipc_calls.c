/* memfd_create and seals, System V shared memory, remap_file_pages. usage: ipc_calls WORKDIR */
#include "calls.h"
#define COUNT(x) (sizeof(x) / sizeof *(x))
#define F_ADD 1033
#define F_GET 1034

static long keep(long fd)
{
	say_result("  got", failed(fd) ? fd : 0);
	if (!failed(fd))
		SC(SYS_close, fd);
	return failed(fd) ? fd : 0;
}

static void memfds(void)
{
	group("memfd_create");
	static char name[300];
	for (unsigned flags = 0; flags < 64; flags++) {
		if (flags & 4)
			continue; /* MFD_HUGETLB below */
		say("flags %u", flags);
		keep(SC(SYS_memfd_create, "x", flags));
	}
	say("hugetlb 64 KB"), keep(SC(SYS_memfd_create, "x", 4 | 16U << 26));
	say("size without hugetlb"), keep(SC(SYS_memfd_create, "x", 21U << 26));
	say("bad pointer"), keep(SC(SYS_memfd_create, 0, 0));
	say("bad pointer"), keep(SC(SYS_memfd_create, -PAGE, 0));
	say("empty"), keep(SC(SYS_memfd_create, "", 0));
	int lengths[] = { 1, 100, 247, 248, 249, 250, 251, 255, 256, 299 };
	for (unsigned i = 0; i < COUNT(lengths); i++) {
		memset(name, 'n', sizeof name);
		name[lengths[i]] = 0;
		say("name of %d", lengths[i]);
		keep(SC(SYS_memfd_create, name, 0));
	}
	int fd = SC(SYS_memfd_create, "a name with spaces", 0);
	V(SC(SYS_ftruncate, fd, 3 * PAGE));
	V(MMAP(A(0), 3 * PAGE, RW, MAP_SHARED | FIX, fd, 0));
	V(MMAP(A(10), 3 * PAGE, RW, MAP_PRIVATE | FIX, fd, 0));
	maps();
	V(SC(SYS_pwrite64, fd, "hello", 5, PAGE));
	say("shared %s private %s\n", (char *)A(1), (char *)A(11));
	*(vu8 *)A(11) = 'j';
	*(vu8 *)(A(1) + 1) = 'u';
	say("shared %s private %s\n", (char *)A(1), (char *)A(11));
	struct stat st;
	V(SC(SYS_fstat, fd, &st));
	say("size %ld mode %o blocks %ld links %ld\n", st.st_size, st.st_mode, st.st_blocks, st.st_nlink);
	V(SC(SYS_lseek, fd, 0, 3));
	V(SC(SYS_lseek, fd, 0, 4));
	V(SC(SYS_lseek, fd, PAGE, 4));
	V(SC(SYS_fallocate, fd, 0, 0, 2 * PAGE));
	V(SC(SYS_fstat, fd, &st));
	say("size %ld blocks %ld\n", st.st_size, st.st_blocks);
	V(SC(SYS_fallocate, fd, 3, PAGE, PAGE));
	say("byte %d\n", *(vu8 *)A(1));
	say("private byte %d\n", *(vu8 *)A(11));
	V(SC(SYS_fallocate, fd, 0, 2 * PAGE, 4 * PAGE));
	V(SC(SYS_fallocate, fd, 1, 0, 100 * PAGE));
	V(SC(SYS_fallocate, fd, 2, 0, PAGE));
	V(SC(SYS_fallocate, fd, 8, 0, PAGE));
	V(SC(SYS_fallocate, fd, 0x10, 0, PAGE));
	V(SC(SYS_fallocate, fd, 0, 0, 0));
	V(SC(SYS_fallocate, fd, 0, -1, 1));
	V(SC(SYS_fstat, fd, &st));
	say("size %ld blocks %ld\n", st.st_size, st.st_blocks);
	V(SC(SYS_ftruncate, fd, PAGE + 10));
	V(SC(SYS_ftruncate, fd, -1));
	PROBE(A(1) + 100);
	PROBE(A(2));
	V(SC(SYS_ftruncate, fd, 3 * PAGE));
	say("byte %d %d\n", *(vu8 *)(A(1) + 100), *(vu8 *)A(2));
	V(SC(SYS_close, fd));
	PROBE(A(0));
	maps();
}

static void seals(void)
{
	group("seals");
	int plain = SC(SYS_memfd_create, "plain", 0);
	V(SC(SYS_fcntl, plain, F_GET));
	V(SC(SYS_fcntl, plain, F_ADD, 2));
	V(SC(SYS_fcntl, fd_rw, F_GET));
	V(SC(SYS_fcntl, fd_rw, F_ADD, 2));
	int fd = SC(SYS_memfd_create, "sealed", MFD_ALLOW_SEALING);
	V(SC(SYS_fcntl, fd, F_GET));
	V(SC(SYS_ftruncate, fd, 4 * PAGE));
	V(SC(SYS_fcntl, fd, F_ADD, 0));
	V(SC(SYS_fcntl, fd, F_ADD, 0x40));
	V(SC(SYS_fcntl, fd, F_ADD, -1));
	V(SC(SYS_fcntl, fd, F_ADD, F_SEAL_SHRINK));
	V(SC(SYS_ftruncate, fd, 2 * PAGE));
	V(SC(SYS_ftruncate, fd, 5 * PAGE));
	V(SC(SYS_fcntl, fd, F_ADD, F_SEAL_GROW));
	V(SC(SYS_ftruncate, fd, 6 * PAGE));
	V(SC(SYS_pwrite64, fd, "abc", 3, 5 * PAGE - 1));
	V(SC(SYS_pwrite64, fd, "abc", 3, 5 * PAGE));
	V(SC(SYS_fallocate, fd, 0, 0, 7 * PAGE));
	V(MMAP(A(0), 4 * PAGE, RW, MAP_SHARED | FIX, fd, 0));
	V(SC(SYS_fcntl, fd, F_ADD, F_SEAL_WRITE));
	V(MPROTECT(A(0), 4 * PAGE, R));
	V(SC(SYS_fcntl, fd, F_ADD, F_SEAL_WRITE));
	V(MUNMAP(A(0), 4 * PAGE));
	V(SC(SYS_fcntl, fd, F_ADD, F_SEAL_FUTURE_WRITE));
	V(MMAP(A(0), 4 * PAGE, RW, MAP_SHARED | FIX, fd, 0));
	V(MMAP(A(0), 4 * PAGE, R, MAP_SHARED | FIX, fd, 0));
	V(MPROTECT(A(0), PAGE, RW));
	V(SC(SYS_pwrite64, fd, "x", 1, 0));
	V(SC(SYS_fcntl, fd, F_ADD, F_SEAL_WRITE));
	V(SC(SYS_fcntl, fd, F_GET));
	V(MMAP(A(10), 4 * PAGE, RW, MAP_PRIVATE | FIX, fd, 0));
	PROBE(A(10));
	V(MMAP(A(20), 4 * PAGE, RW, MAP_SHARED | FIX, fd, 0));
	V(MMAP(A(20), 4 * PAGE, R | X, MAP_SHARED | FIX, fd, 0));
	V(SC(SYS_fallocate, fd, 3, 0, PAGE));
	V(MADVISE(A(0), PAGE, MADV_REMOVE));
	V(SC(SYS_fcntl, fd, F_ADD, F_SEAL_SEAL));
	V(SC(SYS_fcntl, fd, F_ADD, F_SEAL_SEAL));
	V(SC(SYS_fcntl, fd, F_GET));
	maps();
	int exec = SC(SYS_memfd_create, "noexec", 8);
	V(SC(SYS_fcntl, exec, F_GET));
	V(SC(SYS_fchmod, exec, 0755));
	int ok = SC(SYS_memfd_create, "exec", 16 | MFD_ALLOW_SEALING);
	V(SC(SYS_fcntl, ok, F_GET));
	V(SC(SYS_fcntl, ok, F_ADD, 0x20));
	V(SC(SYS_fchmod, ok, 0600));
	V(SC(SYS_fcntl, ok, F_GET));
}

static void shm(void)
{
	group("shmget");
	static long id[16];
	static struct shmid_ds ds;
#define GET(...) say(#__VA_ARGS__), say_result("", failed(id[0] = SC(SYS_shmget, __VA_ARGS__)) ? id[0] : 0)
	GET(IPC_PRIVATE, 0, IPC_CREAT | 0600);
	GET(IPC_PRIVATE, -1, IPC_CREAT | 0600);
	GET(IPC_PRIVATE, 1UL << 63, IPC_CREAT | 0600);
	GET(IPC_PRIVATE, 1UL << 50, IPC_CREAT | 0600);
	GET(IPC_PRIVATE, 1, 0600 | 04000 /* SHM_HUGETLB */);
	GET(0x7057a61e, PAGE, 0600);
	GET(0x7057a61e, 3 * PAGE, IPC_CREAT | 0600);
	long first = id[0];
	GET(0x7057a61e, 3 * PAGE, IPC_CREAT | IPC_EXCL | 0600);
	GET(0x7057a61e, 4 * PAGE, 0600);
	GET(0x7057a61e, 0, 0600);
	GET(0x7057a61e, PAGE, 0600);
	say("the same: %d\n", id[0] == first);
	group("shmat");
	V(SC(SYS_shmat, first, A(0), 0));
	V(SC(SYS_shmat, first, A(0), 0));
	V(SC(SYS_shmat, first, A(0), SHM_REMAP));
	V(SC(SYS_shmat, first, A(10) + 5, 0));
	V(SC(SYS_shmat, first, A(10) + 5, SHM_RND));
	V(SC(SYS_shmat, first, A(20), SHM_RDONLY));
	V(SC(SYS_shmat, first, A(30), SHM_EXEC));
	V(SC(SYS_shmat, first, 0, SHM_REMAP));
	V(SC(SYS_shmat, first, 5, SHM_RND | SHM_REMAP));
	long free_choice = SC(SYS_shmat, first, 0, 0);
	say_result("where the kernel wants", free_choice);
	V(SC(SYS_shmat, first, A(2), 0));
	V(SC(SYS_shmat, first, TASK_SIZE - PAGE, 0));
	V(SC(SYS_shmat, first, TASK_SIZE, 0));
	V(SC(SYS_shmat, first, -PAGE, 0));
	V(SC(SYS_shmat, first, 1UL << 48, 0));
	V(SC(SYS_shmat, -1, 0, 0));
	V(SC(SYS_shmat, 1 << 30, 0, 0));
	*(vu8 *)(A(0) + 7) = 33;
	say("bytes %d %d %d\n", *(vu8 *)(A(10) + 7), *(vu8 *)(A(20) + 7), *(vu8 *)(free_choice + 7));
	PROBE(A(0));
	PROBE(A(20));
	PROBE(A(3));
	read_whole("/proc/self/maps", maps_text, sizeof maps_text);
	int lines = 0;
	for (char *at = maps_text; (at = strstr(at, "/SYSV7057a61e (deleted)")); at++)
		lines++;
	say("mappings named after the key: %d\n", lines);
	V(SC(SYS_shmctl, first, IPC_STAT, &ds));
	say("size %ld attached %ld mode %o key %x uid %d\n", ds.shm_segsz, (long)ds.shm_nattch, ds.shm_perm.mode & 07777,
	    ds.shm_perm.__key, ds.shm_perm.uid);
	group("shmdt");
	V(SC(SYS_shmat, first, A(0), 0));
	V(SC(SYS_shmdt, A(0) + 1));
	V(SC(SYS_shmdt, A(1)));
	V(SC(SYS_shmdt, A(0)));
	V(SC(SYS_shmdt, A(0)));
	V(SC(SYS_shmdt, 0));
	V(SC(SYS_shmdt, -1));
	V(SC(SYS_shmdt, free_choice));
	V(SC(SYS_shmat, first, A(0), 0));
	V(MUNMAP(A(1), PAGE));
	V(SC(SYS_shmctl, first, IPC_STAT, &ds));
	say("attached %ld\n", (long)ds.shm_nattch);
	V(SC(SYS_shmdt, A(0)));
	V(SC(SYS_shmctl, first, IPC_STAT, &ds));
	say("attached %ld\n", (long)ds.shm_nattch);
	V(SC(SYS_shmat, first, A(40), 0));
	V(MPROTECT(A(41), PAGE, R));
	V(MREMAP(A(40), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(50)));
	V(SC(SYS_shmctl, first, IPC_STAT, &ds));
	say("attached %ld\n", (long)ds.shm_nattch);
	V(SC(SYS_shmdt, A(41)));
	V(SC(SYS_shmdt, A(50)));
	V(SC(SYS_shmctl, first, IPC_STAT, &ds));
	say("attached %ld\n", (long)ds.shm_nattch);
	group("shmctl");
	V(SC(SYS_shmat, first, A(0), 0));
	V(SC(SYS_shmctl, first, 99, 0));
	V(SC(SYS_shmctl, -1, IPC_STAT, &ds));
	V(SC(SYS_shmctl, 1 << 30, IPC_STAT, &ds));
	V(SC(SYS_shmctl, first, IPC_STAT, 0));
	V(SC(SYS_shmctl, first, IPC_STAT, A(900)));
	ds.shm_perm.mode = 0400;
	V(SC(SYS_shmctl, first, IPC_SET, &ds));
	V(SC(SYS_shmctl, first, IPC_STAT, &ds));
	say("mode %o\n", ds.shm_perm.mode & 07777);
	V(SC(SYS_shmctl, first, 11 /* SHM_LOCK */, 0));
	V(SC(SYS_shmctl, first, IPC_STAT, &ds));
	say("mode %o\n", ds.shm_perm.mode);
	V(SC(SYS_shmctl, first, 12 /* SHM_UNLOCK */, 0));
	V(SC(SYS_shmctl, first, IPC_RMID, 0));
	V(SC(SYS_shmctl, first, IPC_STAT, &ds));
	say("mode %o key %x attached %ld\n", ds.shm_perm.mode, ds.shm_perm.__key, (long)ds.shm_nattch);
	PROBE(A(0));
	GET(0x7057a61e, PAGE, 0600);
	V(SC(SYS_shmat, first, A(60), 0));
	V(SC(SYS_shmctl, first, IPC_RMID, 0));
	V(SC(SYS_shmdt, A(60)));
	V(SC(SYS_shmdt, A(0)));
	V(SC(SYS_shmctl, first, IPC_STAT, &ds));
	V(SC(SYS_shmctl, first, IPC_RMID, 0));
	GET(IPC_PRIVATE, 100, 0600);
	V(SC(SYS_shmat, id[0], A(0), 0));
	V(SC(SYS_shmctl, id[0], IPC_RMID, 0));
	V(SC(SYS_shmctl, id[0], IPC_STAT, &ds));
	say("size %ld\n", ds.shm_segsz);
	V(MUNMAP(A(0), PAGE));
	V(SC(SYS_shmctl, id[0], IPC_STAT, &ds));
}

static void remap_pages(void)
{
	group("remap_file_pages");
	V(MMAP(A(0), 8 * PAGE, RW, MAP_SHARED | FIX, fd_rw, 0));
	V(MMAP(A(20), 8 * PAGE, RW, MAP_PRIVATE | FIX, fd_rw, 0));
	V(MMAP(A(40), 8 * PAGE, RW, SHANON | FIX, -1, 0));
	anon(60, 8, RW);
	for (int i = 0; i < 8; i++)
		*(vu8 *)A(40 + i) = i + 1;
#define RFP(a, size, prot, off, flags) V(SC(SYS_remap_file_pages, a, size, prot, off, flags))
	RFP(A(0), PAGE, 0, 3, 0);
	RFP(A(2), 2 * PAGE, 0, 5, 0);
	maps();
	say("bytes %d %d %d\n", *(vu8 *)(A(0) + 1), *(vu8 *)(A(2) + 1), *(vu8 *)(A(3) + 1));
	RFP(A(0), PAGE, 0, 0, 0);
	RFP(A(0), PAGE, R, 3, 0);
	RFP(A(0), PAGE, 0, 3, MAP_NONBLOCK);
	RFP(A(0), PAGE, 0, 3, -1);
	RFP(A(0), 0, 0, 3, 0);
	RFP(A(0) + 5, PAGE + 5, 0, 4, 0);
	RFP(A(0), -PAGE, 0, 4, 0);
	RFP(A(0), -1, 0, 4, 0);
	RFP(A(0), PAGE, 0, 1UL << 63, 0);
	RFP(A(0), PAGE, 0, -1, 0);
	RFP(A(0), PAGE, 0, 1000, 0);
	RFP(A(20), PAGE, 0, 3, 0);
	RFP(A(60), PAGE, 0, 3, 0);
	RFP(A(900), PAGE, 0, 3, 0);
	RFP(A(7), 2 * PAGE, 0, 3, 0);
	RFP(A(40), 3 * PAGE, 0, 4, 0);
	say("bytes %d %d %d\n", *(vu8 *)A(40), *(vu8 *)A(41), *(vu8 *)A(42));
	maps();
	V(MMAP(A(80), 8 * PAGE, RW, MAP_SHARED | FIX | MAP_LOCKED, fd_rw, 0));
	RFP(A(81), PAGE, 0, 3, 0);
	V(MMAP(A(100), 8 * PAGE, R, MAP_SHARED | FIX, fd_ro, 0));
	RFP(A(101), PAGE, 0, 3, 0);
	maps();
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	memfds();
	seals();
	shm();
	remap_pages();
	quit(0);
}
