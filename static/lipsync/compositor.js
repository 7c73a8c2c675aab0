// Lays the mouth over the idle frame: at fractional pixels, with a feathered edge, so that the
// seam cannot be seen.

/** Width of the feather as a share of the mouth image's side. */
const FEATHER = 0.07;

/** Alpha of the feathered mask, row by row, 0..255. Pure, for the tests. */
export function featherMask(width, height, feather = FEATHER) {
  const band = Math.max(1, feather * Math.min(width, height));
  const ramp = (place, size) => {
    const edge = Math.min(1, (Math.min(place, size - 1 - place) + 0.5) / band);
    return edge * edge * (3 - 2 * edge); // smooth at both ends: no line where the ramp begins
  };
  const mask = new Uint8ClampedArray(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) mask[y * width + x] = Math.round(255 * ramp(x, width) * ramp(y, height));
  }
  return mask;
}

export class Compositor {
  /** @param {HTMLCanvasElement} canvas gets the size of the frames drawn */
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.scratch = document.createElement("canvas");
    this.mask = document.createElement("canvas");
  }

  /**
   * @param {ImageBitmap} face the idle frame
   * @param {{image: ImageBitmap, bounds: number[], opacity?: number} | null} mouth
   *   bounds: x1, y1, x2, y2 in pixels of the idle frame
   */
  draw(face, mouth) {
    const { canvas, context } = this;
    if (canvas.width !== face.width || canvas.height !== face.height) {
      canvas.width = face.width;
      canvas.height = face.height;
    }
    context.globalAlpha = 1;
    context.drawImage(face, 0, 0);
    if (!mouth) return;
    this.feather(mouth.image);
    const [x1, y1, x2, y2] = mouth.bounds;
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.globalAlpha = mouth.opacity ?? 1;
    context.drawImage(this.scratch, x1, y1, x2 - x1, y2 - y1);
    context.globalAlpha = 1;
  }

  /** The mouth with the mask as its alpha, in `scratch`. */
  feather(image) {
    const { width, height } = image;
    if (this.mask.width !== width || this.mask.height !== height) this.resize(width, height);
    const context = this.scratch.getContext("2d");
    context.globalCompositeOperation = "copy";
    context.drawImage(image, 0, 0);
    context.globalCompositeOperation = "destination-in";
    context.drawImage(this.mask, 0, 0);
  }

  resize(width, height) {
    for (const canvas of [this.scratch, this.mask]) {
      canvas.width = width;
      canvas.height = height;
    }
    const context = this.mask.getContext("2d");
    const pixels = context.createImageData(width, height);
    featherMask(width, height).forEach((alpha, at) => (pixels.data[at * 4 + 3] = alpha));
    context.putImageData(pixels, 0, 0);
  }

  /** Frees the canvases' memory. */
  close() {
    this.scratch.width = this.scratch.height = 0;
    this.mask.width = this.mask.height = 0;
  }
}
