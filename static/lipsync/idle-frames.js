// The idle frames that come next, decoded ahead.

import { release } from "./decoder.js";

/** Idle frames decoded ahead. */
const AHEAD = 3;
/** A frame that could not be decoded is asked for again after so long, in ms: the server may be away. */
const RETRY_MS = 750;

export class IdleFrames {
  /** @param {import("./decoder.js").Decoder} decoder  @param {(number: number) => string} urlOf a frame's address */
  constructor(decoder, urlOf) {
    Object.assign(this, { decoder, urlOf });
    /** @type {{number: number, picture: object | undefined, gone: boolean}[]} sorted by number */
    this.entries = [];
    this.closed = false;
  }

  /** Lets the frames from `number` on be decoded; forgets others. */
  prepare(number) {
    this.entries = this.entries.filter((entry) => {
      const useful = entry.number >= number && entry.number < number + AHEAD;
      if (!useful) {
        entry.gone = true;
        release(entry.picture);
      }
      return useful;
    });
    for (let next = number; next < number + AHEAD; next++) {
      if (!this.entries.some((entry) => entry.number === next)) this.decode(next);
    }
  }

  /** The picture of that frame, which is the caller's to release; undefined until it is decoded. */
  take(number) {
    const [entry] = this.entries;
    if (!entry?.picture || entry.number !== number) return undefined;
    this.entries.shift();
    return entry.picture;
  }

  async decode(number) {
    const entry = { number, picture: undefined, gone: false };
    this.entries.push(entry);
    this.entries.sort((a, b) => a.number - b.number);
    const picture = await this.decoder.decode({ url: this.urlOf(number) });
    if (entry.gone || this.closed) return release(picture);
    if (picture.error) {
      setTimeout(() => (this.entries = this.entries.filter((other) => other !== entry)), RETRY_MS);
      return;
    }
    entry.picture = picture;
  }

  close() {
    this.closed = true;
    for (const entry of this.entries) release(entry.picture);
    this.entries = [];
  }
}
