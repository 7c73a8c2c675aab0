// A small plot of the last minute on a canvas: one line, a soft area, a scale that follows.

/** Points kept: one minute at four a second. */
const POINTS = 240;

export class Plot {
  /**
   * @param {HTMLElement} parent
   * @param {{title: string, about: string, unit: string, floor?: number, ceiling: number, band?: [number, number], colour?: string}} options
   *   about: what is measured, in words; ceiling: least top of the scale; band: values that are fine; colour: a custom property
   */
  constructor(parent, options) {
    this.options = { floor: 0, colour: "--accent", ...options };
    this.points = [];
    this.element = document.createElement("div");
    this.element.className = "plot";
    this.element.title = options.about;
    const head = document.createElement("div");
    head.className = "plot-head";
    const title = document.createElement("h3");
    title.textContent = options.title;
    this.output = document.createElement("output");
    this.output.setAttribute("aria-live", "off"); // figures that change four times a second are not read out
    head.append(title, this.output);
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-description", options.about);
    this.element.append(head, this.canvas);
    parent.append(this.element);
    this.show(NaN);
  }

  /** @param {number} value NaN: nothing to show at this moment */
  push(value) {
    this.points.push(value);
    if (this.points.length > POINTS) this.points.shift();
    this.show(value);
    this.draw();
  }

  show(value) {
    const { unit, title } = this.options;
    const text = Number.isFinite(value) ? value.toFixed(0).replace("-0", "0") : "–";
    const small = document.createElement("small");
    small.textContent = ` ${unit}`;
    this.output.replaceChildren(text, small);
    this.canvas.setAttribute("aria-label", `${title}, last minute; now ${text} ${unit}`);
  }

  draw() {
    const { canvas } = this;
    const scale = devicePixelRatio || 1;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (width === 0) return;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    this.paint(context, width, height, { line: themeColour(this.options.colour), grid: themeColour("--line"), calm: themeColour("--calm"), text: themeColour("--soft") });
  }

  /** Lowest and highest value of the scale; the highest is a round number. */
  range() {
    const values = this.points.filter(Number.isFinite);
    const { floor, ceiling } = this.options;
    const most = Math.max(...values);
    return [Math.min(floor, ...values), most > ceiling ? roundUp(most) : ceiling];
  }

  paint(context, width, height, colours) {
    const [low, high] = this.range();
    const y = (value) => 3 + (height - 6) * (1 - (value - low) / (high - low));
    const x = (index) => width - ((this.points.length - 1 - index) / (POINTS - 1)) * width;
    const { band } = this.options;
    if (band) {
      context.globalAlpha = 0.14;
      context.fillStyle = colours.calm;
      context.fillRect(0, y(band[1]), width, y(band[0]) - y(band[1]));
      context.globalAlpha = 1;
    }
    context.strokeStyle = colours.grid;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(0, Math.round(y(Math.max(low, 0))) + 0.5);
    context.lineTo(width, Math.round(y(Math.max(low, 0))) + 0.5);
    context.stroke();
    for (const run of runs(this.points)) this.paintRun(context, run, x, y, Math.max(low, 0), colours.line);
    // The scale: what the upper edge of the band, or else of the plot, stands for.
    context.fillStyle = colours.text;
    context.font = "11px sans-serif";
    context.textBaseline = "top";
    context.fillText(String(band ? band[1] : high), band ? 4 : 0, band ? y(band[1]) + 3 : 0);
  }

  paintRun(context, [from, to], x, y, base, colour) {
    const trace = () => {
      for (let index = from; index <= to; index++) context.lineTo(x(index), y(this.points[index]));
    };
    context.beginPath();
    context.moveTo(x(from), y(base));
    trace();
    context.lineTo(x(to), y(base));
    context.globalAlpha = 0.13;
    context.fillStyle = colour;
    context.fill();
    context.globalAlpha = 1;
    context.beginPath();
    trace();
    context.strokeStyle = colour;
    context.lineWidth = 1.8;
    context.lineJoin = "round";
    context.stroke();
    if (to !== this.points.length - 1) return;
    context.beginPath();
    context.arc(x(to) - 2.5, y(this.points[to]), 2.5, 0, 2 * Math.PI);
    context.fillStyle = colour;
    context.fill();
  }
}

/** The next of 1, 2, 5, 10, 20, 50, … */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((step) => step * power >= value);
}

/** First and last index of every unbroken run of finite values. */
function runs(points) {
  const found = [];
  points.forEach((value, index) => {
    if (!Number.isFinite(value)) return;
    const last = found.at(-1);
    if (last && last[1] === index - 1) last[1] = index;
    else found.push([index, index]);
  });
  return found;
}

const colours = new Map();

/** A custom property of the page as a colour that a canvas takes; looked up once a theme. */
export function themeColour(name) {
  if (!colours.has(name)) {
    // light-dark() becomes one colour as the computed colour of an element.
    const probe = document.createElement("i");
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    colours.set(name, getComputedStyle(probe).color);
    probe.remove();
  }
  return colours.get(name);
}

/** Forgets the colours: the theme has changed. */
export function forgetColours() {
  colours.clear();
}
