// The main thread's side of decode-worker.js.

export class Decoder {
  constructor() {
    this.worker = new Worker(new URL("./decode-worker.js", import.meta.url), { type: "module" });
    this.waiting = new Map();
    this.nextId = 1;
    this.worker.onmessage = ({ data }) => {
      const settle = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if (settle) settle(data);
      else release(data);
    };
    this.worker.onerror = () => this.abandon("the decoder failed");
  }

  /**
   * @param {{url?: string, image?: Uint8Array}} wanted the idle frame's address, the mouth's JPEG
   * @returns {Promise<{face?: ImageBitmap, mouth?: ImageBitmap, error?: string}>} never rejects
   */
  decode({ url, image }) {
    const id = this.nextId++;
    // A copy of the image alone: the message it came in stays readable for the debugger.
    const buffer = image ? image.slice().buffer : undefined;
    return new Promise((resolve) => {
      this.waiting.set(id, resolve);
      this.worker.postMessage({ id, url, image: buffer }, buffer ? [buffer] : []);
    });
  }

  prefetch(urls) {
    this.worker.postMessage({ prefetch: urls });
  }

  abandon(error) {
    for (const settle of this.waiting.values()) settle({ error });
    this.waiting.clear();
  }

  close() {
    this.worker.terminate();
    this.abandon("closed");
  }
}

/** Frees the bitmaps of a decoded picture. */
export function release(picture) {
  picture?.face?.close();
  picture?.mouth?.close();
}
