/* Floating point: SSE float and double to the last bit, x87 long double, conversions, rounding modes, exceptions, matrices.
 * Functions of libm are printed with ten digits only: glibc's variants for newer processors may differ in the last bit. */
#include <complex.h>
#include <fenv.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N 40
static double m[N][N], inverse[N][N];
static volatile double vd[] = { 0.0, -0.0, 1.0, -1.5, 1e308, 1e-308, 5e-324, INFINITY, -INFINITY, 3.141592653589793, 1e15, 123456.789 };
static volatile float vf[] = { 0, -0.f, 1, -1.5f, 3e38f, 1e-38f, 1e-45f, INFINITY, 3.14159f, 16777217.f };

int main(void)
{
	int nd = sizeof vd / sizeof *vd, nf = sizeof vf / sizeof *vf;
	for (int i = 0; i < nd; i++)
		for (int k = 0; k < nd; k++) {
			double a = vd[i], b = vd[k];
			printf("%a %a %a %a %d%d%d %a\n", a + b, a - b, a * b, b != 0 ? a / b : 0.0, a < b, a == b, isunordered(a, b), fmod(a, b));
		}
	for (int i = 0; i < nf; i++)
		for (int k = 0; k < nf; k++)
			printf("%a %a %a %a\n", vf[i] + vf[k], vf[i] - vf[k], vf[i] * vf[k], vf[k] != 0 ? vf[i] / vf[k] : 0.f);
	for (int i = 0; i < nd; i++) {
		double a = vd[i];
		printf("sqrt %a floor %a ceil %a trunc %a rint %a long %ld int %d float %a unsigned %llu\n", sqrt(fabs(a)), floor(a), ceil(a),
		       trunc(a), rint(a), fabs(a) < 1e18 ? (long)a : 0, fabs(a) < 1e9 ? (int)a : 0, (float)a,
		       a >= 0 && a < 1e19 ? (unsigned long long)a : 0);
	}
	int modes[] = { FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO };
	for (int k = 0; k < 4; k++) {
		fesetround(modes[k]);
		volatile double one = 1, three = 3;
		volatile long double lone = 1, lthree = 3;
		volatile float fone = 1, fthree = 3;
		printf("mode %d: %a %a %La %a %ld\n", k, one / three, -one / three, lone / lthree, (double)(fone / fthree), lrint(2.5 * one));
	}
	fesetround(FE_TONEAREST);
	feclearexcept(FE_ALL_EXCEPT);
	volatile double zero = 0, huge = 1e308;
	volatile double r = 1 / zero;
	printf("division %d\n", fetestexcept(FE_DIVBYZERO) != 0);
	r = huge * huge;
	printf("overflow %d inexact %d\n", fetestexcept(FE_OVERFLOW) != 0, fetestexcept(FE_INEXACT) != 0);
	r = zero / zero;
	printf("invalid %d nan %d\n", fetestexcept(FE_INVALID) != 0, isnan(r));
	volatile long double l = 1.0L;
	for (int i = 1; i < 30; i++) {
		l = l * i + 1.0L / i;
		printf("%La %Lg\n", l, l);
	}
	printf("%La %La %La %Lf\n", sqrtl(2.0L), floorl(-2.5L), 1e4000L * 10, fmodl(1e30L, 7));
	for (double x = -5; x <= 5; x += 0.37)
		printf("%.10g %.10g %.10g %.10g %.10g %.10g %.10g %.10g\n", sin(x), cos(x), tan(x), exp(x), log(x * x), atan(x), pow(fabs(x), 1.7),
		       cbrt(x));
	for (double x = 0.1; x < 3; x += 0.31)
		printf("%.10g %.10g %.10g %.10g %.10g %.8Lg %.8Lg\n", sinh(x), tgamma(x), lgamma(x), erf(x), j0(x), sinl(x), expl(x));
	for (float x = -3; x < 3; x += 0.7f)
		printf("%.5g %.5g %.5g\n", sinf(x), expf(x), powf(fabsf(x), 0.3f));
	complex double z = 1 + 2 * I, w = 1;
	for (int i = 0; i < 10; i++)
		w = w * z / (1.5 - I);
	printf("%.12g %.12g %.12g\n", creal(w), cimag(w), cabs(w));
	uint32_t seed = 7;
	for (int i = 0; i < N; i++)
		for (int k = 0; k < N; k++) {
			seed = seed * 1664525 + 1013904223;
			m[i][k] = (int)(seed >> 20) / 1000.0 - 2;
			inverse[i][k] = i == k;
		}
	static double work[N][N];
	memcpy(work, m, sizeof m);
	for (int c = 0; c < N; c++) {
		int best = c;
		for (int i = c; i < N; i++)
			if (fabs(work[i][c]) > fabs(work[best][c]))
				best = i;
		for (int k = 0; k < N; k++) {
			double t = work[c][k]; work[c][k] = work[best][k]; work[best][k] = t;
			t = inverse[c][k]; inverse[c][k] = inverse[best][k]; inverse[best][k] = t;
		}
		double pivot = work[c][c];
		for (int k = 0; k < N; k++) { work[c][k] /= pivot; inverse[c][k] /= pivot; }
		for (int i = 0; i < N; i++)
			if (i != c) {
				double f = work[i][c];
				for (int k = 0; k < N; k++) { work[i][k] -= f * work[c][k]; inverse[i][k] -= f * inverse[c][k]; }
			}
	}
	double worst = 0;
	for (int i = 0; i < N; i++)
		for (int k = 0; k < N; k++) {
			double sum = 0;
			for (int j = 0; j < N; j++)
				sum += m[i][j] * inverse[j][k];
			double off = fabs(sum - (i == k));
			if (off > worst)
				worst = off;
		}
	printf("inverse %d trace", worst < 1e-8);
	double trace = 0;
	for (int i = 0; i < N; i++)
		trace += inverse[i][i];
	printf(" %.9g\n", trace);
	const char *texts[] = { "1e-400", "0x1.8p3", "3.14159265358979323846", "nan", "-inf", "1e23", "9007199254740993", "2.2250738585072011e-308" };
	for (int i = 0; i < 8; i++)
		printf("%s %a %a %La\n", texts[i], strtod(texts[i], 0), strtof(texts[i], 0), strtold(texts[i], 0));
	return 0;
}
