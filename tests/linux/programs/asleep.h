/* Waiting for another task by its state in /proc, where a nap would only hope that it has come so far. */
#ifndef ASLEEP_H
#define ASLEEP_H
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* R, S, T, Z...; X where there is no such task. */
static char state_of(int pid, int tid)
{
	char path[64], text[512];
	sprintf(path, "/proc/%d/task/%d/stat", pid, tid);
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		return 'X';
	long n = read(fd, text, sizeof text - 1);
	close(fd);
	if (n <= 0)
		return 'X';
	text[n] = 0;
	return strrchr(text, ')')[2];
}

/* Comes back when the task sleeps (or is stopped or gone), and has done so twice in a row. */
static void until_asleep(int pid, int tid)
{
	for (int seen = 0, tries = 0; seen < 2 && tries < 100000; tries++) {
		usleep(300);
		char state = state_of(pid, tid);
		seen = state == 'R' || state == 'D' ? 0 : seen + 1;
	}
}

static void until_state(int pid, int tid, char state)
{
	for (int tries = 0; tries < 100000 && state_of(pid, tid) != state; tries++)
		usleep(100);
}
#endif
