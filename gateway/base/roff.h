/* Text as man pages want it: escaped, so that nothing in it is taken for markup.
 *
 * Hyphens become minus signs, which can be copied and searched; backslashes and what is not ASCII become
 * named characters; a dot or apostrophe that opens a line stays text. Texts are UTF-8.
 *
 * Thread: any. Owner: the caller's stream.
 */
#pragma once

#include <stdio.h>

/* Within a line. */
void roff_words(FILE *out, const char *text);
/* Lines of their own, each sentence beginning one. */
void roff_paragraph(FILE *out, const char *text);
/* What a paragraph describes: prefix and name bold, `joint` as it is, the value (may be NULL) in italics. */
void roff_tag(FILE *out, const char *prefix, const char *name, const char *joint, const char *value);
