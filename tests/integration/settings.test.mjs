// Wrong configuration, setting by setting: the settings are those of --print-config-sample, so a new one is tried without a line here.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { binary, makeCertificate } from './lib/gateway.mjs';

const folder = mkdtempSync(join(tmpdir(), 'settings-test-'));
after(() => rmSync(folder, { recursive: true }));
const file = join(folder, 'wrong.conf');

const run = (text, ...rest) => {
  writeFileSync(file, text);
  return spawnSync(binary, ['--config', file, ...rest], { encoding: 'utf8', timeout: 300000 });
};
/** Both --check and a start refuse this text, and the message begins with file and line. */
function refuses(text, line, words) {
  const check = run(text, '--check');
  assert.equal(check.status, 1, `${text}\n${check.stdout}`);
  assert.ok(check.stderr.startsWith(`pushgate: ${file}:${line}: `), `${text}\n${check.stderr}`);
  for (const word of [words].flat()) assert.ok(word instanceof RegExp ? word.test(check.stderr) : check.stderr.includes(word), `${text}\n${check.stderr}\n${word}`);
  return check.stderr;
}

/** Every setting of the sample: name, section as it is written, default, and what its comment says is allowed. */
const settings = (() => {
  const found = [];
  let section = '', comment = '';
  for (const line of execFileSync(binary, ['--print-config-sample'], { encoding: 'utf8' }).split('\n')) {
    const heading = line.match(/^#?\[(.*)\]$/), key = line.match(/^#(\w+) =(?: (.*))?$/);
    if (heading) section = heading[1].replace('PATTERN', 'news').replace('HOST', 'example.org');
    else if (key) {
      const [, range] = comment.match(/\(([^()]*); default [^()]*\)/) ?? [];
      found.push({ section, key: key[1], value: key[2] ?? '', range: range?.replace(/^allowed: /, '') });
    }
    comment = line.startsWith('# ') ? `${comment} ${line.slice(2)}` : '';
  }
  return found;
})();
const numeric = settings.filter(({ range }) => /…| or more/.test(range ?? ''));
const worded = settings.filter(({ range }) => range && !/…| or more/.test(range));
const factors = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40, ms: 1, s: 1000, m: 60000, h: 3600000, d: 86400000 };

test('the sample shows what every number, word and switch may be', () => {
  assert.ok(settings.length > 70, `${settings.length} settings`);
  assert.ok(numeric.length > 30, `${numeric.length} numbers`);
  assert.ok(worded.length > 10, `${worded.length} switches and choices`);
  assert.ok(settings.some(({ section }) => section === 'topic news'));
});

test('numbers that are too large, too small, in a wrong unit, no number or missing are refused with place and range', () => {
  for (const { section, key, range } of numeric) {
    const text = value => `[${section}]\n# a comment\n${key} = ${value}\n`;
    const [, low, lowUnit, high, highUnit] = range.match(/(\d+)([A-Za-z]*) (?:… (\d+)([A-Za-z]*)|or more)/);
    if (high) refuses(text(highUnit ? `${BigInt(high) * BigInt(factors[highUnit]) + 1n}${highUnit in { ms: 1, s: 1, m: 1, h: 1, d: 1 } ? 'ms' : ''}` : BigInt(high) + 1n), 3, ['is too large; allowed: ', range]);
    refuses(text(`99999999999999999999999${highUnit ?? ''}`), 3, ['is too large', range]);
    const least = Number(low) * (factors[lowUnit] ?? 1);
    if (least > 1) refuses(text(`${least - 1}${lowUnit in { ms: 1, s: 1, m: 1, h: 1, d: 1 } ? 'ms' : ''}`), 3, ['is too small; allowed: ', range]);
    else if (!range.startsWith('0')) refuses(text('0'), 3, ['is too small; allowed: ', range]);
    for (const garbage of ['-1', 'many', '5 parsecs', '1.5', '0x10', '5;6', '٣']) refuses(text(garbage), 3, [`"${garbage}" is not `, range]);
    refuses(text(''), 3, ['the value is missing; allowed: ', range]);
  }
});

test('units of others are refused with the one that was meant', () => {
  for (const [section, key, value, meant] of [
    ['limits', 'message_bytes', '64k', '64KiB'], ['limits', 'message_bytes', '64 KB', '64KiB'], ['limits', 'message_bytes', '1M', '1MiB'], ['history', 'memory', '1gb', '1GiB'],
    ['idle', 'timeout', '90', '90s'], ['idle', 'timeout', '90 s', '90s'], ['idle', 'timeout', '2min', '2m'], ['drain', 'timeout', '1 hour', '1h'], ['tls', 'ticket_rotation', '1D', '1d'],
    ['demo', 'enabled', 'true', 'on'], ['demo', 'enabled', 'No', 'off'], ['demo', 'enabled', 'On', 'on'], ['log', 'level', 'DEBUG', 'debug'], ['log', 'level', 'information', 'info'],
  ]) refuses(`[${section}]\n${key} = ${value}\n`, 2, `did you mean ${meant}?`);
});

test('switches and choices that are none are refused with place and what there is', () => {
  for (const { section, key, range } of worded)
    for (const value of ['perhaps', range.split(', ').join('|'), ''])
      refuses(`[${section}]\n${key} = ${value}\n`, 2, range === 'on, off' && value ? 'is neither on nor off' : range);
});

test('no setting may stand twice, nor contain what cannot be seen', () => {
  for (const { section, key, value } of settings) {
    const good = value || 'x';
    if (value) refuses(`[${section}]\n${key} = ${good}\n\n${key} = ${good}\n`, 4, 'set twice, first on line 2');
    refuses(`[${section}]\n${key} = a\x01b\n`, 2, /control character|is not |is neither /);
  }
});

test('every default is allowed where it stands', () => {
  const at = new Map();
  for (const { section, key, value } of settings) if (value) at.set(section, `${at.get(section) ?? ''}${key} = ${value}\n`);
  at.delete('tls example.org');
  at.set('listen', `${at.get('listen') ?? ''}ws = 127.0.0.1:8080\n`);
  at.set('auth', at.get('auth').replace('anonymous = off', 'anonymous = on'));
  const { stderr, stdout } = run([...at].map(([section, lines]) => `[${section}]\n${lines}`).join(''), '--check', '--limits.connections=100');
  assert.equal(stderr, '');
  assert.match(stdout, /^settings: good$/m);
});

test('a name that nobody knows brings the nearest, or what there is', () => {
  for (const { section, key } of settings) {
    const wrong = key.length > 4 ? key.slice(0, 2) + key[3] + key[2] + key.slice(4) : `${key}x`;
    if (settings.some(other => other.section === section && other.key === wrong) || wrong === key) continue;
    refuses(`[${section}]\n${wrong} = 1\n`, 2, [/unknown key; (did you mean|\[)/, key]);
  }
  refuses('[limits]\nhow_many_friends = 1\n', 2, /unknown key; \[limits\] has connections, /);
  refuses('[limit]\n', 1, '[limit]: unknown section; did you mean [limits]?');
  refuses('\n[weather]\nrain = on\n', 2, /\[weather\]: unknown section; there are \[listen\], .*\[topic PATTERN\]/);
  refuses('[topic]\nrecover = on\n', 1, '[topic]: this section needs a name: [topic PATTERN]');
  refuses('[limits chat]\n', 1, 'takes no name');
  refuses('connections = 1\n', 1, 'stands before any [section]');
  refuses('[limits]\nconnections\n', 2, 'expected "key = value" or "[section]"');
  refuses('[limits] connections = 1\n', 1, 'needs a line of its own');
});

test('settings that contradict each other are named with the places of both', () => {
  const client = '[listen]\nws = 127.0.0.1:8080\n[auth]\nanonymous = on\n';
  for (const [text, line, ...rest] of [
    [`${client}[idle]\ntimeout = 20s\nping_interval = 30s\n`, 6, `${file}:7: idle.ping_interval = 30s`],
    [`${client}[idle]\ntimeout = 20s\n`, 6, 'by default: idle.ping_interval = 25s'],
    [`${client}[limits]\nmessage_bytes = 1MiB\n[publish]\noutbox_bytes = 1MiB\n[listen]\npublish = 127.0.0.1:1\n`, 8, `${file}:6: limits.message_bytes = 1MiB`],
    [`${client}[limits]\noutbox_bytes = 512MiB\n`, 6, 'by default: limits.outbox_memory = 256MiB'],
    [`${client}[listen]\nadmin = 127.0.0.1:8080\n`, 6, `${file}:2: listen.ws = 127.0.0.1:8080`],
    [`${client}[api]\nkey = a-long-secret\ninsecure = on\n[listen]\nadmin = 127.0.0.1:9\n`, 6, `${file}:7: api.insecure = on`],
    [`${client}cookie = token\n[listen]\norigins = *\n`, 5, `${file}:7: listen.origins = *`],
  ]) assert.doesNotMatch(refuses(text, line, rest), /a-long-secret/);
  assert.match(refuses(`${client}[topic a]\nrecover = on\n`, 6, 'recover needs history_size'), /history_size/);
});

test('a start refuses what --check refuses, with status 2 and nothing on standard output', () => {
  for (const text of ['[limits]\nconnections = many\n', '[weather]\n', '[listen]\nws = 127.0.0.1:8080\n[auth]\nanonymous = on\n[idle]\ntimeout = 20s\n']) {
    const { status, stdout, stderr } = run(text);
    assert.equal(status, 2);
    assert.equal(stdout, '');
    assert.match(stderr, /^pushgate: .*wrong\.conf:\d+: /);
  }
});

test('--check reads the files that settings name', () => {
  const { certificate, key } = makeCertificate(folder), other = makeCertificate(folder, 'other');
  const client = `[listen]\nwss = 127.0.0.1:8443\n[auth]\nanonymous = on\n[tls]\ncertificate = ${certificate}\n`;
  const junk = join(folder, 'junk.pem');
  writeFileSync(junk, 'junk');
  assert.equal(run(`${client}private_key = ${key}\n`, '--check', '--limits.connections=10').stderr, '');
  for (const [text, words] of [
    [`${client}private_key = ${join(folder, 'none.pem')}\n`, /tls\.private_key.*none\.pem.*No such file/],
    [`${client}private_key = ${other.key}\n`, /tls\.private_key/],
    [`${client}private_key = ${key}\nticket_key_file = ${junk}\n`, /tls\.ticket_key_file.*junk\.pem/],
    [`${client}private_key = ${key}\n[tls example.org]\ncertificate = ${junk}\nprivate_key = ${key}\n`, /example\.org.*junk\.pem|junk\.pem/],
    [`${client}private_key = ${key}\n[auth]\npublic_keys = ${junk}\n`, /auth\.public_keys.*junk\.pem/],
    [`${client}private_key = ${key}\n[auth]\njwks_file = ${junk}\n`, /auth\.jwks_file.*junk\.pem/],
    [`${client}private_key = ${key}\n[proxy]\nconnect = https://127.0.0.1:1/\nca_file = ${junk}\n`, /wrong\.conf:10: proxy\.ca_file: \S+junk\.pem holds no certificate in PEM/],
    [`${client}private_key = ${key}\n[proxy]\nconnect = https://127.0.0.1:1/\nca_file = ${join(folder, 'none.pem')}\n`, /proxy\.ca_file: cannot read \S+none\.pem: No such file/],
    [`${client}private_key = ${key}\n[log]\nfile = ${join(folder, 'none/pushgate.log')}\n`, /wrong\.conf:9: log\.file: cannot make \S+pushgate\.log: No such file/],
    [`${client}private_key = ${key}\n[log]\nfile = ${folder}\n`, /log\.file: cannot append to \S+: Is a directory/],
  ]) {
    const { status, stderr } = run(text, '--check');
    assert.equal(status, 1, text);
    assert.match(stderr, words);
  }
});
