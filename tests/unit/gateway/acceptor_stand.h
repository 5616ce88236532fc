/* A real acceptor's thread over loopback, with the test in the place of the reactor and the broker. */
#pragma once

#include "gateway/acceptor.h"
#include "gateway/base/fdtable.h"
#include "gateway/settings/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define STAND static __attribute__((unused))

enum { SLOTS = 4096, PATIENCE_MS = 20000 };

struct stand {
    struct settings settings;
    struct ip_limit *ip_limit;
    struct mailbox broker_mail;
    struct reactor_port port;
    int receiver;
    struct acceptor_shared shared;
    struct acceptor *acceptor;
    bool joined;
    struct sockaddr_in address;
    struct sockaddr_in tls_address; /* when it was given a context */
};

/* How it differs from the usual. */
struct stand_options {
    uint64_t per_ip;
    int transfer_buffer;
    const char *subscribe_hook;
    bool demo;
    struct tls_context *tls; /* the stand's from now on: there is a wss listener, too */
};

STAND int stand_listen(struct sockaddr_in *address)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t bytes = sizeof *address;
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    assert_int_equal(bind(listener, (struct sockaddr *)address, bytes), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)address, &bytes), 0);
    assert_int_equal(listen(listener, 1000), 0);
    return listener;
}

STAND struct stand *stand_new_with(struct stand_options options)
{
    struct stand *stand = calloc(1, sizeof *stand);
    assert_non_null(stand);
    stand->settings = (struct settings){
        .limits = {.message_bytes = 65536,
                   .topics_per_connection = 32,
                   .handshake_timeout = 60000,
                   .close_timeout = 1000},
        .listen = {.origins = (char *)(uintptr_t) "*"},
        .auth = {.anonymous = true, .cookie = (char *)(uintptr_t) ""},
        .proxy = {.headers = (char *)(uintptr_t) "",
                  .subscribe = (char *)(uintptr_t)(options.subscribe_hook ? options.subscribe_hook : "")},
        .demo = {.enabled = options.demo},
    };
    stand->ip_limit = ip_limit_create(options.per_ip);
    assert_non_null(stand->ip_limit);
    assert_true(mailbox_init(&stand->broker_mail));
    int pair[2];
    assert_true(transfer_pair(pair));
    if (options.transfer_buffer)
        assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &options.transfer_buffer,
                                    sizeof options.transfer_buffer),
                         0);
    stand->port = (struct reactor_port){.transfer_fd = pair[0], .capacity = 100000};
    stand->receiver = pair[1];
    stand->shared = (struct acceptor_shared){.settings = &stand->settings,
                                             .ports = &stand->port,
                                             .port_count = 1,
                                             .ip_limit = stand->ip_limit,
                                             .broker_mail = &stand->broker_mail};
    struct acceptor_config config = {
        .shared = &stand->shared, .listen_fds = {stand_listen(&stand->address), -1}, .tls = options.tls};
    if (options.tls)
        config.listen_fds[TRANSPORT_WSS] = stand_listen(&stand->tls_address);
    char error[256];
    stand->acceptor = acceptor_create(&config, error, sizeof error);
    assert_non_null(stand->acceptor);
    assert_true(acceptor_start(stand->acceptor, error, sizeof error));
    return stand;
}

STAND struct stand *stand_new(uint64_t per_ip, int transfer_buffer)
{
    return stand_new_with((struct stand_options){.per_ip = per_ip, .transfer_buffer = transfer_buffer});
}

STAND void join(struct stand *stand)
{
    for (int ms = 0; !acceptor_try_join(stand->acceptor); ms += 2) {
        assert_true(ms < PATIENCE_MS);
        (void)poll(NULL, 0, 2);
    }
}

STAND void stand_free(struct stand *stand)
{
    close(stand->receiver);
    if (!stand->joined) {
        acceptor_end(stand->acceptor);
        join(stand);
    }
    assert_int_equal(counter_read(&acceptor_stats(stand->acceptor)->handshaking), 0);
    acceptor_destroy(stand->acceptor);
    close(stand->port.transfer_fd);
    for (struct mailbox_node *node = mailbox_detach(&stand->broker_mail), *next; node; node = next) {
        next = node->next;
        broker_request_destroy((struct broker_request *)(void *)node);
    }
    mailbox_fini(&stand->broker_mail);
    ip_limit_destroy(stand->ip_limit);
    free(stand);
}

/* From 127.0.0.`host` to the same. */
STAND int dial_to(const struct sockaddr_in *address, uint32_t host)
{
    struct sockaddr_in from = {.sin_family = AF_INET}, to = *address;
    from.sin_addr.s_addr = to.sin_addr.s_addr = htonl(0x7f000000 | host);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    int on = 1;
    (void)setsockopt(fd, IPPROTO_IP, 24 /* IP_BIND_ADDRESS_NO_PORT */, &on, sizeof on);
    assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof from), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

STAND int dial(const struct stand *stand, uint32_t host)
{
    return dial_to(&stand->address, host);
}

STAND void ask(int fd)
{
    static const char request[] = "GET /ws?topic=a HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                                  "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    assert_int_equal(send(fd, request, sizeof request - 1, MSG_NOSIGNAL), sizeof request - 1);
}

STAND void pause_ms(int ms)
{
    (void)poll(NULL, 0, ms);
}

STAND void wait_for(const counter *value, uint64_t at_least)
{
    for (int ms = 0; counter_read(value) < at_least; ms += 5) {
        assert_true(ms < PATIENCE_MS);
        pause_ms(5);
    }
}

/* Descriptors for both ends of that many connections. */
STAND bool many_descriptors(void)
{
    return fdtable_raise_limit() >= 2 * SLOTS + 1000;
}
