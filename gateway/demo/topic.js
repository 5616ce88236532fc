// One topic over /ws: what arrives, and publishing to it.
"use strict";
const SHOWN = 200, TEXT_SHOWN = 4096, BYTES_SHOWN = 64;
const BACKOFF_FIRST = 500, BACKOFF_LAST = 30000, STABLE_AFTER = 10000;
const $ = id => document.getElementById(id);
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });
const encoder = new TextEncoder();

let topic = "", socket = null, attempt = 0, retryAt = 0, timer = 0, stable = 0;
let received = 0, pending = [], framed = false;

function show(state, text, countdown = "") {
  $("state").dataset.state = state;
  if ($("state-text").textContent !== text) $("state-text").textContent = text;
  $("countdown").textContent = countdown; // apart, so that a screen reader does not hear every second
  $("now").hidden = state !== "waiting";
}

function endpoint() {
  return (location.protocol === "http:" ? "ws://" : "wss://") + location.host + "/ws?topic=" + encodeURIComponent(topic);
}

function connect() {
  clearTimeout(timer);
  clearTimeout(stable);
  if (socket) { socket.onopen = socket.onmessage = socket.onclose = null; socket.close(); }
  show("connecting", "Connecting");
  socket = new WebSocket(endpoint());
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    show("open", "Connected");
    // A connection that ends at once again must not reset the backoff.
    stable = setTimeout(() => { attempt = 0; }, STABLE_AFTER);
  };
  socket.onmessage = event => arrive(event.data);
  socket.onclose = event => {
    clearTimeout(stable);
    socket = null;
    const wait = Math.min(BACKOFF_LAST, BACKOFF_FIRST * 2 ** Math.min(attempt++, 10));
    retryAt = Date.now() + wait / 2 + Math.random() * wait / 2; // jitter: a restart must not bring everyone back at once
    waiting(event.code === 1006 ? "Connection lost" : "Closed (" + event.code + (event.reason ? ": " + event.reason : "") + ")");
  };
}

function waiting(why) {
  const left = retryAt - Date.now();
  if (left <= 0) { connect(); return; }
  show("waiting", why, ", next try in " + Math.ceil(left / 1000) + " s");
  timer = setTimeout(waiting, Math.min(1000, left), why);
}

function arrive(data) {
  received++;
  const at = new Date();
  pending.push(typeof data === "string"
    ? { at, bytes: encoder.encode(data).length, text: data.length > TEXT_SHOWN ? data.slice(0, TEXT_SHOWN) + "…" : data }
    : { at, bytes: data.byteLength, text: hex(data), binary: true });
  if (pending.length > SHOWN) pending.shift();
  if (!framed) { framed = true; requestAnimationFrame(render); }
}

function hex(buffer) {
  const bytes = new Uint8Array(buffer, 0, Math.min(buffer.byteLength, BYTES_SHOWN));
  return Array.from(bytes, byte => byte.toString(16).padStart(2, "0")).join(" ") + (buffer.byteLength > BYTES_SHOWN ? " …" : "");
}

function render() {
  framed = false;
  const list = $("messages");
  for (const message of pending) {
    const item = document.createElement("li"), text = document.createElement("span"), meta = document.createElement("span");
    if (message.binary) item.className = "binary";
    text.className = "text";
    text.textContent = message.text;
    meta.className = "meta";
    meta.textContent = clock.format(message.at) + " · " + message.bytes.toLocaleString() + (message.bytes === 1 ? " byte" : " bytes")
      + (message.binary ? ", binary" : "");
    item.append(text, meta);
    list.prepend(item);
  }
  pending = [];
  while (list.childElementCount > SHOWN) list.lastElementChild.remove();
  const none = list.childElementCount === 0;
  list.hidden = $("clear").hidden = none;
  $("empty").hidden = !none;
  $("count").textContent = received === 0 ? "" : received > SHOWN ? "(" + received.toLocaleString() + ", newest " + SHOWN + " shown)" : "(" + received + ")";
}

function clear() {
  $("messages").replaceChildren();
  pending = [];
  received = 0;
  render();
}

function subscribe(name) {
  topic = name;
  attempt = 0;
  $("endpoint").textContent = endpoint();
  $("command").textContent = "redis-cli -p 6390 publish " + (/^[\w.:\/-]+$/.test(name) ? name : "'" + name.replaceAll("'", "'\\''") + "'") + " hello";
  history.replaceState(null, "", "#" + encodeURIComponent(name));
  clear();
  connect();
}

async function publish(text) {
  try {
    const response = await fetch("/publish?topic=" + encodeURIComponent(topic), { method: "POST", body: text });
    if (!response.ok) throw new Error("the gateway answered " + response.status);
    const { queued } = await response.json();
    return "Queued to " + queued + (queued === 1 ? " connection." : " connections.");
  } catch (error) {
    return "Not published: " + error.message + ".";
  }
}

$("subscribe").addEventListener("submit", event => { event.preventDefault(); subscribe($("topic").value.trim() || "news"); });
$("publish").addEventListener("submit", async event => {
  event.preventDefault();
  const text = $("message").value;
  $("message").value = "";
  $("published").textContent = await publish(text);
});
$("now").addEventListener("click", connect);
$("clear").addEventListener("click", clear);
addEventListener("online", () => { if (!socket) connect(); });

let named = "";
try { named = decodeURIComponent(location.hash.slice(1)); } catch { /* a broken escape: the default topic will do */ }
if (named) $("topic").value = named;
subscribe($("topic").value);
