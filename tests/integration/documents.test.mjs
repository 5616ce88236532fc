// Man pages, completion and OPERATIONS.md: they say what --help and the code say, and readers of man pages find no fault in them.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { binary } from './lib/gateway.mjs';

const build = join(binary, '..');
const load = join(build, 'pushgate-load');
const pages = { gateway: join(build, 'man/pushgate.8'), settings: join(build, 'man/pushgate.conf.5'), load: join(build, 'man/pushgate-load.1') };
const run = (command, ...rest) => spawnSync(command, rest, { encoding: 'utf8' });
/** A page as one line, as a reader sees it. */
const read = page => run('mandoc', '-T', 'utf8', '-O', 'width=300', page).stdout.replace(/.\x08/g, '').replace(/\s+/g, ' ');
/** Where a document's links lead that stay in the tree. */
const links = text => [...text.matchAll(/\]\(([^)\s#]\S*?)\)/g)].map(([, link]) => link).filter(link => !/^https?:/.test(link));
const squeeze = text => text.replace(/\s+/g, ' ').trim();

test('no page has a line that a formatter would warn of', () => {
  for (const page of Object.values(pages)) {
    assert.equal(run('mandoc', '-T', 'lint', '-W', 'style', page).stdout, '');
    const { status, stdout, stderr } = run('groff', '-ww', '-man', '-Tutf8', page);
    assert.equal(stderr, '');
    assert.equal(status, 0);
    assert.ok(stdout.length > 1000);
  }
});

test('pushgate.conf(5) has every setting of --help with its text, default and range', () => {
  const help = execFileSync(binary, ['--help'], { encoding: 'utf8' }), page = read(pages.settings);
  const settings = [...help.matchAll(/^ {2}(?:--(\S+?)=|(\w+) = )(\S+)\s([^]*?)(?=\n\n|\n {2}\S|\n\[|$(?![^]))/gm)];
  assert.ok(settings.length > 60, `${settings.length} settings`);
  assert.ok(settings.some(([, , short]) => short === 'history_size'), 'sections that repeat are among them');
  for (const [, long, short, value, text] of settings) {
    const name = long ?? short;
    const [, words, range, standard] = squeeze(text).match(/^(.*?)(?: \((?:([^()]*); )?default ([^()]*)\))?$/);
    const at = page.indexOf(` ${name} = ${value} `);
    assert.ok(at > 0, `${name} = ${value}`);
    const entry = page.slice(at, at + 1500);
    assert.ok(entry.includes(words), `${name}: ${words}`);
    assert.ok(entry.includes(`Default: ${standard ?? 'not set'}.`), `${name}: default ${standard}`);
    if (range) assert.ok(entry.includes(`: ${range}.`), `${name}: ${range}`);
    assert.match(entry, /(A change needs a restart|SIGHUP reads the files? again)/);
  }
});

test('pushgate(8) and pushgate-load(1) have every option of --help', () => {
  const usage = execFileSync(binary, ['--help'], { encoding: 'utf8' }).split('\nSettings')[0], page = read(pages.gateway);
  const options = [...usage.matchAll(/^ {2}(--.*?\S) {2,}(.*)$/gm)];
  assert.ok(options.length >= 5);
  for (const [, option, text] of options) assert.ok(page.includes(`${option} ${text}`), option);

  const ctl = execFileSync(binary, ['ctl', '--help'], { encoding: 'utf8' });
  const asks = [...ctl.matchAll(/^ {2}([a-z][a-z-]*)(?: .*)?$/gm)].map(([, name]) => name);
  assert.ok(asks.length > 8, `${asks.length} commands`);
  for (const name of asks) assert.match(page, new RegExp(` ${name} `));
  for (const [, name] of ctl.matchAll(/^ {2}(--[a-z-]+)/gm)) assert.ok(page.includes(name), name);

  const loadPage = read(pages.load), help = execFileSync(load, ['--help'], { encoding: 'utf8' });
  const rows = [...help.matchAll(/^ {2}(--\S+(?: VALUE')?)\n {8}(.*?)(?: \(([^()]*)\))?$/gm)];
  assert.ok(rows.length > 30, `${rows.length} options`);
  for (const [, option, text, standard] of rows) {
    assert.ok(loadPage.includes(`${option} ${squeeze(text)}`), option);
    if (standard && /^[\d%a-z]+$/.test(standard)) assert.ok(loadPage.includes(`Default: ${standard}.`), `${option}: ${standard}`);
  }
  for (const [, mode, text] of help.matchAll(/^ {2}([a-z]+) +(.*)$/gm)) assert.ok(loadPage.includes(`${mode} ${text}`), mode);
});

test('cmake --install puts programs, pages and completion where they are looked for, and documents so that their links lead somewhere', t => {
  const prefix = mkdtempSync(join(tmpdir(), 'documents-test-'));
  t.after(() => rmSync(prefix, { recursive: true }));
  assert.equal(run('cmake', '--install', build, '--prefix', prefix).status, 0);
  for (const file of ['bin/pushgate', 'bin/pushgate-load', 'share/bash-completion/completions/pushgate', 'share/bash-completion/completions/pushgate-load'])
    assert.ok(existsSync(join(prefix, file)), file);
  for (const [section, page] of [['8', 'pushgate'], ['5', 'pushgate.conf'], ['1', 'pushgate-load']]) {
    const { status, stdout } = run('man', '-M', join(prefix, 'share/man'), section, page);
    assert.equal(status, 0, page);
    assert.match(stdout, /SEE ALSO/);
  }
  const documents = join(prefix, 'share/doc/pushgate'), paths = readdirSync(documents, { recursive: true }).filter(path => path.endsWith('.md'));
  for (const path of ['README.md', 'deploy/OPERATIONS.md', 'gateway/proxy/HOOKS.md']) assert.ok(paths.includes(path), path);
  for (const path of paths) assert.deepEqual(links(readFileSync(join(documents, path), 'utf8')).filter(link => !existsSync(join(documents, path, '..', link.split('#')[0]))), [], path);
});

/** What bash offers when the cursor is at the end of `line`. */
function offers(line, { folder = '/', breaks } = {}) {
  const program = line.split(' ')[0];
  const script = `${breaks === undefined ? '' : `COMP_WORDBREAKS=${breaks}; `}source "$1" || exit 1; COMP_LINE=$2 COMP_POINT=\${#2}
    read -r _ _ f _ < <(complete -p ${program}); "$f"; ((\${#COMPREPLY[@]})) && printf '%s\\n' "\${COMPREPLY[@]}"; true`;
  const { status, stdout, stderr } = spawnSync('bash', ['--norc', '-uc', script, '-', join(build, 'completion', program), line], { encoding: 'utf8', cwd: folder });
  assert.equal(stderr, '');
  assert.equal(status, 0);
  return stdout.split('\n').filter(Boolean);
}

test('completion offers settings, values and files', t => {
  const folder = mkdtempSync(join(tmpdir(), 'documents-test-'));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const file of ['one.pem', 'one two.pem', 'other.conf']) writeFileSync(join(folder, file), '');
  mkdirSync(join(folder, 'open'));

  assert.deepEqual(offers('pushgate --c'), ['--config=', '--check']);
  assert.deepEqual(offers('pushgate --check --idle.'), ['--idle.timeout=', '--idle.ping_interval=']);
  assert.deepEqual(offers('pushgate --log.level='), ['error', 'warn', 'info', 'debug']);
  assert.deepEqual(offers('pushgate --log.level=d'), ['debug']);
  assert.deepEqual(offers('pushgate --log.level=d', { breaks: "$' \\t\\n'" }), ['--log.level=debug']);
  assert.deepEqual(offers('pushgate --auth.anonymous=o'), ['on', 'off']);
  assert.deepEqual(offers('pushgate --limits.connections='), []);
  assert.deepEqual(offers('pushgate --tls.certificate=on', { folder }).sort(), ['one two.pem', 'one.pem']);
  assert.deepEqual(offers('pushgate --config o', { folder }).sort(), ['one two.pem', 'one.pem', 'open', 'other.conf']);
  assert.deepEqual(offers('pushgate --publish.password_file=on', { folder }).sort(), ['one two.pem', 'one.pem']);
  assert.deepEqual(offers('pushgate --config=other', { folder }), ['other.conf']);
  assert.deepEqual(offers('pushgate --config other.conf --ch', { folder }), ['--check']);
  assert.ok(offers('pushgate ').length > 60);

  assert.ok(offers('pushgate c').includes('ctl'));
  assert.ok(offers('pushgate ctl co').includes('connections'));
  assert.deepEqual(offers('pushgate ctl connections --config=other', { folder }), ['other.conf']);
  assert.ok(!offers('pushgate ctl --').includes('--log.level='));

  assert.deepEqual(offers('pushgate-load s'), ['storm', 'slow']);
  assert.deepEqual(offers('pushgate-load storm --handshakes='), ['both', 'full', 'resumed']);
  assert.deepEqual(offers('pushgate-load storm --handshakes f'), ['full']);
  assert.deepEqual(offers('pushgate-load idle --cafile one.', { folder }), ['one.pem']);
  assert.deepEqual(offers('pushgate-load idle --insecure --qui'), ['--quiet']);
});

test('every setting of --help is completed', () => {
  const help = execFileSync(binary, ['--help'], { encoding: 'utf8' });
  const names = [...help.matchAll(/^ {2}(--[a-z_]+\.[a-z_]+=)/gm)].map(match => match[1]);
  const offered = offers('pushgate --');
  assert.deepEqual(names.filter(name => !offered.includes(name)), []);
});

test('the Tab key in a real bash completes the line', () => {
  const typing = `
import os, pty, sys, select, time
pid, fd = pty.fork()
if pid == 0:
    os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
def until(text):
    seen, end = b"", time.monotonic() + 20
    while text not in seen and time.monotonic() < end:
        if select.select([fd], [], [], 0.1)[0]:
            seen += os.read(fd, 4096)
    return text in seen
os.write(fd, b"PS1='ready''> '; bind 'set enable-bracketed-paste off'; pushgate() { printf 'got:%s;' \\"$@\\"; }; source " + sys.argv[1].encode() + b"\\n")
assert until(b"ready> "), "no prompt"
os.write(fd, b"pushgate --log.l\\td\\t --tls.ticket_rot\\t1h\\n")
assert until(b"got:--log.level=debug;got:--tls.ticket_rotation=1h;"), "not completed"
os.write(fd, b"exit\\n")
os.waitpid(pid, 0)`;
  const { status, stderr } = run('python3', '-c', typing, join(build, 'completion/pushgate'));
  assert.equal(stderr, '');
  assert.equal(status, 0);
});

const root = fileURLToPath(new URL('../../', import.meta.url));
const source = path => readFileSync(join(root, path), 'utf8');
/** Rows of the tables between a heading and the next one of its depth. */
const rows = (text, heading) => {
  const from = text.indexOf(`\n${heading}\n`);
  assert.ok(from >= 0, heading);
  const depth = heading.match(/^#+/)[0].length, body = from + heading.length + 2, end = text.slice(body).search(new RegExp(`^#{1,${depth}} `, 'm'));
  return text.slice(body, end < 0 ? undefined : body + end).split('\n').filter(line => line.startsWith('| `')).map(line => line.split(/(?<!\\)\|/).slice(1, -1).map(cell => cell.trim()));
};
const names = table => table.map(([name]) => name.replaceAll('`', '')).sort();

test('OPERATIONS.md explains every close reason with its codes, every refusal and every warning, and none that does not exist', () => {
  const page = source('deploy/OPERATIONS.md');

  const reasons = [...source('gateway/conn/close_reason.h').matchAll(/X\(CLOSE_\w+, "(\w+)", (\d+), (\d+),/g)].filter(([, label]) => label !== 'none');
  const ends = rows(page, '### Why connections end');
  assert.ok(reasons.length >= 15);
  assert.deepEqual(names(ends), reasons.map(([, label]) => label).sort());
  for (const [, label, code, centrifuge] of reasons) {
    const [, told] = ends.find(([name]) => name === `\`${label}\``);
    const expected = code === '0' ? '–' : centrifuge === '0' ? code : `${code}/${centrifuge}`;
    assert.equal(told.replace(/ .*/, ''), expected, label);
  }

  const failures = [...source('gateway/conn/stats.h').match(/define HANDSHAKE_FAILURES[^]*?\n\n/)[0].matchAll(/X\(HANDSHAKE_\w+, "(\w+)"\)/g)].map(([, label]) => label);
  assert.ok(failures.length >= 15);
  assert.deepEqual(names(rows(page, '### Who does not get in')), failures.sort());

  const events = new Map();
  for (const file of execFileSync('git', ['ls-files', 'gateway/*.c'], { cwd: root, encoding: 'utf8' }).trim().split('\n'))
    for (const [, level, event] of source(file).matchAll(/log_(?:event\(|limited\([^,]*,)\s*LOG_(WARN|ERROR),\s*"(\w+)"/g)) events.set(event, (events.get(event) ?? new Set()).add(level.toLowerCase()));
  const told = rows(page, '### Warnings and errors in the log');
  assert.ok(events.size > 20);
  assert.deepEqual(names(told), [...events.keys()].sort());
  for (const [name, levels] of told) assert.deepEqual(levels.split(', ').sort(), [...events.get(name.replaceAll('`', ''))].sort(), name);
});

test('settings and metrics that the manuals name exist', () => {
  const help = execFileSync(binary, ['--help'], { encoding: 'utf8' });
  const settings = new Set([...help.matchAll(/^ {2}--([a-z_]+\.[a-z_]+)=/gm)].map(([, name]) => name));
  const sections = [...new Set([...settings].map(name => name.split('.')[0]))].join('|');
  const metrics = source('gateway/admin_metrics.c');
  for (const path of ['README.md', 'deploy/OPERATIONS.md']) {
    const page = source(path);
    for (const [, name] of page.matchAll(new RegExp(`\`(?:--)?((?:${sections})\\.[a-z_]+)(?=[\` =])`, 'g')))
      assert.ok(settings.has(name) || settings.has(name.replace(/_file$/, '')), `${path}: ${name}`);
    for (const [, name] of page.matchAll(/\b(pushgate_[a-z_]+)(?=[`{)\[])/g))
      assert.ok(metrics.includes(name) || metrics.includes(name.replace(/^pushgate_/, '')), `${path}: ${name}`);
  }
});

test('links between the manuals lead somewhere, those of alerts too', () => {
  const anchors = path => [...source(path).matchAll(/^#+ (.*)$/gm)].map(([, title]) => title.toLowerCase().replace(/[^\w\- ]/g, '').replaceAll(' ', '-'));
  for (const path of ['README.md', 'deploy/OPERATIONS.md'])
    for (const [, link] of source(path).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(link)) continue;
      const [file, anchor] = link.split('#'), target = file ? join(path, '..', file) : path;
      assert.ok(existsSync(join(root, target)), `${path}: ${link}`);
      if (anchor) assert.ok(anchors(target).includes(anchor), `${path}: ${link}`);
    }
  for (const [, file, anchor] of source('deploy/prometheus/rules.yml').matchAll(/runbook_url: (\S+)#(\S+)/g))
    assert.ok(anchors(file.replace(/^https:\/\/.*\/(?=README\.md|deploy\/)/, '')).includes(anchor), `${file}#${anchor}`);
});
