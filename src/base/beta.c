#include "base/beta.h"

#include <math.h>

/* The continued fraction 1 / (1 + d1 / (1 + d2 / (1 + ...))) of the incomplete beta function, by
 * the modified method of Lentz. It converges fast for x < (a + 1) / (a + b + 2). */
static double continued_fraction(double x, double a, double b)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double value = d;
    for (int m = 1; m < 500; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        double before = value;
        for (int k = 0; k < 2; k++) {
            double term = k ? odd : even;
            d = 1 + term * d;
            c = 1 + term / c;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            if (fabs(c) < tiny) c = tiny;
            value *= c * d;
        }
        if (fabs(value - before) <= 1e-16 * fabs(value)) break;
    }
    return value;
}

/* I_x(a, b) where the continued fraction converges fast. */
static double lower_part(double x, double a, double b)
{
    double beta = tgamma(a) * tgamma(b) / tgamma(a + b);
    return pow(x, a) * pow(1 - x, b) / (a * beta) * continued_fraction(x, a, b);
}

double zi_beta_distribution(double x, double a, double b)
{
    if (!(x > 0)) return 0;
    if (!(x < 1)) return 1;
    if (x < (a + 1) / (a + b + 2)) return lower_part(x, a, b);
    return 1 - lower_part(1 - x, b, a);
}

double zi_beta_quantile(double p, double a, double b)
{
    double low = 0, high = 1;
    if (!(p > 0)) return 0;
    if (!(p < 1)) return 1;
    /* Bisection: the function rises. Each round halves the interval, down to neighbouring doubles.
     */
    for (int i = 0; i < 200; i++) {
        double middle = low + (high - low) / 2;
        if (middle <= low || middle >= high) break;
        if (zi_beta_distribution(middle, a, b) < p)
            low = middle;
        else
            high = middle;
    }
    return high;
}
