/* What execve left on the stack: strings, pointers, auxiliary vector, registers' neighbourhood.
 *
 * usage: initial_stack ARGUMENTS...     Addresses are printed whole: run it without ASLR.
 * Left out: the contents of AT_RANDOM, hardware capabilities, the clock rate, and rseq sizes.
 */
#include "say.h"

static const char *name_of(ul type)
{
	switch (type) {
#define N(x) case x: return #x
	N(AT_NULL); N(AT_IGNORE); N(AT_EXECFD); N(AT_PHDR); N(AT_PHENT); N(AT_PHNUM); N(AT_PAGESZ); N(AT_BASE); N(AT_FLAGS);
	N(AT_ENTRY); N(AT_NOTELF); N(AT_UID); N(AT_EUID); N(AT_GID); N(AT_EGID); N(AT_PLATFORM); N(AT_HWCAP); N(AT_CLKTCK);
	N(AT_SECURE); N(AT_RANDOM); N(AT_HWCAP2); N(AT_EXECFN); N(AT_SYSINFO_EHDR); N(AT_MINSIGSTKSZ);
#undef N
	case 27: return "AT_RSEQ_FEATURE_SIZE";
	case 28: return "AT_RSEQ_ALIGN";
	}
	return "?";
}

int main(int argc, char **argv, char **envp)
{
	say("argc %d at %p\n", argc, (void *)((long *)argv - 1));
	say("argc in memory %ld aligned %lu\n", ((long *)argv)[-1], (ul)((long *)argv - 1) % 16);
	say("argv %p envp %p\n", (void *)argv, (void *)envp);
	for (int i = 0; i < argc; i++)
		say("argv[%d] %p %.60s (%zu)\n", i, argv[i], argv[i], strlen(argv[i]));
	say("argv ends %d\n", argv[argc] == 0);
	int n = 0;
	for (; envp[n]; n++)
		if (n < 50)
			say("envp[%d] %p %.60s (%zu)\n", n, envp[n], envp[n], strlen(envp[n]));
	say("%d in the environment\n", n);
	ul *aux = (ul *)(envp + n + 1);
	say("auxiliary vector at %p\n", (void *)aux);
	for (;; aux += 2) {
		ul type = aux[0], value = aux[1];
		switch (type) {
		case AT_HWCAP:
		case AT_HWCAP2:
		case AT_MINSIGSTKSZ:
		case 27:
		case 28:
			say("%lu %s\n", type, name_of(type));
			break;
		case AT_RANDOM:
			say("%lu %s %#lx random %d\n", type, name_of(type), value, *(ul *)value != 0 || *(ul *)(value + 8) != 0);
			break;
		case AT_PLATFORM:
		case AT_EXECFN:
			say("%lu %s %#lx %.60s\n", type, name_of(type), value, (char *)value);
			break;
		default:
			say("%lu %s %#lx\n", type, name_of(type), value);
		}
		if (type == AT_NULL)
			break;
	}
	char *end = argv[0];
	for (int i = 0; i < n; i++)
		if (envp[i] > end)
			end = envp[i];
	end += strlen(end) + 1;
	say("after the environment: %s\n", end);
	end += strlen(end) + 1;
	say("then up to the top: %ld bytes, last word %#lx\n", (long)(0x7ffffffff000 - (ul)end), *(ul *)(0x7ffffffff000 - 8));
	ul zero = 0, from = (ul)(aux + 2);
	char *first = argc ? argv[0] : n ? envp[0] : end;
	say("between vector and strings: %ld bytes\n", (long)((ul)first - from));
	say_maps(0, -1UL);
	static char text[8192];
	size_t got = read_whole("/proc/self/auxv", text, sizeof text);
	say("/proc/self/auxv: %zu bytes, the same %d\n", got,
	    !memcmp(text, envp + n + 1, got < (ul)((char *)(aux + 2) - (char *)(envp + n + 1)) ? got : (char *)(aux + 2) - (char *)(envp + n + 1)));
	got = read_whole("/proc/self/cmdline", maps_text, sizeof maps_text);
	say("/proc/self/cmdline: %zu bytes, the same %d\n", got, argc == 0 || !memcmp(maps_text, argv[0], got));
	got = read_whole("/proc/self/environ", maps_text, sizeof maps_text);
	say("/proc/self/environ: %zu bytes, the same %d\n", got, n == 0 || !memcmp(maps_text, envp[0], got));
	quit(0);
}
