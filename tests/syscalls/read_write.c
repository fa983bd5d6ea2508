/* SPDX-License-Identifier: GPL-3.0-or-later */
/* read_write.c: read(2), write(2). */
#include "common.h"

MAIN_STD(tx_write, rx_read)
