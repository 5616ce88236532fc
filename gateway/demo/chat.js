// A small chat on the Centrifuge SDK, which /centrifuge.js has put into globalThis: what is said, its history, who is here.
// Clients are anonymous here, so that presence knows only their ids. Each says its name on a topic beside the room's, whose
// history tells it to those who come later; the gateway vouches for the id that a publication comes from.
const ROOM = "chat:lobby", NAMES = "chat:lobby:names";
const HISTORY_ASKED = 100, NAMES_ASKED = 300, LINES_SHOWN = 300, NAME_SHOWN = 40, TEXT_SHOWN = 4096;
const $ = id => document.getElementById(id);
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

let client = null; // of the SDK, while in the room
let me = "", myName = "";
const names = new Map(); // client id to name
const nameless = new Map(); // client id to the places where its name is still to come

/* What stands on the page; all of it text, never markup. */

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function shorten(text, most) { return text.length > most ? text.slice(0, most) + "…" : text; }

let waiting = [];

function add(line) {
  waiting.push(line);
  if (waiting.length > LINES_SHOWN) waiting.shift();
  if (waiting.length === 1) requestAnimationFrame(render);
}

function render() {
  const list = $("lines"), atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.append(...waiting);
  waiting = [];
  while (list.childElementCount > LINES_SHOWN) list.firstElementChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function note(...parts) {
  const line = element("li", "note");
  line.append(...parts);
  add(line);
  return line;
}

function show(state, text) {
  $("chat-state").dataset.state = state;
  if ($("chat-state-text").textContent !== text) $("chat-state-text").textContent = text;
}

/* Who is here */

let here = new Set(), changes = null; // joins and leaves while presence is asked for

function named(id) {
  const name = names.get(id), place = element("span", name ? "who" : "who unknown", name ?? "someone");
  if (!name) nameless.set(id, [...nameless.get(id) ?? [], place]);
  return place;
}

function call(id, name) {
  if (typeof name !== "string" || !name.trim()) return;
  names.set(id, shorten(name.trim(), NAME_SHOWN));
  for (const place of nameless.get(id) ?? []) {
    place.textContent = names.get(id);
    place.classList.remove("unknown");
  }
  nameless.delete(id);
  if (here.has(id)) renderPeople();
}

function renderPeople() {
  const people = [...here].map(id => ({ name: names.get(id), mine: id === me }));
  people.sort((a, b) => b.mine - a.mine || (a.name === undefined) - (b.name === undefined) || (a.name ?? "").localeCompare(b.name ?? ""));
  $("people").replaceChildren(...people.map(({ name, mine }) =>
    element("li", name ? "" : "unknown", (name ?? "someone") + (mine ? " (you)" : ""))));
  $("people-count").textContent = "(" + people.length + ")";
}

function change(id, joined) {
  changes?.set(id, joined);
  if (joined) here.add(id);
  else here.delete(id);
  renderPeople();
  if (id === me) return;
  note(named(id), joined ? " joined" : " left");
  if (!joined) {
    names.delete(id);
    nameless.delete(id);
  }
}

async function lookAround(room) {
  const since = changes = new Map();
  try {
    const { clients } = await room.presence();
    if (changes !== since) return; // asked again meanwhile
    here = new Set(Object.keys(clients));
    for (const [id, joined] of since) {
      if (joined) here.add(id);
      else here.delete(id);
    }
    renderPeople();
  } catch (error) {
    if (changes === since && client) $("sent").textContent = "Who is here is not known: " + error.message + ".";
  }
  if (changes === since) changes = null;
}

/* What is said */

let epoch = "", shown = 0; // where in the room's stream the page has got to: what history need not bring again
let loaded = false, held = null; // publications that wait for the history before them

function take({ data, offset, info }) {
  shown = offset ?? shown;
  const known = data !== null && typeof data === "object";
  const text = known && typeof data.text === "string" ? data.text : typeof data === "string" ? data : JSON.stringify(data);
  const name = info ? (known && typeof data.name === "string" && data.name.trim()) || "someone" : "backend";
  const at = known && Number.isFinite(data.at) && Math.abs(data.at) < 8.64e15 ? new Date(data.at) : new Date();
  const line = element("li", info && info.client === me ? "mine" : ""), time = element("time", "", clock.format(at));
  time.dateTime = at.toISOString();
  line.append(element("span", "who", shorten(name, NAME_SHOWN)), time, element("div", "said", shorten(text, TEXT_SHOWN)));
  add(line);
}

async function catchUp(room, position) {
  const queue = held = [];
  let before = [];
  if (position?.epoch !== epoch) { // another stream: its offsets say nothing about the last one's
    epoch = position?.epoch;
    shown = 0;
  }
  try {
    before = (await room.history({ limit: HISTORY_ASKED, reverse: true })).publications.reverse();
    loaded = true;
  } catch (error) {
    if (client) note("What was said before cannot be had: " + error.message + ".");
  }
  if (held !== queue) return; // asked again meanwhile, or left
  held = null;
  for (const publication of [...before, ...queue])
    if (!publication.offset || publication.offset > shown) take(publication);
}

function enterRoom() {
  const room = client.newSubscription(ROOM, { recoverable: true, joinLeave: true });
  room.on("subscribed", context => {
    show("open", "Connected");
    lookAround(room);
    if (context.recovered && loaded) return;
    if (context.wasRecovering && !context.recovered)
      note("Something may be missing here: the gateway could not tell what was said while this page was away.").classList.add("gap");
    catchUp(room, context.streamPosition);
  });
  room.on("publication", publication => { if (held) held.push(publication); else take(publication); });
  room.on("join", ({ info }) => change(info.client, true));
  room.on("leave", ({ info }) => change(info.client, false));
  room.on("unsubscribed", ({ code, reason }) => { if (client) leave("The gateway has ended this subscription (" + code + ": " + reason + ")."); });
  room.subscribe();
  return room;
}

function sayName() {
  const topic = client.newSubscription(NAMES);
  topic.on("subscribed", async () => {
    topic.publish({ name: myName }).catch(() => {}); // the next connection says it again
    const { publications } = await topic.history({ limit: NAMES_ASKED, reverse: true }).catch(() => ({ publications: [] }));
    for (const { data, info } of publications.reverse()) if (info) call(info.client, data?.name);
  });
  topic.on("publication", ({ data, info }) => { if (info) call(info.client, data?.name); });
  topic.subscribe();
}

let room = null;

function join(name) {
  myName = name;
  client = new Centrifuge((location.protocol === "http:" ? "ws://" : "wss://") + location.host + "/connection/websocket");
  client.on("connecting", ({ code }) => show("waiting", code === 0 ? "Connecting" : "Connection lost, trying again"));
  client.on("connected", context => { me = context.client; call(me, myName); });
  client.on("disconnected", ({ code, reason }) => { if (client) leave("The gateway has ended the connection (" + code + ": " + reason + ")."); });
  sayName();
  room = enterRoom();
  client.connect();
  $("join").hidden = true;
  $("room").hidden = $("chat-state").hidden = false;
  $("text").focus();
}

function leave(why) {
  const leaving = client;
  client = room = held = changes = null;
  leaving.disconnect();
  me = epoch = "";
  shown = 0;
  loaded = false;
  here.clear();
  names.clear();
  nameless.clear();
  waiting = [];
  $("lines").replaceChildren();
  $("people").replaceChildren();
  $("sent").textContent = "";
  $("join").hidden = false;
  $("room").hidden = $("chat-state").hidden = true;
  $("chat-hint").textContent = why;
  $("name").focus();
}

async function say(text) {
  try {
    await room.publish({ name: myName, text, at: Date.now() });
    return "";
  } catch (error) {
    if ($("text").value === "") $("text").value = text;
    return "Not sent: " + (error.message ?? "no answer") + ".";
  }
}

$("join").addEventListener("submit", event => {
  event.preventDefault();
  const name = $("name").value.trim();
  if (!name) return;
  try { localStorage.setItem("name", name); } catch { /* not remembered, then */ }
  join(name);
});
$("say").addEventListener("submit", async event => {
  event.preventDefault();
  const text = $("text").value.trim();
  $("text").value = "";
  $("text").focus();
  if (text) $("sent").textContent = await say(text);
});
$("leave").addEventListener("click", () => leave("You have left."));

if (globalThis.Centrifuge) {
  try { $("name").value = localStorage.getItem("name") ?? ""; } catch { /* no storage: nothing was remembered */ }
  $("join").hidden = false;
} else {
  $("chat-missing").hidden = false;
}
