#include "gateway/publisher_client.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

struct info {
    const struct call *call;
    char text[4096];
    size_t len;
    bool wanted; /* the section that is being written */
};

static void info_section(struct info *info, const char *name)
{
    const struct call *call = info->call;
    info->wanted = call->count == 1;
    for (size_t i = 1; i < call->count; i++)
        info->wanted |= resp_arg_is(&call->args[i], name) || resp_arg_is(&call->args[i], "all") ||
                        resp_arg_is(&call->args[i], "default") || resp_arg_is(&call->args[i], "everything");
    if (info->wanted)
        info->len += (size_t)snprintf(info->text + info->len, sizeof info->text - info->len, "%s# %s\r\n",
                                      info->len > 0 ? "\r\n" : "", name);
}

static void info_text(struct info *info, const char *key, const char *value)
{
    if (info->wanted)
        info->len +=
            (size_t)snprintf(info->text + info->len, sizeof info->text - info->len, "%s:%s\r\n", key, value);
}

static void info_number(struct info *info, const char *key, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    info_text(info, key, text);
}

static uint64_t sum_of(const struct publisher_config *config, size_t offset)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < config->reactor_count; i++)
        sum += counter_read((const counter *)(const void *)((const char *)config->reactors[i] + offset));
    return sum;
}

/* WebSocket connections; "Clients" are those of this socket, as in Redis. */
static void info_connections(struct info *info)
{
    static const char *const transports[TRANSPORT_COUNT] = {[TRANSPORT_WS] = "ws", [TRANSPORT_WSS] = "wss"};
    const struct publisher_config *config = &info->call->publisher->config;
    uint64_t all = 0, closed = 0;
    info_section(info, "Connections");
    for (unsigned a = 0; a < ADAPTER_COUNT; a++)
        for (unsigned t = 0; t < TRANSPORT_COUNT; t++) {
            char key[64];
            uint64_t open = sum_of(config, offsetof(struct reactor_stats, connections) +
                                               (a * TRANSPORT_COUNT + t) * sizeof(counter));
            snprintf(key, sizeof key, "connections_%s_%s", adapter_get((enum adapter_id)a)->name,
                     transports[t]);
            info_number(info, key, open);
            all += open;
        }
    for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
        closed += sum_of(config, offsetof(struct reactor_stats, closes) + i * sizeof(counter));
    info_number(info, "connections", all);
    info_number(info, "connections_opened", sum_of(config, offsetof(struct reactor_stats, opened)));
    info_number(info, "connections_closed", closed);
    info_number(info, "deliveries", sum_of(config, offsetof(struct reactor_stats, deliveries)));
    info_number(info, "delivered_bytes", sum_of(config, offsetof(struct reactor_stats, delivered_bytes)));
    info_number(info, "drops", sum_of(config, offsetof(struct reactor_stats, drops)));
    info_number(info, "outbox_bytes", sum_of(config, offsetof(struct reactor_stats, outbox_bytes)));
    info_number(info, "outbox_connections",
                sum_of(config, offsetof(struct reactor_stats, outbox_connections)));
    info_number(info, "reactors", config->reactor_count);
}

enum command_result command_info(const struct call *call)
{
    struct publisher *publisher = call->publisher;
    const struct publisher_stats *stats = &publisher->stats;
    const struct channels *channels = &publisher->channels;
    const struct engine_stats kept = broker_engine_stats(publisher->broker);
    struct info info = {.call = call}; /* some 2,000 bytes when everything is asked for */
    info_section(&info, "Server");
    info_text(&info, "pushgate_version", PUSHGATE_VERSION);
    info_text(&info, "redis_version", REDIS_VERSION); /* client libraries parse it */
    info_text(&info, "redis_mode", "standalone");
    info_number(&info, "arch_bits", sizeof(void *) * 8);
    info_number(&info, "process_id", (uint64_t)getpid());
    info_number(&info, "uptime_in_seconds", (publisher->now_ms - publisher->started_ms) / 1000);
    if (publisher->config.control)
        info_text(&info, "phase", control_phase_label(control_phase(publisher->config.control)));
    info_text(&info, "log_level", (const char *const[]){"error", "warn", "info", "debug"}[log_get_level()]);
    info_connections(&info);
    info_section(&info, "Clients");
    info_number(&info, "connected_clients", publisher->client_count);
    info_number(&info, "maxclients", publisher->settings->limits.publishers);
    info_number(&info, "pubsub_clients", channels->listener_count);
    info_section(&info, "Persistence");
    info_text(&info, "loading", "0");
    info_section(&info, "Stats");
    info_number(&info, "total_connections_received", publisher->accepted);
    info_number(&info, "total_commands_processed", counter_read(&stats->commands));
    info_number(&info, "total_error_replies", counter_read(&stats->errors));
    info_number(&info, "pubsub_channels", publisher_channel_count(publisher));
    info_number(&info, "pubsub_patterns", channels->pattern_count);
    info_number(&info, "messages_published", counter_read(&stats->publishes));
    info_number(&info, "messages_published_bytes", counter_read(&stats->publish_bytes));
    info_number(&info, "messages_queued", counter_read(&stats->publish_reached));
    info_number(&info, "inflight_bytes", broker_inflight_bytes(publisher->broker));
    info_section(&info, "Listeners");
    info_number(&info, "listeners", channels->listener_count);
    info_number(&info, "listener_channels", channels->channel_count);
    info_number(&info, "listener_patterns", channels->pattern_count);
    info_number(&info, "listener_messages", counter_read(&stats->listener_messages));
    info_number(&info, "listeners_cut", counter_read(&stats->listeners_cut));
    info_section(&info, "History");
    info_number(&info, "history_streams", kept.streams);
    info_number(&info, "history_items", kept.items);
    info_number(&info, "history_bytes", kept.history_bytes);
    info_number(&info, "history_maxbytes", publisher->settings->history.memory);
    info_number(&info, "history_evicted_size", kept.evicted_size);
    info_number(&info, "history_evicted_ttl", kept.evicted_ttl);
    info_number(&info, "history_evicted_memory", kept.evicted_memory);
    info_section(&info, "Presence");
    info_number(&info, "presence_topics", kept.presence_topics);
    info_number(&info, "presence_clients", kept.presence_entries);
    info_number(&info, "presence_bytes", kept.presence_bytes);
    info_section(&info, "Replication");
    info_text(&info, "role", "master");
    info_number(&info, "connected_slaves", 0);
    info_section(&info, "Keyspace");
    resp_bulk(call->out, info.text, info.len);
    return COMMAND_DONE;
}
