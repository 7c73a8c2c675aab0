// The table that compares the protocols, measured here and now.

import { Connection, decodeFrom, encodeFor } from "../lipsync.js";
import { compareProtocols } from "./compare.js";

const FRAMES = 12;
const WAIT_MS = 15000;
const NAMES = { json: "JSON", binary: "Binary", protobuf: "Protobuf" };

/** Asks the server for a few frames (with the package's own sound) and measures them. */
export async function measure({ url, model }) {
  return compareProtocols(await fetchFrames({ url, model }));
}

function fetchFrames({ url, model }) {
  return new Promise((resolve, reject) => {
    // Request mode: binary where the server has it, else JSON.
    const connection = new Connection({ url, mode: "timed" });
    const frames = [];
    const finish = (settle, value) => {
      clearTimeout(timer);
      connection.close();
      settle(value);
    };
    const timer = setTimeout(() => finish(reject, new Error("the server sent no frames in time")), WAIT_MS);
    connection.addEventListener("open", ({ detail: { wire } }) => {
      const ask = () => connection.send(encodeFor(wire, { model, frameId: frames.length }));
      connection.addEventListener("message", ({ detail: { data } }) => {
        let reply;
        try {
          reply = decodeFrom(wire, data);
        } catch (error) {
          return finish(reject, error);
        }
        if (!reply) return;
        if (!reply.ok) return finish(reject, new Error(reply.message));
        frames.push({ model, ...reply });
        if (frames.length < FRAMES) ask();
        else finish(resolve, frames);
      });
      ask();
    });
    connection.open();
  });
}

/** Fills the table's body. */
export function showComparison(body, results) {
  const json = results.find((result) => result.protocol === "json");
  const slowest = Math.max(...results.map((result) => result.medianMs));
  body.replaceChildren(
    ...results.map((result) => {
      const row = document.createElement("tr");
      const name = document.createElement("th");
      name.scope = "row";
      name.textContent = NAMES[result.protocol];
      row.append(name);
      const smaller = Math.round(100 * (1 - result.bytes / json.bytes));
      row.insertCell().textContent = Math.round(result.bytes).toLocaleString("en") + (result === json ? "" : `, −${smaller}\u00a0%`);
      row.insertCell().textContent = duration(result.medianMs);
      const against = row.insertCell();
      const bar = document.createElement("span");
      bar.className = "bar";
      const fill = document.createElement("i");
      fill.style.setProperty("--share", (result.medianMs / slowest).toFixed(4));
      bar.append(fill);
      const word = document.createElement("span");
      word.textContent = "\u00a0faster";
      against.append(bar, ...(result === json ? [] : [`${(json.medianMs / result.medianMs).toFixed(0)}\u00a0×`, word]));
      return row;
    }),
  );
}

function duration(ms) {
  return ms >= 1 ? `${ms.toFixed(2)} ms` : `${(ms * 1000).toFixed(ms < 0.01 ? 2 : 0)} µs`;
}
