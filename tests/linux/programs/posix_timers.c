/* timer_create and its kin. */
#include "say.h"
#include <pthread.h>
#include <time.h>

#define V(...) say_result(#__VA_ARGS__, (long)(__VA_ARGS__))

static volatile int count, last_value, first_overrun, last_overrun, last_code, last_timer;
static void on_signal(int sig, siginfo_t *info, void *context)
{
	if (!count++)
		first_overrun = info->si_overrun;
	last_value = info->si_value.sival_int;
	last_code = info->si_code;
	last_overrun = info->si_overrun;
	last_timer = info->si_timerid;
}

static long settime(int id, int flags, long interval_us, long value_us, struct itimerspec *old)
{
	struct itimerspec spec = { { interval_us / 1000000, interval_us % 1000000 * 1000 }, { value_us / 1000000, value_us % 1000000 * 1000 } };
	return SC(SYS_timer_settime, id, flags, &spec, old);
}

static void pause_ms(int ms)
{
	struct timespec left = { ms / 1000, ms % 1000 * 1000000L };
	while (SC(SYS_nanosleep, &left, &left) == -EINTR)
		;
}

static long now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void *thread(void *unused)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR2, .sigev_value.sival_int = 5 };
	int id;
	event._sigev_un._tid = SC(SYS_gettid);
	V(SC(SYS_timer_create, CLOCK_MONOTONIC, &event, &id));
	sigset_t mask;
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	sigprocmask(SIG_BLOCK, &mask, 0);
	settime(id, 0, 0, 10000, 0);
	siginfo_t info;
	ul bits;
	memcpy(&bits, &mask, 8);
	V(SC(SYS_rt_sigtimedwait, &bits, &info, 0, 8));
	say("thread: code %d value %d\n", info.si_code, info.si_value.sival_int);
	return 0;
}

int main(void)
{
	int id = -1, other;
	struct sigaction act = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART };
	struct sigevent event = { .sigev_notify = 7 };
	struct itimerspec spec = { { 0, 0 }, { 0, 1000000000 } }, old;
	sigaction(SIGALRM, &act, 0);
	sigaction(SIGUSR1, &act, 0);
	V(SC(SYS_timer_create, 99, 0, &id));
	V(SC(SYS_timer_create, CLOCK_MONOTONIC_RAW, 0, &id));
	V(SC(SYS_timer_create, CLOCK_MONOTONIC, &event, &id));
	event.sigev_notify = SIGEV_SIGNAL;
	event.sigev_signo = 65;
	V(SC(SYS_timer_create, CLOCK_MONOTONIC, &event, &id));
	event.sigev_signo = 0;
	V(SC(SYS_timer_create, CLOCK_MONOTONIC, &event, &id));
	V(SC(SYS_timer_create, CLOCK_MONOTONIC, -PAGE, &id));
	V(SC(SYS_timer_create, CLOCK_MONOTONIC, 0, 0));
	V(SC(SYS_timer_create, CLOCK_MONOTONIC, 0, &id));
	V(SC(SYS_timer_settime, id, 0, 0, 0));
	V(SC(SYS_timer_settime, id, 0, -PAGE, 0));
	V(SC(SYS_timer_settime, id, 0, &spec, 0));
	V(SC(SYS_timer_settime, 77, 0, &spec, 0));
	V(SC(SYS_timer_gettime, 77, &old));
	V(SC(SYS_timer_gettime, id, 0));
	V(SC(SYS_timer_getoverrun, 77));
	V(SC(SYS_timer_delete, 77));
	V(SC(SYS_timer_gettime, id, &old));
	say("%ld %ld\n", old.it_value.tv_sec, old.it_value.tv_nsec);
	V(settime(id, 0, 0, 20000, 0));
	pause_ms(50);
	say("count %d code %d timer is id %d value is id %d\n", count, last_code, last_timer == id, last_value == id);
	V(SC(SYS_timer_getoverrun, id));
	event = (struct sigevent){ .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 42 };
	V(SC(SYS_timer_create, CLOCK_REALTIME, &event, &other));
	sigset_t mask;
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	sigprocmask(SIG_BLOCK, &mask, 0);
	count = 0;
	long begin = now_ms(), most;
	V(settime(other, 0, 10000, 5000, 0));
	pause_ms(100);
	sigprocmask(SIG_UNBLOCK, &mask, 0);
	V(settime(other, 0, 0, 0, &old));
	most = (now_ms() - begin) / 10 + 1; /* the machine may be busy */
	say("count %d overrun %d value %d interval %ld\n", count > 0 && count <= most, last_overrun <= most, last_value,
	    old.it_interval.tv_nsec);
	say("first overrun %d\n", first_overrun >= 7 && first_overrun <= most);
	count = 0;
	V(settime(other, 0, 0, 3600000000, &old));
	V(settime(other, 0, 0, 1000000000, &old));
	say("left %d\n", old.it_value.tv_sec >= 3590 && old.it_value.tv_sec < 3600);
	V(SC(SYS_timer_delete, other));
	V(SC(SYS_timer_delete, other));
	event.sigev_notify = SIGEV_NONE;
	V(SC(SYS_timer_create, CLOCK_MONOTONIC, &event, &other));
	V(settime(other, 0, 0, 10000, 0));
	pause_ms(20);
	V(SC(SYS_timer_gettime, other, &old));
	say("left %ld %ld count %d\n", old.it_value.tv_sec, old.it_value.tv_nsec, count);
	pthread_t t;
	pthread_create(&t, 0, thread, 0);
	pthread_join(t, 0);
	settime(id, 0, 0, 20000, 0);
	flush();
	int child = fork(), status;
	if (!child) {
		long r = SC(SYS_timer_gettime, id, &old);
		quit(r == -EINVAL ? 3 : 4);
	}
	waitpid(child, &status, 0);
	say("status %x\n", status);
	quit(0);
}
