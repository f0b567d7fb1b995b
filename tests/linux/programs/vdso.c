/* The vDSO as the dynamic linker, the unwinder and a program see it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <unwind.h>

static int one_object(struct dl_phdr_info *info, size_t size, void *data)
{
	if (info->dlpi_addr == getauxval(AT_SYSINFO_EHDR))
		for (int i = 0; i < info->dlpi_phnum; i++)
			printf("program header %#x flags %x\n", info->dlpi_phdr[i].p_type, info->dlpi_phdr[i].p_flags);
	return 0;
}

static int frames;
static _Unwind_Reason_Code one_frame(struct _Unwind_Context *context, void *data)
{
	frames++;
	return _URC_NO_REASON;
}

static void handler(int sig)
{
	_Unwind_Backtrace(one_frame, 0);
	printf("signal %d, unwound through the vDSO: %d\n", sig, frames >= 4);
	exit(0);
}

int main(void)
{
	static const char *names[] = { "clock_gettime", "gettimeofday", "time", "clock_getres", "getcpu", "no_such" };
	dl_iterate_phdr(one_object, 0);
	void *vdso = dlopen("linux-vdso.so.1", RTLD_NOW | RTLD_NOLOAD);
	for (int i = 0; i < 6; i++) {
		char name[64];
		snprintf(name, sizeof name, "__vdso_%s", names[i]);
		printf("%s %d %d %d\n", names[i], dlsym(vdso, name) != 0, dlvsym(vdso, name, "LINUX_2.6") != 0,
		       dlsym(vdso, name) != 0 && dlsym(vdso, names[i]) == dlsym(vdso, name));
	}
	int (*gettime)(clockid_t, struct timespec *) = dlsym(vdso, "__vdso_clock_gettime");
	int (*getres)(clockid_t, struct timespec *) = dlsym(vdso, "__vdso_clock_getres");
	for (int clock = -1; clock < 16; clock++) {
		if (clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM)
			continue; /* where there is a real-time clock */
		struct timespec res = { 0, 0 }, mine = { 0, 0 }, theirs = { 0, 0 };
		int got = gettime(clock, &mine), r = getres(clock, &res);
		long direct = syscall(SYS_clock_gettime, clock, &theirs);
		printf("clock %d: %d %d, not ahead of the kernel %d, resolution %ld\n", clock, got, r,
		       direct || mine.tv_sec < theirs.tv_sec || (mine.tv_sec == theirs.tv_sec && mine.tv_nsec <= theirs.tv_nsec),
		       r ? -1 : (long)res.tv_nsec);
	}
	signal(SIGSEGV, handler);
	fflush(stdout);
	gettime(CLOCK_MONOTONIC, (struct timespec *)8);
	return 1;
}
