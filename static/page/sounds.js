// What another page may hand over as a sound, made into an AudioBuffer.

/** Sample rates that browsers take, Hz. */
const RATES = { lowest: 8000, highest: 96_000 };

export const SOUNDS =
  "A sound is an ArrayBuffer, a Blob, an array of bytes (Uint8Array) or base64 text with a whole sound file in it (WAV, MP3, OGG, M4A), " +
  "or, together with sampleRate in Hz, mono samples: a Float32Array, or PCM16 in any of the other forms";
const HEADERLESS = "Samples without a file's header need their rate: {speak: samples, sampleRate: 24000}.";
const ADDRESS = "An address is not fetched here: fetch it in your own page and hand over its bytes, await (await fetch(address)).arrayBuffer()";

/** @param {string} text base64, or a data: address with it */
function fromText(text) {
  const base64 = /^data:[^,]*;base64,/i.test(text) ? text.slice(text.indexOf(",") + 1) : text;
  let bytes;
  try {
    bytes = atob(base64.replaceAll("-", "+").replaceAll("_", "/"));
  } catch {
    throw new Error(`The text is not base64. ${ADDRESS}`);
  }
  return Uint8Array.from(bytes, (letter) => letter.charCodeAt(0)).buffer;
}

/** The bytes of a value, or undefined. */
async function bytesOf(value) {
  if (typeof value === "string") return fromText(value);
  if (value instanceof Blob) return value.arrayBuffer();
  if (value instanceof ArrayBuffer) return value;
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength).slice().buffer;
  return undefined;
}

function samplesOf(value, bytes) {
  if (value instanceof Float32Array) return value;
  if (value instanceof Float64Array) return Float32Array.from(value);
  const view = new DataView(bytes);
  return Float32Array.from({ length: bytes.byteLength >> 1 }, (_, at) => view.getInt16(2 * at, true) / 32768);
}

/**
 * @param {unknown} value  @param {number | undefined} sampleRate of raw samples; undefined: a sound file
 * @param {(file: ArrayBuffer) => Promise<AudioBuffer>} decode
 * @returns {Promise<AudioBuffer>} rejects with words about what would be understood
 */
export async function readSound(value, sampleRate, decode) {
  const bytes = await bytesOf(value);
  if (!bytes) throw new Error(`This is no sound: ${describe(value)}. ${SOUNDS}.`);
  if (bytes.byteLength === 0) throw new Error("The sound is empty.");
  if (sampleRate === undefined) {
    const isSamples = ArrayBuffer.isView(value) && !(value instanceof DataView) && value.BYTES_PER_ELEMENT > 1;
    if (isSamples) throw new Error(`${describe(value)} holds samples: say sampleRate, too. ${SOUNDS}.`);
    return decode(bytes).catch((error) => {
      throw new Error(`${error.message} ${HEADERLESS}`);
    });
  }
  if (typeof sampleRate !== "number" || !(sampleRate >= RATES.lowest && sampleRate <= RATES.highest)) {
    throw new Error(`sampleRate is ${describe(sampleRate)}; it must be a number from ${RATES.lowest} to ${RATES.highest}.`);
  }
  const samples = samplesOf(value, bytes);
  if (samples.length === 0) throw new Error("The sound is empty.");
  const sound = new AudioBuffer({ length: samples.length, sampleRate });
  sound.copyToChannel(samples, 0);
  return sound;
}

/** A value in a few words. */
export function describe(value) {
  if (typeof value === "string") return `the text ${JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)}`;
  if (typeof value !== "object" || value === null) return String(value);
  const kind = value.constructor?.name ?? "object";
  return kind === "Object" ? `an object with the keys ${Object.keys(value).slice(0, 8).join(", ") || "(none)"}` : kind;
}
