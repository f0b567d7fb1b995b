/* What the test programs share: raw system calls, names of errors, output that touches no heap, prefaulted images.
 *
 * Output is collected in one static buffer and written by one write(2) when full and at the end, so that printing
 * neither allocates nor faults in a way that differs between two machines.
 */
#ifndef SAY_H
#define SAY_H
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
#define KB 1024UL
#define MB (1024UL * 1024)
#define GB (1024UL * 1024 * 1024)

typedef unsigned long ul;
typedef volatile unsigned char vu8;

/* --- raw system calls: the value or -errno, arguments untouched by libc --- */
#ifdef __i386__
static inline long sc6(long n, long a, long b, long c, long d, long e, long f)
{
	long r, rest[3] = {b, f, n}; /* ebx and ebp are the compiler's own */
	__asm__ volatile("push %%ebx; push %%ebp; mov %%ecx, %%ebx; mov (%%eax), %%ecx; mov 4(%%eax), %%ebp;"
			 "mov 8(%%eax), %%eax; int $0x80; pop %%ebp; pop %%ebx"
			 : "=a"(r) : "a"(rest), "c"(a), "d"(c), "S"(d), "D"(e) : "memory");
	return r;
}
#elif defined(__aarch64__)
#include "arm64.h"
#else
static inline long sc6(long n, long a, long b, long c, long d, long e, long f)
{
	long r;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return r;
}
#endif
#define SC_6(n, a, b, c, d, e, f, ...) \
	sc6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define SC(...) SC_6(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

#ifdef __i386__
#define MMAP(a, l, p, f, fd, o) \
	((long)(o) & (long)(PAGE - 1) ? -EINVAL : SC(SYS_mmap2, a, l, p, f, fd, (unsigned long)(o) / PAGE))
#else
#define MMAP(a, l, p, f, fd, o) SC(SYS_mmap, a, l, p, f, fd, o)
#endif
#define MUNMAP(a, l) SC(SYS_munmap, a, l)
#define MPROTECT(a, l, p) SC(SYS_mprotect, a, l, p)
#define MREMAP(a, ol, nl, f, na) SC(SYS_mremap, a, ol, nl, f, na)
#define MADVISE(a, l, v) SC(SYS_madvise, a, l, v)
#define MSYNC(a, l, f) SC(SYS_msync, a, l, f)
#define MLOCK(a, l) SC(SYS_mlock, a, l)
#define MLOCK2(a, l, f) SC(SYS_mlock2, a, l, f)
#define MUNLOCK(a, l) SC(SYS_munlock, a, l)
#define MLOCKALL(f) SC(SYS_mlockall, f)
#define MUNLOCKALL() SC(SYS_munlockall)
#define MINCORE(a, l, v) SC(SYS_mincore, a, l, v)
#define BRK(a) SC(SYS_brk, a)

#define R PROT_READ
#define W PROT_WRITE
#define X PROT_EXEC
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define SHANON (MAP_SHARED | MAP_ANONYMOUS)

static inline int failed(long r) { return r < 0 && r >= -4095; }

/* --- names --- */
static const char *errno_name(long e)
{
	switch (e) {
#define E(x) case x: return #x
	E(EPERM); E(ENOENT); E(ESRCH); E(EINTR); E(EIO); E(ENXIO); E(E2BIG); E(ENOEXEC); E(EBADF); E(ECHILD);
	E(EAGAIN); E(ENOMEM); E(EACCES); E(EFAULT); E(ENOTBLK); E(EBUSY); E(EEXIST); E(EXDEV); E(ENODEV);
	E(ENOTDIR); E(EISDIR); E(EINVAL); E(ENFILE); E(EMFILE); E(ENOTTY); E(ETXTBSY); E(EFBIG); E(ENOSPC);
	E(ESPIPE); E(EROFS); E(EMLINK); E(EPIPE); E(EDOM); E(ERANGE); E(EDEADLK); E(ENAMETOOLONG); E(ENOLCK);
	E(ENOSYS); E(ENOTEMPTY); E(ELOOP); E(EIDRM); E(EOVERFLOW); E(EOPNOTSUPP); E(EHWPOISON); E(ENODATA);
#undef E
	}
	return 0;
}

/* --- output --- */
static char out_buffer[1 << 16];
static size_t out_used;

static void flush(void)
{
	size_t done = 0;
	while (done < out_used) {
		long n = SC(SYS_write, 1, out_buffer + done, out_used - done);
		if (n <= 0)
			SC(SYS_exit_group, 99);
		done += n;
	}
	out_used = 0;
}

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
	char line[2048];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(line, sizeof line, format, args);
	va_end(args);
	if (n >= (int)sizeof line)
		n = sizeof line - 1;
	if (out_used + n > sizeof out_buffer)
		flush();
	memcpy(out_buffer + out_used, line, n);
	out_used += n;
}

static void say_result(const char *what, long r)
{
	if (failed(r)) {
		const char *name = errno_name(-r);
		if (name)
			say("%s = -%s\n", what, name);
		else
			say("%s = -errno %ld\n", what, -r);
	} else {
		say("%s = %#lx\n", what, r);
	}
}

static void quit(int status)
{
	flush();
	SC(SYS_exit_group, status);
	__builtin_unreachable();
}

static void die(const char *what, long r)
{
	say("cannot go on: ");
	say_result(what, r);
	quit(97);
}

/* --- the image: touch every page of it, so that running code and printing fault no more --- */
static int prefault_segment(struct dl_phdr_info *info, size_t size, void *unused)
{
	ul relro_start = 0, relro_end = 0;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_GNU_RELRO) {
			relro_start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
			relro_end = (relro_start + info->dlpi_phdr[i].p_memsz) & -PAGE;
			relro_start &= -PAGE;
		}
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		if (p->p_type != PT_LOAD)
			continue;
		ul start = (info->dlpi_addr + p->p_vaddr) & -PAGE;
		ul end = info->dlpi_addr + p->p_vaddr + p->p_memsz;
		for (ul a = start; a < end; a += PAGE) {
			vu8 byte = *(vu8 *)a;
			if ((p->p_flags & PF_W) && !(a >= relro_start && a < relro_end))
				*(vu8 *)a = byte;
		}
	}
	return 1; /* the first is the program itself */
}

static void __attribute__((noinline)) prefault_stack(void)
{
	volatile char room[128 * 1024];
	for (size_t i = 0; i < sizeof room; i += 512)
		room[i] = 1;
}

static void prefault(void)
{
	dl_iterate_phdr(prefault_segment, 0);
	prefault_stack();
}

/* --- files --- */
static const char *work_dir = ".";

static const char *in_work(const char *name)
{
	static char path[4][512];
	static int turn;
	char *p = path[turn++ & 3];
	snprintf(p, sizeof path[0], "%s/%s", work_dir, name);
	return p;
}

/* A file of `size` bytes whose byte i is (i * 7 + i / 4096) & 255, opened read-write. */
static int make_file(const char *name, ul size)
{
	static unsigned char chunk[4096];
	int fd = SC(SYS_open, in_work(name), O_RDWR | O_CREAT | O_TRUNC, 0644);
	if (fd < 0)
		die("open", fd);
	for (ul at = 0; at < size; at += 4096) {
		ul n = size - at < 4096 ? size - at : 4096;
		for (ul i = 0; i < n; i++)
			chunk[i] = (at + i) * 7 + (at + i) / 4096;
		long r = SC(SYS_write, fd, chunk, n);
		if (r != (long)n)
			die("write", r);
	}
	return fd;
}

/* --- /proc/self/maps without device and inode; whole, or the part in [from, to) --- */
static char maps_text[1 << 18];

static size_t read_whole(const char *path, char *to, size_t room)
{
	int fd = SC(SYS_open, path, O_RDONLY, 0);
	size_t used = 0;
	if (fd < 0)
		die(path, fd);
	for (;;) {
		long n = SC(SYS_read, fd, to + used, room - 1 - used);
		if (n < 0)
			die("read", n);
		if (n == 0)
			break;
		used += n;
	}
	SC(SYS_close, fd);
	to[used] = 0;
	return used;
}

static void say_maps(ul from, ul to)
{
	read_whole("/proc/self/maps", maps_text, sizeof maps_text);
	for (char *line = maps_text; *line;) {
		char *end = strchr(line, '\n');
		if (end)
			*end = 0;
		ul start, stop, offset;
		char rights[8];
		int eaten = 0;
		if (sscanf(line, "%lx-%lx %7s %lx %*s %*s%n", &start, &stop, rights, &offset, &eaten) >= 4 && start >= from &&
		    start < to) {
			const char *name = line + eaten;
			while (*name == ' ')
				name++;
			size_t prefix = strlen(work_dir);
			if (!strncmp(name, work_dir, prefix) && prefix > 1)
				name += prefix;
			say("  %lx-%lx %s %lx %s\n", start, stop, rights, offset, name);
		}
		if (!end)
			break;
		line = end + 1;
	}
}
#endif
