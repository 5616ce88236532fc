// pushgate-load's modes in which connections come and go or stop reading, against a server that misbehaves and the gateway.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { flawed } from './lib/flawed.mjs';
import { makeCertificate, measurable, own, until } from './lib/gateway.mjs';
import { run as runLoad } from './lib/load.mjs';
import { violations } from './lib/schema.mjs';

const schema = JSON.parse(readFileSync(new URL('./lib/load_report.schema.json', import.meta.url)));
const connections = 100, flawedOnes = connections / 10;

let folder, certificate;
before(() => { folder = mkdtempSync(join(tmpdir(), 'pushgate-load-')); certificate = makeCertificate(folder); });
after(() => rmSync(folder, { recursive: true }));

async function run(mode, options, more) {
  const result = await runLoad(mode, { connections, hold: '400ms', ...(options.publish && { 'publish-rate': 50 }), ...options }, more);
  if (result.report) assert.deepEqual(violations(schema, result.report), []);
  return result;
}
const over = (transport, t, fault) => flawed(t, { fault, certificate: transport === 'wss' ? certificate : undefined });
const trust = transport => (transport === 'wss' ? { cafile: certificate.certificate } : {});
const clean = { lost: 0, late: 0, duplicated: 0, out_of_order: 0, corrupt: 0, misrouted: 0, foreign: 0, unknown: 0 };
const faults = messages => Object.fromEntries(Object.keys(clean).map(key => [key, messages[key]]));

for (const transport of ['ws', 'wss']) {
  describe(`storm and churn over ${transport}`, () => {
    test('a correct server gets everybody back, and what was missed meanwhile is no loss', async t => {
      const { target, publish } = await over(transport, t);
      const { code, report, text } = await run('storm', { target, publish, ...trust(transport), topics: 3, processes: 2 });
      assert.equal(code, 0, text);
      assert.deepEqual(report.storms.map(storm => storm.handshakes), transport === 'ws' ? ['plain'] : ['full', 'resumed']);
      for (const storm of report.storms) {
        assert.equal(storm.cut, connections);
        assert.equal(storm.back, connections);
        assert.ok(storm.back_seconds >= storm.cut_seconds && storm.back_seconds < 30);
        assert.equal(storm.return_time_us.count, connections);
        assert.equal(storm.resumed, storm.handshakes === 'resumed' ? connections : 0);
      }
      assert.equal(report.connections.opened, connections);
      assert.equal(report.connections.returned, connections * report.storms.length);
      assert.equal(report.connections.closed_by_reason.cut, connections * report.storms.length);
      assert.equal(report.connections.probes_answered, connections);
      assert.deepEqual(faults(report.messages), clean);
      assert.ok(report.messages.published > 30);
      assert.equal(report.messages.delivered, report.messages.expected);
      assert.equal(report.messages.missed_while_away, report.storms.reduce((sum, storm) => sum + storm.missed_while_away, 0));
    });

    test('churn replaces the share that it should, and a correct server loses nothing', async t => {
      const { target, publish } = await over(transport, t);
      const { code, report, text } = await run('churn', { target, publish, ...trust(transport), topics: 3, hold: '1s', churn: '50%' });
      assert.equal(code, 0, text);
      assert.ok(report.connections.returned >= connections * 0.35 && report.connections.returned <= connections * 0.7, `${report.connections.returned}`);
      assert.ok(report.connections.closed_by_reason.cut > 0 && report.connections.closed_by_reason.done > connections);
      assert.deepEqual(faults(report.messages), clean);
      assert.equal(report.messages.delivered, report.messages.expected);
    });

    for (const mode of ['storm', 'churn']) {
      const kinds = transport === 'ws' ? { drop: 'lost', duplicate: 'duplicated', reorder: 'out_of_order', corrupt: 'corrupt' } : { drop: 'lost' };
      for (const [fault, kind] of Object.entries(kinds)) {
        test(`${mode} finds out a server that does this to messages: ${fault}`, async t => {
          const { target, publish } = await over(transport, t, fault);
          const { code, report } = await run(mode, { target, publish, ...trust(transport) });
          assert.equal(code, 1);
          assert.ok(report.messages[kind] >= flawedOnes, JSON.stringify(report.messages));
          assert.ok(report.messages.lost === 0 || kind === 'lost' || kind === 'corrupt');
        });
      }

      test(`${mode} finds out a server that closes connections`, async t => {
        const { target, publish } = await over(transport, t, 'close');
        const { code, report } = await run(mode, { target, publish, ...trust(transport) });
        assert.equal(code, 1);
        assert.ok(report.connections.closed_unexpectedly >= flawedOnes);
        assert.ok(report.connections.close_codes[1013] >= flawedOnes);
      });
    }
  });
}

describe('slow', () => {
  const options = { slow: '20%', topics: 2 }; // every fifth connection; every tenth, another one, is flawed
  test('a correct server passes, and those who stopped reading get all in the end', async t => {
    const { target, publish } = await over('ws', t);
    const { code, report, text } = await run('slow', { target, publish, ...options });
    assert.equal(code, 0, text);
    assert.deepEqual(faults(report.messages), clean);
    assert.equal(report.slow.still_open, connections / 5);
    assert.equal(report.slow.missed, 0);
  });
  for (const [fault, kind] of Object.entries({ drop: 'lost', duplicate: 'duplicated', reorder: 'out_of_order', corrupt: 'corrupt', misroute: 'misrouted' })) {
    test(`finds out a server that does this to messages of those who read: ${fault}`, async t => {
      const { target, publish } = await over('ws', t, fault);
      const { code, report } = await run('slow', { target, publish, ...options });
      assert.equal(code, 1);
      assert.equal(report.messages[kind] + (report.slow[kind] ?? report.slow.missed), flawedOnes, JSON.stringify([report.messages, report.slow]));
    });
  }
  test('finds out a server that closes connections which read', async t => {
    const { target, publish } = await over('ws', t, 'close');
    const { code, report } = await run('slow', { target, publish, ...options });
    assert.equal(code, 1);
    assert.equal(report.connections.closed_unexpectedly + report.slow.ended_by_server, flawedOnes);
    assert.ok(report.connections.closed_unexpectedly > 0);
  });
});

test('those whom a busy server turns away in a storm come again', async t => {
  const { target } = await over('ws', t, 'busy');
  const { code, report } = await run('storm', { target });
  assert.equal(code, 0);
  assert.equal(report.storms[0].failed_attempts, 20);
  assert.equal(report.storms[0].back, connections);
  assert.deepEqual(report.connections.http_status, { 503: 20 });
});

test('a storm from which not everybody returns in time fails', async t => {
  const { target } = await over('ws', t, 'busy');
  const { code, report } = await run('storm', { target, 'return-within': '10ms' });
  assert.equal(code, 1);
  assert.ok(report.storms[0].back < connections);
});

describe('a signal', () => {
  /** Runs until `reached(seen)`, or until all are open, and then sends `signal`. */
  async function cutShort(t, fault, mode, options, signal, reached) {
    const { seen, target, publish } = await over('ws', t, fault);
    const result = await run(mode, { target, ...options, ...(options.publish === true && { publish }) }, {
      onStart: child => reached && until('the moment for the signal', () => reached(seen()), 20000).then(() => child.kill(signal)),
      onReady: child => reached ?? child.kill(signal),
    });
    return { ...result, seen: seen() };
  }
  const notPassed = ({ code, report, text }, unchecked) => {
    assert.equal(code, 3, text);
    assert.equal(report.passed, false);
    assert.deepEqual(report.unchecked.map(sentence => sentence.replace(/\d+/g, '#')), unchecked);
    assert.match(text, /\n {2}ended early: no fault in what was checked\n$/);
    for (const sentence of report.unchecked) assert.ok(text.includes(`  not checked: ${sentence}\n`));
  };

  test('in the middle of a storm: it says who was not back yet, and that this was not checked', async t => {
    const result = await cutShort(t, 'full', 'storm', {}, 'SIGINT', ({ refusals }) => refusals > 0);
    notPassed(result, ['whether the # of # that were not back yet get back (plain handshakes)']);
    assert.ok(result.report.interrupted && result.report.storms[0].back === 0);
  });

  test('before the storm: it did not take place', async t => {
    const result = await cutShort(t, undefined, 'storm', { hold: '1h' }, 'SIGTERM');
    notPassed(result, ['a storm with plain handshakes: it did not take place']);
  });

  test('before the first message, and in the middle of them: what was published is checked, the rest is named', async t => {
    const before = await cutShort(t, undefined, 'fanout', { publish: true, messages: 5, 'idle-hold': '1h' }, 'SIGINT');
    notPassed(before, ['messages: none was published']);
    const amid = await cutShort(t, undefined, 'fanout', { publish: true, messages: 100000 }, 'SIGINT', ({ messages }) => messages > 3);
    notPassed(amid, ['# of # messages, which were not published']);
    assert.equal(amid.report.messages.published, amid.seen.messages);
    assert.equal(amid.report.messages.delivered, amid.seen.messages * connections);
    assert.deepEqual(faults(amid.report.messages), clean);
    const lossy = await cutShort(t, 'drop', 'fanout', { publish: true, messages: 100000 }, 'SIGINT', ({ messages }) => messages > 3);
    assert.equal(lossy.code, 1, 'a fault weighs more');
    assert.ok(lossy.report.messages.lost >= flawedOnes && lossy.report.unchecked.length === 1);
  });

  test('in a hold: it says how much of it was left out', async t => {
    const churned = await cutShort(t, undefined, 'churn', { publish: true, hold: '1h' }, 'SIGTERM', ({ connections: opened }) => opened > connections + 5);
    notPassed(churned, ['all of --hold: connections were replaced for #.# of #.# s']);
    assert.ok(churned.report.connections.returned > 0);
    assert.deepEqual(faults(churned.report.messages), clean);
    const published = await cutShort(t, undefined, 'fanout', { publish: true, hold: '1h' }, 'SIGINT', ({ messages }) => messages > 3);
    notPassed(published, ['all of --hold: messages were published for #.# of #.# s']);
    let back; // messages when the server had all back: some later, the tool knows it, too
    const stormed = await cutShort(t, undefined, 'storm', { publish: true, hold: '4s' }, 'SIGINT',
      ({ connections: opened, messages }) => opened === 2 * connections && messages > (back ??= messages) + 20);
    notPassed(stormed, ['all of --hold: connections that were back were held for #.# of #.# s']);
  });

  test('while connections open: SIGINT ends the run, SIGUSR1 only the opening', async t => {
    const some = ({ connections: open }) => open > 10;
    const ended = await cutShort(t, undefined, 'storm', { rate: 50 }, 'SIGINT', some);
    notPassed(ended, ['# of # connections were not opened', 'anything but the opening']);
    const enough = await cutShort(t, undefined, 'fanout', { publish: true, rate: 50, messages: 5 }, 'SIGUSR1', some);
    notPassed(enough, ['# of # connections were not opened']);
    const { opened } = enough.report.connections;
    assert.ok(opened > 10 && opened < connections && enough.ready && !enough.report.interrupted);
    assert.equal(enough.report.messages.delivered, 5 * opened);
    assert.deepEqual(faults(enough.report.messages), clean);
  });
});

test('a storm brings those back that were there, and fails for those who never were', async t => {
  const { target } = await over('ws', t, 'half');
  const { code, report, text } = await run('storm', { target });
  assert.equal(code, 1);
  const [{ cut, back, back_seconds }] = report.storms;
  assert.deepEqual({ cut, back }, { cut: 50, back: 50 });
  assert.ok(back_seconds < 30, `${back_seconds}`);
  assert.deepEqual(report.faults, ['50 of 100 connections did not open']);
  assert.match(text, /\n {2}fault: 50 of 100 connections did not open\n {2}FAILED\n$/);
});

describe('where a connection is replaced', () => {
  test('messages between the 101 and the subscription are missed while joining, beyond --grace they are lost', async t => {
    const { target, publish } = await over('ws', t, 'late');
    const missed = await run('storm', { target, publish, grace: '5s' });
    assert.equal(missed.code, 0, missed.text);
    assert.ok(missed.report.storms[0].missed_while_joining > connections * 8, JSON.stringify(missed.report.storms));
    assert.deepEqual(faults(missed.report.messages), clean);
    const { target: again, publish: there } = await over('ws', t, 'late');
    const lost = await run('storm', { target: again, publish: there, grace: '50ms' });
    assert.equal(lost.code, 1);
    assert.ok(lost.report.messages.lost > connections * 5, JSON.stringify(lost.report.messages));
    assert.ok(lost.report.storms[0].missed_while_joining < connections * 8, JSON.stringify(lost.report.storms));
  });

  const each = { sources: '127.0.0.1-127.0.0.100', processes: 1 }; // an address of its own for each connection

  test('a server that recovers what was missed is credited', async t => {
    const { target, publish } = await over('ws', t, 'recover');
    const { code, report, text } = await run('storm', { target, publish, ...each, grace: '5s' });
    assert.equal(code, 0, text);
    assert.deepEqual(faults(report.messages), clean);
    const { delivered, recovered, missed_while_away: away, missed_while_joining: joining, published } = report.messages;
    assert.ok(recovered >= 4 * connections && away + joining < recovered, `${recovered} ${away} ${joining}`); // what it sent to a connection that was just cut is gone
    assert.equal(delivered + away + joining, published * connections);
  });

  for (const [mode, more] of [['storm', {}], ['churn', { churn: '50%' }]]) {
    test(`${mode} finds out a server that never sends anything to some`, async t => {
      const { target, publish } = await over('ws', t, 'neglect');
      const { code, report } = await run(mode, { target, publish, ...more, hold: '1s', grace: '100ms' });
      assert.equal(code, 1);
      assert.ok(report.messages.lost > flawedOnes * 40, JSON.stringify(report.messages));
    });

    test(`${mode} does not take for a duplicate what was on its way to the old connection and to the new one`, async t => {
      const { target, publish } = await over('ws', t, 'overlap');
      const { code, report, text } = await run(mode, { target, publish, ...more, hold: '1s' });
      assert.equal(code, 0, text);
      assert.deepEqual(faults(report.messages), clean);
      assert.ok(report.messages.twice_across_reconnect > 0, text);
      assert.equal(report.messages.delivered, report.messages.expected);
    });

    test(`${mode} finds out a server that sends again what has been received`, async t => {
      const { target, publish } = await over('ws', t, 'replay');
      const { code, report } = await run(mode, { target, publish, ...each, ...more, hold: '1s' });
      assert.equal(code, 1);
      assert.ok(report.messages.duplicated > report.connections.returned * 2, JSON.stringify(report.messages));
      assert.equal(report.messages.lost, 0);
    });
  }
});

test('a storm by session tickets needs a server that gives them', async t => {
  const gateway = await own(t);
  const only = await run('storm', { target: `wss://127.0.0.1:${gateway.wss}/ws?topic=load`, insecure: true, handshakes: 'resumed' });
  assert.equal(only.code, 0, only.text);
  assert.deepEqual(only.report.storms.map(storm => [storm.handshakes, storm.resumed]), [['resumed', connections]]);
});

describe('publishing', () => {
  test('a publisher that breaks off is told apart from lost messages', async t => {
    for (const [mode, more] of [['fanout', { messages: 50, 'publish-rate': 0 }], ['churn', {}]]) {
      const { target, publish } = await over('ws', t, 'hangup');
      const { code, report } = await run(mode, { target, publish, ...more });
      assert.equal(code, 1);
      assert.equal(report.messages.publisher_broke_off, true);
      assert.match(report.messages.publish_error, /closed the connection|reset/i);
      assert.equal(report.messages.unconfirmed, report.messages.published - report.messages.publish_answered);
      assert.equal(report.messages.lost, 0);
      assert.equal(report.connections.closed_unexpectedly, 0);
    }
  });

  test('a refused message is not a lost one', async t => {
    for (const [mode, more] of [['fanout', { messages: 30, 'publish-rate': 0 }], ['churn', { hold: '1s', grace: '100ms', churn: '50%' }]]) {
      const { target, publish } = await over('ws', t, 'refuse some');
      const { code, report } = await run(mode, { target, publish, ...more, topics: 2 });
      assert.equal(code, 1);
      assert.equal(report.messages.publish_refused, Math.floor((report.messages.published + 1) / 3));
      assert.deepEqual(faults(report.messages), clean);
      if (mode === 'fanout') assert.equal(report.messages.delivered, report.messages.expected);
    }
  });

  test('a password comes from a file or the environment', async t => {
    const { target, publish } = await flawed(t, { password: 'open sesame' });
    const file = join(folder, 'password');
    writeFileSync(file, 'open sesame\n');
    const options = { target, publish, messages: 5, 'publish-rate': 0 };
    assert.equal((await run('fanout', { ...options, 'publish-password-file': file })).code, 0);
    assert.equal((await run('fanout', options, { env: { PUSHGATE_PUBLISH_PASSWORD: 'open sesame' } })).code, 0);
    const wrong = await run('fanout', options, { env: { PUSHGATE_PUBLISH_PASSWORD: 'open barley' } });
    assert.equal(wrong.code, 2);
    assert.match(wrong.text, /AUTH was refused: WRONGPASS/);
    assert.doesNotMatch(wrong.text, /open barley/);
    assert.match((await run('fanout', options)).text, /--publish-password-file is needed: NOAUTH/);
    const none = await run('fanout', { ...options, 'publish-password-file': join(folder, 'none') });
    assert.equal(none.code, 2);
    assert.match(none.text, /none: No such file/);
  });
});

describe('the gateway', () => {
  const count = measurable ? 2000 : 200;
  for (const transport of ['ws', 'wss']) {
    test(`storm and churn over ${transport}: nothing is lost`, async t => {
      const gateway = await own(t);
      const target = `${transport}://127.0.0.1:${gateway[transport]}/ws?topic=load`;
      const options = { target, insecure: transport === 'wss', publish: `127.0.0.1:${gateway.publish}`, topics: 4, connections: count, 'publish-rate': 20 };
      if (transport === 'ws') delete options.insecure;
      for (const [mode, more] of [['storm', {}], ['churn', { churn: '20%', hold: '1s' }]]) {
        const { code, report, text } = await run(mode, { ...options, ...more, settle: '5s' });
        assert.equal(code, 0, text + JSON.stringify(report));
        assert.deepEqual(faults(report.messages), clean);
        for (const storm of report.storms ?? []) assert.equal(storm.back, count);
      }
      await gateway.connections(0);
    });
  }

  test('closes those who stop reading with 1013, and the others notice nothing', async t => {
    const gateway = await own(t, { 'limits.outbox_bytes': '64KiB' });
    const { code, report, text } = await run('slow', {
      target: `ws://127.0.0.1:${gateway.ws}/ws?topic=load`, publish: `127.0.0.1:${gateway.publish}`, slow: '10%', 'gateway-pid': gateway.pid,
      'message-bytes': 16000, 'publish-rate': 100, hold: '2s', connections: 20, settle: '5s',
    });
    assert.equal(code, 0, text + JSON.stringify(report));
    assert.equal(report.slow.connections, 2);
    assert.equal(report.slow.ended_by_server, 2);
    assert.deepEqual(report.slow.close_codes, { 1013: 2 });
    assert.equal(report.slow.still_open, 0);
    assert.ok(report.slow.missed > 0);
    assert.deepEqual(faults(report.messages), clean);
    assert.ok(report.slow.others_latency_before_us.count > 0 && report.slow.others_latency_while_us.count > 0);
    assert.ok(report.memory.gateway_open_bytes > 0);
  });

  test('keeps those who read slowly', async t => {
    const gateway = await own(t);
    const { code, report, text } = await run('slow', {
      target: `ws://127.0.0.1:${gateway.ws}/ws?topic=load`, publish: `127.0.0.1:${gateway.publish}`, slow: '20%', 'slow-read': '2k',
      connections: count, 'publish-rate': 10, hold: '1s', settle: '5s',
    });
    assert.equal(code, 0, text);
    assert.equal(report.slow.still_open, count / 5);
    assert.equal(report.slow.missed, 0);
    assert.equal(report.slow.delivered, report.slow.expected);
  });
});
