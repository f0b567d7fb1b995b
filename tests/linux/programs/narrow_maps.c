/* The address space of a 32-bit program at its start: /proc/self/maps, a few words of the auxiliary vector, the machine. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/personality.h>
#include <sys/utsname.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static char text[1 << 16];
	int fd = open("/proc/self/maps", O_RDONLY);
	long n, used = 0;
	while ((n = read(fd, text + used, sizeof text - used)) > 0)
		used += n;
	write(1, text, used);
	int kinds[] = { AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_BASE, AT_ENTRY, AT_SECURE, AT_RANDOM, AT_EXECFN, AT_SYSINFO_EHDR, AT_PLATFORM };
	for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++)
		dprintf(1, "auxiliary %d %lx\n", kinds[i], getauxval(kinds[i]));
	dprintf(1, "platform %s argc %p\n", (char *)getauxval(AT_PLATFORM), (void *)&argc);
	struct utsname u;
	uname(&u);
	dprintf(1, "machine %s\n", u.machine);
	unsigned short cs, ss, ds, es, fs;
	__asm__("mov %%cs, %0; mov %%ss, %1; mov %%ds, %2; mov %%es, %3; mov %%fs, %4" : "=r"(cs), "=r"(ss), "=r"(ds), "=r"(es), "=r"(fs));
	dprintf(1, "segments %x %x %x %x %x\n", cs, ss, ds, es, fs);
	return 0;
}
