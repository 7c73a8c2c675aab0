// Bounded reading and writing of little-endian bytes. Everything that arrives from the
// network goes through ByteReader: it never reads past the end and never trusts a length
// before comparing it with what is there.

const textDecoder = new TextDecoder("utf-8", { fatal: true });
const textEncoder = new TextEncoder();

/** A message that does not follow the protocol. `offset` is the byte where it went wrong. */
export class ProtocolError extends Error {
  constructor(message, offset = 0) {
    super(`${message} (at byte ${offset})`);
    this.name = "ProtocolError";
    this.offset = offset;
  }
}

/** Views the argument (ArrayBuffer or any view of one) as bytes, without copying. */
export function asBytes(data) {
  if (data instanceof Uint8Array) return data;
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return new Uint8Array(data);
}

export class ByteReader {
  constructor(data) {
    this.bytes = asBytes(data);
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength);
    this.offset = 0;
  }

  get left() {
    return this.bytes.length - this.offset;
  }

  /** Moves past `count` bytes and returns where they began. */
  skip(count, what) {
    if (count > this.left) {
      throw new ProtocolError(`${what} needs ${count} bytes, ${this.left} are left`, this.offset);
    }
    const start = this.offset;
    this.offset += count;
    return start;
  }

  u8(what) {
    return this.view.getUint8(this.skip(1, what));
  }

  u16(what) {
    return this.view.getUint16(this.skip(2, what), true);
  }

  u32(what) {
    return this.view.getUint32(this.skip(4, what), true);
  }

  /** A u64 as a number; sample positions stay far below 2^53. */
  u64(what) {
    const start = this.skip(8, what);
    const value = this.view.getBigUint64(start, true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new ProtocolError(`${what} is too large`, start);
    return Number(value);
  }

  f32(what) {
    return this.view.getFloat32(this.skip(4, what), true);
  }

  /** A view of the next `count` bytes (not a copy). */
  take(count, what) {
    const start = this.skip(count, what);
    return this.bytes.subarray(start, start + count);
  }

  text(count, what) {
    const start = this.offset;
    try {
      return textDecoder.decode(this.take(count, what));
    } catch (error) {
      if (error instanceof ProtocolError) throw error;
      throw new ProtocolError(`${what} is not UTF-8`, start);
    }
  }

  /** Refuses bytes that no field accounts for. */
  end() {
    if (this.left > 0) throw new ProtocolError(`${this.left} bytes too many`, this.offset);
  }
}

/** Builds one message; grows by doubling. */
export class ByteWriter {
  constructor(capacity = 64) {
    this.bytes = new Uint8Array(capacity);
    this.view = new DataView(this.bytes.buffer);
    this.length = 0;
  }

  /** Makes room and returns where it begins. May replace `bytes` and `view`: call it before using them. */
  reserve(count) {
    const start = this.length;
    const needed = start + count;
    if (needed > this.bytes.length) {
      const bytes = new Uint8Array(Math.max(needed, this.bytes.length * 2));
      bytes.set(this.bytes.subarray(0, start));
      this.bytes = bytes;
      this.view = new DataView(bytes.buffer);
    }
    this.length = needed;
    return start;
  }

  u8(value) {
    const at = this.reserve(1);
    this.view.setUint8(at, value);
    return this;
  }

  u16(value) {
    const at = this.reserve(2);
    this.view.setUint16(at, value, true);
    return this;
  }

  u32(value) {
    const at = this.reserve(4);
    this.view.setUint32(at, value, true);
    return this;
  }

  u64(value) {
    const at = this.reserve(8);
    this.view.setBigUint64(at, BigInt(value), true);
    return this;
  }

  f32(value) {
    const at = this.reserve(4);
    this.view.setFloat32(at, value, true);
    return this;
  }

  raw(data) {
    const bytes = asBytes(data);
    const at = this.reserve(bytes.length);
    this.bytes.set(bytes, at);
    return this;
  }

  text(value) {
    return this.raw(textEncoder.encode(value));
  }

  finish() {
    return this.bytes.subarray(0, this.length);
  }
}

/** UTF-8 bytes of a string. */
export function utf8(text) {
  return textEncoder.encode(text);
}

/** Base64 of bytes, in pieces that stay below the engines' limit on arguments. */
export function toBase64(data) {
  const bytes = asBytes(data);
  let binary = "";
  for (let start = 0; start < bytes.length; start += 0x8000) {
    binary += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  }
  return btoa(binary);
}

/** Bytes of a base64 text; throws ProtocolError when it is none. */
export function fromBase64(text) {
  let binary;
  try {
    binary = atob(text);
  } catch {
    throw new ProtocolError("not base64");
  }
  const bytes = new Uint8Array(binary.length);
  for (let index = 0; index < binary.length; index++) bytes[index] = binary.charCodeAt(index);
  return bytes;
}
