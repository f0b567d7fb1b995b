/* Memory protection keys on a CPU that has them: the calls, the accesses, execute-only memory, who inherits what, and
 * what a signal's frame holds. Prints one line for each question; no line depends on where things lie. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE 4096L
#define R PROT_READ
#define W PROT_WRITE
#define X PROT_EXEC
#define RW (R | W)

static unsigned rdpkru(void)
{
	unsigned low, high;
	asm volatile(".byte 0x0f,0x01,0xee" : "=a"(low), "=d"(high) : "c"(0));
	return low;
}

static void wrpkru(unsigned value)
{
	asm volatile(".byte 0x0f,0x01,0xef" : : "a"(value), "c"(0), "d"(0) : "memory");
}

static void rights(int key, unsigned bits)
{
	wrpkru((rdpkru() & ~(3u << 2 * key)) | bits << 2 * key);
}

static long call(long number, long a, long b, long c, long d)
{
	long done = syscall(number, a, b, c, d);
	return done == -1 ? -errno : done;
}

#define ALLOC(flags, bits) call(SYS_pkey_alloc, flags, bits, 0, 0)
#define FREE(key) call(SYS_pkey_free, key, 0, 0, 0)
#define KEYED(at, len, prot, key) call(SYS_pkey_mprotect, (long)(at), len, prot, key)
#define PROTECT(at, len, prot) call(SYS_mprotect, (long)(at), len, prot, 0)
#define SAY(...) (printf(__VA_ARGS__), fflush(stdout))

/* What, then the answers of calls that are made in the order in which they stand. */
#define BEGIN(what) SAY("%s:", what)
#define N(value) SAY(" %ld", (long)(value))
#define P() SAY(" pkru %#x", rdpkru())
#define END() SAY("\n")

static char *map(long pages, int prot)
{
	return mmap(0, pages * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* The keys and rights of the mappings that lie in [at, at + pages), from smaps. */
static void show(const char *what, char *at, long pages)
{
	char line[512], perms[8];
	unsigned long first, last, start = 0, end = 0, key;
	int inside = 0;
	FILE *smaps = fopen("/proc/self/smaps", "r");
	printf("%s:", what);
	while (smaps && fgets(line, sizeof line, smaps)) {
		if (sscanf(line, "%lx-%lx %7s", &first, &last, perms) == 3) {
			start = first < (unsigned long)at ? (unsigned long)at : first;
			end = last > (unsigned long)at + pages * PAGE ? (unsigned long)at + pages * PAGE : last;
			inside = start < end;
		} else if (inside && sscanf(line, "ProtectionKey: %lu", &key) == 1)
			printf(" [%lu pages %s key %lu]", (end - start) / PAGE, perms, key);
		else if (inside && !strncmp(line, "ProtectionKey", 13))
			printf(" ?%s", line);
	}
	if (smaps)
		fclose(smaps);
	SAY("\n");
}

static sigjmp_buf back;
static volatile int seen_code, seen_key, seen_sig;
static volatile unsigned long seen_error, seen_trap;
static volatile unsigned seen_pkru;
static char *volatile seen_addr;

static void on_signal(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	seen_pkru = rdpkru();
	seen_sig = sig;
	seen_code = info->si_code;
	seen_key = info->si_code == 4 ? (int)info->si_pkey : -1;
	seen_addr = info->si_addr;
	seen_error = uc->uc_mcontext.gregs[REG_ERR];
	seen_trap = uc->uc_mcontext.gregs[REG_TRAPNO];
	siglongjmp(back, 1);
}

static void handle(int sig, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = { .sa_flags = SA_SIGINFO | flags };
	action.sa_sigaction = handler;
	sigaction(sig, &action, 0);
}

static char last(char *at)
{
	return *(volatile char *)at;
}

/* One access: r, w, a (an atomic one) or x, where the code may be zeros, which add to themselves. (Whether a load that
 * belongs to a store counts as one is not asked.) siglongjmp leaves PKRU as the handler found it, so it is put back. */
static void touch(const char *what, char *at, char kind)
{
	unsigned long known = kind == 'r' || kind == 'w' ? ~0 : ~2;
	unsigned before = rdpkru();
	seen_sig = 0;
	if (!sigsetjmp(back, 1)) {
		if (kind == 'r')
			last(at);
		else if (kind == 'w')
			*(volatile char *)at = (char)0xc3;
		else if (kind == 'a')
			asm volatile("lock addl $0, (%0)" : : "r"(at) : "memory");
		else
			asm volatile("call *%0" : : "a"(at) : "memory");
		wrpkru(before);
		SAY("%s %c: fine\n", what, kind);
		return;
	}
	wrpkru(before);
	SAY("%s %c: signal %d code %d key %d error %#lx trap %ld pkru %#x %s\n", what, kind, seen_sig, seen_code, seen_key,
	    seen_error & known, seen_trap, seen_pkru, seen_addr == at ? "there" : "elsewhere");
}

static void all(const char *what, char *at)
{
	touch(what, at, 'r');
	touch(what, at, 'w');
	touch(what, at, 'x');
}

static void allocation(void)
{
	long key, count = 0;
	BEGIN("at first"), P(), END();
	BEGIN("flags"), N(ALLOC(1, 0)), N(ALLOC(1, 9)), END();
	BEGIN("rights"), N(ALLOC(0, 4)), N(ALLOC(0, -1)), END();
	BEGIN("free early"), N(FREE(1)), N(FREE(-1)), N(FREE(16)), N(FREE(15)), END();
	for (int bits = 0; bits < 4; bits++)
		BEGIN("alloc"), N(bits), N(ALLOC(0, bits)), P(), END();
	BEGIN("free"), N(FREE(2)), N(FREE(2)), P(), END();
	BEGIN("again"), N(ALLOC(0, 3)), P(), END();
	while ((key = ALLOC(0, 1)) > 0)
		count++;
	BEGIN("more"), N(count), N(key), P(), END();
	BEGIN("bad rights when full"), N(ALLOC(0, 8)), N(ALLOC(2, 0)), END();
	BEGIN("free nought"), N(FREE(0)), N(FREE(0)), END();
	BEGIN("alloc nought"), N(ALLOC(0, 0)), P(), END();
	for (int at = 1; at < 16; at++)
		FREE(at);
	wrpkru(0x55555554);
}

static void protection(void)
{
	char *a = map(8, RW);
	long key = ALLOC(0, 0), other = ALLOC(0, 0);
	BEGIN("keys"), N(key), N(other), END();
	BEGIN("unknown"), N(KEYED(a, PAGE, RW, 9)), N(KEYED(a, PAGE, RW, 16)), N(KEYED(a, PAGE, RW, -2));
	N(KEYED(a, PAGE, RW, 0x7fffffff)), N(KEYED(a, PAGE, RW, 15)), END();
	BEGIN("unaligned"), N(KEYED(a + 1, PAGE, RW, key)), END();
	BEGIN("nothing"), N(KEYED(a, 0, RW, 9)), N(KEYED(a, 0, RW, key)), END();
	BEGIN("bits"), N(KEYED(a, PAGE, 64, 9)), N(KEYED(a, PAGE, 64, key)), END();
	BEGIN("wraps"), N(KEYED(a, -1, RW, 9)), N(KEYED(a, -PAGE, RW, key)), END();
	BEGIN("grows"), N(KEYED(a, PAGE, RW | PROT_GROWSDOWN, key)), END();
	BEGIN("one"), N(KEYED(a + PAGE, PAGE, RW, key)), END();
	show("one", a, 8);
	BEGIN("two"), N(KEYED(a + 2 * PAGE, 2 * PAGE, RW, key)), END();
	show("two", a, 8);
	BEGIN("other"), N(KEYED(a + 2 * PAGE, PAGE, R, other)), END();
	show("other", a, 8);
	BEGIN("plain mprotect"), N(PROTECT(a, 8 * PAGE, RW)), END();
	show("keeps keys", a, 8);
	BEGIN("minus one"), N(KEYED(a, 4 * PAGE, R, -1)), END();
	show("keeps keys too", a, 8);
	BEGIN("one of them freed"), N(KEYED(a, 8 * PAGE, RW, other)), N(FREE(other)), END();
	show("a freed key stays", a, 8);
	BEGIN("freed key"), N(KEYED(a, PAGE, RW, other)), END();
	BEGIN("mprotect of a freed key"), N(PROTECT(a, PAGE, R)), END();
	show("mprotect of a freed key", a, 8);
	BEGIN("nought"), N(KEYED(a, 8 * PAGE, RW, 0)), END();
	show("nought", a, 8);
	BEGIN("none"), N(KEYED(a, PAGE, PROT_NONE, key)), END();
	show("none", a, 8);
	munmap(a + 4 * PAGE, PAGE);
	BEGIN("hole"), N(KEYED(a + 3 * PAGE, 3 * PAGE, RW, key)), END();
	show("hole", a, 8);
	BEGIN("freed"), N(FREE(key)), END();
	munmap(a, 8 * PAGE);
}

static void accesses(void)
{
	char name[64];
	long key = ALLOC(0, 0);
	handle(SIGSEGV, on_signal, 0);
	handle(SIGBUS, on_signal, 0);
	for (int touched = 0; touched < 2; touched++)
		for (unsigned bits = 0; bits < 4; bits++)
			for (int prot = 0; prot < 8; prot++) {
				char *a = map(1, RW);
				if (touched)
					*a = (char)0xc3;
				KEYED(a, PAGE, prot, key);
				rights(key, bits);
				sprintf(name, "%s pkru %u prot %d", touched ? "touched" : "fresh", bits, prot);
				all(name, a);
				rights(key, 0);
				munmap(a, PAGE);
			}
	char *a = map(1, RW);
	KEYED(a, PAGE, RW, key);
	rights(key, 2);
	touch("zero page", a, 'r');
	touch("atomic, write refused", a, 'a');
	touch("zero page", a, 'w');
	rights(key, 0);
	touch("now", a, 'w');
	rights(key, 1);
	touch("atomic, access refused", a, 'a');
	rights(key, 0);
	touch("again", a, 'a');
	rights(key, 1);
	munmap(a, PAGE);
	touch("unmapped", a, 'r');
	rights(key, 0);
	a = map(2, RW);
	a[PAGE] = 1;
	KEYED(a + PAGE, PAGE, RW, key);
	rights(key, 1);
	seen_sig = 0;
	if (!sigsetjmp(back, 1))
		*(volatile uint64_t *)(a + PAGE - 4) = 0;
	wrpkru(0x55555554);
	SAY("across: signal %d code %d key %d at %ld\n", seen_sig, seen_code, seen_key, (long)(seen_addr - a));
	munmap(a, 2 * PAGE);
	FREE(key);
	int fd = open("/tmp/pkeys", O_RDWR | O_CREAT | O_TRUNC, 0600);
	ftruncate(fd, PAGE);
	char *shared = mmap(0, 2 * PAGE, RW, MAP_SHARED, fd, 0);
	key = ALLOC(0, 2);
	SAY("shared %ld\n", KEYED(shared, 2 * PAGE, RW, key));
	all("shared", shared);
	all("beyond the file", shared + PAGE);
	rights(key, 0);
	touch("shared", shared, 'w');
	touch("beyond the file", shared + PAGE, 'w');
	munmap(shared, 2 * PAGE);
	close(fd);
	unlink("/tmp/pkeys");
	FREE(key);
	wrpkru(0x55555554);
	seen_sig = 0;
	if (!sigsetjmp(back, 1))
		asm volatile(".byte 0x0f,0x01,0xef" : : "a"(0x55555554), "c"(1), "d"(0));
	SAY("wrpkru with ecx: signal %d code %d trap %ld\n", seen_sig, seen_code, seen_trap);
	seen_sig = 0;
	if (!sigsetjmp(back, 1))
		asm volatile(".byte 0x0f,0x01,0xef" : : "a"(0x55555554), "c"(0), "d"(1));
	SAY("wrpkru with edx: signal %d code %d trap %ld\n", seen_sig, seen_code, seen_trap);
	wrpkru(0x55555554);
}

static void execute_only(void)
{
	char *a = map(4, RW);
	a[0] = a[PAGE] = (char)0xc3;
	BEGIN("mprotect"), N(PROTECT(a, PAGE, X)), P(), END();
	show("execute only", a, 4);
	all("execute only", a);
	BEGIN("second"), N(PROTECT(a + PAGE, PAGE, X)), END();
	show("second", a, 4);
	BEGIN("not ours"), N(FREE(1)), N(KEYED(a + 2 * PAGE, PAGE, R, 1)), END();
	BEGIN("next"), N(ALLOC(0, 0)), END();
	rights(1, 0);
	touch("opened", a, 'r');
	BEGIN("third"), N(PROTECT(a + 2 * PAGE, PAGE, X)), P(), END();
	touch("closed", a, 'r');
	BEGIN("back"), N(PROTECT(a, PAGE, R | X)), END();
	show("back", a, 4);
	touch("back", a, 'r');
	BEGIN("with a key"), N(KEYED(a, PAGE, X, 2)), END();
	show("with a key", a, 4);
	touch("with a key", a, 'r');
	BEGIN("plain after a key"), N(PROTECT(a, PAGE, X)), END();
	show("plain after a key", a, 4);
	BEGIN("nothing, then execute"), N(PROTECT(a, PAGE, PROT_NONE)), N(PROTECT(a, PAGE, X)), END();
	show("nothing, then execute", a, 4);
	BEGIN("shown"), N(KEYED(a, PAGE, X, 0)), END();
	show("key nought", a, 4);
	touch("key nought", a, 'r');
	char *b = map(1, X);
	show("mmap", b, 1);
	touch("mmap", b, 'r');
	touch("mmap", b, 'x');
	munmap(b, PAGE);
	b = mmap(0, PAGE, X, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	unsigned char vec = 9;
	mincore(b, PAGE, &vec);
	BEGIN("populate"), N(vec), END();
	munmap(b, PAGE);
	rights(1, 0);
	BEGIN("a bad mmap"), N((long)mmap(0, PAGE, X, MAP_PRIVATE, 77, 0)), P();
	N((long)mmap(0, PAGE, X, MAP_ANONYMOUS, -1, 0)), P(), END();
	munmap(a, 4 * PAGE);
	wrpkru(0x55555554);
}

static void no_key_left(void)
{
	int status;
	if (fork() == 0) {
		char *a = map(1, RW);
		a[0] = (char)0xc3;
		handle(SIGSEGV, on_signal, 0);
		while (ALLOC(0, 0) > 0)
			;
		BEGIN("execute only without a key"), N(PROTECT(a, PAGE, X)), P(), END();
		show("execute only without a key", a, 1);
		touch("execute only without a key", a, 'r');
		BEGIN("still none"), N(ALLOC(0, 0)), END();
		rights(3, 1);
		execl("/proc/self/exe", "pkeys", "exec", (char *)0);
		_exit(1);
	}
	wait(&status);
	BEGIN("status"), N(status), END();
}

static int thread(void *arg)
{
	char *a = arg;
	unsigned first = rdpkru();
	long key = ALLOC(0, 3);
	BEGIN("thread"), N(first), N(key), P(), END();
	touch("thread", a, 'r');
	FREE(key);
	return 0;
}

static void inheritance(void)
{
	int status;
	long key = ALLOC(0, 0);
	char *a = map(2, RW), *stack = map(16, RW);
	a[0] = a[PAGE] = 1;
	KEYED(a, PAGE, RW, key);
	handle(SIGSEGV, on_signal, 0);
	rights(key, 2);
	rights(9, 0);
	BEGIN("parent"), P(), END();
	if (fork() == 0) {
		BEGIN("child"), P(), N(ALLOC(0, 0)), N(FREE(key)), N(ALLOC(0, 2)), P(), END();
		show("child", a, 2);
		all("child", a);
		rights(key, 0);
		touch("copy on write", a, 'w');
		_exit(0);
	}
	wait(&status);
	BEGIN("status"), N(status), N(ALLOC(0, 0)), END();
	touch("parent", a, 'w');
	rights(key, 1);
	int tid = clone(thread, stack + 16 * PAGE, CLONE_VM | CLONE_FS | CLONE_FILES | SIGCHLD, a);
	waitpid(tid, &status, 0);
	BEGIN("status"), N(status), P(), END();
	char *moved = mremap(a, PAGE, 2 * PAGE, MREMAP_MAYMOVE);
	show("moved", moved, 2);
	touch("moved", moved, 'r');
	rights(key, 0);
	touch("moved", moved, 'r');
	munmap(moved, 2 * PAGE);
	FREE(key);
	FREE(key + 1);
	wrpkru(0x55555554);
}

static void kernel_accesses(void)
{
	int pipes[2];
	pipe(pipes);
	char *a = map(2, RW), here[16] = "here";
	long key = ALLOC(0, 0);
	strcpy(a, "there");
	KEYED(a, 2 * PAGE, RW, key);
	for (unsigned bits = 0; bits < 4; bits++) {
		rights(key, bits);
		long out = call(SYS_write, pipes[1], (long)a, 4, 0);
		if (out < 0)
			call(SYS_write, pipes[1], (long)here, 4, 0);
		long in = call(SYS_read, pipes[0], (long)a, 4, 0);
		if (in < 0)
			call(SYS_read, pipes[0], (long)here, 4, 0);
		BEGIN("pkru"), N(bits), N(out), N(in), N(call(SYS_uname, (long)a, 0, 0, 0));
		N(call(SYS_access, (long)(a + 8), F_OK, 0, 0)), END();
		struct iovec mine = { here, 4 }, theirs = { a, 4 };
		BEGIN("process_vm"), N(process_vm_readv(getpid(), &mine, 1, &theirs, 1, 0));
		N(process_vm_writev(getpid(), &mine, 1, &theirs, 1, 0)), N(process_vm_readv(getpid(), &theirs, 1, &mine, 1, 0));
		END();
		int mem = open("/proc/self/mem", O_RDWR);
		BEGIN("mem"), N(pread64(mem, here, 4, (unsigned long)a)), N(pwrite64(mem, here, 4, (unsigned long)a)), END();
		close(mem);
		char *b = map(6, RW);
		unsigned char vec[6];
		KEYED(b, 6 * PAGE, RW, key);
		BEGIN("mlock"), N(call(SYS_mlock, (long)b, PAGE, 0, 0)), END();
		BEGIN("populate"), N(call(SYS_madvise, (long)(b + 2 * PAGE), PAGE, 22, 0));
		N(call(SYS_madvise, (long)(b + 3 * PAGE), PAGE, 23, 0)), END();
		BEGIN("futex"), N(call(SYS_futex, (long)(b + 4 * PAGE), 0, 1, 0)), END();
		mincore(b, 6 * PAGE, vec);
		BEGIN("there"), N(vec[0] & 1), N(vec[1] & 1), N(vec[2] & 1), N(vec[3] & 1), N(vec[4] & 1), END();
		munmap(b, 6 * PAGE);
	}
	rights(key, 0);
	munmap(a, 2 * PAGE);
	FREE(key);
	close(pipes[0]);
	close(pipes[1]);
	wrpkru(0x55555554);
}

static volatile int what_to_do;
static unsigned pkru_offset = 2688;
static volatile unsigned frame_pkru, frame_size, frame_extended, handler_pkru;
static volatile uint64_t frame_features, frame_bv;

static void frame_handler(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	handler_pkru = rdpkru();
	char *fp = (char *)uc->uc_mcontext.fpregs;
#ifdef __i386__
	fp += 112;
#endif
	frame_extended = *(unsigned *)(fp + 468);
	memcpy((void *)&frame_features, fp + 472, 8);
	frame_size = *(unsigned *)(fp + 480);
	memcpy((void *)&frame_bv, fp + 512, 8);
	unsigned *saved = (unsigned *)(fp + pkru_offset);
	frame_pkru = *saved;
	if (what_to_do == 1)
		*saved = 0x12345670;
	else if (what_to_do == 2)
		*(uint64_t *)(fp + 512) &= ~(1ull << 9);
	else if (what_to_do == 3)
		*(unsigned *)(fp + 464) = 0;
	else if (what_to_do == 4)
		uc->uc_mcontext.fpregs = 0;
	else if (what_to_do == 5)
		*(unsigned *)(fp + frame_size) = 0;
	else if (what_to_do == 6)
		*saved = 0x55555554;
	else if (what_to_do == 7)
		wrpkru(0);
	else if (what_to_do == 8)
		*(uint64_t *)(fp + 472) &= ~(1ull << 9);
	else if (what_to_do == 9)
		*(uint64_t *)(fp + 512) |= 1ull << 40;
}

/* Key 0 is closed: the very next load is refused, and the handler, on the same stack, opens it again. Where the kernel
 * has to look at the restartable sequence first, it cannot, and the program ends. */
static void key_nought(int registered)
{
	static volatile int cell = 5;
	int got, status;
	if (fork() == 0) {
		if (!registered)
			syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset, __rseq_size < 32 ? 32 : __rseq_size, 1,
				RSEQ_SIG);
		handle(SIGSEGV, frame_handler, 0);
		what_to_do = 6;
		asm volatile("mov $0x55555555, %%eax\n xor %%ecx, %%ecx\n xor %%edx, %%edx\n .byte 0x0f,0x01,0xef\n"
			     " mov (%1), %0\n"
			     : "=&r"(got)
			     : "S"(&cell)
			     : "eax", "ecx", "edx", "memory");
		BEGIN("key nought"), N(got), N(frame_pkru), N(handler_pkru), P(), END();
		_exit(0);
	}
	wait(&status);
	BEGIN(registered ? "registered" : "not registered"), N(status & 0x7f), END();
}

static void frames(void)
{
	stack_t stack = { .ss_size = 16 * PAGE };
	handle(SIGUSR1, frame_handler, 0);
	for (what_to_do = 0; what_to_do < 9; what_to_do++) {
		if (what_to_do == 6)
			continue;
		wrpkru(0x55555500);
		raise(SIGUSR1);
		unsigned after = rdpkru();
		wrpkru(0x55555554);
		SAY("frame %d: handler %#x saved %#x after %#x\n", what_to_do, handler_pkru, frame_pkru, after);
	}
	SAY("frame: extended %u features %#llx size %u bv %d flags %d\n", frame_extended,
	    (unsigned long long)frame_features, frame_size, (int)(frame_bv >> 9 & 1), 0);
	SAY("minsigstksz %lu\n", getauxval(AT_MINSIGSTKSZ));
	key_nought(0);
	key_nought(1);
	if (fork() == 0) {
		long key = ALLOC(0, 0);
		stack.ss_sp = map(16, RW);
		KEYED(stack.ss_sp, 16 * PAGE, RW, key);
		sigaltstack(&stack, 0);
		handle(SIGUSR1, frame_handler, SA_ONSTACK);
		what_to_do = 0;
		raise(SIGUSR1);
		BEGIN("alternate stack"), N(frame_pkru), P(), END();
		_exit(0);
	}
	int status;
	wait(&status);
	BEGIN("status"), N(status), END();
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "exec")) {
		BEGIN("exec"), P(), N(ALLOC(0, 1)), P(), END();
		return 0;
	}
	setvbuf(stdout, 0, _IOFBF, 1 << 16);
	SAY("== alloc\n");
	allocation();
	SAY("== mprotect\n");
	protection();
	SAY("== accesses\n");
	accesses();
	SAY("== kernel\n");
	kernel_accesses();
	SAY("== inherit\n");
	inheritance();
	SAY("== frames\n");
	frames();
	SAY("== last\n");
	no_key_left();
	SAY("== execute\n");
	execute_only();
	return 0;
}
