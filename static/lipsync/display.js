// What is on the canvas: a picture of speech, or an idle frame over which the last mouth is blended out.

import { Compositor } from "./compositor.js";
import { release } from "./decoder.js";

/** The mouth is blended in and out over this many frames where speech and idle meet. */
const BLEND_FRAMES = 4;

export class Display {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.compositor = new Compositor(canvas);
    /** of speech, until its mouth is blended out */
    this.picture = null;
    this.bounds = undefined; // of its mouth
    this.opacity = 0; // of its mouth, 0 to 1
  }

  /** Whether an idle frame is shown, without any mouth over it. */
  get isIdle() {
    return this.picture === null;
  }

  /** A frame of speech; the picture is released when it is shown no more. */
  showSpeech(picture, bounds) {
    // A frame without a mouth comes from a stream, which leads over to the next mouth by itself.
    this.opacity = picture.mouth ? Math.min(1, this.opacity + 1 / BLEND_FRAMES) : 1;
    this.compositor.draw(picture.face, picture.mouth ? { image: picture.mouth, bounds, opacity: this.opacity } : null);
    if (this.picture !== picture) release(this.picture);
    this.picture = picture;
    this.bounds = bounds;
  }

  /** An idle frame; its picture is released at once. */
  showIdle(picture) {
    const mouth = this.picture?.mouth;
    this.opacity = mouth ? Math.max(0, this.opacity - 1 / BLEND_FRAMES) : 0;
    this.compositor.draw(picture.face, this.opacity > 0 ? { image: mouth, bounds: this.bounds, opacity: this.opacity } : null);
    if (this.opacity === 0) {
      release(this.picture);
      this.picture = null;
    }
    release(picture);
  }

  close() {
    release(this.picture);
    this.picture = null;
    this.compositor.close();
  }
}
