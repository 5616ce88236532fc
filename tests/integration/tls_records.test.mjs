// The record layer against hand-made records: RFC 8446 §4.6.3, §5 and §6, before the upgrade and after it.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { own, shared, until } from './lib/gateway.mjs';
import { ALERT, ALERTS, CHANGE_CIPHER_SPEC, DATA, HANDSHAKE, Records, keyUpdate } from './lib/records.mjs';
import { PING, PONG, TEXT, frame, upgradeHeaders } from './lib/wire.mjs';

const gateway = shared({ before, after }, { 'limits.close_timeout': '2s' });
const suites = ['TLS_AES_128_GCM_SHA256', 'TLS_CHACHA20_POLY1305_SHA256'];
const altered = (bytes, at) => { const copy = Buffer.from(bytes); copy[at < 0 ? copy.length + at : at] ^= 1; return copy; };
const closes = reason => gateway().metric('pushgate_closes_total', `reason="${reason}"`);
const pong = frame(PONG, '');

/** The connection still works in both directions. */
async function alive(records, id = Math.random().toString(36)) {
  records.send(DATA, frame(PING, id));
  for (let frames = ''; !frames.includes(id);) {
    const record = await records.next();
    assert.ok(record, 'still connected');
    if (record.type === DATA) frames += record.content.toString();
  }
}

const offences = [
  ['a forged tag', r => r.raw(altered(r.seal(DATA, pong), -1)), 'bad_record_mac'],
  ['an altered byte', r => r.raw(altered(r.seal(DATA, pong), 5)), 'bad_record_mac'],
  ['an altered header version', r => r.raw(altered(r.seal(DATA, pong), 2)), 'bad_record_mac'],
  ['a replay', r => { const record = r.seal(DATA, ''); r.raw(record); r.raw(record); }, 'bad_record_mac'],
  ['a lost record', r => { r.seal(DATA, pong); r.send(DATA, pong); }, 'bad_record_mac'],
  ['a record too short for its tag', r => r.raw(Buffer.from([DATA, 3, 3, 0, 15, ...Buffer.alloc(15)])), 'bad_record_mac'],
  ['an empty record without protection', r => r.raw(Buffer.from([DATA, 3, 3, 0, 0])), 'bad_record_mac'],
  ['keys that were not updated on time', r => { r.send(HANDSHAKE, keyUpdate(0)); r.send(DATA, pong); }, 'bad_record_mac'],
  ['a header of 2^14 + 257 bytes', r => r.raw(Buffer.from([DATA, 3, 3, 0x41, 0x01])), 'record_overflow'],
  ['2^14 + 1 bytes of content', r => r.send(DATA, Buffer.alloc(16385)), 'record_overflow'],
  ['2^14 + 1 bytes of padding', r => r.send(DATA, '', { padding: 16385 }), 'record_overflow'],
  ['nothing but padding', r => r.send(null, '', { padding: 8 }), 'unexpected_message'],
  ['not even padding', r => r.send(null, ''), 'unexpected_message'],
  ['an unknown content type', r => r.send(99, 'x'), 'unexpected_message'],
  ['a protected change_cipher_spec', r => r.send(CHANGE_CIPHER_SPEC, [1]), 'unexpected_message'],
  ['a late change_cipher_spec', r => r.raw(Buffer.from([CHANGE_CIPHER_SPEC, 3, 3, 0, 1, 1])), 'unexpected_message'],
  ['an alert in the clear', r => r.raw(Buffer.from([ALERT, 3, 3, 0, 2, 1, 0])), 'unexpected_message'],
  ['a handshake message in the clear', r => r.raw(Buffer.from([HANDSHAKE, 3, 3, 0, 5, ...keyUpdate(0)])), 'unexpected_message'],
  ['HTTP in the clear', r => r.raw('GET / HTTP/1.1\r\n\r\n'), 'unexpected_message'],
  ['an empty alert', r => r.send(ALERT, ''), 'unexpected_message'],
  ['half an alert', r => r.send(ALERT, [1]), 'decode_error'],
  ['two alerts in one record', r => r.send(ALERT, [1, 90, 1, 90]), 'decode_error'],
  ['an empty handshake record', r => r.send(HANDSHAKE, ''), 'unexpected_message'],
  ['a KeyUpdate of neither kind', r => r.send(HANDSHAKE, keyUpdate(2)), 'illegal_parameter'],
  ['a KeyUpdate of two bytes', r => r.send(HANDSHAKE, [24, 0, 0, 2, 0, 0]), 'decode_error'],
  ['a KeyUpdate of no bytes', r => r.send(HANDSHAKE, [24, 0, 0, 0]), 'decode_error'],
  ['two KeyUpdates in one record', r => r.send(HANDSHAKE, Buffer.concat([keyUpdate(0), keyUpdate(0)])), 'unexpected_message'],
  ['a second ClientHello', r => r.send(HANDSHAKE, [1, 0, 0, 4, 3, 3, 0, 0]), 'unexpected_message'],
  ['a session ticket from a client', r => r.send(HANDSHAKE, [4, 0, 0, 0]), 'unexpected_message'],
  ['a certificate that nobody asked for', r => r.send(HANDSHAKE, [11, 0, 0, 4, 0, 0, 0, 0]), 'unexpected_message'],
  ['a second Finished', r => r.send(HANDSHAKE, [20, 0, 0, 32, ...Buffer.alloc(32)]), 'unexpected_message'],
  ['a flood of KeyUpdates', r => { for (let i = 0; i < 33; i++) r.keyUpdate(false); }, 'unexpected_message'],
  ['a flood of KeyUpdates that want answers', r => { for (let i = 0; i < 33; i++) r.keyUpdate(true); }, 'unexpected_message'],
  ['a flood of empty records', r => { for (let i = 0; i < 33; i++) r.send(DATA, ''); }, 'unexpected_message'],
  ['a flood of user_canceled', r => { for (let i = 0; i < 33; i++) r.send(ALERT, [1, ALERTS.user_canceled]); }, 'unexpected_message'],
  ['an alert after the fragment of a KeyUpdate', r => { r.send(HANDSHAKE, [24]); r.send(ALERT, [1, 0]); }, 'unexpected_message'],
  ['data after the fragment of a KeyUpdate', r => { r.send(HANDSHAKE, [24, 0, 0]); r.send(DATA, pong); }, 'unexpected_message'],
];

/** Each with data that is fine where it comes. */
const flood = data => ['a flood of KeyUpdates with data between', r => { for (let i = 0; i < 100; i++) { r.keyUpdate(i % 2); r.send(DATA, data); } }, 'unexpected_message'];

describe('records that break RFC 8446, on an open WebSocket', () => {
  for (const [name, act, alert] of [...offences, flood(pong)]) {
    test(`${name}: ${alert}`, async () => {
      const before = await closes('tls_error');
      const records = await Records.open(gateway(), '/ws?topic=a');
      act(records);
      assert.equal(await records.alert(), alert);
      records.end();
      await until('the close is counted', async () => await closes('tls_error') === before + 1);
    });
  }
  for (const suite of suites) {
    test(`a forged tag under ${suite}: bad_record_mac`, async () => {
      const records = await Records.open(gateway(), '/ws?topic=a', { ciphers: suite });
      records.raw(altered(records.seal(DATA, pong), -1));
      assert.equal(await records.alert(), 'bad_record_mac');
      records.end();
    });
  }
  test('an offender that goes on sending still gets its alert', async () => {
    const records = await Records.open(gateway(), '/ws?topic=a');
    records.raw(altered(records.seal(DATA, pong), -1));
    for (let i = 0; i < 50; i++) records.send(DATA, Buffer.alloc(16000));
    assert.equal(await records.alert(), 'bad_record_mac');
    assert.equal(records.error, undefined, 'and no reset');
    records.end();
  });
});

describe('records that break RFC 8446, before the upgrade', () => {
  for (const [name, act, alert] of [...offences, flood('G')]) {
    test(`${name}: ${alert}`, async () => {
      const before = await gateway().metric('pushgate_handshake_failures_total', 'reason="tls"');
      const records = await Records.connect(gateway());
      act(records);
      assert.equal(await records.alert(), alert);
      records.end();
      await until('the failure is counted', async () => await gateway().metric('pushgate_handshake_failures_total', 'reason="tls"') === before + 1);
    });
  }
});

describe('records that are right, before the upgrade', () => {
  const bytes = (r, text) => r.raw(Buffer.concat([...text].map(byte => r.seal(DATA, byte))));
  const request = `GET /echo HTTP/1.1\r\n${Object.entries(upgradeHeaders({}, 'wss')).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`;
  const answered = async (act, status) => {
    const records = await Records.connect(gateway());
    await act(records);
    assert.match((await records.data(/\r\n\r\n/)).toString(), new RegExp(`^HTTP/1\\.1 ${status} `));
    return records;
  };
  test('a request of one byte a record', async () => {
    const records = await answered(r => bytes(r, request), 101);
    await alive(records);
    records.destroy();
  });
  test('a request of one byte a record and segment', async () => {
    const records = await answered(async r => { for (const byte of request) { r.send(DATA, byte); await sleep(0); } }, 101);
    await alive(records);
    records.destroy();
  });
  test('a request of one byte a record that is too long: 431', async () => {
    const records = await answered(r => bytes(r, `GET /echo HTTP/1.1\r\n${'~'.repeat(8192)}`), 431);
    records.destroy();
  });
  test('a frame, a KeyUpdate and close_notify behind the request, all in one segment', async () => {
    const records = await Records.connect(gateway()), sent = [];
    records.raw = record => sent.push(record);
    bytes(records, request);
    records.send(DATA, frame(TEXT, 'hello'));
    records.keyUpdate(false);
    records.send(ALERT, [1, ALERTS.close_notify]);
    records.tcp.write(Buffer.concat(sent));
    assert.match((await records.data(/hello$/)).toString('latin1'), /^HTTP\/1\.1 101 /);
    assert.equal(await records.alert(), 'close_notify');
    records.destroy();
  });
});

for (const suite of suites) {
  describe(`records that are right, under ${suite}`, () => {
    const open = () => Records.open(gateway(), '/ws?topic=a', { ciphers: suite });
    const fine = [
      ['padding up to the largest record', r => r.send(DATA, pong, { padding: 16384 - pong.length })],
      ['a record of 2^14 bytes', r => r.send(DATA, Buffer.concat([...Array(2729).fill(pong), frame(PONG, 'four')]))],
      ['empty records', r => { for (let i = 0; i < 32; i++) r.send(DATA, ''); }],
      ['empty records with padding, and data between', r => { for (let i = 0; i < 100; i++) { r.send(DATA, '', { padding: i }); if (i % 20 === 0) r.send(DATA, pong); } }],
      ['warnings of user_canceled', r => { for (let i = 0; i < 20; i++) r.send(ALERT, [1, ALERTS.user_canceled]); }],
      ['a frame of one byte a record', r => { for (const byte of frame(PING, 'abc')) r.send(DATA, [byte]); }],
      ['many records in one segment', r => r.raw(Buffer.concat(Array.from({ length: 200 }, () => r.seal(DATA, pong))))],
      ['one record of a byte a segment', async r => { for (const byte of r.seal(DATA, pong)) { r.raw(Buffer.from([byte])); await sleep(1); } }],
      ['KeyUpdate', r => r.keyUpdate(false)],
      ['32 KeyUpdates in a row', r => { for (let i = 0; i < 32; i++) r.keyUpdate(false); }],
      ['KeyUpdates with data between', r => { for (let i = 0; i < 32; i++) { r.keyUpdate(i % 3 === 0); r.send(DATA, pong); } }],
      ['KeyUpdates with a second of peace between', async r => { for (let j = 0; j < 20; j++) r.keyUpdate(true); await sleep(1200); for (let j = 0; j < 20; j++) r.keyUpdate(true); }],
      ['a KeyUpdate of one byte a record', r => { for (const byte of keyUpdate(1)) r.send(HANDSHAKE, [byte]); r.write.update(); }],
      ['padding of KeyUpdate and alerts', r => { r.send(ALERT, [2, ALERTS.user_canceled], { padding: 99 }); r.send(HANDSHAKE, keyUpdate(0), { padding: 1000 }); r.write.update(); }],
    ];
    for (const [name, act] of fine) {
      test(name, async () => {
        const records = await open();
        await act(records);
        await alive(records);
        records.destroy();
      });
    }

    test('a KeyUpdate that asks is answered before the next data, and messages go on', async () => {
      const records = await open(), publisher = await gateway().publisher();
      await gateway().subscribed('a', 1);
      records.keyUpdate(true);
      const answer = await records.next();
      assert.deepEqual([answer.type, ...answer.content], [HANDSHAKE, ...keyUpdate(0)]);
      await publisher.command('PUBLISH', 'a', 'under new keys');
      const message = await records.next();
      assert.equal(message.content.subarray(2).toString(), 'under new keys');
      await alive(records);
      records.destroy();
      await gateway().subscribed('a', 0);
    });

    test('close_notify is answered and is no truncation', async () => {
      const records = await open(), before = await closes('peer_eof');
      records.send(ALERT, [1, ALERTS.close_notify]);
      assert.equal(await records.alert(), 'close_notify');
      await until('counted', async () => await closes('peer_eof') === before + 1);
      records.destroy();
    });

    test('the end without close_notify is counted as truncation', async () => {
      const records = await open(), before = await closes('tls_truncated');
      records.end();
      await until('counted', async () => await closes('tls_truncated') === before + 1);
      records.destroy();
    });

    test('the end in the middle of a record is truncation too', async () => {
      const records = await open(), before = await closes('tls_truncated');
      records.raw(records.seal(DATA, pong).subarray(0, 10));
      records.end();
      await until('counted', async () => await closes('tls_truncated') === before + 1);
      records.destroy();
    });

    test('a fatal alert of the client ends it, whatever its level', async () => {
      for (const level of [1, 2]) {
        const records = await open(), before = await closes('tls_alert');
        records.send(ALERT, [level, 80]);
        assert.equal(await records.next(), null, 'nothing is said to it');
        await until('counted', async () => await closes('tls_alert') === before + 1);
        records.destroy();
      }
    });

    test('keys of ours are replaced on time, and the client is asked for the same', async t => {
      const gateway = await own(t, { 'debug.records_per_key': 8, 'tls.tickets': 0 });
      const records = await Records.open(gateway, '/echo', { ciphers: suite });
      let updates = 0, asked = 0, inRow = 1; // the 101
      for (let i = 0; i < 100; i++) {
        records.send(DATA, frame(TEXT, `message ${i}`));
        for (let got = false; !got;) {
          const record = await records.next();
          if (record.type === HANDSHAKE) {
            assert.equal(record.content[0], 24);
            updates++;
            asked += record.content[4];
            assert.ok(inRow <= 7, `${inRow} records under one key`);
            inRow = 0;
            if (record.content[4]) { assert.equal(records.write.sequence, 8n); records.keyUpdate(false); }
          } else {
            inRow++;
            got = record.content.includes(`message ${i}`);
          }
        }
      }
      assert.ok(updates >= 100 / 7 && asked >= 10, `${updates} updates, ${asked} asked`);
      /* One message of several records. */
      const publisher = await gateway.publisher();
      const subscriber = await Records.open(gateway, '/ws?topic=large', { ciphers: suite });
      await gateway.subscribed('large', 1);
      for (let i = 0; i < 6; i++) {
        await publisher.command('PUBLISH', 'large', 'x'.repeat(60000));
        let bytes = 0;
        while (bytes < 60004) {
          const record = await subscriber.next();
          if (record.type === DATA) bytes += record.content.length;
          assert.ok(subscriber.read.sequence <= 8n);
        }
        assert.equal(bytes, 60004);
      }
      records.destroy();
      subscriber.destroy();
    });
  });
}

test('a client that asks for keys and reads nothing costs a bounded answer', async () => {
  const records = await Records.open(gateway(), '/ws?topic=deaf'), publisher = await gateway().publisher();
  await gateway().subscribed('deaf', 1);
  records.tcp.pause();
  await until('its socket is full', async () => {
    await publisher.command('PUBLISH', 'deaf', 'x'.repeat(60000));
    const waiting = await gateway().metric('pushgate_outbox_bytes');
    if (waiting > 0) await sleep(200); // the kernels may still find room
    return waiting > 0 && await gateway().metric('pushgate_outbox_bytes') === waiting;
  });
  const before = await gateway().metric('pushgate_outbox_bytes'), frames = await gateway().metric('pushgate_received_frames_total');
  for (let i = 0; i < 30; i++) {
    records.keyUpdate(true);
    records.send(DATA, pong);
    await sleep(1);
  }
  await until('all were read', async () => await gateway().metric('pushgate_received_frames_total') >= frames + 30, 10000);
  assert.ok(await gateway().metric('pushgate_outbox_bytes') <= before, 'no answers pile up');
  records.tcp.resume();
  let bytes = 0, answers = 0;
  for (let quiet = false; !quiet;) {
    const record = await records.next(1000).catch(() => null);
    if (!record) quiet = true;
    else if (record.type === DATA) bytes += record.content.length;
    else answers++;
  }
  assert.ok(bytes > 0 && bytes % 60004 === 0, `${bytes} bytes of whole messages`);
  assert.ok(answers <= 10, `${answers} answers`);
  await alive(records);
  records.destroy();
});
