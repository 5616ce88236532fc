// A plot of one or two measures over the last minutes: SVG of its own, drawn anew with each sample.
const SPACE = "http://www.w3.org/2000/svg";
const HEIGHT = 96, TOP = 8, BOTTOM = 4;

function element(name, attributes = {}, parent = null) {
  const made = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent?.append(made);
  return made;
}

function html(name, className, parent, text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = text;
  parent?.append(made);
  return made;
}

/** The next number up that is easy to read: 1, 2 or 5 times a power of ten, or of 1024 for bytes. */
export function niceCeiling(value, binary) {
  if (!(value > 0)) return 1;
  const unit = binary && value >= 1024 ? 1024 ** Math.floor(Math.log2(value) / 10) : 1;
  const scaled = value / unit, power = 10 ** Math.floor(Math.log10(scaled));
  for (const step of [1, 2, 5, 10]) if (scaled <= step * power * 1.0000001) return step * power * unit;
  return 10 * power * unit;
}

export class Plot {
  #svg; #lines = []; #area; #grid = []; #cursor; #legend = []; #top; #when;
  #rows = []; #at = null; #length;

  /**
   * `measures`: [{ key, label, format }], the first one drawn solid and filled, others dashed; the first is the headline.
   * `length`: seconds. `floor`: the least that the plot's height stands for. `binary`: it is measured in bytes.
   */
  constructor(parent, { title, measures, length, floor = 1, binary = false, note = "", wide = false }) {
    this.measures = measures;
    this.#length = length;
    this.floor = floor;
    this.binary = binary;
    const figure = html("figure", wide ? "plot wide" : "plot", parent);
    const heading = html("h2", "", figure, title);
    heading.id = `plot-${measures[0].key}`;
    this.legendPlace = html("dl", "legend", figure);
    for (const [index, { key, label }] of measures.entries()) {
      const group = html("div", index === 0 ? "first" : "other", this.legendPlace);
      const term = html("dt", "", group);
      const swatch = element("svg", { class: "swatch", viewBox: "0 0 22 6", "aria-hidden": "true" }, term);
      element("path", { d: "M0 3H22", class: `line line-${index}` }, swatch);
      term.append(label);
      const value = html("dd", "", group);
      value.dataset.series = key;
      this.#legend.push(value);
    }
    this.note = html("p", "soft note", figure, note);
    this.note.hidden = !note;
    this.#svg = element("svg", { class: "chart", role: "img", tabindex: "0", height: HEIGHT, "aria-label": title }, figure);
    for (let i = 0; i < 3; i++) this.#grid.push(element("line", { class: "grid" }, this.#svg));
    for (let i = measures.length - 1; i >= 0; i--) {
      if (i === 0) this.#area = element("path", { class: "area" }, this.#svg);
      this.#lines[i] = element("path", { class: `line line-${i}` }, this.#svg);
    }
    this.#cursor = element("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" }, this.#svg);
    const axis = html("div", "axis soft", figure);
    html("span", "", axis, "5 min ago");
    this.#when = html("span", "when", axis);
    html("span", "", axis, "now");
    this.#top = html("span", "top soft", figure);
    this.figure = figure;
    this.#svg.addEventListener("pointermove", event => this.#point(event));
    this.#svg.addEventListener("pointerdown", event => this.#point(event));
    this.#svg.addEventListener("pointerleave", () => this.#leave());
    this.#svg.addEventListener("blur", () => this.#leave());
    this.#svg.addEventListener("keydown", event => this.#key(event));
    new ResizeObserver(() => this.#draw()).observe(this.#svg);
  }

  /** `rows`: one array a measure, oldest first, the last one now; null where nothing is known. */
  show(rows) {
    this.#rows = rows;
    this.#draw();
  }

  #point(event) {
    const box = this.#svg.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    this.#at = Math.round((1 - share) * (this.#length - 1)); // seconds ago
    this.#draw();
  }

  #leave() {
    this.#at = null;
    this.#draw();
  }

  #key(event) {
    const steps = { ArrowLeft: 1, ArrowRight: -1, PageUp: 30, PageDown: -30 };
    if (event.key === "Escape") this.#leave();
    if (!(event.key in steps)) return;
    event.preventDefault();
    this.#at = Math.min(this.#length - 1, Math.max(0, (this.#at ?? 0) + steps[event.key]));
    this.#draw();
  }

  #draw() {
    const width = this.#svg.clientWidth, inner = HEIGHT - TOP - BOTTOM;
    if (!width) return;
    const known = this.#rows.flat().filter(value => value !== null);
    const top = niceCeiling(Math.max(this.floor, ...known), this.binary);
    const x = ago => width * (1 - ago / (this.#length - 1)), y = value => TOP + inner * (1 - value / top);
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.#grid.forEach((line, i) => {
      for (const [key, value] of Object.entries({ x1: 0, x2: width, y1: TOP + inner * i / 2, y2: TOP + inner * i / 2 })) line.setAttribute(key, value);
    });
    this.#top.textContent = this.measures[0].format(top);
    this.#rows.forEach((row, index) => {
      let path = "", area = "", from = null; // where the stretch without gaps began
      row.forEach((value, i) => {
        if (value === null) { from = null; return; }
        const ago = row.length - 1 - i, last = i + 1 === row.length || row[i + 1] === null;
        const step = (from === null ? "M" : "L") + `${x(ago).toFixed(1)} ${y(value).toFixed(1)}`;
        path += step + (from === null && last ? "h1" : ""); // alone between gaps, a value is a dot
        area += step;
        from ??= ago;
        if (last) area += `V${y(0)}H${x(from).toFixed(1)}Z`;
      });
      this.#lines[index].setAttribute("d", path);
      if (index === 0) this.#area.setAttribute("d", area);
    });
    this.#tell(x);
  }

  /** What the legend says: now, or where the pointer stands. */
  #tell(x) {
    const ago = this.#at ?? 0;
    this.#rows.forEach((row, index) => {
      const value = row[row.length - 1 - ago] ?? null;
      this.#legend[index].textContent = value === null ? "–" : this.measures[index].format(value);
      this.#legend[index].dataset.value = value ?? "";
    });
    this.#cursor.setAttribute("visibility", this.#at === null ? "hidden" : "visible");
    this.#cursor.setAttribute("x1", x(ago));
    this.#cursor.setAttribute("x2", x(ago));
    this.#when.textContent = this.#at === null ? "" : ago === 0 ? "now" : ago < 60 ? `${ago} s ago` : `${Math.floor(ago / 60)} min ${ago % 60} s ago`;
    const first = this.#rows[0]?.filter(value => value !== null) ?? [];
    if (first.length > 0 && this.#at === null)
      this.#svg.setAttribute("aria-label", `${this.measures[0].label}: now ${this.measures[0].format(first.at(-1))}, `
        + `least ${this.measures[0].format(Math.min(...first))}, most ${this.measures[0].format(Math.max(...first))} in the last five minutes`);
  }
}
