/* What a parser of outside bytes answers, the same for every protocol.
 *
 * Thread: any; parsers in proto/ are pure functions of their arguments.
 * Owner: parsers never allocate and never keep a pointer to their input.
 */
#pragma once

enum parse_result {
    PARSE_OK,   /* one whole item was read; the out-struct says how many bytes it took */
    PARSE_MORE, /* a valid beginning: call again with more bytes */
    PARSE_BAD,  /* can never become valid; the out-struct says why */
};
