/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IBACKUP_PATH_H
#define IBACKUP_PATH_H

#include <limits.h>
#include "frame.h"

struct path_text {
	char text[PATH_MAX];
};

/* The tail of a request as one path. Fails with badRequest when it is none. */
int path_of(const struct frame *frame, struct path_text *path);

#endif
