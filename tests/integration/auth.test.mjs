// Who may connect: tokens made by the npm package jose, an independent implementation, brought in every way that is documented.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { exportJWK, SignJWT, UnsecuredJWT } from 'jose';
import { Gateway, binary, own, until } from './lib/gateway.mjs';
import { attempt, open } from './lib/wire.mjs';

const secret = '5f9c1d0e7b3a48269c0d1e2f3a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d';
const secretBytes = new TextEncoder().encode(secret);
const now = () => Math.floor(Date.now() / 1000);
const pairs = {
  RS256: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  EdDSA: generateKeyPairSync('ed25519'),
};
const pem = alg => pairs[alg].publicKey.export({ type: 'spki', format: 'pem' });
const keyOf = alg => alg.startsWith('HS') ? secretBytes : pairs[alg].privateKey;

/** A token of Ann's for two minutes, with other claims and header fields on top; undefined takes one away. */
async function token(alg, claims = {}, { key = keyOf(alg), ...header } = {}) {
  const all = { sub: 'ann', iss: 'https://issuer.test', aud: 'push', iat: now(), exp: now() + 120, ...claims };
  return new SignJWT(JSON.parse(JSON.stringify(all))).setProtectedHeader({ alg, typ: 'JWT', ...header }).sign(key);
}
const bearer = value => ({ Authorization: `Bearer ${value}` });

/** SIGHUP, and waits for what the gateway says to it. */
async function reload(gateway, says = /event=token_keys_reloaded/) {
  const from = gateway.stderr.length;
  process.kill(gateway.pid, 'SIGHUP');
  await until(`the gateway says ${says}`, () => says.test(gateway.stderr.slice(from)));
}

let folder;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'pushgate-keys-'));
  for (const alg of Object.keys(pairs)) writeFileSync(join(folder, `${alg}.pem`), pem(alg));
});
after(() => rmSync(folder, { recursive: true, force: true }));
const everyKey = () => ({
  'auth.anonymous': 'off', 'auth.hmac_secret': secret, 'auth.public_keys': Object.keys(pairs).map(alg => join(folder, `${alg}.pem`)).join(' '),
  'auth.audience': 'push', 'auth.issuer': 'https://issuer.test', 'auth.cookie': 'token', 'log.level': 'debug',
});

describe('auth.anonymous=off: only a good token connects', () => {
  let gateway;
  const seen = []; // every token that was sent
  before(async () => { gateway = await Gateway.start(everyKey()); });
  after(async () => {
    const said = gateway.stderr;
    await gateway.stop();
    assert.match(said, /level=debug event=token_refused acceptor=\d reason=/);
    assert.ok(!said.includes(secret), 'the secret is in the log');
    for (const one of seen) {
      for (const part of one.split('.').filter(text => text.length > 20)) assert.ok(!said.includes(part), 'a part of a token is in the log');
    }
  });
  const sent = value => { seen.push(value); return value; };

  for (const transport of ['ws', 'wss']) {
    for (const alg of ['HS256', 'HS384', 'HS512', 'RS256', 'ES256', 'EdDSA']) {
      test(`${alg} over ${transport}: subscribes and gets messages`, async () => {
        const topic = `${transport}-${alg}`;
        const wire = await open(gateway, transport, `/ws?topic=${topic}`, bearer(sent(await token(alg))));
        const publisher = await gateway.publisher();
        assert.equal(await publisher.command('PUBLISH', topic, 'hello'), 1);
        assert.equal((await wire.frame()).text, 'hello');
        wire.destroy();
      });
    }
    test(`?token= and the cookie over ${transport}: 101`, async () => {
      const value = sent(await token('ES256'));
      assert.equal((await attempt(gateway, transport, `/ws?topic=a&token=${value}`)).status, 101);
      assert.equal((await attempt(gateway, transport, '/ws?topic=a', { Cookie: `a=b; token=${value}; c=d` })).status, 101);
    });
    test(`no token over ${transport}: 401 that says how to give one`, async () => {
      for (const headers of [{}, { Authorization: 'Basic YTpi' }, { Cookie: 'token=' }, { Cookie: 'other=x' }]) {
        const response = await attempt(gateway, transport, '/ws?topic=a', headers);
        assert.equal(response.status, 401);
        assert.equal(response.headers['www-authenticate'], 'Bearer');
        assert.match(response.body, /a token is needed/);
      }
    });
  }

  const refused = (title, make, says = /the token is not valid/) => test(`${title}: 401`, async () => {
    const value = sent(await make());
    for (const [path, headers] of [['/ws?topic=a', bearer(value)], [`/ws?topic=a&token=${encodeURIComponent(value)}`, {}], ['/echo', bearer(value)]]) {
      const response = await attempt(gateway, 'ws', path, headers);
      assert.equal(response.status, 401);
      assert.equal(response.headers['www-authenticate'], 'Bearer error="invalid_token"');
      assert.match(response.body, says);
      assert.ok(!response.body.includes(value.slice(0, 20)) && !JSON.stringify(response.headers).includes(value.slice(0, 20)), 'the answer repeats the token');
    }
  });
  for (const alg of ['HS256', 'RS256', 'ES256', 'EdDSA']) {
    refused(`${alg}, expired`, () => token(alg, { exp: now() - 1 }), /the token has expired/);
    refused(`${alg}, not valid yet`, () => token(alg, { nbf: now() + 60 }));
    refused(`${alg}, for another audience`, () => token(alg, { aud: ['mail'] }));
    refused(`${alg}, without audience`, () => token(alg, { aud: undefined }));
    refused(`${alg}, of another issuer`, () => token(alg, { iss: 'https://other.test' }));
    refused(`${alg}, expired and of another issuer`, () => token(alg, { exp: 1, iss: 'x' }));
    refused(`${alg}, issued tomorrow`, () => token(alg, { iat: now() + 86400 }));
    refused(`${alg}, for a subscription`, () => token(alg, { channel: 'a' }));
    refused(`${alg}, truncated`, async () => (await token(alg)).slice(0, -4));
    refused(`${alg}, with padding`, async () => `${await token(alg)}=`);
    refused(`${alg}, with a changed payload`, async () => {
      const [header, , signature] = (await token(alg)).split('.');
      return [header, Buffer.from(JSON.stringify({ sub: 'eve', iss: 'https://issuer.test', aud: 'push' })).toString('base64url'), signature].join('.');
    });
  }
  refused('HS256 with another secret', () => token('HS256', {}, { key: new TextEncoder().encode(`${secret}x`) }));
  refused('RS256 with another key', () => token('RS256', {}, { key: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey }));
  refused('PS256, which is not spoken', () => token('PS256', {}, { key: pairs.RS256.privateKey }));
  refused('alg none', async () => new UnsecuredJWT({ sub: 'ann', aud: 'push', iss: 'https://issuer.test' }).encode());
  for (const none of ['none', 'None', 'NONE', 'nOnE']) {
    refused(`alg ${none} with a signature`, async () => {
      const [, payload, signature] = (await token('HS256')).split('.');
      return [Buffer.from(`{"alg":"${none}"}`).toString('base64url'), payload, signature].join('.');
    });
  }
  for (const alg of Object.keys(pairs)) {
    refused(`the public key of ${alg} as the secret of HS256`, () => token('HS256', {}, { key: new TextEncoder().encode(pem(alg)) }));
  }
  refused('a header extension that is not understood', () => new SignJWT({ sub: 'ann', aud: 'push', iss: 'https://issuer.test' })
    .setProtectedHeader({ alg: 'HS256', crit: ['b64'], b64: true }).sign(secretBytes));
  refused('no base64', async () => '!!!.???.***');
  refused('no parts', async () => 'abcdefghijklmnopqrstuvwxyz');
  refused('7,000 bytes of nothing', async () => `${'A'.repeat(7000)}.${'B'.repeat(40)}.${'C'.repeat(40)}`);

  test('a token that does not fit a request\'s head: 431', async () => {
    assert.equal((await attempt(gateway, 'ws', '/ws?topic=a', bearer('A'.repeat(9000)))).status, 431);
  });
  test('two tokens in one place: 401, whichever is good', async () => {
    const value = sent(await token('HS256'));
    assert.equal((await attempt(gateway, 'ws', `/ws?topic=a&token=${value}&token=${value}`)).status, 401);
    assert.equal((await attempt(gateway, 'ws', '/ws?topic=a', { Cookie: `token=${value}; token=${value}` })).status, 401);
  });
  test('Authorization counts before ?token=, that before the cookie', async () => {
    const good = sent(await token('HS256')), bad = sent(await token('HS256', { aud: 'mail' }));
    assert.equal((await attempt(gateway, 'ws', `/ws?topic=a&token=${bad}`, { ...bearer(good), Cookie: `token=${bad}` })).status, 101);
    assert.equal((await attempt(gateway, 'ws', `/ws?topic=a&token=${good}`, { Cookie: `token=${bad}` })).status, 101);
    assert.equal((await attempt(gateway, 'ws', `/ws?topic=a&token=${bad}`, { Cookie: `token=${good}` })).status, 401);
  });
  test('the demo page cannot publish for those who may not connect', async () => {
    const response = await attempt(gateway, 'ws', '/publish?topic=a',
      { Upgrade: undefined, Connection: undefined, Origin: `http://127.0.0.1:${gateway.ws}`, 'Content-Length': '0' }, 'POST');
    assert.equal(response.status, 401);
  });
  test('refusals are counted', async () => {
    const before = await gateway.metric('pushgate_handshake_failures_total', 'reason="token"');
    await attempt(gateway, 'ws', '/ws?topic=a');
    await attempt(gateway, 'ws', '/ws?topic=a', bearer('x'));
    assert.equal(await gateway.metric('pushgate_handshake_failures_total', 'reason="token"'), before + 2);
  });
});

test('the log says why a token was refused, the answer does not', async t => {
  const gateway = await own(t, everyKey());
  for (const [value, reason] of [[await token('HS256', {}, { key: new TextEncoder().encode(`${secret}x`) }), 'signature does not match'],
    [await token('ES256', { aud: 'mail' }), 'wrong audience (aud)'], [await token('RS256', { exp: 1 }), 'expired'], ['x', 'malformed']]) {
    const { body } = await attempt(gateway, 'ws', '/ws?topic=a', bearer(value));
    assert.match(body, /^401 Unauthorized: the token (is not valid|has expired)\n$/);
    await until(`the log says ${reason}`, () => gateway.stderr.includes(reason.includes(' ') ? `reason="${reason}"` : `reason=${reason}`));
  }
});

test('auth.anonymous=on: a token may be missing, but not wrong', async t => {
  const gateway = await own(t, { ...everyKey(), 'auth.anonymous': 'on' });
  assert.equal((await attempt(gateway, 'ws', '/ws?topic=a')).status, 101);
  assert.equal((await attempt(gateway, 'ws', '/ws?topic=a', bearer(await token('HS256')))).status, 101);
  assert.equal((await attempt(gateway, 'ws', '/ws?topic=a', bearer(await token('HS256', { exp: 1 })))).status, 401);
  assert.equal((await attempt(gateway, 'ws', '/ws?topic=a&token=x')).status, 401);
});

test('auth.algorithms: what is not named is refused', async t => {
  const gateway = await own(t, { ...everyKey(), 'auth.algorithms': 'ES256, EdDSA' });
  for (const [alg, status] of [['HS256', 401], ['RS256', 401], ['ES256', 101], ['EdDSA', 101]])
    assert.equal((await attempt(gateway, 'ws', '/ws?topic=a', bearer(await token(alg)))).status, status, alg);
});

test('auth.leeway: clocks may differ by that much', async t => {
  const gateway = await own(t, { ...everyKey(), 'auth.leeway': '1m' });
  for (const [claims, status] of [[{ exp: now() - 30 }, 101], [{ exp: now() - 70 }, 401], [{ nbf: now() + 30 }, 101], [{ nbf: now() + 90 }, 401]])
    assert.equal((await attempt(gateway, 'ws', '/ws?topic=a', bearer(await token('ES256', claims)))).status, status, JSON.stringify(claims));
});

describe('auth.jwks_file', () => {
  const named = async (pair, kid, more = {}) => ({ ...await exportJWK(pair.publicKey), kid, use: 'sig', ...more });
  const pair = () => generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const [spring, summer, autumn] = [pair(), pair(), pair()];
  const by = (key, kid) => token('ES256', {}, { key: key.privateKey, kid });

  test('kid chooses among several keys; SIGHUP takes up a rotated set, and keeps the old one when the file is bad', async t => {
    const file = join(folder, 'keys.json');
    const write = (...keys) => writeFileSync(file, JSON.stringify({ keys }));
    const encryption = { ...await exportJWK(pairs.RS256.publicKey), kid: 'e', use: 'enc' };
    write(await named(spring, 'spring'), await named(summer, 'summer', { alg: 'ES256' }), await named(pairs.EdDSA, 'ed'), encryption);
    const gateway = await own(t, { 'auth.anonymous': 'off', 'auth.jwks_file': file, 'log.level': 'debug' });
    const status = async value => (await attempt(gateway, 'ws', '/ws?topic=a', bearer(await value))).status;

    assert.equal(await status(by(spring, 'spring')), 101);
    assert.equal(await status(by(summer, 'summer')), 101);
    assert.equal(await status(by(summer, undefined)), 101);
    assert.equal(await status(token('EdDSA', {}, { kid: 'ed' })), 101);
    assert.equal(await status(by(spring, 'summer')), 401);
    assert.equal(await status(by(spring, 'autumn')), 401);
    assert.equal(await status(token('RS256', {}, { kid: 'e' })), 401);
    assert.equal(await status(by(autumn, 'autumn')), 401);

    const live = await open(gateway, 'ws', '/ws?topic=live', bearer(await by(spring, 'spring')));
    write(await named(summer, 'summer'), await named(autumn, 'autumn'));
    await reload(gateway, /event=token_keys_reloaded keys=2/);
    assert.equal(await status(by(autumn, 'autumn')), 101);
    assert.equal(await status(by(summer, 'summer')), 101);
    assert.equal(await status(by(spring, 'spring')), 401);
    assert.equal(await (await gateway.publisher()).command('PUBLISH', 'live', 'still here'), 1);
    assert.equal((await live.frame()).text, 'still here');
    live.destroy();

    for (const [text, words] of [['{"keys":[', 'no valid JSON'], ['{"keys":[]}', 'no key that checks signatures'], ['{"keys":[{"kty":"EC","crv":"P-256","x":"AA"}]}', 'key 1']]) {
      writeFileSync(file, text);
      await reload(gateway, new RegExp(`level=error event=reload_failed .*keys\\.json: .*${words}`));
      assert.equal(await status(by(autumn, 'autumn')), 101, 'the keys in use are kept');
    }
    rmSync(file);
    await reload(gateway, /event=reload_failed .*keys\.json: No such file/);
    assert.equal(await status(by(autumn, 'autumn')), 101);
  });

  test('a set with a secret, and a file that others may read', async t => {
    const file = join(folder, 'secret.json');
    writeFileSync(file, JSON.stringify({ keys: [{ kty: 'oct', kid: 's', k: Buffer.from(secret).toString('base64url') }] }), { mode: 0o600 });
    const gateway = await own(t, { 'auth.anonymous': 'off', 'auth.jwks_file': file });
    assert.equal((await attempt(gateway, 'ws', '/ws?topic=a', bearer(await token('HS256', {}, { kid: 's' })))).status, 101);
    chmodSync(file, 0o644);
    await reload(gateway, /event=reload_failed .*lets others at it/);
    assert.equal((await attempt(gateway, 'ws', '/ws?topic=a', bearer(await token('HS256', {}, { kid: 's' })))).status, 101);
    assert.ok(!gateway.stderr.includes(secret) && !gateway.stderr.includes(Buffer.from(secret).toString('base64url')));
  });
});

describe('settings that would let nobody in, or everybody', () => {
  const refused = (title, status, words, ...settings) => test(title, () => {
    const result = spawnSync(binary, ['--listen.ws=127.0.0.1:0', ...settings.map(one => `--${one}`)], { encoding: 'utf8' });
    assert.equal(result.status, status, result.stderr);
    assert.match(result.stderr, words);
    assert.ok(!result.stderr.includes('hunter2'));
  });
  refused('no key, and anonymous clients are not admitted', 2, /nobody could connect.*set auth\.hmac_secret, auth\.public_keys or auth\.jwks_file, or .*auth\.anonymous=on/);
  refused('a secret that can be guessed', 2, /auth\.hmac_secret is shorter than 32 bytes.*openssl rand -hex 32/, 'auth.hmac_secret=hunter2');
  refused('an algorithm that is none', 2, /auth\.algorithms: "none" is none of HS256/, `auth.hmac_secret=${secret}`, 'auth.algorithms=none');
  refused('a cookie with any origin', 2, /auth\.cookie with listen\.origins=\*/, `auth.hmac_secret=${secret}`, 'auth.cookie=t', 'listen.origins=*');
  refused('a file that is not there', 1, /auth\.public_keys: \/no\/such\.pem: No such file/, 'auth.public_keys=/no/such.pem');
  test('a private key where a public one belongs', () => {
    const file = join(folder, 'private.pem');
    writeFileSync(file, pairs.ES256.privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    const result = spawnSync(binary, ['--listen.ws=127.0.0.1:0', `--auth.public_keys=${file}`], { encoding: 'utf8' });
    assert.equal(result.status, 1);
    assert.match(result.stderr, /private\.pem: this is a private key.*-pubout/);
    assert.doesNotMatch(result.stderr, /event=listening/);
  });
});
