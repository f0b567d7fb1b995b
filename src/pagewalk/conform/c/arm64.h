/*
 * arm64: raw system calls, and those that it does not have (open, fork, ...) made of those that it has, so that the
 * same program asks the same on both architectures. Their numbers here are nobody's.
 */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

enum {
	SYS_open = 0x10000, SYS_chmod, SYS_chown, SYS_epoll_create, SYS_epoll_wait, SYS_fork, SYS_getdents, SYS_link,
	SYS_mkdir, SYS_mknod, SYS_pause, SYS_pipe, SYS_poll, SYS_readlink, SYS_rename, SYS_rmdir, SYS_select, SYS_stat,
	SYS_symlink, SYS_unlink, SYS_vfork, SYS_dup2, SYS_access, SYS_lstat, SYS_eventfd, SYS_signalfd, SYS_inotify_init,
	SYS_alarm, SYS_getpgrp, SYS_creat, SYS_time, SYS_utimes,
};

static inline long sc6_raw(long n, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}

static long sc6_old(long n, long a, long b, long c, long d, long e)
{
	long at = AT_FDCWD;
	struct timespec ts;
	switch (n) {
	case SYS_open: return sc6_raw(SYS_openat, at, a, b, c, 0, 0);
	case SYS_creat: return sc6_raw(SYS_openat, at, a, O_CREAT | O_WRONLY | O_TRUNC, b, 0, 0);
	case SYS_chmod: return sc6_raw(SYS_fchmodat, at, a, b, 0, 0, 0);
	case SYS_chown: return sc6_raw(SYS_fchownat, at, a, b, c, 0, 0);
	case SYS_epoll_create: return (int)a <= 0 ? -EINVAL : sc6_raw(SYS_epoll_create1, 0, 0, 0, 0, 0, 0);
	case SYS_epoll_wait: return sc6_raw(SYS_epoll_pwait, a, b, c, d, 0, 8);
	case SYS_fork: return sc6_raw(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);
	case SYS_vfork: return sc6_raw(SYS_clone, CLONE_VFORK | SIGCHLD, 0, 0, 0, 0, 0);
	case SYS_link: return sc6_raw(SYS_linkat, at, a, at, b, 0, 0);
	case SYS_mkdir: return sc6_raw(SYS_mkdirat, at, a, b, 0, 0, 0);
	case SYS_mknod: return sc6_raw(SYS_mknodat, at, a, b, c, 0, 0);
	case SYS_pause: return sc6_raw(SYS_ppoll, 0, 0, 0, 0, 0, 0);
	case SYS_pipe: return sc6_raw(SYS_pipe2, a, 0, 0, 0, 0, 0);
	case SYS_readlink: return sc6_raw(SYS_readlinkat, at, a, b, c, 0, 0);
	case SYS_rename: return sc6_raw(SYS_renameat, at, a, at, b, 0, 0);
	case SYS_rmdir: return sc6_raw(SYS_unlinkat, at, a, AT_REMOVEDIR, 0, 0, 0);
	case SYS_unlink: return sc6_raw(SYS_unlinkat, at, a, 0, 0, 0, 0);
	case SYS_symlink: return sc6_raw(SYS_symlinkat, a, at, b, 0, 0, 0);
	case SYS_stat: return sc6_raw(SYS_newfstatat, at, a, b, 0, 0, 0);
	case SYS_lstat: return sc6_raw(SYS_newfstatat, at, a, b, AT_SYMLINK_NOFOLLOW, 0, 0);
	case SYS_access: return sc6_raw(SYS_faccessat, at, a, b, 0, 0, 0);
	case SYS_dup2: return (int)a == (int)b ? sc6_raw(SYS_fcntl, a, F_GETFD, 0, 0, 0, 0) < 0 ? -EBADF : (int)a
					       : sc6_raw(SYS_dup3, a, b, 0, 0, 0, 0);
	case SYS_eventfd: return sc6_raw(SYS_eventfd2, a, 0, 0, 0, 0, 0);
	case SYS_signalfd: return sc6_raw(SYS_signalfd4, a, b, c, 0, 0, 0);
	case SYS_inotify_init: return sc6_raw(SYS_inotify_init1, 0, 0, 0, 0, 0, 0);
	case SYS_getpgrp: return sc6_raw(SYS_getpgid, 0, 0, 0, 0, 0, 0);
	case SYS_poll:
		ts.tv_sec = (int)c / 1000;
		ts.tv_nsec = (int)c % 1000 * 1000000L;
		return sc6_raw(SYS_ppoll, a, b, (int)c < 0 ? 0 : (long)&ts, 0, 8, 0);
	case SYS_select:
		if (e) {
			ts.tv_sec = ((long *)e)[0];
			ts.tv_nsec = ((long *)e)[1] * 1000;
		}
		return sc6_raw(SYS_pselect6, a, b, c, d, e ? (long)&ts : 0, 0);
	}
	return -ENOSYS;
}

static inline long sc6(long n, long a, long b, long c, long d, long e, long f)
{
	return n < SYS_open ? sc6_raw(n, a, b, c, d, e, f) : sc6_old(n, a, b, c, d, e);
}
