// What the gateway's own WebSocket tells, put on the page. STATUS.md describes the frames.
import { Plot } from "./plot.js";

const SECONDS = 300, TOP_SHOWN = 10, REACTORS_SHOWN = 16;
const BACKOFF_FIRST = 500, BACKOFF_LAST = 10000, SILENT_AFTER = 5000, HIDDEN_AFTER = 60000;
const DAY = 86400, NBSP = "\u00a0"; // a number and its unit stay on one line
const $ = id => document.getElementById(id);

/* Numbers as people read them */

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const decimals = [0, 1, 2].map(digits => new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const date = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

const count = value => whole.format(value);
const three = value => decimals[value >= 100 || Number.isInteger(value) ? 0 : value >= 10 ? 1 : 2].format(value); // three digits of what is small
const rate = value => (value >= 10 || Number.isInteger(value) ? count(value) : decimals[1].format(value)) + "/s";
function bytes(value) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit++; }
  return (unit === 0 ? count(value) : three(value)) + NBSP + units[unit];
}
const byteRate = value => bytes(value) + "/s";
const percent = value => three(value) + NBSP + "%";
function latency(ms) {
  const [value, unit] = ms < 1 ? [count(ms * 1000), "µs"] : ms < 1000 ? [three(ms), "ms"] : [three(ms / 1000), "s"];
  return value + NBSP + unit;
}
function duration(seconds) {
  const s = Math.floor(seconds), parts = [[Math.floor(s / DAY), "d"], [Math.floor(s / 3600) % 24, "h"], [Math.floor(s / 60) % 60, "min"], [s % 60, "s"]];
  const first = parts.findIndex(([value]) => value > 0);
  return first < 0 ? `0${NBSP}s` : parts.slice(first, first + 2).map(([value, unit]) => value + NBSP + unit).join(" ");
}
const plural = (value, one, many) => `${count(value)} ${value === 1 ? one : many}`;

/* Plots */

const plots = [
  { title: "Connections", wide: true, measures: [{ key: "connections", label: "open", format: count }] },
  { title: "Accepted per second", wide: true, measures: [{ key: "accepts", label: "accepts", format: rate }, { key: "handshakes_full", label: "TLS, full", format: rate }, { key: "handshakes_resumed", label: "TLS, resumed", format: rate }] },
  { title: "Published per second", measures: [{ key: "publishes", label: "messages", format: rate }] },
  { title: "Delivered per second", measures: [{ key: "deliveries", label: "deliveries", format: rate }] },
  { title: "Latency, publication to kernel", floor: 0.1, measures: [{ key: "latency_p50_ms", label: "half within", format: latency }, { key: "latency_p99_ms", label: "99 % within", format: latency }] },
  { title: "Delivered bytes per second", binary: true, floor: 1024, measures: [{ key: "delivered_bytes", label: "on the wire", format: byteRate }] },
  { title: "Closed and dropped per second", measures: [{ key: "closes", label: "closes", format: rate }, { key: "drops", label: "messages dropped", format: rate }] },
  { title: "Waiting for slow consumers", binary: true, floor: 1024, measures: [{ key: "slow_bytes", label: "queued", format: bytes }] },
  { title: "CPU, of one core", floor: 10, measures: [{ key: "cpu_percent", label: "user and system", format: percent }] },
  { title: "Resident memory", binary: true, floor: 1024, measures: [{ key: "resident_bytes", label: "of the process", format: bytes }] },
].map(options => new Plot($("plots"), { length: SECONDS, ...options }));
const keys = plots.flatMap(plot => plot.measures.map(({ key }) => key));

let newest = -1; // second of the last place
const series = Object.fromEntries(keys.map(key => [key, []]));

/** Puts a frame's seconds behind those that are there; a hole between them stays one. */
function merge(frame) {
  if (frame.newest < newest) newest = -1; // another process
  if (newest < 0) for (const key of keys) series[key] = [];
  const fresh = newest < 0 ? frame.count : Math.min(frame.count, frame.newest - newest);
  const hole = newest < 0 ? 0 : Math.min(SECONDS, frame.newest - newest - fresh);
  for (const key of keys) {
    const row = series[key];
    for (let i = 0; i < hole; i++) row.push(null);
    if (fresh > 0) row.push(...frame[key].slice(-fresh));
    row.splice(0, row.length - SECONDS);
  }
  newest = frame.newest;
  for (const plot of plots) plot.show(plot.measures.map(({ key }) => series[key]));
}

/* Tables */

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

/** A bar from 0 to 1, beside a number that says the same. */
function bar(share) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  svg.setAttribute("class", "bar");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("viewBox", "0 0 100 1");
  rect.setAttribute("width", 100 * share);
  rect.setAttribute("height", 1);
  svg.append(rect);
  return svg;
}

const shown = new Map(); // table to what it shows, so that what has not changed is left alone (and can be selected)

/** `rows`: [{ name, cells: [text], values: [raw], share, className, key, title }]. */
function fill(id, rows) {
  const signature = JSON.stringify(rows);
  if (shown.get(id) === signature) return;
  shown.set(id, signature);
  $(id).tBodies[0].replaceChildren(...rows.map(({ name, cells, values = [], share, className = "", part, title = "", states = [], extra = [], below = "" }) => {
    const row = element("tr"), head = element("th", className);
    head.scope = "row";
    if (part !== undefined) {
      const key = document.createElementNS("http://www.w3.org/2000/svg", "svg"), rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      key.setAttribute("class", `key part-${part}`);
      key.setAttribute("aria-hidden", "true");
      rect.setAttribute("width", "100%");
      rect.setAttribute("height", "100%");
      key.append(rect);
      head.append(key);
    }
    head.append(name);
    if (title) head.title = title;
    if (share !== undefined) head.append(bar(share));
    row.append(head, ...cells.map((text, i) => {
      const cell = element("td", `${states[i] ?? (values[i] === 0 ? "zero" : "")} ${extra.includes(i) ? "extra" : ""}`.trim(), text);
      if (below) cell.append(element("span", "until", below));
      if (values[i] !== undefined) cell.dataset.value = values[i];
      return cell;
    }));
    row.dataset.name = name;
    return row;
  }));
}

function parts(id, entries) {
  const sum = entries.reduce((all, [, value]) => all + value, 0);
  fill(id, entries.map(([name, value]) => ({ name, cells: [count(value)], values: [value], share: sum > 0 ? value / sum : 0 })));
}

/* Reactors may be a thousand: then the fullest and the emptiest say enough. */
function reactors(list) {
  const named = list.map((value, i) => [`reactor ${i}`, value]);
  if (list.length <= REACTORS_SHOWN) return parts("by-reactor", named);
  const sorted = named.toSorted(([, a], [, b]) => b - a);
  const most = sorted[0][1] || 1, row = ([name, value]) => ({ name, cells: [count(value)], values: [value], share: value / most });
  fill("by-reactor", [...sorted.slice(0, 4).map(row), { name: `… ${list.length - 8} more …`, cells: [""] }, ...sorted.slice(-4).map(row)]);
}

const words = text => text.replaceAll("_", " ");

/** Reasons that occurred, the most frequent of late first; how many did not is said below. */
function reasons(id, list) {
  const some = list.filter(({ total }) => total > 0).sort((a, b) => b.last_minute - a.last_minute || b.total - a.total);
  fill(id, some.map(({ reason, text = "", last_minute: recent, total }) =>
    ({ name: words(reason), title: text, cells: [count(recent), count(total)], values: [recent, total] })));
  $(id).hidden = some.length === 0;
  $(`${id}-none`).textContent = some.length === 0 ? "None since the start." : `None for ${plural(list.length - some.length, "other reason", "other reasons")}.`;
}

function showMemory({ per_connection: each, ...memory }) {
  const user = each.user_bytes, socket = each.kernel_socket_bytes, buffer = each.kernel_buffer_bytes;
  const known = [user, socket, buffer].filter(value => value !== null), sum = known.reduce((a, b) => a + b, 0);
  $("each").textContent = user === null ? "–" : bytes(user);
  $("each").dataset.value = user ?? "";
  $("each-note").textContent = user === null ? "too few connections to tell bytes for each" : "of the process for each connection";
  const why = user === null ? "from 1,000 on" : "not known";
  fill("each-parts", [["Process", user, why], ["Kernel, socket", socket, "only as root"], ["Kernel, buffers", buffer, why]]
    .map(([name, value, reason], part) => ({ name, part, cells: [value === null ? reason : bytes(value)], values: [value ?? ""],
      states: [value === null ? "zero" : ""], title: part === 0 ? each.user_method : each.kernel_method })));
  $("stack").hidden = user === null;
  if (user !== null) {
    let at = 0;
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 100 1");
    svg.setAttribute("preserveAspectRatio", "none");
    [user, socket, buffer].forEach((value, part) => {
      const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      rect.setAttribute("class", `part-${part}`);
      rect.setAttribute("x", at);
      rect.setAttribute("width", 100 * (value ?? 0) / sum);
      rect.setAttribute("height", 1);
      at += 100 * (value ?? 0) / sum;
      svg.append(rect);
    });
    $("stack").replaceChildren(svg);
    $("stack").setAttribute("aria-label", `For each connection: process ${bytes(user)}, kernel ${bytes(sum - user)}`);
  }
  fill("memory", [["Resident", memory.resident_bytes], ["At start", memory.baseline_bytes], ["Histories", memory.history_bytes], ["Presence", memory.presence_bytes],
    ["Waiting for clients", memory.outbox_bytes], ["Published, on its way", memory.inflight_bytes]]
    .map(([name, value]) => ({ name, cells: [bytes(value)], values: [value] })));
}

function showTopics({ count: all, by_subscribers: most, by_traffic: traffic }) {
  $("subscribers-note").textContent = all === 0 ? "No topic has subscribers." : `Of ${plural(all, "topic", "topics")} with subscribers`
    + (most.complete ? most.age_seconds > 10 ? `, as of ${duration(most.age_seconds)} ago.` : "." : "; still looking through them.");
  $("traffic-note").textContent = traffic.top.length === 0 ? "Nothing was delivered in the last minutes."
    : `Payload times receivers, in the last ${duration(traffic.window_seconds)}; at least this much for each.`;
  const top = most.top[0]?.subscribers || 1, heaviest = traffic.top[0]?.bytes || 1;
  fill("top-subscribers", most.top.slice(0, TOP_SHOWN).map(({ topic, subscribers }) =>
    ({ name: topic, className: "topic", cells: [count(subscribers)], values: [subscribers], share: subscribers / top })));
  fill("top-traffic", traffic.top.slice(0, TOP_SHOWN).map(({ topic, messages, deliveries, bytes: sum }) =>
    ({ name: topic, className: "topic", cells: [bytes(sum), count(deliveries), count(messages)], values: [sum, deliveries, messages], extra: [2], share: sum / heaviest })));
  $("top-subscribers").hidden = most.top.length === 0;
  $("top-traffic").hidden = traffic.top.length === 0;
}

function showCertificates(list) {
  fill("certificates", list.map(({ name, not_after: end, seconds_left: left }) => {
    const [state, text] = end === null ? ["warn", "not known"] : left <= 0 ? ["bad", "has ended"]
      : left < 14 * DAY ? ["warn", `soon: ${duration(left)}`] : ["good", `good: ${count(Math.floor(left / DAY))} days`];
    return { name: name === "*" ? "all other names" : name, cells: [text], values: [end ?? ""], states: [`state-${state}`], below: end === null ? "" : `${left <= 0 ? "since" : "until"} ${date.format(end * 1000)}` };
  }));
  $("certificates").hidden = list.length === 0;
  $("certificates-none").hidden = list.length > 0;
}

function showState({ phase, drain }) {
  const known = { starting: ["warn", "Starting"], running: ["good", "Running"], grace: ["warn", "Stopping: not ready, still accepting"],
    draining: ["warn", "Stopping: closing connections"], stopping: ["warn", "Stopping"] };
  const [state, text] = known[phase] ?? ["warn", phase];
  $("phase").dataset.state = state;
  $("phase-text").textContent = text;
  $("drain").hidden = drain === null;
  if (drain === null) return;
  const closed = drain.connections - drain.left;
  $("drain-text").textContent = phase === "grace" ? `Balancers are told first; ${plural(drain.left, "connection is", "connections are")} open.`
    : `${count(closed)} of ${plural(drain.connections, "connection", "connections")} closed, ${count(drain.left)} left; at most ${duration(drain.seconds_left)} more.`;
  $("drain-progress").value = drain.connections > 0 ? closed / drain.connections : 0;
}

const fields = [...document.querySelectorAll("[data-field]")];

function show(status) {
  for (const place of fields) {
    const value = place.dataset.field.split(".").reduce((at, key) => at?.[key], status);
    const text = typeof value === "number" && place.dataset.field !== "pid" ? count(value) : String(value);
    if (place.textContent !== text) place.textContent = text;
    place.dataset.value = value;
  }
  const { connections, totals, slow_consumers: slow, latency_ms: times } = status;
  $("node").textContent = status.node;
  document.title = `${count(connections.open)} · pushgate ${status.node}`;
  $("uptime").textContent = duration(status.uptime_seconds);
  showState(status.state);
  merge(status.series);
  plots[0].note.hidden = false;
  plots[0].note.textContent = `Room for ${count(connections.limit)}; ${plural(connections.handshaking, "handshake", "handshakes")} under way`;
  parts("by-transport", Object.entries(connections.by_transport));
  parts("by-adapter", Object.entries(connections.by_adapter));
  reactors(connections.by_reactor);
  fill("latency", [["half", "p50"], ["90 %", "p90"], ["99 %", "p99"], ["99.9 %", "p999"], ["all", "max"]].map(([name, key]) => ({ name: `${name} within`,
    cells: [times.last_minute[key], times.since_start[key]].map(value => value === null ? "–" : latency(value)), values: [times.last_minute[key] ?? "", times.since_start[key] ?? ""] })));
  showMemory(status.memory);
  $("slow-note").textContent = (slow.connections === 1 ? "connection has" : "connections have") + " output waiting";
  fill("slow", [["Bytes waiting", bytes(slow.bytes), slow.bytes], ["Most for each", slow.bytes_each_max === 0 ? "no limit" : bytes(slow.bytes_each_max), slow.bytes_each_max],
    ["Closed for it", count(slow.closed), slow.closed], ["Messages missed", count(slow.drops), slow.drops], ["In the last minute", count(slow.drops_last_minute), slow.drops_last_minute]]
    .map(([name, text, value]) => ({ name, cells: [text], values: [value] })));
  showTopics(status.topics);
  reasons("closes", status.closes);
  reasons("failures", status.handshake_failures);
  fill("totals", [["Accepted", totals.accepts], ["TLS handshakes, full", totals.handshakes_full], ["TLS handshakes, resumed", totals.handshakes_resumed], ["Connections opened", totals.opens],
    ["Connections closed", totals.closes], ["Messages published", totals.publishes], ["Deliveries", totals.deliveries], ["Messages dropped", totals.drops]]
    .map(([name, value]) => ({ name, cells: [count(value)], values: [value] }))
    .concat([{ name: "Bytes published", cells: [bytes(totals.published_bytes)], values: [totals.published_bytes] },
      { name: "Bytes delivered", cells: [bytes(totals.delivered_bytes)], values: [totals.delivered_bytes] },
      { name: "Publishers connected", cells: [count(status.publishers.connections)], values: [status.publishers.connections] }]));
  showCertificates(status.certificates);
}

/* The stream */

let socket = null, attempt = 0, retryAt = 0, timer = 0, silence = 0, hiding = 0, heardAt = null;

function tell(state, text, countdown = "") {
  $("stream").dataset.state = state;
  if ($("stream-text").textContent !== text) $("stream-text").textContent = text;
  $("countdown").textContent = countdown; // apart, so that a screen reader does not hear every second
  $("now").hidden = countdown === "" && state !== "bad";
}

function stale(is) {
  $("main").classList.toggle("stale", is && heardAt !== null);
  $("stale").hidden = !is || heardAt === null;
  if (is && heardAt !== null) $("stale").textContent = `What stands below is of ${clock.format(heardAt)}: nothing has been heard since.`;
}

function end() {
  clearTimeout(timer);
  clearTimeout(silence);
  if (!socket) return;
  socket.onopen = socket.onmessage = socket.onclose = null;
  socket.close();
  socket = null;
}

function connect() {
  end();
  tell("warn", heardAt === null ? "Connecting" : "Connecting again");
  const url = new URL("status/live", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(url);
  listen();
  socket.onmessage = event => {
    attempt = 0;
    heardAt = new Date();
    stale(false);
    tell("good", "Live");
    listen();
    show(JSON.parse(event.data));
  };
  socket.onclose = event => lost(event.code === 1001 ? "The gateway has stopped" : "Stream lost");
}

/** A stream that says nothing is as good as none. */
function listen() {
  clearTimeout(silence);
  silence = setTimeout(() => lost("Nothing is heard"), SILENT_AFTER);
}

async function lost(what) {
  end();
  stale(true);
  tell("bad", what);
  const why = heardAt === null || attempt > 0 ? await ask() : what;
  const wait = Math.min(BACKOFF_LAST, BACKOFF_FIRST * 2 ** Math.min(attempt++, 10));
  retryAt = Date.now() + wait / 2 + Math.random() * wait / 2;
  waiting(why ?? what);
}

/** Why there is no stream: an ordinary request is told, and the browser asks for a password where one is wanted. */
async function ask() {
  try {
    const answer = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(SILENT_AFTER) });
    if (answer.ok) return "No stream";
    return answer.status === 401 ? "The password was not accepted" : `Refused: ${(await answer.text()).trim()}`;
  } catch {
    return "The gateway cannot be reached";
  }
}

function waiting(why) {
  const left = retryAt - Date.now();
  if (left <= 0) { connect(); return; }
  tell("bad", why, `, next try in ${Math.ceil(left / 1000)} s`);
  timer = setTimeout(waiting, Math.min(1000, left), why);
}

$("now").addEventListener("click", () => { attempt = 0; connect(); });
addEventListener("online", () => { if (!socket) connect(); });
addEventListener("pagehide", end);
addEventListener("pageshow", event => { if (event.persisted) connect(); });
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (!document.hidden && !socket) { attempt = 0; connect(); }
  if (document.hidden) hiding = setTimeout(() => { end(); stale(true); tell("warn", "Paused while this page is hidden"); }, HIDDEN_AFTER);
});
connect();
