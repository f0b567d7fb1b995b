/* Instructions that trap: the signal, its code and address, and what the context says, for privileged instructions,
   interrupts, invalid encodings, bad addresses of every kind, arithmetic, and the vsyscall page. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

static sigjmp_buf out;
static volatile int sig, code;
static volatile long err, trap, rip;
static void *volatile addr;

static void handler(int number, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	sig = number;
	code = info->si_code;
	addr = info->si_addr;
	err = regs[REG_ERR];
	trap = regs[REG_TRAPNO];
	rip = regs[REG_RIP];
	siglongjmp(out, 1);
}

static void report(const char *name, const void *start)
{
	printf("%-14s signal %d code %d", name, sig, code);
	if (addr == (void *)rip)
		printf(" at the instruction");
	else
		printf(" at %p", addr);
	printf(" error %#lx trap %ld rip +%ld\n", err, trap, rip - (long)start);
}

#define TRY(name, text) \
	do { \
		extern char label_##name[]; \
		if (!sigsetjmp(out, 1)) { \
			__asm__ volatile(".globl label_" #name "\nlabel_" #name ": " text \
					 ::: "rax", "rcx", "rdx", "rbx", "rsi", "rdi", "memory", "cc"); \
			printf("%-14s no signal\n", #name); \
		} else { \
			report(#name, label_##name); \
		} \
	} while (0)

int main(void)
{
	static char stack[65536];
	stack_t alternate = { .ss_sp = stack, .ss_size = sizeof stack };
	struct sigaction act = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	setvbuf(stdout, 0, _IOLBF, 1 << 14);
	sigaltstack(&alternate, 0);
	for (int number = 1; number < 32; number++)
		if (number != SIGKILL && number != SIGSTOP)
			sigaction(number, &act, 0);

	TRY(ud2, "ud2");
	TRY(int3, "int3");
	TRY(hlt, "hlt");
	TRY(cli, "cli");
	TRY(sti, "sti");
	TRY(inb, "inb $0x60, %%al");
	TRY(outb, "outb %%al, $0x60");
	TRY(rdmsr, "rdmsr");
	TRY(wrmsr, "wrmsr");
	TRY(from_cr0, "mov %%cr0, %%rax");
	TRY(to_cr3, "mov %%rax, %%cr3");
	TRY(lgdt, "lgdt (%%rsp)");
	TRY(invlpg, "invlpg (%%rsp)");
	TRY(wbinvd, "wbinvd");
	TRY(clts, "clts");
	TRY(int_5, "int $5");
	TRY(int_13, "int $0xd");
	TRY(int_255, "int $0xff");
	TRY(div_by_0, "xor %%ecx, %%ecx; xor %%edx, %%edx; mov $1, %%eax; div %%ecx");
	TRY(idiv_overflow, "mov $0x80000000, %%eax; cdq; mov $-1, %%ecx; idiv %%ecx");
	TRY(null_load, "xor %%eax, %%eax; mov (%%rax), %%rcx");
	TRY(null_store, "xor %%eax, %%eax; mov %%rcx, (%%rax)");
	TRY(canonical_load, "movabs $0x8000000000000000, %%rax; mov (%%rax), %%rcx");
	TRY(canonical_store, "movabs $0x8000000000000000, %%rax; mov %%rcx, (%%rax)");
	TRY(kernel_load, "movabs $0xffffffff81000000, %%rax; mov (%%rax), %%rcx");
	TRY(kernel_jump, "movabs $0xffffffff81000000, %%rax; jmp *%%rax");
	TRY(vsyscall_load, "movabs $0xffffffffff600000, %%rax; mov (%%rax), %%rcx");
	TRY(stack_fetch, "lea 0(%%rsp), %%rax; jmp *%%rax");
	TRY(bad_lock, ".byte 0xf0, 0x90");
	TRY(ud1, ".byte 0x0f, 0xb9, 0xc0");
	TRY(no_opcode, ".byte 0x06");
	TRY(swapgs, "swapgs");
	TRY(sysretq, "sysretq");
	TRY(ltr, "ltr %%ax");
	return 0;
}
