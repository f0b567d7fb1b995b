/* Runs a program and tells what its memory was when it ended: faults since execve, the largest resident set, the maps.
 * usage: watch FILE PROGRAM ARGS...; the exit status is the program's. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile struct rusage before;

static void copy_lines(FILE *out, pid_t pid, const char *name, const char *wanted)
{
	char path[64], line[4096];
	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	FILE *in = fopen(path, "r");
	while (in && fgets(line, sizeof line, in))
		if (!wanted || !strncmp(line, wanted, strlen(wanted)))
			fputs(line, out);
	if (in)
		fclose(in);
}

static void faults(FILE *out, pid_t pid)
{
	char path[64], text[1024] = "";
	long minor = -1, major = -1;
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	FILE *in = fopen(path, "r");
	if (in && fgets(text, sizeof text, in))
		sscanf(strrchr(text, ')'), ") %*c %*d %*d %*d %*d %*d %*u %ld %*d %ld", &minor, &major);
	if (in)
		fclose(in);
	fprintf(out, "faults %ld %ld\n", minor - before.ru_minflt, major - before.ru_majflt);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 125;
	pid_t pid = vfork(); /* the child touches nothing that would be a fault of its own */
	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		getrusage(RUSAGE_SELF, (struct rusage *)&before);
		getrusage(RUSAGE_SELF, (struct rusage *)&before);
		execv(argv[2], argv + 2);
		_exit(127);
	}
	int status;
	waitpid(pid, &status, 0);
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEEXIT | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL);
	ptrace(PTRACE_CONT, pid, 0, 0);
	while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		int sig = WSTOPSIG(status);
		if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8)) {
			FILE *out = fopen(argv[1], "w");
			faults(out, pid);
			copy_lines(out, pid, "status", "VmHWM:");
			copy_lines(out, pid, "maps", 0);
			fclose(out);
			sig = 0;
		} else if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8)) {
			sig = 0; /* a later execve */
		}
		ptrace(PTRACE_CONT, pid, 0, sig);
	}
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
