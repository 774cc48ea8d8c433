/* Aspect ratios of images. */
#include "generate.h"

#include <stdlib.h>
#include <string.h>

/* Parses a number from 0.01 to 9999, digits with at most one point, at *text, and moves *text
 * behind it. Independent of the locale. */
static bool parse_side(const char **text, double *side)
{
    double value = 0, scale = 1;
    const char *at = *text;
    for (; *at >= '0' && *at <= '9'; at++) value = value * 10 + (*at - '0');
    if (at == *text) return false;
    if (*at == '.')
        for (at++; *at >= '0' && *at <= '9'; at++) value += (*at - '0') * (scale /= 10);
    *text = at;
    *side = value;
    return value >= 0.01 && value <= 9999;
}

bool zi_parse_aspect(const char *text, double *w, double *h, zi_error *error)
{
    const char *at = text;
    if (parse_side(&at, w) && *at && strchr(":xX/", *at) && (at++, parse_side(&at, h)) && !*at)
        return true;
    return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "aspect",
                        "'%s' is not an aspect ratio; write WIDTH:HEIGHT, two numbers from 0.01 to "
                        "9999, such as 16:9, 16x9 or 1.85:1",
                        text);
}

bool zi_apply_aspect(zi_generate_job *job, int native, zi_error *error)
{
    double w, h;
    if (!job->aspect) return true;
    if (!zi_parse_aspect(job->aspect, &w, &h, error)) return false;
    const zi_parameter *side = zi_parameter_find("width");
    double ratio = w > h ? w / h : h / w;
    double steps = native * ratio / side->multiple + 0.5;
    double longer = steps > 1e6 ? 1e6 * side->multiple : side->multiple * (int)steps;
    if (longer > side->max)
        return zi_error_set(
            error, ZI_ERROR_INVALID_ARGUMENT, "aspect",
            "%s needs a side of %.0f pixels, and at most %.0f are possible; choose a "
            "ratio closer to 1:1",
            job->aspect, longer, side->max);
    job->generation.request.width = w > h ? (int)longer : native;
    job->generation.request.height = w > h ? native : (int)longer;
    return true;
}
