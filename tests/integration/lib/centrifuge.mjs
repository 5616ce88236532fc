// Clients of the Centrifuge protocol as people have them: the published SDK, with everything that it tells written down.
import { Centrifuge } from 'centrifuge';
import { SignJWT } from 'jose';
import WebSocket from 'ws';
import { until } from './gateway.mjs';

export const secret = '5f9c1d0e7b3a48269c0d1e2f3a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d';
export const now = () => Math.floor(Date.now() / 1000);
/** A token with these claims. */
export const token = claims => new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).sign(new TextEncoder().encode(secret));

/** Keeps events of `emitter` in `events` as [name, context], and hands out the next one of a name. */
function record(emitter, names) {
  const events = [];
  const taken = {};
  for (const name of names) emitter.on(name, context => events.push([name, context]));
  return {
    events,
    all: name => events.filter(([n]) => n === name).map(([, context]) => context),
    /** The next context of this event that nobody has taken yet. */
    next: async name => {
      const index = taken[name] = (taken[name] ?? 0) + 1;
      await until(`${name} number ${index}; there are ${JSON.stringify(events.map(([n]) => n))}`,
        () => events.filter(([n]) => n === name).length >= index, 10000);
      return events.filter(([n]) => n === name)[index - 1][1];
    },
  };
}

/** An SDK client that is disconnected when the test ends. `where`: a port, over TLS when `pem` is there. */
export function client(t, where, { pem, ...options } = {}) {
  const socket = class extends WebSocket {
    constructor(url, protocols) { super(url, protocols, { ca: pem }); }
  };
  const centrifuge = new Centrifuge(`${pem ? 'wss' : 'ws'}://127.0.0.1:${where}/connection/websocket`,
    { websocket: socket, minReconnectDelay: 20, maxReconnectDelay: 200, ...options });
  const log = record(centrifuge, ['connecting', 'connected', 'disconnected', 'error', 'message', 'publication', 'join', 'leave', 'subscribed', 'subscribing', 'unsubscribed']);
  t.after(() => centrifuge.disconnect());
  return Object.assign(centrifuge, { log });
}

/** A subscription of it, subscribing. */
export function subscribe(centrifuge, channel, options) {
  const subscription = centrifuge.newSubscription(channel, { minResubscribeDelay: 20, maxResubscribeDelay: 200, ...options });
  const log = record(subscription, ['subscribing', 'subscribed', 'unsubscribed', 'publication', 'join', 'leave', 'error']);
  subscription.subscribe();
  return Object.assign(subscription, { log, data: () => log.all('publication').map(({ data }) => data) });
}

/** Connected, and subscribed to the channel. */
export async function subscriber(t, where, channel, options = {}, subscriptionOptions = {}) {
  const centrifuge = client(t, where, options);
  const subscription = subscribe(centrifuge, channel, subscriptionOptions);
  centrifuge.connect();
  await subscription.ready(10000);
  return { centrifuge, subscription };
}
