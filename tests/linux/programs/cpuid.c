/* What CPUID says, as /proc/cpuinfo names it: vendor, family, model, stepping, level, name, and one line per feature. */
#include <cpuid.h>
#include <stdio.h>
#include <string.h>

static void bits(unsigned word, const char *const names[32])
{
    for (int i = 0; i < 32; i++)
        if (word >> i & 1)
            printf("flag %s\n", names[i] ? names[i] : "?");
}

static const char *const leaf1_edx[32] = {
    "fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "apic", 0, "sep", "mtrr", "pge", "mca", "cmov",
    "pat", "pse36", "pn", "clflush", 0, "dts", "acpi", "mmx", "fxsr", "sse", "sse2", "ss", "ht", "tm", "ia64", "pbe"};
static const char *const leaf1_ecx[32] = {
    "pni", "pclmulqdq", "dtes64", "monitor", "ds_cpl", "vmx", "smx", "est", "tm2", "ssse3", "cid", "sdbg", "fma", "cx16",
    "xtpr", "pdcm", 0, "pcid", "dca", "sse4_1", "sse4_2", "x2apic", "movbe", "popcnt", "tsc_deadline_timer", "aes",
    "xsave", "osxsave", "avx", "f16c", "rdrand", "hypervisor"};
static const char *const ext_edx[32] = {[11] = "syscall", [20] = "nx", [26] = "pdpe1gb", [27] = "rdtscp", [29] = "lm"};
static const char *const ext_ecx[32] = {[0] = "lahf_lm", [5] = "abm", [6] = "sse4a"};

int main(void)
{
    unsigned a, b, c, d, name[12];
    char vendor[13] = "";
    __cpuid(0, a, b, c, d);
    memcpy(vendor, &b, 4), memcpy(vendor + 4, &d, 4), memcpy(vendor + 8, &c, 4);
    printf("vendor_id %s\ncpuid level %u\n", vendor, a);
    __cpuid(1, a, b, c, d);
    printf("cpu family %u\nmodel %u\nstepping %u\n", (a >> 8 & 15) + (a >> 20 & 255), (a >> 4 & 15) | (a >> 12 & 0xf0), a & 15);
    bits(d, leaf1_edx);
    bits(c & ~(1u << 27), leaf1_ecx);
    __cpuid(0x80000001, a, b, c, d);
    bits(d & (1u << 11 | 1u << 20 | 1u << 26 | 1u << 27 | 1u << 29), ext_edx);
    bits(c, ext_ecx);
    for (int i = 0; i < 3; i++)
        __cpuid(0x80000002 + i, name[4 * i], name[4 * i + 1], name[4 * i + 2], name[4 * i + 3]);
    printf("model name %.48s\n", (char *)name);
    return 0;
}
