/* Who may see and do what on the admin listener: its secrets, pages of other sites, and failures, which are
 * counted and slow down whoever guesses.
 *
 * Pages want admin.password, when it is set; beyond loopback, where something must be, publish.password does
 * in its place. POST /publish wants publish.password, or else what pages want. The server API wants
 * api.key and nothing else. /healthz and /readyz are open: balancers ask for them.
 *
 * Thread: the admin's. Owner: embedded in the admin.
 */
#pragma once

#include "gateway/base/log.h"
#include "gateway/base/throttle.h"
#include "gateway/settings/settings.h"
#include "proto/http_request.h"

struct admin_auth {
    const struct settings *settings;
    bool reachable;               /* listen.admin is beyond loopback */
    struct throttle throttle;     /* of passwords */
    struct throttle key_throttle; /* of api.key: who guesses at one must not keep others from the other */
    uint8_t ticket_key[32];
    struct log_limit log;
    uint64_t wrong, throttled; /* secrets: that did not fit; that were not looked at */
};

enum admin_verdict {
    ADMIN_MAY,
    ADMIN_MISSING,   /* no secret was given */
    ADMIN_WRONG,     /* not this one */
    ADMIN_THROTTLED, /* too many wrong ones before; it was not looked at */
};

/* False without random bytes. */
bool admin_auth_init(struct admin_auth *auth, const struct settings *settings)
    __attribute__((warn_unused_result));

/* What pages want: "" nothing. */
const char *admin_auth_password(const struct admin_auth *auth);
/* A password, as Authorization: Bearer PASSWORD, or Basic with any user. An empty one is always given. */
enum admin_verdict admin_auth_check(struct admin_auth *auth, const char *password,
                                    const struct throttle_key *peer, const struct http_request *request);
/* api.key, as X-API-Key or as Authorization: apikey KEY. */
enum admin_verdict admin_auth_check_key(struct admin_auth *auth, const struct throttle_key *peer,
                                        const struct http_request *request);
/* A cookie, "NAME=TICKET; …", that opens the stream of the status for half a day to whoever was shown the
 * page. */
enum { ADMIN_TICKET_COOKIE_BYTES = 256 };
void admin_auth_ticket(const struct admin_auth *auth, uint64_t now_s, char out[ADMIN_TICKET_COOKIE_BYTES]);
bool admin_auth_ticket_good(const struct admin_auth *auth, uint64_t now_s, struct http_slice cookie);

/* Browsers name the page that asks in Origin. A page from elsewhere must not publish through its visitor's
 * browser, also not when its own name was made to resolve to this address (DNS rebinding). */
bool admin_from_another_site(const struct http_request *request);
/* The same for what a browser reads without saying an origin: where no password is asked for, only an address
 * or localhost is answered. */
bool admin_host_is_address(const struct http_request *request);

/* The password in an Authorization header, in `room`. False: there is none, or it cannot be one. */
bool admin_auth_read(struct http_slice authorization, char *room, size_t size, struct http_slice *password);
