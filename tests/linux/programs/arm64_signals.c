/* arm64: what signal handlers are told and what they may change; exceptions; system registers that programs may read. */
#define _GNU_SOURCE
#include <asm/sigcontext.h>
#include <errno.h>
#include <setjmp.h>
#include <stddef.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

static sigjmp_buf back;
static char *area;
static volatile int resume_skips; /* the handler goes on behind the instruction */
static volatile unsigned long seen;

static void *record(ucontext_t *uc, uint32_t magic)
{
	char *at = (char *)uc->uc_mcontext.__reserved;
	for (;;) {
		struct _aarch64_ctx *head = (struct _aarch64_ctx *)at;
		if (head->magic == magic || !head->magic)
			return head->magic ? head : 0;
		at += head->size;
	}
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	struct esr_context *esr = record(uc, ESR_MAGIC);
	struct fpsimd_context *fp = record(uc, FPSIMD_MAGIC);
	long off = (char *)info->si_addr - area;
	char where[40];
	if (off >= -65536 && off < 1 << 20)
		snprintf(where, sizeof where, "area+%ld", off);
	else if (info->si_addr == (void *)uc->uc_mcontext.pc)
		snprintf(where, sizeof where, "pc");
	else
		snprintf(where, sizeof where, "%p", info->si_addr);
	printf("signal %d code %d at %s, fault_address %s, fpsimd %d", sig, info->si_code, where,
	       uc->uc_mcontext.fault_address == (unsigned long)info->si_addr ? "equal" :
	       uc->uc_mcontext.fault_address ? "other" : "0", fp ? (int)fp->head.size : -1);
	if (esr && (sig == SIGSEGV || sig == SIGBUS))
		printf(", class %#llx write %d status %#llx", (unsigned long long)esr->esr >> 26, (int)(esr->esr >> 6 & 1),
		       (unsigned long long)esr->esr & 0x3c);
	printf("\n");
	if (resume_skips) {
		uc->uc_mcontext.pc += 4;
		return;
	}
	siglongjmp(back, 1);
}

#define TRY(what, ...) \
	do { \
		printf("%s: ", what); \
		fflush(stdout); \
		if (!sigsetjmp(back, 1)) { \
			__VA_ARGS__; \
			printf("no signal\n"); \
		} \
	} while (0)

static void on_usr1(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	struct fpsimd_context *fp = record(uc, FPSIMD_MAGIC);
	seen = uc->uc_mcontext.regs[20];
	uc->uc_mcontext.regs[21] = 0x2121;
	((uint64_t *)&fp->vregs[9])[0] += 1;
	fp->fpsr |= 1;
	__asm__ volatile("movi v9.16b, #7; movi v8.16b, #7" ::: "v8", "v9");
}

static void registers(void)
{
	long x20, x21;
	uint64_t v9 = 0x1234, after, fpsr;
	long pid = getpid();
	__asm__ volatile("msr fpsr, xzr; fmov d9, %[v9]; mov x20, #0x2020; mov x21, #1; mov x0, %[pid]; mov x1, #10;"
			 "mov x8, #129; svc #0; fmov %[after], d9; mov %[x20], x20; mov %[x21], x21; mrs %[fpsr], fpsr"
			 : [after] "=&r"(after), [x20] "=&r"(x20), [x21] "=&r"(x21), [fpsr] "=&r"(fpsr)
			 : [v9] "r"(v9), [pid] "r"(pid) : "x0", "x1", "x8", "x20", "x21", "v9", "memory");
	printf("x20 %#lx seen %#lx, x21 %#lx, d9 %#lx, fpsr %#lx\n", x20, seen, x21, after, fpsr & 1);
}

static void on_stack(int sig, siginfo_t *info, void *context)
{
	stack_t now;
	ucontext_t *uc = context;
	sigaltstack(0, &now);
	printf("on the alternate stack %d, flags %d %d, size %zu\n",
	       (char *)&now > (char *)now.ss_sp && (char *)&now < (char *)now.ss_sp + now.ss_size, now.ss_flags,
	       uc->uc_stack.ss_flags, uc->uc_stack.ss_size);
}

static void stacks(void)
{
	stack_t s = { .ss_sp = malloc(65536), .ss_size = 5119 };
	printf("sigaltstack of 5119: %d", sigaltstack(&s, 0) ? errno : 0);
	s.ss_size = 65536;
	printf(", of 65536: %d\n", sigaltstack(&s, 0) ? errno : 0);
	struct sigaction sa = { .sa_sigaction = on_stack, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	sigaction(SIGUSR2, &sa, 0);
	raise(SIGUSR2);
	printf("frame %zu %zu %zu\n", sizeof(ucontext_t), offsetof(ucontext_t, uc_mcontext),
	       offsetof(mcontext_t, __reserved));
}

static unsigned long read_isar0(void)
{
	unsigned long v;
	__asm__("mrs %0, s3_0_c0_c6_0" : "=r"(v));
	return v;
}

int main(void)
{
	area = mmap(0, 16 * 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(area + 4 * 65536, 65536);
	mprotect(area + 6 * 65536, 65536, PROT_READ);
	mprotect(area + 8 * 65536, 65536, PROT_NONE);
	struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	for (int i = 0; i < 5; i++)
		sigaction((int[]){ SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE }[i], &sa, 0);
	volatile long *p;
	TRY("read of nothing", p = (long *)(area + 4 * 65536 + 24); (void)*p);
	TRY("write to nothing", p = (long *)(area + 4 * 65536 + 32); *p = 1);
	TRY("write to read-only", p = (long *)(area + 6 * 65536 + 40); (void)*p; *p = 1);
	TRY("read of PROT_NONE", p = (long *)(area + 8 * 65536 + 48); (void)*p);
	TRY("read of null", p = (long *)8; (void)*p);
	TRY("call of data", area[0] = 1; ((void (*)(void))area)());
	TRY("call of nothing", ((void (*)(void))(area + 4 * 65536))());
	TRY("a pair across the end", __asm__ volatile("stp x0, x1, [%0]" ::"r"(area + 4 * 65536 - 8) : "memory"));
	TRY("atomic add to read-only", __atomic_fetch_add((long *)(area + 6 * 65536 + 8), 1, __ATOMIC_SEQ_CST));
	TRY("undefined", __asm__ volatile("udf #7"));
	TRY("privileged register", __asm__ volatile("mrs x0, sctlr_el1" ::: "x0"));
	TRY("privileged instruction", __asm__ volatile("tlbi vmalle1"));
	TRY("smc", __asm__ volatile(".inst 0xd4000003"));
	TRY("brk", __asm__ volatile("brk #5"));
	TRY("division by zero", volatile long zero = 0; printf("%ld ", 5 / zero));
	resume_skips = 1;
	TRY("undefined, skipped", __asm__ volatile("udf #8"));
	resume_skips = 0;
	sa.sa_sigaction = on_usr1;
	sigaction(SIGUSR1, &sa, 0);
	registers();
	stacks();
	unsigned long ctr, dczid, isar0 = read_isar0(), midr;
	__asm__("mrs %0, ctr_el0; mrs %1, dczid_el0; mrs %2, midr_el1" : "=r"(ctr), "=r"(dczid), "=r"(midr));
	printf("lines of %d and %d bytes, zeroing %d bytes, prohibited %d, crc32 %d\n", 4 << (ctr & 15), 4 << (ctr >> 16 & 15),
	       4 << (dczid & 15), (int)(dczid >> 4 & 1), (int)(isar0 >> 16 & 15));
	memset(area, 1, 4096);
	__asm__ volatile("dc zva, %0" ::"r"(area + 130) : "memory");
	int zeros = 0;
	for (int i = 0; i < 4096; i++)
		zeros += !area[i];
	printf("zeroed %d from %d\n", zeros, (int)(strlen(area)));
	unsigned long t0, t1, frequency;
	__asm__ volatile("mrs %0, cntvct_el0; isb; mrs %1, cntvct_el0; mrs %2, cntfrq_el0" : "=&r"(t0), "=&r"(t1), "=&r"(frequency));
	printf("counter %d, frequency %d\n", t1 >= t0, frequency > 0);
	__asm__ volatile("wfe; yield; sevl; wfe; isb; dsb sy; dmb ish; dc cvau, %0; ic ivau, %0" ::"r"(area) : "memory");
	return 0;
}
