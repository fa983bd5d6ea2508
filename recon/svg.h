/* SPDX-License-Identifier: GPL-3.0-or-later */
/* svg.h: the HTML report's charts. Colours are CSS classes of the page, so that they follow its
 * light or dark look; every mark has a <title>, so that values can be read without colours.
 */
#ifndef OSP_RECON_SVG_H
#define OSP_RECON_SVG_H

#include "recon/recon.h"

void rc_svg_coverage(FILE *to, const struct rc_model *m);
void rc_svg_fields(FILE *to, const struct rc_model *m);
void rc_svg_latency(FILE *to, const struct rc_model *m);
void rc_svg_time(FILE *to, const struct rc_model *m);

#endif
