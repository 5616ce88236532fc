// deploy/prometheus and deploy/grafana: rules that promtool takes and tests, and only figures that a gateway really has; a real
// Prometheus scrapes one with these files and answers every expression of the dashboard.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { freePort, own, shared, until } from './lib/gateway.mjs';
import { serve } from './lib/service.mjs';
import { open } from './lib/wire.mjs';

const deploy = fileURLToPath(new URL('../../deploy/', import.meta.url));
const read = name => readFileSync(join(deploy, name), 'utf8');
const groups = parse(read('prometheus/rules.yml')).groups;
const rules = groups.flatMap(group => group.rules);
const alerts = rules.filter(rule => rule.alert), records = rules.filter(rule => rule.record);
const scenarios = parse(read('prometheus/rules.test.yml')).tests;
const dashboard = JSON.parse(read('grafana/pushgate.json'));
const panels = dashboard.panels.filter(({ type }) => type !== 'row');
/** Every expression of the dashboard, as Grafana would send it. */
const asked = [...panels.flatMap(({ title, targets }) => targets.map(({ expr }) => ({ where: title, expr }))),
  ...dashboard.annotations.list.filter(({ expr }) => expr).map(({ name, expr }) => ({ where: name, expr }))]
  .map(({ where, expr }) => ({ where, expr: expr.replaceAll('$instance', '.*').replaceAll('$__rate_interval', '1m') }));

const folder = mkdtempSync(join(tmpdir(), 'pushgate-monitoring-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const promtool = (...args) => spawnSync('promtool', args, { encoding: 'utf8', cwd: folder });
const write = (name, text) => { writeFileSync(join(folder, name), text); return join(folder, name); };

describe('rules', () => {
  test('promtool takes them', () => {
    const { status, stdout, stderr } = promtool('check', 'rules', join(deploy, 'prometheus/rules.yml'));
    assert.equal(status, 0, stdout + stderr);
  });
  test('their tests pass', () => {
    const { status, stdout, stderr } = promtool('test', 'rules', join(deploy, 'prometheus/rules.test.yml'));
    assert.equal(status, 0, stdout + stderr);
  });
  test('every alert is tested both ways', () => {
    const fires = new Set(['PushgateWatchdog']), quiet = new Set();
    for (const { promql_expr_test: expectations } of scenarios) {
      for (const { exp_samples: samples } of expectations) {
        const names = samples.map(({ labels }) => /alertname="(\w+)"/.exec(labels)[1]);
        names.forEach(name => fires.add(name));
        alerts.forEach(({ alert }) => names.includes(alert) || quiet.add(alert));
      }
    }
    for (const { alert } of alerts) assert.ok(fires.has(alert) && quiet.has(alert), alert);
  });
  test('their tests fail when an alert does not fire, fires early, or another fires with it', () => {
    const broken = {
      'never': text => text.replace('process_open_fds{job="pushgate"} / process_max_fds > 0.85', 'process_open_fds{job="pushgate"} / process_max_fds > 0.95'),
      'early': text => text.replace(/(PushgateDown\n.*\n *for: )1m/, '$10m'),
      'another': text => text.replace('< 14 * 86400', '< 900 * 86400'),
    };
    const few = scenarios.filter(({ name }) => /cannot be scraped|table that all share|all is well/.test(name));
    assert.equal(few.length, 3);
    write('rules.test.yml', JSON.stringify({ rule_files: ['rules.yml'], evaluation_interval: '1m', tests: few }));
    write('rules.yml', read('prometheus/rules.yml'));
    assert.equal(promtool('test', 'rules', 'rules.test.yml').status, 0);
    for (const [name, change] of Object.entries(broken)) {
      const text = change(read('prometheus/rules.yml'));
      assert.notEqual(text, read('prometheus/rules.yml'), name);
      write('rules.yml', text);
      assert.equal(promtool('test', 'rules', 'rules.test.yml').status, 1, name);
    }
  });
  test('every alert says what is wrong, what to do and where to read on', () => {
    const anchors = file => [...readFileSync(join(deploy, '..', file), 'utf8').matchAll(/^#+ (.*)$/gm)]
      .map(([, title]) => title.toLowerCase().replace(/[^\w\- ]/g, '').replaceAll(' ', '-'));
    for (const { alert, labels, annotations } of alerts) {
      assert.match(alert, /^Pushgate[A-Z]/);
      assert.match(labels.severity, /^(critical|warning|info|none)$/);
      assert.ok(annotations.summary.length > 10 && annotations.description.length > 30, alert);
      const [file, anchor] = annotations.runbook_url.split('#');
      assert.ok(anchors(file).includes(anchor), `${file} has #${anchor}, which ${alert} points to`);
    }
  });
  test('what alerts say is filled in', () => {
    // promtool shows the alerts that it got beside those that are expected: here one that does not exist, where each fires.
    const tests = scenarios.map(({ name, interval, input_series, promql_expr_test: expectations }) => ({
      name, interval, input_series,
      alert_rule_test: expectations.flatMap(({ eval_time, exp_samples: samples }) => samples.map(({ labels }) =>
        ({ eval_time, alertname: /alertname="(\w+)"/.exec(labels)[1], exp_alerts: [{ exp_labels: { none: 'none' } }] }))),
    }));
    write('rules.yml', read('prometheus/rules.yml'));
    write('said.test.yml', JSON.stringify({ rule_files: ['rules.yml'], evaluation_interval: '1m', tests }));
    const { stdout, stderr } = promtool('test', 'rules', 'said.test.yml');
    const got = [...(stdout + stderr).matchAll(/Labels:\{alertname="(\w+)"(?![^\n]*none="none")[^\n]*\n\s+Annotations:\{([^\n]*)\}/g)];
    assert.deepEqual([...new Set(got.map(([, name]) => name))].sort(), alerts.map(({ alert }) => alert).sort());
    for (const [, name, said] of got) {
      assert.doesNotMatch(said, /\{\{|<no value>|error|NaN/, name);
      if (!/Watchdog|Absent/.test(name)) assert.match(said, /summary="[^"]*\ba\b/, `${name} names the gateway`);
    }
    assert.match(got.find(([, name]) => name === 'PushgateConnectionsNearLimit')[2], /a has 90% of the connections/);
    assert.match(got.find(([, name]) => name === 'PushgateCertificateExpires')[2], /certificate of a for \* ends in 1d 23h 59m/);
  });
  test('the scrape example is one that Prometheus takes', () => {
    const text = read('prometheus/prometheus.yml');
    write('rules.yml', read('prometheus/rules.yml'));
    write('prometheus.yml', text.replace('/etc/prometheus/pushgate-admin-password', write('password', 'x')));
    const { status, stdout, stderr } = promtool('check', 'config', 'prometheus.yml');
    assert.equal(status, 0, stdout + stderr);
    write('prometheus.yml', text.replace('static_configs', 'static_config'));
    assert.equal(promtool('check', 'config', 'prometheus.yml').status, 1);
  });
});

describe('figures', () => {
  const gateway = shared({ before, after }, { 'proxy.rpc': 'http://127.0.0.1:1/rpc' });
  let series;
  before(async () => { series = [...(await gateway().metrics()).keys()]; });
  const names = () => new Set([...series.map(key => key.replace(/\{.*/, '')), ...records.map(({ record }) => record), 'up', 'ALERTS']);
  /** Names of metrics in an expression, and what their labels are held against. */
  function parts(expr) {
    const bare = expr.replace(/"[^"]*"/g, '""');
    const metrics = [...bare.matchAll(/[a-z_:][a-z0-9_:]*(?=\s*(\{|\[|$|[^a-z0-9_:(\s]|\s+(?![(a-z])|\s+(and|or|unless|on)\b))/gi)].map(([name]) => name)
      .filter(name => /^(pushgate|process|instance:|up$)/.test(name));
    const held = [...expr.matchAll(/([a-z_:]+)\{([^}]*)\}/g)].flatMap(([, metric, matchers]) =>
      [...matchers.matchAll(/(\w+)(=~|!~|!=|=)"([^"]*)"/g)].map(([, label, , value]) => ({ metric, label, values: value.split('|') })))
      .filter(({ label }) => !['instance', 'job'].includes(label));
    return { metrics, held };
  }
  const exist = ({ where, expr }) => {
    const { metrics, held } = parts(expr);
    assert.ok(metrics.length > 0 || expr === 'vector(1)', `${where}: ${expr}`);
    for (const name of metrics) assert.ok(names().has(name), `${where}: a gateway has ${name}`);
    for (const { metric, label, values } of held)
      for (const value of values)
        assert.ok(series.some(key => key.startsWith(`${metric}{`) && key.includes(`${label}="${value}"`)), `${where}: a gateway has ${metric}{${label}="${value}"}`);
  };

  test('what rules and dashboard look at, a gateway has, with these labels', () => {
    for (const { alert, record, expr } of rules) exist({ where: alert ?? record, expr });
    for (const each of asked) exist(each);
  });
  test('the check finds a metric and a label that do not exist', () => {
    assert.throws(() => exist({ where: 'here', expr: 'rate(pushgate_nothing_total[5m]) > 0' }), /pushgate_nothing_total/);
    assert.throws(() => exist({ where: 'here', expr: 'instance:pushgate_nothing:sum > 0 and pushgate_ready == 1' }), /instance:pushgate_nothing:sum/);
    assert.throws(() => exist({ where: 'here', expr: 'pushgate_closes_total{reason=~"drain|bored"}' }), /bored/);
  });
  test('what test scenarios make up, a gateway has', () => {
    for (const { input_series: input } of scenarios)
      for (const { series: key } of input) exist({ where: 'rules.test.yml', expr: key.replace(/,(adapter|transport|reactor|le|host|kind|outcome)="[^"]*"/g, '') });
  });
});

describe('dashboard', () => {
  test('panels have ids of their own, lie beside one another, and say what they show', () => {
    const ids = dashboard.panels.map(({ id }) => id);
    assert.equal(new Set(ids).size, ids.length);
    const taken = new Map();
    for (const { id, title, gridPos: { x, y, w, h } } of dashboard.panels) {
      assert.ok(x >= 0 && w > 0 && h > 0 && x + w <= 24, title);
      for (let i = x; i < x + w; i++) {
        for (let j = y; j < y + h; j++) {
          assert.ok(!taken.has(`${i},${j}`), `${title} lies over ${taken.get(`${i},${j}`)}`);
          taken.set(`${i},${j}`, title);
        }
      }
      assert.ok(id > 0 && title.length > 0);
    }
    for (const { title, description, fieldConfig, type } of panels)
      assert.ok(description?.endsWith('.') && (fieldConfig.defaults.unit || type === 'heatmap'), title);
  });
  test('rows for all that is asked of a gateway', () => {
    const rows = dashboard.panels.filter(({ type }) => type === 'row').map(({ title }) => title.toLowerCase()).join(' ');
    for (const word of ['connections', 'handshakes', 'messages', 'latency', 'memory', 'closes', 'drops', 'backends', 'history']) assert.ok(rows.includes(word), word);
  });
  test('data source and gateways are variables, and no other is used', () => {
    const known = dashboard.templating.list.map(({ name }) => name);
    assert.deepEqual(known, ['datasource', 'instance']);
    for (const [, name] of JSON.stringify(dashboard).matchAll(/\$\{?(\w+)/g)) assert.ok([...known, '__rate_interval', '__all'].includes(name), name);
    for (const panel of panels) {
      assert.equal(panel.datasource.uid, '${datasource}');
      for (const target of panel.targets) {
        assert.equal(target.datasource.uid, '${datasource}');
        assert.equal(target.expr.match(/\{/g).length, target.expr.match(/instance=~"\$instance"/g).length, `${panel.title}: every metric is of the chosen gateways`);
      }
    }
    assert.ok(Number.isInteger(dashboard.schemaVersion) && dashboard.schemaVersion >= 39);
    assert.ok(!('id' in dashboard), 'the id is the importing Grafana\'s');
  });
  test('promtool takes every expression as a rule', () => {
    const file = write('dashboard.yml', JSON.stringify({ groups: [{ name: 'dashboard', rules: asked.map(({ expr }, i) => ({ record: `panel:${i}`, expr })) }] }));
    const { status, stdout, stderr } = promtool('check', 'rules', file);
    assert.equal(status, 0, stdout + stderr);
  });
});

test('a real Prometheus scrapes a gateway with these files, evaluates the rules, and answers the whole dashboard', async t => {
  const password = 'for Prometheus only';
  const gateway = await own(t, { 'admin.password': password, 'proxy.rpc': 'http://127.0.0.1:1/rpc' }, { topics: { '*': { history_size: 10, history_ttl: '1m' } } });
  const port = await freePort();
  write('rules.yml', read('prometheus/rules.yml').replaceAll('[5m]', '[1m]'));
  write('password', password);
  write('prometheus.yml', read('prometheus/prometheus.yml').replace('/etc/prometheus/pushgate-admin-password', join(folder, 'password'))
    .replaceAll('interval: 15s', 'interval: 200ms').replace('gateway-1.example.org:9190', `127.0.0.1:${gateway.admin}`)
    .replace(/^.*gateway-2.*\n/m, '').replace('localhost:9093', '127.0.0.1:9'));
  const query = async expr => {
    const response = await fetch(`http://127.0.0.1:${port}/api/v1/query`, { method: 'POST', body: new URLSearchParams({ query: expr }) });
    const { status, data, error } = await response.json();
    assert.equal(status, 'success', `${expr}: ${error}`);
    return data.result;
  };
  const value = async expr => Number((await query(expr))[0]?.value[1]);
  await serve(t, 'prometheus', [`--config.file=${folder}/prometheus.yml`, `--storage.tsdb.path=${folder}/data`, `--web.listen-address=127.0.0.1:${port}`, '--log.level=error'],
    { ready: async () => (await fetch(`http://127.0.0.1:${port}/-/ready`).catch(() => null))?.ok });
  await until('the gateway is scraped', async () => await value('up{job="pushgate"}') === 1, 10000);
  const wires = [await open(gateway, 'ws', '/ws?topic=a'), await open(gateway, 'wss', '/ws?topic=a')];
  await gateway.subscribed('a', 2);
  for (let i = 0; i < 5; i++) await gateway.probe.publish('a', 'x');
  await until('records show what happens', async () => await value('instance:pushgate_connections:sum') === 2 && await value('instance:pushgate_delivery_latency_seconds:p99_5m') > 0, 10000);
  assert.equal(await value('ALERTS{alertname="PushgateWatchdog",alertstate="firing"}'), 1);
  await until('the certificate that ends in two days is told', async () => (await query('ALERTS{alertname="PushgateCertificateExpires"}')).length === 1, 10000);
  const silent = [];
  for (const { where, expr } of asked) if ((await query(expr)).length === 0) silent.push(where);
  // Nothing failed, was drained, was refused: these have nothing to show, all others do.
  assert.deepEqual(silent.filter(where => !['Failed by reason', 'Closed for faults, of all', 'Closed by reason', 'Memory a connection', 'Server API', 'Hooks (proxy.*)', 'Drains'].includes(where)), []);
  for (const wire of wires) wire.destroy();
});
