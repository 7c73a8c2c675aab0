// The protocol debugger: the last messages, each decoded field by field, with hex.

import { explain, hexRows } from "./explain.js";
import { Recorder } from "./recorder.js";

const ROWS = 80;
const PERIOD_MS = 400;

export class Messages {
  constructor({ log, detail, hold, clear, save }) {
    Object.assign(this, { log, detail, holdButton: hold });
    this.recorder = new Recorder();
    this.held = false;
    this.drawn = 0;
    hold.addEventListener("click", () => this.setHeld(!this.held));
    clear.addEventListener("click", () => this.clear());
    save.addEventListener("click", () => this.save());
    log.addEventListener("keydown", (event) => this.walk(event));
    this.timer = setInterval(() => this.draw(), PERIOD_MS);
    this.visible = false;
    this.observer = new IntersectionObserver(([entry]) => (this.visible = entry.isIntersecting));
    this.observer.observe(log);
  }

  add(entry) {
    if (!this.held) this.recorder.add(entry);
  }

  setHeld(held) {
    this.held = held;
    this.holdButton.setAttribute("aria-pressed", String(held));
  }

  clear() {
    this.recorder.clear();
    this.drawn = -1;
    this.draw();
    this.detail.replaceChildren(paragraph("No message chosen."));
  }

  draw() {
    if (!this.visible && this.drawn > 0) return;
    if (this.recorder.count === this.drawn || this.log.contains(document.activeElement)) return;
    this.drawn = this.recorder.count;
    this.log.replaceChildren(...this.recorder.entries.slice(-ROWS).reverse().map((entry) => this.row(entry)));
    this.log.querySelector("button")?.removeAttribute("tabindex");
  }

  /** The list is one stop of the Tab key; arrows go from message to message. */
  walk(event) {
    const rows = [...this.log.querySelectorAll("button")];
    const at = rows.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (to === undefined || !rows[to]) return;
    event.preventDefault();
    this.choose(rows[to]);
    rows[to].focus();
  }

  /** Makes a row the one that the Tab key comes to. */
  choose(row) {
    for (const other of this.log.querySelectorAll("button")) other.tabIndex = -1;
    row.tabIndex = 0;
  }

  row(entry) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.tabIndex = -1;
    const { title } = explain(entry);
    const sent = entry.direction === "sent";
    const parts = [
      [entry.direction, sent ? "↑" : "↓"],
      ["time", `${(entry.at / 1000).toFixed(2)} s`],
      ["what", title],
      ["size", `${entry.size} B`],
    ];
    for (const [name, text] of parts) {
      const span = document.createElement("span");
      span.className = name;
      span.textContent = text;
      if (name === entry.direction) {
        span.setAttribute("role", "img");
        span.setAttribute("aria-label", entry.direction);
      }
      button.append(span);
    }
    button.addEventListener("click", () => {
      this.setHeld(true);
      this.choose(button);
      this.log.querySelector("[aria-current]")?.removeAttribute("aria-current");
      button.setAttribute("aria-current", "true");
      this.showDetail(entry);
    });
    item.append(button);
    return item;
  }

  showDetail(entry) {
    const { title, fields, error } = explain(entry);
    const heading = document.createElement("h3");
    const layout = entry.kind === "text" ? "JSON" : entry.protocol || "lipsync.v1";
    heading.textContent = `${title}, ${entry.direction}, ${entry.size} bytes, ${layout}`;
    const parts = [heading];
    if (error) parts.push(Object.assign(paragraph(error), { className: "error" }));
    parts.push(fieldTable(fields), hexView(entry.data));
    this.detail.replaceChildren(...parts);
    this.detail.scrollTop = 0;
  }

  save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([this.recorder.export()], { type: "application/jsonl" }));
    link.download = "lipsyncd-recording.jsonl";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  close() {
    clearInterval(this.timer);
    this.observer.disconnect();
  }
}

function paragraph(text) {
  const element = document.createElement("p");
  element.className = "hint";
  element.textContent = text;
  return element;
}

function fieldTable(fields) {
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const name of ["Offset", "Field", "Value"]) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = name;
    head.append(cell);
  }
  const body = table.createTBody();
  for (const { offset, length, name, value } of fields) {
    const row = body.insertRow();
    row.insertCell().textContent = `${offset} +${length}`;
    const cell = document.createElement("th");
    cell.scope = "row";
    cell.textContent = name;
    row.append(cell);
    row.insertCell().textContent = value;
  }
  return table;
}

function hexView(data) {
  const view = document.createElement("pre");
  view.className = "hex";
  for (const { offset, hex, text } of hexRows(data)) {
    const bytes = document.createElement("b");
    bytes.textContent = hex.padEnd(48);
    view.append(`${offset}  `, bytes, ` ${text}\n`);
  }
  return view;
}
