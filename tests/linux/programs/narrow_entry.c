/* The ways of a 32-bit program into the kernel, and its segments: sysenter, int 0x80, __kernel_vsyscall, thread areas. */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

static sigjmp_buf back;

static void caught(int s, siginfo_t *i, void *u)
{
	printf("signal %d code %d\n", s, i->si_code);
	siglongjmp(back, 1);
}

static char area[64] = "in the area";

int main(int argc, char **argv)
{
	setvbuf(stdout, 0, _IOLBF, 0);
	struct sigaction sa = { 0 };
	sa.sa_sigaction = caught;
	sa.sa_flags = SA_SIGINFO | SA_NODEFER;
	sigaction(SIGSEGV, &sa, 0);
	sigaction(SIGILL, &sa, 0);
	long r;
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(SYS_getpid));
	printf("int 0x80 %d\n", r == getpid());
	unsigned long entry = getauxval(AT_SYSINFO);
	__asm__ volatile("call *%1" : "=a"(r) : "r"(entry), "a"(SYS_getppid));
	printf("vsyscall %d\n", r == getppid());
	if (argc > 1) { /* on Intel's processors; AMD's have no SYSENTER in long mode */
		__asm__ volatile("push %%ebp; call 1f; jmp 2f; 1: push %%ecx; push %%edx; push %%ebp; mov %%esp, %%ebp; sysenter; 2: pop %%ebp"
				 : "=a"(r) : "a"(SYS_getpid) : "ecx", "edx", "memory");
		printf("sysenter %d\n", r == getpid());
		return 0;
	}
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(9999));
	printf("unknown %d\n", r == -ENOSYS);
	struct user_desc d = { .entry_number = -1, .base_addr = (unsigned long)area, .limit = 63, .seg_32bit = 1, .useable = 1 };
	r = syscall(SYS_set_thread_area, &d);
	unsigned first = d.entry_number;
	printf("set_thread_area %ld\n", r);
	char text[12];
	unsigned short selector = first << 3 | 3;
	for (int i = 0; i < 12; i++)
		__asm__ volatile("mov %1, %%fs; movb %%fs:(%2), %%al; mov %%al, %0" : "=m"(text[i]) : "r"(selector), "r"(i) : "eax", "memory");
	printf("%s\n", text);
	struct user_desc q = { .entry_number = first };
	r = syscall(SYS_get_thread_area, &q);
	printf("get_thread_area %ld base %d limit %u 32-bit %d pages %d\n", r, q.base_addr == d.base_addr,
	       q.limit, q.seg_32bit, q.limit_in_pages);
	d.base_addr += 3;
	r = syscall(SYS_set_thread_area, &d);
	__asm__ volatile("movb %%fs:0, %%al; mov %%al, %0" : "=m"(text[0])::"eax", "memory");
	printf("moved %ld %c\n", r, text[0]);
	d.entry_number = 2;
	printf("foreign entry %ld", syscall(SYS_set_thread_area, &d));
	printf(" %d\n", errno == EINVAL);
	d.entry_number = -1;
	d.seg_not_present = 1;
	printf("not present %ld", syscall(SYS_set_thread_area, &d));
	printf(" %d\n", errno == EINVAL);
	d.seg_not_present = 0;
	printf("third %ld", syscall(SYS_set_thread_area, &d));
	d.entry_number = -1;
	printf(" fourth %ld", syscall(SYS_set_thread_area, &d));
	printf(" %d\n", errno == ESRCH);
	if (!sigsetjmp(back, 1))
		__asm__ volatile("mov %0, %%es" : : "r"((short)0x1233));
	return 0;
}
