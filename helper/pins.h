/* SPDX-License-Identifier: Apache-2.0 */
/* The folder on bpffs that keeps maps, programs and links alive when the helper ends. */
#ifndef IBACKUP_PINS_H
#define IBACKUP_PINS_H

#include <limits.h>
#include <stdbool.h>

/* Its path. Set once, before anything else; shorter than PINS_FOLDER_MAX. */
extern const char *pins_folder;
#define PINS_FOLDER_MAX 1024

enum pin {
	PIN_MAP,
	PIN_PROGRAM,
	PIN_LINK,
};

/* A path under the folder. */
struct path {
	char text[PATH_MAX];
};

/* Writes the path of a pin and returns its text. */
const char *pin_path(struct path *path, enum pin pin, const char *name);

/* What is not there is fine. */
int pin_remove(enum pin pin, const char *name);

/* Whether the folder is there. Fails when it is not one that only root can have made. */
int pins_find(bool *found);

/*
 * Held while the set of slots or programs changes. Returns a descriptor, to be closed. The lock
 * is on the parent, because the folder itself comes and goes.
 */
int pins_lock(void);

/* Opens the folder; -1 when it is not there. */
int pins_open(void);

#endif
