/* The beta distribution. */
#ifndef ZI_BASE_BETA_H
#define ZI_BASE_BETA_H

/* The quantile of the beta distribution, the inverse of the regularized incomplete beta function:
 * the x in 0..1 with I_x(a, b) = p, to 1e-12 and better. p in 0..1; a and b above 0 and not above
 * 50. */
double zi_beta_quantile(double p, double a, double b);

/* The regularized incomplete beta function I_x(a, b), which goes from 0 to 1 as x does. */
double zi_beta_distribution(double x, double a, double b);

#endif
