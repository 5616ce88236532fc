// pushgate-load must notice what a server does wrong, and nothing else; then it measures the gateway.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { flawed } from './lib/flawed.mjs';
import { makeCertificate, measurable, own, preset } from './lib/gateway.mjs';
import { run as runLoad } from './lib/load.mjs';
import { violations } from './lib/schema.mjs';

const schema = JSON.parse(readFileSync(new URL('./lib/load_report.schema.json', import.meta.url)));

const connections = 100, messages = 10, flawedOnes = connections / 10;

async function run(mode, options, more) {
  const result = await runLoad(mode, { connections, ...(mode === 'fanout' && { messages }), ...options }, more);
  if (result.report) assert.deepEqual(violations(schema, result.report), []);
  return result;
}

const clean = { lost: 0, late: 0, duplicated: 0, out_of_order: 0, corrupt: 0, misrouted: 0, foreign: 0, unknown: 0 };
const verdict = ({ messages }) => Object.fromEntries(Object.keys(clean).map(key => [key, messages[key]]));

for (const transport of ['ws', 'wss']) {
  describe(`load test over ${transport}`, () => {
    let folder, certificate;
    before(() => { folder = mkdtempSync(join(tmpdir(), 'pushgate-load-')); certificate = makeCertificate(folder); });
    after(() => rmSync(folder, { recursive: true }));
    const server = (t, fault) => flawed(t, { fault, certificate: transport === 'wss' ? certificate : undefined });
    const trust = () => (transport === 'wss' ? { cafile: certificate.certificate } : {});

    test('a correct server passes: everything arrives once, in order', async t => {
      const { target, publish } = await server(t);
      const { code, report, ready } = await run('fanout', { target, publish, ...trust(), topics: 7, processes: 3 });
      assert.equal(code, 0);
      assert.ok(ready && report.passed);
      assert.deepEqual(verdict(report), clean);
      assert.equal(report.messages.published, messages);
      assert.equal(report.messages.delivered, report.messages.expected);
      assert.equal(report.messages.latency_us.count, report.messages.delivered);
      assert.equal(report.connections.opened, connections);
      assert.deepEqual(report.connections.closed_by_reason, { done: connections });
    });

    test('fragments, pings between them and large messages are taken for what they are', async t => {
      for (const fault of ['fragment', 'ping']) {
        const { target, publish } = await server(t, fault);
        const { code, report } = await run('fanout', { target, publish, ...trust(), 'message-bytes': 40000, connections: 20 });
        assert.equal(code, 0, fault);
        assert.deepEqual(verdict(report), clean);
        assert.equal(report.connections.server_pings, fault === 'ping' ? 20 : 20 * messages);
      }
    });

    for (const [fault, seen] of Object.entries({
      drop: { lost: flawedOnes },
      duplicate: { duplicated: flawedOnes },
      reorder: { out_of_order: flawedOnes },
      corrupt: { corrupt: flawedOnes, lost: flawedOnes },
      'corrupt time': { corrupt: flawedOnes, lost: flawedOnes },
      inject: { unknown: flawedOnes },
      tardy: { late: flawedOnes },
    })) {
      test(`a server that does this to messages is found out: ${fault}`, async t => {
        const { target, publish } = await server(t, fault);
        const { code, report } = await run('fanout', { target, publish, ...trust() });
        assert.equal(code, 1);
        assert.deepEqual(verdict(report), { ...clean, ...seen });
        assert.equal(report.connections.closed_unexpectedly, 0);
      });
    }

    test('messages of others are no fault where they are allowed', async t => {
      const { target, publish } = await server(t, 'inject');
      const { code, report } = await run('fanout', { target, publish, ...trust(), 'allow-unknown': true });
      assert.equal(code, 0);
      assert.deepEqual(verdict(report), { ...clean, unknown: flawedOnes });
    });

    for (const [fault, reason] of Object.entries({ 'no close': 'close_cut', 'ignore close': 'unanswered' })) {
      test(`closing handshakes that are not completed are told apart, and many are a fault: ${fault}`, async t => {
        const { target } = await server(t, fault); // a tenth of the first fifty, and all others
        const few = await run('idle', { target, ...trust(), connections: 50, hold: 0, settle: '300ms' });
        assert.equal(few.code, 0, few.text);
        assert.deepEqual(few.report.connections.closed_by_reason, { done: 45, [reason]: 5 });
        assert.deepEqual(few.report.warnings, ['the server did not complete 5 of 50 closing handshakes']);
        const all = await run('idle', { target, ...trust(), connections: 50, hold: 0, settle: '300ms' });
        assert.equal(all.code, 1, all.text);
        assert.deepEqual(all.report.connections.closed_by_reason, { [reason]: 50 });
        assert.deepEqual(all.report.faults, ['the server did not complete 50 of 50 closing handshakes']);
      });
    }

    test('one by one, each message is timed until it is everywhere; one that is lost somewhere is not', async t => {
      const [good, bad] = await Promise.all([server(t), server(t, 'drop')]).then(all => all.map(({ target, publish }) => ({ target, publish })));
      const passed = await run('fanout', { ...good, ...trust(), 'one-by-one': true, 'idle-hold': '50ms' });
      assert.equal(passed.code, 0);
      assert.equal(passed.report.messages.spread_us.count, messages);
      assert.ok(passed.report.messages.spread_us.max >= passed.report.messages.latency_us.max);
      assert.equal(passed.report.messages.latency_us.count, connections * messages);
      const failed = await run('fanout', { ...bad, ...trust(), 'one-by-one': true });
      assert.equal(failed.code, 1);
      assert.deepEqual(verdict(failed.report), { ...clean, lost: flawedOnes });
      assert.equal(failed.report.messages.spread_us.count, messages - 1);
      assert.equal(passed.report.messages.spread_first_us.length, messages);
      assert.equal(Math.max(...passed.report.messages.spread_first_us), passed.report.messages.spread_us.max);
    });

    test('messages inside of another protocol\'s envelopes are found, once a binary frame has subscribed', async t => {
      const { target, publish } = await server(t, 'envelope');
      const subscribe = Buffer.from('SUB load\r\n').toString('hex');
      const { code, report } = await run('fanout', { target, publish, ...trust(), unwrap: true, 'send-binary': subscribe, 'idle-hold': '200ms' });
      assert.equal(code, 0);
      assert.deepEqual(verdict(report), clean);
      assert.equal(report.messages.delivered, connections * messages);
    });

    test('a message of another topic is found out', async t => {
      const { target, publish } = await server(t, 'misroute');
      const { code, report } = await run('fanout', { target, publish, ...trust(), topics: 2 });
      assert.equal(code, 1);
      assert.deepEqual(verdict(report), { ...clean, misrouted: flawedOnes });
    });

    for (const [fault, reason] of Object.entries({ close: 'close_frame', cut: 'eof', reserved: 'ws_error' })) {
      test(`a server that ends connections is found out: ${fault}`, async t => {
        const { target, publish } = await server(t, fault);
        const { code, report } = await run('fanout', { target, publish, ...trust() });
        assert.equal(code, 1);
        const { reset = 0, ...ends } = report.connections.closed_by_reason; // what a cut looks like depends on what was in flight
        assert.equal((ends[reason] ?? 0) + reset, flawedOnes);
        assert.equal(ends.done, connections - flawedOnes);
        assert.ok(report.messages.lost >= flawedOnes * (messages - 3));
        if (fault === 'close') assert.deepEqual(report.connections.close_codes, { 1013: flawedOnes });
      });
    }

    test('answers other than a correct 101 are counted by reason', async t => {
      const status = await run('idle', { target: (await server(t, 'status')).target, ...trust() });
      assert.equal(status.code, 1);
      assert.deepEqual(status.report.connections.failed_by_reason, { http_status: connections });
      assert.deepEqual(status.report.connections.http_status, { 503: connections });
      const accept = await run('idle', { target: (await server(t, 'accept')).target, ...trust() });
      assert.equal(accept.code, 1);
      assert.deepEqual(accept.report.connections.failed_by_reason, { bad_upgrade: connections });
      assert.match(accept.report.connections.errors.bad_upgrade, /Sec-WebSocket-Accept/);
    });

    test('connections that look open but do not answer a ping are found out', async t => {
      const { target } = await server(t, 'silent');
      const { code, report } = await run('idle', { target, ...trust(), hold: '100ms' });
      assert.equal(code, 1);
      assert.equal(report.connections.probes_sent - report.connections.probes_answered, flawedOnes);
    });

    test('a pong that is not the answer to the ping does not count', async t => {
      const { target } = await server(t, 'pong');
      const { code, report } = await run('idle', { target, ...trust(), hold: '100ms' });
      assert.equal(code, 1);
      assert.equal(report.connections.probes_answered, connections - flawedOnes);
      assert.equal(report.connections.other_pongs, flawedOnes);
    });

    test('a refused publish fails the run', async t => {
      const { target, publish } = await server(t, 'refuse');
      const { code, report } = await run('fanout', { target, publish, ...trust() });
      assert.equal(code, 1);
      assert.equal(report.messages.publish_refused, messages);
      assert.match(report.messages.publish_error, /ERR no/);
    });

    test('Ctrl-C ends a hold early, with a whole report and no false alarm, but it has not passed', async t => {
      const { target } = await server(t);
      const { code, report, text } = await run('idle', { target, ...trust(), hold: '1h' }, { onReady: child => child.kill('SIGINT') });
      assert.equal(code, 3, text);
      assert.ok(report.interrupted && !report.passed);
      assert.equal(report.unchecked.length, 1);
      assert.match(report.unchecked[0], /^all of --hold: connections were held for \d+\.\d of 3600\.0 s$/);
      assert.deepEqual(report.faults, []);
      assert.equal(report.connections.probes_answered, connections);
    });

    test('the gateway: every connection opens, lives and gets every message', async t => {
      const gateway = await own(t, { 'listen.origins': '*' });
      const trusted = transport === 'wss' ? { cafile: gateway.certificate.certificate } : {};
      const target = `${transport}://127.0.0.1:${gateway[transport]}/ws?topic=load`;
      const count = measurable ? 2000 : 300;
      const idle = await run('idle', { target, ...trusted, connections: count, hold: '100ms' });
      assert.equal(idle.code, 0, idle.text);
      assert.equal(idle.report.connections.probes_answered, count);
      const fanout = await run('fanout', { target, ...trusted, connections: count, publish: `127.0.0.1:${gateway.publish}`, topics: 5, messages: 50 });
      assert.equal(fanout.code, 0, fanout.text);
      assert.deepEqual(verdict(fanout.report), clean);
      assert.equal(fanout.report.messages.delivered, count * 10);
      assert.equal(fanout.report.messages.receivers_reported, count * 10);
    });
  });
}

test('an untrusted certificate and a name that it does not have are refused', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'pushgate-load-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const { target } = await flawed(t, { certificate: makeCertificate(folder) });
  const other = makeCertificate(folder, 'other');
  for (const options of [{}, { cafile: other.certificate }]) {
    const { code, report } = await run('idle', { target, connections: 5, ...options });
    assert.equal(code, 1);
    assert.deepEqual(report.connections.failed_by_reason, { certificate: 5 });
  }
  const { code } = await run('idle', { target, connections: 5, hold: 0, insecure: true });
  assert.equal(code, 0);
});

test('a target that refuses is told, and a wrong command line exits with 2', async () => {
  const { code, report } = await run('idle', { target: 'ws://127.0.0.1:1/', connections: 5 });
  assert.equal(code, 1);
  assert.deepEqual(report.connections.failed_by_reason, { refused: 5 });
  const wrong = await run('idle', { target: 'http://127.0.0.1/' });
  assert.equal(wrong.code, 2);
  assert.match(wrong.text, /ws:\/\/ or wss:\/\//);
});
