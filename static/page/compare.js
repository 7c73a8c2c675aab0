// Measures in this browser what each protocol costs to read: the same frames, as each protocol
// carries them, parsed until image bytes and bounds are at hand.

import * as json from "../lipsync/json.js";
import * as protobuf from "../lipsync/protobuf.js";
import { toBase64 } from "../lipsync/bytes.js";
import { percentile } from "../lipsync/timing.js";
import * as v1 from "../lipsync/v1.js";

/** Each timing repeats a parse until this many ms have passed: clocks in browsers are coarse. */
const BATCH_MS = 4;
const BATCHES = 15;

const FORMS = {
  json: {
    encode: (frame) =>
      JSON.stringify({
        success: true, model_name: frame.model, frame_id: frame.frameId, prediction_data: toBase64(frame.image),
        bounds: frame.bounds, processing_time_ms: 12, metadata: {}, request_id: "1", protocol: "json",
      }),
    decode: json.decodeReply,
  },
  binary: { encode: (frame) => v1.encodeReply(frame), decode: (data) => v1.decodeReply(data) },
  protobuf: { encode: (frame) => protobuf.encodeReply(frame), decode: protobuf.decodeReply },
};

/**
 * @param {{model: string, frameId: number, image: Uint8Array, bounds: number[]}[]} frames real replies
 * @returns {Promise<{protocol: string, bytes: number, medianMs: number}[]>} per frame
 */
export async function compareProtocols(frames) {
  const results = [];
  for (const [protocol, form] of Object.entries(FORMS)) {
    const messages = frames.map(form.encode);
    const bytes = messages.reduce((sum, message) => sum + message.length, 0) / messages.length;
    const times = [];
    for (let batch = 0; batch < BATCHES; batch++) {
      times.push(timeOne(messages, form.decode));
      await new Promise((resolve) => setTimeout(resolve)); // the page stays responsive
    }
    results.push({ protocol, bytes, medianMs: percentile(times, 0.5) });
  }
  return results;
}

/** Mean time of a parse in ms, over as many as fit into BATCH_MS. */
function timeOne(messages, decode) {
  let count = 0;
  const start = performance.now();
  let elapsed = 0;
  do {
    for (const message of messages) decode(message);
    count += messages.length;
    elapsed = performance.now() - start;
  } while (elapsed < BATCH_MS);
  return elapsed / count;
}
